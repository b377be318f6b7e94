"""One run of a flow: where its tasks go, under which keys.

What it is for: the tasks of a flow ask the present `FlowRun` to submit them. A task that has
slots among its arguments waits for them without occupying a place. A subflow that uses the runner of the
flow around it has a `FlowRun` of its own on the same run: a branch.

What it does not know: decorators, how the loop was opened, how keys are made.

Invariant: a task whose dependency did not complete never runs: it is CANCELLED with origin
`upstream`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, final

from creche._arguments import upstream_in, with_values
from creche._call import Wishes, is_async_callable, read_call
from creche._errors import RunnerClosed
from creche._hosting import Run
from creche._portal import Portal
from creche._slot import Slot
from creche._spelling import spell
from creche._states import Origin
from creche._submitting import wish

from ._bodies import IN_TASK, Arguments, async_body, bare, plain_body
from ._dry_run import DRY_RUN, StandIn
from ._hooks import HookCaller
from ._keys import Keys

CURRENT: ContextVar[FlowRun | None] = ContextVar("creche flow run", default=None)
"""The flow run that the present code belongs to."""


class Order(NamedTuple):
    """What a flow run is to do for a task.

    Attributes:
        name: the task's.
        fn: its function.
        part: the readable part of its key; `None` for a number.
        wishes: what is wished of it, as of a call.
        when_done: called with its slot and the run's caller of hooks when it has ended.
    """

    name: str
    fn: Callable[..., Any]
    part: str | None
    wishes: Mapping[str, Any]
    when_done: Callable[[Slot[Any], HookCaller], object] | None


@final
class FlowRun:
    """One run of a flow; made on the thread of its loop, or by the one that it is a branch of.

    Attributes:
        name: the flow's.
        key: the name; of a subflow, with what stands before the keys of its tasks.
        log_prints: whether prints go to the log.
        run: that it is on.
        is_branch: whether the run is that of the flow around this one.
        hooks: calls those of its tasks.
        ended_by: why the flow around this one has ended it; `None` if it has not.
        when_halted: called, on the loop, when a branch is to end before its time.
    """

    def __init__(
        self,
        name: str,
        run: Run,
        *,
        one_by_one: bool,
        prefix: str = "",
        log_prints: bool = False,
        trunk: FlowRun | None = None,
    ) -> None:
        self.name = name
        self.key = prefix.removesuffix("/") or name
        self.log_prints = log_prints
        self.hooks = HookCaller()
        self.ended_by: str | None = None
        self.when_halted: Callable[[], object] = lambda: None
        self.run = run
        self.is_branch = trunk is not None
        self._keys = Keys(prefix, run.board.slots)
        run.home.flow_name = run.home.flow_name or name
        self._one_by_one = one_by_one
        if trunk is None:
            self._home: int = threading.get_ident()
            self._portal: Portal = Portal(run.backend.poster())
        else:
            self._home, self._portal = trunk._home, trunk._portal  # noqa: SLF001 - of this class
        # Inside a call of the run, which has the only place of a sequential runner.
        self._is_inside = trunk is not None and trunk._is_inside_here()  # noqa: SLF001 - another flow run, of this class
        # Of a branch: what it has submitted and has not ended.
        self._closed_by: str | None = None
        self._mine: dict[Slot[Any], None] = {}
        # The subflows that run in it, and those of them that its run waits for at its exit.
        self._inner: dict[FlowRun, None] = {}
        self._guests: set[FlowRun] = set()

    @property
    def on_loop(self) -> bool:
        """Whether the present code runs on the loop's thread, which it must not block."""
        return threading.get_ident() == self._home

    def submit(self, order: Order, arguments: Arguments) -> Slot[Any]:
        """Submit a task from any thread; without waiting, on the loop's own.

        Args:
            order: what to do.
            arguments: positional and keyword ones; slots among them are dependencies.

        Returns:
            the slot.

        Raises:
            RunnerClosed: the flow has ended, or is ending.
            KeyTaken: another call has the same key.
        """
        dry_run = DRY_RUN.get()
        if dry_run is not None and not isinstance(order.fn, StandIn):
            return dry_run.submit(self.submit, order, arguments)
        key = self._keys.give(order.name, order.part)
        try:
            slot = self._portal.call(partial(self._submit, key, order, arguments))
        except BaseException:
            self._keys.take_back(key)
            raise
        if self._one_by_one and not self.on_loop:
            slot.block(None)
        return slot

    def run_inline(self, order: Order, arguments: Arguments) -> Slot[Any]:
        """Run a plain task on the loop's thread, recorded under its key.

        Args:
            order: what to do; of the wishes, only its tags matter.
            arguments: positional and keyword ones; the slots among them have settled.

        Returns:
            the slot, settled.

        Raises:
            RunnerClosed: the flow has ended, or is ending.
            KeyTaken: another call has the same key.
        """
        dry_run = DRY_RUN.get()
        if dry_run is not None and not isinstance(order.fn, StandIn):
            return dry_run.submit(self.run_inline, order, arguments)
        key = self._keys.give(order.name, order.part)
        self._check_open(key)
        call = read_call(self._body(key, order), with_values(arguments))
        tags, retry = order.wishes.get("tags", ()), order.wishes.get("retry")
        call.wishes = Wishes(tags=tags, retry=retry)
        slot = self.run.intake.claim(key, call)
        self._follow(slot, order)
        if not slot.done:  # an instrument that was told of it may have cancelled it
            self.run.performer.perform_inline(slot, call)
        return slot

    async def call(self, slot: Slot[Any]) -> Any:  # noqa: ANN401 - whatever the task gives
        """Wait for a task as for a function: cancelled, it cancels the task."""
        return await self.run.call(slot)

    # Subflows -----------------------------------------------------------------------------------------

    def prefix_for(self, name: str) -> str:
        """What stands before the keys of a subflow that is called here.

        Args:
            name: of the subflow.

        Returns:
            the first time its name, later with a number; behind the key of the task that calls it, if
            one does, else behind the prefix of this flow.
        """
        return self._keys.prefix_for(name)

    def branch(self, name: str, prefix: str, *, log_prints: bool) -> FlowRun:
        """A flow run for a subflow, on the same run.

        Args:
            name: of the subflow.
            prefix: of its keys.
            log_prints: whether its prints go to the log.

        Returns:
            the branch; adopt it.
        """
        return FlowRun(
            name,
            self.run,
            one_by_one=self._one_by_one,
            prefix=prefix,
            log_prints=log_prints,
            trunk=self,
        )

    def adopt(self, guest: FlowRun) -> None:
        """End a subflow when this flow is ended; from any thread.

        One that has a run of its own on this very loop is ended with the code that awaits it, and may as
        well outlive this flow.

        Args:
            guest: its flow run.

        Raises:
            RunnerClosed: this flow has ended, or is ending.
        """
        if self.on_loop and not guest.is_branch:
            self._inner[guest] = None
        else:
            self._portal.call(partial(self._adopt, guest))

    def release(self, guest: FlowRun) -> None:
        """The subflow has ended, or was not adopted; from any thread."""
        self._portal.post(partial(self._release, guest))

    # Ending -------------------------------------------------------------------------------------------

    def cancel(self, origin: Origin, reason: str, /) -> None:
        """The flow around this one is ended, and this one with it; from any thread."""
        del origin
        self._end(interrupted=False, reason=reason)

    def halt(self, *, interrupted: bool, reason: str) -> None:
        """From any thread: drop what is pending, cancel what runs.

        Args:
            interrupted: by Ctrl-C, or a timeout, which do not wait for threads either.
            reason: why, as a sentence.
        """
        self._portal.post(partial(self._halt, interrupted=interrupted, reason=reason))

    def cut(self, reason: str) -> tuple[Hashable, ...]:
        """On the loop: the time of the flow is up; drop and cancel what is left.

        Args:
            reason: why, as a sentence.

        Returns:
            the keys of what is left, in the order of submission; then those of subflows.
        """
        keys = self._open_keys()
        self._halt(interrupted=True, origin="closed", reason=reason)
        return tuple(dict.fromkeys(keys))

    def still_open(self) -> list[Slot[Any]]:
        """From any thread: of a branch, what has not ended; if nothing, it takes no more calls."""
        return self._portal.call(self._still_open)

    def ask(self, fn: Callable[[], object]) -> None:
        """From any thread: have a function called on the loop, and wait for it.

        Raises:
            RunnerClosed: the loop has ended.
        """
        self._portal.call(fn)

    def post(self, fn: Callable[[], object]) -> None:
        """From any thread: have a function called on the loop soon."""
        self._portal.post(fn)

    def close(self) -> None:
        """The run is over; on the loop's thread."""
        self._portal.close()

    def _halt(self, *, interrupted: bool, reason: str, origin: Origin | None = None) -> None:
        origin = origin or ("outer" if interrupted else "closed")
        for inner in list(self._inner):
            inner._end(interrupted=interrupted, reason=reason, at_once=True)  # noqa: SLF001 - of this class
        if not self.is_branch:
            if interrupted:
                self.run.performer.abandon_threads()
            self.run.halting.halt(origin, reason)
            return
        self._closed_by = self._closed_by or reason
        for slot in list(self._mine):
            if interrupted:
                self.run.performer.abandon_thread(slot)
            self.run.cancel(slot, origin, reason)
        self.when_halted()

    def _end(self, *, interrupted: bool, reason: str, at_once: bool = False) -> None:
        self.ended_by = reason
        halt = partial(self._halt, interrupted=interrupted, reason=reason)
        # At once, where that can be: before a cancellation of what is around it, which says less.
        halt() if at_once and self.on_loop else self.post(halt)

    def _open_keys(self) -> list[Hashable]:
        left = list(self._mine) if self.is_branch else self.run.board.open_slots()
        keys = [slot.key for slot in left]
        for inner in list(self._inner):
            keys += inner._open_keys()  # noqa: SLF001 - of this class
        return keys

    def _still_open(self) -> list[Slot[Any]]:
        if not self._mine:
            self._closed_by = self._closed_by or "it has ended"
        return list(self._mine)

    def _adopt(self, guest: FlowRun) -> None:
        self._check_open(guest.key)
        self.run.hold_open(guest)
        self._inner[guest] = None
        self._guests.add(guest)

    def _release(self, guest: FlowRun) -> None:
        self._inner.pop(guest, None)
        if guest in self._guests:
            self._guests.remove(guest)
            self.run.let_go(guest)

    def _check_open(self, key: Hashable) -> None:
        if self._closed_by is not None:
            msg = (
                f"cannot submit {spell(key)}: flow {spell(self.key)} takes no more calls "
                f"({self._closed_by})"
            )
            raise RunnerClosed(msg)
        self.run.intake.check_open(key)

    # Submitting ---------------------------------------------------------------------------------------

    def _submit(self, key: str, order: Order, arguments: Arguments) -> Slot[Any]:
        self._check_open(key)
        upstream, any_end = upstream_in(arguments)
        # A task that submits another under a sequential runner waits for it, and has the only place.
        at_once = (
            self.run.carriers.start_at_once if self._one_by_one and self._is_inside_here() else None
        )
        call = read_call(self._body(key, order), arguments)
        if order.wishes or self.run.has_wishes:
            wish(self.run, key, call, **order.wishes)
            ticket = call.wishes.ticket
            if ticket is not None and not ticket.seat.is_inside:
                call.wishes = call.wishes._replace(ticket=ticket._replace(prepare=bare))
        slot = self.run.intake.submit(key, call, upstream, any_end=any_end, ready=at_once)
        self._follow(slot, order)
        return slot

    def _is_inside_here(self) -> bool:
        return self._is_inside or bool(IN_TASK.get())

    def _body(self, key: str, order: Order) -> Callable[..., Any]:
        body = async_body if is_async_callable(order.fn) else plain_body
        return partial(body, order.fn, key, self.log_prints)

    def _follow(self, slot: Slot[Any], order: Order) -> None:
        if self.is_branch and not slot.done:
            self._mine[slot] = None
            slot.add_done_callback(self._mine.pop)
        if order.when_done is not None:
            slot.add_done_callback(partial(_tell, order.when_done, self.hooks))


def _tell(
    when_done: Callable[[Slot[Any], HookCaller], object], hooks: HookCaller, slot: Slot[Any]
) -> None:
    when_done(slot, hooks)
