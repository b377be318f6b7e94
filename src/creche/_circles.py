"""Circles of waits: who would wait for himself, through others, and never end.

What it is for: a wait without a time limit that would close such a circle is refused when it begins. A
call waits for the one that it reads, for those that it is to run after, and for the limits that it
needs: these for as long as every call that has them waits in turn.

What it does not know: how to wait; places, which are lent, and close no circle.

Invariant: a refusal means that nothing but a cancellation could end the wait.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from ._carrier import Carrier
from ._limits import Gate
from ._queue import Queue
from ._slot import Slot
from ._spelling import spell

_Needs = dict[Slot[Any], list[Iterable[Any]]]
"""Of each of some slots, groups: it goes on once one of each has ended."""


def refuse_own(slots: Sequence[Slot[Any]], task: object) -> None:
    """Refuse a wait of a call for its own end, with a time limit or without.

    Args:
        slots: what is to be waited for.
        task: which is about to wait.

    Raises:
        RuntimeError: one of the slots is of the call that the task carries out.
    """
    for slot in slots:
        if slot.carried_by(task):
            raise waits_for_itself(slot.key, [slot.key])


def check_circle(carriers: Sequence[Carrier], slots: Sequence[Slot[Any]]) -> None:
    """Refuse a wait without a time limit that would close a circle of such waits.

    Args:
        carriers: of the call that is about to wait, and of those that it is carried out in.
        slots: for all of which.

    Raises:
        RuntimeError: the call would wait for itself, through the calls or the limit in the message.
    """
    came_from: dict[Slot[Any], Slot[Any] | None] = dict.fromkeys(slots)
    stack = list(came_from)
    has_gates = False
    while stack:
        one = stack.pop()
        other = one.carrying
        if other in carriers:
            chain = [one]
            while (before := came_from[chain[-1]]) is not None:
                chain.append(before)
            raise waits_for_itself(one.key, [link.key for link in reversed(chain)])
        has_gates = has_gates or bool(_full_gates(one))
        for following in _waited_for(one):
            if following not in came_from:
                came_from[following] = one
                stack.append(following)
    if has_gates:
        goes_on, _ = _look_ahead(carriers, slots)
        for slot in slots:
            if slot not in goes_on:
                raise _waits_for_limit(slot.key, "would never end", *_look_ahead(carriers, [slot]))


def check_room(carriers: Sequence[Carrier], slot: Slot[Any], queue: Queue) -> None:
    """Refuse a wait for room that would never end, since all that wait need a limit of those who wait.

    Args:
        carriers: of the call that is about to wait, and of those that it is carried out in.
        slot: of the call that it submits, which waits in the queue.
        queue: where any call that starts makes room.

    Raises:
        RuntimeError: none of the calls in the queue would ever start.
    """
    if _full_gates(slot):
        slots = [slot, *queue.in_order()]
        goes_on, needs = _look_ahead(carriers, slots)
        if goes_on.isdisjoint(slots):
            raise _waits_for_limit(slot.key, "would never be admitted", goes_on, needs)


def _waited_for(slot: Slot[Any]) -> Sequence[Slot[Any]]:
    """What a call cannot end before: what it waits for, or is to run after."""
    carrying = slot.carrying
    if isinstance(carrying, Carrier):
        return carrying.waits_for
    call = slot.pending_call
    return () if call is None else call.after


def _full_gates(slot: Slot[Any]) -> list[Gate]:
    """The limits that a pending call needs, and that other calls of the run have, all there is."""
    call = slot.pending_call
    gates = () if call is None else call.wishes.gates
    return [gate for gate in gates if gate.is_held_by_calls and slot not in gate.holders]


def _look_ahead(
    carriers: Sequence[Carrier], slots: Sequence[Slot[Any]]
) -> tuple[set[Slot[Any]], _Needs]:
    """Which calls can go on, though limits are held; the others wait for a limit held by none but them.

    Args:
        carriers: of the call that is about to wait.
        slots: which it may wait for.

    Returns:
        those that can, of the slots and all that they wait for; and what each of these needs.
    """
    needs: _Needs = {}
    stack = list(slots)
    while stack:
        one = stack.pop()
        if one in needs:
            continue
        needs[one] = [[other] for other in _waited_for(one)]
        needs[one] += [gate.holders for gate in _full_gates(one)]
        stack += [other for group in needs[one] for other in group]
    # Whoever waits for nothing goes on; and so does, in turn, whoever waits for these.
    goes_on = {one for one, groups in needs.items() if not groups and one.carrying not in carriers}
    found = True
    while found:
        found = False
        for one, groups in reversed(needs.items()):  # what was found last is nearest to the end
            if one in goes_on or one.carrying in carriers:
                continue
            if all(any(other in goes_on for other in group) for group in groups):
                goes_on.add(one)
                found = True
    return goes_on, needs


def _waits_for_limit(key: Hashable, what: str, goes_on: set[Slot[Any]], needs: _Needs) -> RuntimeError:
    """The error for a wait that a limit makes endless.

    Args:
        key: of the call that the message is about.
        what: it would never do.
        goes_on: who goes on.
        needs: what everybody needs.

    Returns:
        the error.
    """
    gate, blocked = next((gate, one) for one in needs if one not in goes_on for gate in _full_gates(one))
    holders = ", ".join(spell(getattr(holder, "key", holder)) for holder in gate.holders)
    msg = (
        f"call {spell(key)} {what}: {spell(blocked.key)} needs limit {gate.name!r} to start, which "
        f"is held by {holders}, waiting in turn; limits are not lent: end the call that holds it first, "
        f"or submit {spell(blocked.key)} without it"
    )
    return RuntimeError(msg)


def waits_for_itself(key: Hashable, chain: Sequence[Hashable]) -> RuntimeError:
    """The error for a call that would wait for its own end.

    Args:
        key: the call's.
        chain: the keys of what it would wait for, one after the other, itself last.

    Returns:
        the error.
    """
    through = "" if len(chain) == 1 else f" through {', '.join(map(spell, chain[:-1]))}"
    return RuntimeError(
        f"call {spell(key)} waits for itself{through}, which would never end; leave it out, return its "
        f"value instead, or wait from another task",
    )
