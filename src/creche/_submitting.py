"""Submitting to a run, with or without waiting for room.

What it is for: everything that is judged at the submit, in its order: whether the runner takes calls,
whether the key is there, what the call is to run after, whether there is room.

What it does not know: the signature of `submit`; how the queue is kept.

Invariant: a submit that is refused, or given up while it waits, has left nothing behind.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from ._call import Call, Wishes, on_loop
from ._carrier import carriers_in
from ._checks import check_priority, check_timeout, name_call
from ._circles import check_room
from ._errors import RunnerFull, UnknownKey
from ._hosting import Run
from ._ki import protected
from ._limits import check_names
from ._options import OnCollision
from ._place import NO_OPTIONS, Ticket, check_place_options
from ._retry import Retry, read_retry
from ._slot import Slot
from ._spelling import spell
from ._states import State
from ._waiting_room import Applicant


def wish(
    run: Run,
    key: Hashable,
    call: Call,
    *,
    timeout: float | None = None,
    retry: int | Retry | None = None,
    priority: float = 0,
    limits: Iterable[str] = (),
    place: object = None,
    place_options: Mapping[str, Any] | None = None,
    tags: tuple[str, ...] = (),
) -> None:
    """Check what is wished of a call, and note it there.

    Args:
        run: of which the limits and the places are.
        key: of the call.
        call: as it was read; a plain one that is to run on the loop becomes an async one.
        timeout: how many seconds it may run; `None` for no limit.
        retry: how it is tried again if it fails; `None` for once only.
        priority: calls with a higher one get a place first.
        limits: the names of those that it needs.
        place: where it is to run; `None` for where calls of the runner do.
        place_options: for the place.
        tags: words for people to find it by, checked already.

    Raises:
        TypeError: one is of the wrong type.
        ValueError: one is no such number, or there is no limit or place of that name.
        ImportError: what the place needs is not installed.
    """
    seconds, rank = check_timeout(timeout), check_priority(priority)
    gates = run.queue.find_gates(key, check_names(limits))
    if run.needs:
        gates = (*run.needs, *(gate for gate in gates if gate not in run.needs))
    policy = read_retry(retry)
    ticket = _find_ticket(run, key, call, place, place_options)
    if ticket is not None:
        gates = (*gates, *ticket.seat.gates)
    if seconds is None and (ticket is not None or policy is not None):
        seconds = math.inf
    call.wishes = Wishes(seconds, rank, gates, ticket=ticket, retry=policy, tags=tags)


def _find_ticket(
    run: Run,
    key: Hashable,
    call: Call,
    place: object,
    options: Mapping[str, Any] | None,
) -> Ticket | None:
    """Where a call is to run, if neither on the loop nor, being plain, in a thread."""
    check_place_options(options, name_call(key))
    if place is None:
        place = run.place
    if place is None or place == "loop" or (place == "thread" and not call.is_async):
        if options:
            where = "on the loop" if place == "loop" or call.is_async else "in a thread"
            msg = f"{name_call(key)} runs {where}, which takes no place_options; name another place="
            raise ValueError(msg)
        if place == "loop" and not call.is_async:
            call.fn, call.is_async = on_loop(call.fn), True
        return None
    return run.seats.find(key, place).ticket(call, NO_OPTIONS if options is None else options)


@protected
def begin(
    run: Run,
    key: Hashable,
    call: Call,
    on_collision: OnCollision = "raise",
    after: Iterable[Hashable | Slot[Any]] = (),
    *,
    any_end: bool = False,
) -> Slot[Any] | Applicant:
    """Submit a call, or have it apply for room.

    Args:
        run: to which.
        key: the key; `None` for a fresh one.
        call: the call.
        on_collision: what to do when the key is taken.
        after: keys or slots of what must have ended before.
        any_end: whether it may have ended in any way.

    Returns:
        the slot; or an applicant, if there is no room, and the call cannot start at once either.

    Raises:
        RunnerClosed: the run takes no more calls.
        KeyTaken: the key is there already.
        UnknownKey: nothing is under one of the keys in `after`.
        TypeError: a key cannot be hashed, or `after` is no collection.
        ValueError: `after` closes a circle.
    """
    run.intake.check(key)
    there = None if key is None else run.board.look_up(key)
    upstream = find_all(run, after)
    room = run.room
    if room is None or room.has_room or (there is not None and _needs_no_room(there, on_collision)):
        return _submit(run, key, call, on_collision, upstream, any_end=any_end)
    again = partial(_submit, run, key, call, on_collision, upstream, any_end=any_end)
    if any(not (one.state is State.COMPLETED or (one.done and any_end)) for one in upstream):
        return again()  # it is held, and not ready for a place; or cancelled at once
    applicant = run.intake.apply(key, call, on_collision, again)
    return applicant.answer() if applicant.is_settled else applicant


@protected
def begin_under(run: Run, title: str, call: Call) -> Slot[Any] | Applicant:
    """Submit a call under a key that is made from a title, and free; or have it apply for room.

    Args:
        run: to which.
        title: of the call.
        call: the call.

    Returns:
        the slot, or an applicant; see `begin`.

    Raises:
        RunnerClosed: the run takes no more calls.
    """
    run.intake.check(title)
    if run.room is None or run.room.has_room:
        return run.intake.submit(run.board.free_key(title), call)

    applicant = run.intake.apply(None, call, "raise", None, title=title)
    return applicant.answer() if applicant.is_settled else applicant


@protected
def submit_now(
    run: Run,
    key: Hashable,
    call: Call,
    on_collision: OnCollision = "raise",
    after: Iterable[Hashable | Slot[Any]] = (),
    *,
    any_end: bool = False,
) -> Slot[Any]:
    """Submit a call, if there is room, or it can start at once; else refuse. As `begin`, otherwise.

    Returns:
        the slot.

    Raises:
        RunnerFull: there is no room.
        BaseException: whatever `begin` raises.
    """
    begun = begin(run, key, call, on_collision, after, any_end=any_end)
    if isinstance(begun, Slot):
        return begun
    give_up(run, begun)
    assert run.room is not None
    msg = (
        f"cannot submit {'a call' if key is None else spell(key)}: as many calls wait for a place as "
        f"may (max_pending={run.room.max_pending}); await submit(), which waits for room"
    )
    raise RunnerFull(msg)


@protected
async def when_room(run: Run, applicant: Applicant) -> Slot[Any]:
    """Wait until an applicant is answered. A checkpoint; the place of the call that waits is lent.

    Args:
        run: which it applies to.
        applicant: not answered when it was made.

    Returns:
        the slot.

    Raises:
        RunnerClosed: the run takes no more calls.
        KeyTaken: the key has been taken meanwhile.
        RuntimeError: there would never be room.
    """
    try:
        carriers = carriers_in(run.backend.current_task())
        if carriers:
            check_room(carriers, applicant.slot, run.queue)
        await run.home.park(run.backend, applicant)
    except BaseException:
        slot = give_up(run, applicant)
        if slot is not None:
            with run.backend.open_scope(shield=True):
                await slot.wait(None)
        raise
    return applicant.answer()


@protected
def give_up(run: Run, applicant: Applicant) -> Slot[Any] | None:
    """The submitter does not want it any more: the call never was, or is cancelled if it came to be.

    Args:
        run: to which it applied.
        applicant: answered or not.

    Returns:
        the slot, if it came to be; it may still have to unwind.
    """
    if not applicant.is_settled:
        run.intake.give_up(applicant)
    if not applicant.has_claimed:
        return None
    # Admitted in the very step in which its submitter was cancelled.
    slot = applicant.slot
    run.cancel(slot, "cancel", "its submit was cancelled")
    run.board.set_aside(slot)
    return slot


def make_way(run: Run, key: Hashable) -> list[Slot[Any]]:
    """Free a key for another call: cancel the one that is there.

    Args:
        run: of which it is a key.
        key: any key.

    Returns:
        the slot that must settle first, if it is still open.

    Raises:
        TypeError: the key cannot be hashed.
    """
    there = to_join(run, key)
    if there is None:
        return []
    run.cancel(there, "cancel", "another call took its place under its key")
    run.board.set_aside(there)
    return [] if there.done else [there]


def to_join(run: Run, key: Hashable) -> Slot[Any] | None:
    """The slot to hand back instead of submitting again; a reserved one is to be filled."""
    there = None if key is None else run.board.look_up(key)
    return None if there is None or there.reserved else there


def _needs_no_room(there: Slot[Any], on_collision: OnCollision) -> bool:
    """Whether a submit under a key that is there is answered at once, in whatever way."""
    if there.reserved:
        return False
    return on_collision != "replace" or not there.done


def _submit(
    run: Run,
    key: Hashable,
    call: Call,
    on_collision: OnCollision,
    upstream: Sequence[Slot[Any]],
    *,
    any_end: bool,
) -> Slot[Any]:
    if on_collision == "join" and (there := to_join(run, key)) is not None:
        return there
    if on_collision != "replace":
        return run.intake.submit(key, call, upstream, any_end=upstream if any_end else ())
    with nullcontext() if run.room is None else run.room.keep(key):
        replaced = make_way(run, key)
        free = [*upstream, *replaced] if any_end else replaced
        slot = run.intake.submit(key, call, [*upstream, *replaced], any_end=free)
    run.carriers.fetch()  # it may be held, and the one that it has replaced may have made room
    return slot


def find_all(run: Run, keys: object) -> list[Slot[Any]]:
    """The slots that are meant by what was passed as `after`.

    Args:
        run: of which the keys are.
        keys: keys that are on its board, or handles.

    Returns:
        the slots.

    Raises:
        UnknownKey: no slot is under one of the keys.
        TypeError: it is no collection of keys, or one of them cannot be hashed.
    """
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        msg = f"after must be a list of keys or slots, not {keys!r}"
        raise TypeError(msg)
    try:
        return [run.board.find(key) for key in keys]
    except UnknownKey as unknown:
        hint = "submit or reserve() it before what runs after it; if it was forgotten, pass its slot"
        raise UnknownKey(unknown.key, hint) from None
