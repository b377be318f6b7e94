"""A call as work for a place: slots among its arguments become what they hold.

What it is for: a slot cannot leave its process. Where a call runs elsewhere, the result of each slot
among its arguments takes the slot's place when the call starts. A place that keeps results is told,
beside, which of them other calls will take, and may have them taken from where they are.

What it does not know: any place there is; when a call starts.

Invariant: nothing here waits. A slot that is still open then is an error of the call's, and the keepsake
of a slot is there only as long as a call has it that takes the slot.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, final
from weakref import WeakValueDictionary

from ._arguments import slots_in, with_values
from ._call import Call
from ._errors import NotSettled
from ._far._pickling import are_plain
from ._place import Keepsake, Ticket, Work
from ._slot import Slot
from ._spelling import spell


@final
class Keepsakes:
    """Of one place that keeps results, while a run is open."""

    def __init__(self) -> None:
        self._of: WeakValueDictionary[Slot[Any], Keepsake] = WeakValueDictionary()

    def wanted_by(self, args: tuple[Any, ...]) -> Mapping[Any, Keepsake]:
        """Those of the slots among the arguments of a call, which is to have them until it has ended.

        Args:
            args: of the call; what has settled, and was not kept, is too late.

        Returns:
            them, by their slots.
        """
        if are_plain(args):
            return {}
        return {
            slot: self._of.setdefault(slot, Keepsake())
            for slot in slots_in(args)
            if not slot.done or slot in self._of
        }

    def find(self, slot: Slot[Any]) -> Keepsake | None:
        """That of a slot, if a call has it."""
        return self._of.get(slot)


def work_of(slot: Slot[Any], call: Call, ticket: Ticket, keepsakes: Keepsakes | None) -> Work:
    """What a place is handed of a call that starts.

    Args:
        slot: of the call.
        call: what was submitted.
        ticket: its ticket to the place.
        keepsakes: of the place; `None` if it keeps no results.

    Returns:
        the work.

    Raises:
        NotSettled: a slot among the arguments is still open.
        BaseException: what the call of one of them raised.
    """
    fn, args, key = call.fn, call.args, slot.key
    prepare = ticket.prepare
    if prepare is None and not (ticket.seat.is_inside or are_plain(args)):
        prepare = _as_submitted
    feed = None
    if prepare is not None:
        fn, args = prepare(fn, args, partial(_result, key))
        if ticket.keepsakes:
            feed = partial(_feed, key, call, prepare, ticket.keepsakes)
    keepsake = None if keepsakes is None else partial(keepsakes.find, slot)
    return Work(
        key,
        fn,
        args,
        ticket.is_async,
        call.context,
        ticket.options,
        keepsake,
        feed,
        call.turn,
        slot.attempt,
        slot.home.flow_name,
    )


def _as_submitted(
    fn: Any,  # noqa: ANN401 - whatever is called
    args: tuple[Any, ...],
    value_of: Callable[[Slot[Any]], Any],
) -> tuple[Any, tuple[Any, ...]]:
    return fn, with_values(args, value_of)


def _feed(
    key: Hashable,
    call: Call,
    prepare: Any,  # noqa: ANN401 - see Ticket
    keepsakes: Mapping[Any, Keepsake],
    swap: Callable[[Keepsake, Any], Any],
) -> tuple[Any, tuple[Any, ...]]:
    """The function and the arguments again; see `creche._place.Feed`."""

    def value_of(slot: Slot[Any]) -> Any:  # noqa: ANN401 - whatever it holds
        value, keepsake = _result(key, slot), keepsakes.get(slot)
        return value if keepsake is None else swap(keepsake, value)

    made: tuple[Any, tuple[Any, ...]] = prepare(call.fn, call.args, value_of)
    return made


def _result(key: Hashable, slot: Slot[Any]) -> Any:  # noqa: ANN401 - whatever it holds
    if not slot.done:
        msg = (
            f"call {spell(key)} runs in another process, and takes slot {spell(slot.key)} as an "
            f"argument, which has not ended yet; submit it with after=[{spell(slot.key)}]"
        )
        raise NotSettled(msg)
    return slot.result()
