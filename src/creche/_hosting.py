"""One run of a runner, from the nursery's opening to the last slot's settling.

What it is for: a run is what `start()` begins. It knows the order of closing: stop the intake, drop what
is pending, cancel, wait, sweep; then it decides what comes out of ``async with``.

What it does not know: what `submit` means to a runner, retries, flows.

Invariant: when `close` is through, however it ends, every slot of the run is final.

What it is made of is in `_opening`; what comes out of it in the end is decided in `_exit`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar, final

from ._capture import leaves, split
from ._errors import UnknownKey
from ._exit import log_left, log_unread, raise_what_is_due
from ._halting import SCOPE_CANCELLED, Halt
from ._ki import protected
from ._live import LIVE
from ._opening import OpenRun
from ._slot import Slot
from ._states import Origin, State
from ._statistics import Statistics

T = TypeVar("T")


@final
class Run(OpenRun):
    """One run: opened by `open`, closed by `close`, readable ever after."""

    @protected
    def set_limit(self, name: str, size: int) -> None:
        """Let so many calls have a named limit at once from now on.

        Args:
            name: of the limit.
            size: checked already.

        Raises:
            ValueError: there is no such limit, or it is a limiter object.
        """
        (gate,) = self.queue.find_gates(None, [name])
        if gate.limiter is not None:
            msg = f"limit {name!r} is a limiter object, which others use, too; set its total_tokens"
            raise ValueError(msg)
        gate.resize(size)
        self.queue.look_at(gate)
        self.carriers.fetch()

    @protected
    async def call(self, slot: Slot[T]) -> T:
        """Wait for a call as for a function: cancelled, it cancels the call and waits for its end.

        Args:
            slot: a slot of this run.

        Returns:
            what the call returned.

        Raises:
            BaseException: what the call raised.
        """
        try:
            return await slot
        except BaseException:
            if not slot.done:
                self.cancel(slot, "cancel", "the code that called it was cancelled")
                with self.backend.open_scope(shield=True):
                    await slot.wait(None)
            raise
        finally:
            del slot  # a raised exception must not hold the slot that holds it

    def own(self, key: Hashable | Slot[Any]) -> Slot[Any]:
        """The slot that is meant, if it is this run's.

        Args:
            key: a key, or a handle.

        Returns:
            the slot.

        Raises:
            UnknownKey: no slot is under the key, or the handle is open in another run.
            TypeError: the key cannot be hashed.
        """
        board = self.board
        try:
            slot = board.slots.get(key)
        except TypeError:
            slot = None  # a key that cannot be hashed: refused in its turn
        if slot is None:
            slot = board.find(key)
        if slot.home is not self.home and not slot.done:
            raise UnknownKey(slot.key, "this slot belongs to another runner; ask that one")
        return slot

    @property
    def is_all_submitted(self) -> bool:
        """Whether no more calls come, but from calls: the body has ended, or the intake is closed."""
        return self.carriers.is_leaving or not self.intake.is_open

    @property
    def name(self) -> str:
        """Of the runner."""
        return self._name

    def stop_taking(self, reason: str) -> None:
        """Start nothing more, no further attempt either, and let what runs go on; the body too.

        On the loop.

        Args:
            reason: why, as a sentence.
        """
        retrier = self.performer.retrier
        retrier.is_stopped = True
        self.intake.close()
        assert retrier.returns is not None, self
        retrier.returns.cancel("closed", reason)  # first: who stands for it is in the queue
        self.halting.drop_pending(reason)
        for slot in (*self.waiting_for_thread(), *retrier.waiting):
            self.cancel(slot, "closed", reason)

    def cut(self, reason: str) -> None:
        """Cancel everything now, as at a second Ctrl-C: no grace, no waiting for threads. On the loop.

        Args:
            reason: why, as a sentence.
        """
        self.performer.abandon_threads()
        self.halting.halt("outer", reason)
        self.halting.when_cut()

    def waiting_for_thread(self) -> set[Slot[Any]]:
        """The calls that have begun, but for a thread that is not there yet; from any thread."""
        tasks = {getattr(one, "task", one) for one in self.performer.threads.list_asking()}
        if not tasks:
            return set()
        carried = [(slot, slot.carrying) for slot in self.board.open_slots()]
        return {slot for slot, carrier in carried if carrier is not None and carrier.task in tasks}

    def open_count(self) -> int:
        """How many slots are not settled."""
        return self.board.claimed - sum(self.board.counts.values())

    def statistics(self) -> Statistics:
        """How the run stands, in numbers."""
        counts, running = self.board.counts, self.board.running
        reserved = self.board.reserved
        return Statistics(
            reserved=reserved,
            pending=self.open_count() - running - reserved,
            running=running,
            completed=counts[State.COMPLETED],
            failed=counts[State.FAILED],
            cancelled=counts[State.CANCELLED],
            crashed=counts[State.CRASHED],
            max_workers=self.workers,
            carriers=self.carriers.live,
            carriers_idle=self.carriers.idle,
            submitting=0 if self.room is None else len(self.room),
        )

    def is_innermost(self) -> bool:
        """Whether nothing that was opened inside this run, in the same task, is still open."""
        return self.backend.is_innermost(self._nursery)

    @protected
    async def close(self, exc: BaseException | None) -> bool:
        """Leave the run: wait for all calls, or cancel them when the body raised.

        Args:
            exc: what the body raised, if it did.

        Returns:
            whether `exc` is nothing but the run's own cancelling of its body, and must not come out.

        Raises:
            BaseException: what `_exit` finds due.
        """
        cut = self.halting.has_cancelled
        if exc is not None:
            self.halting.halt(*self._why_halt(exc))
        self.carriers.leave()
        came = [] if self._grace is None else await self._grace.wait()
        escaped: BaseException | None = None
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseException as caught:  # noqa: BLE001 - sorted below, and what is due is raised
            escaped = caught
        finally:
            self.lingering.stop()
            self.intake.close()
            self._sweep()
            self.home.leave()
            LIVE.pop(self, None)
        if self.is_announced:
            self._tell("runner_closed")
        if came:
            escaped = BaseExceptionGroup("", came if escaped is None else [*came, escaped])
        try:
            raise_what_is_due(self.performer, self.backend.cancelled, exc, escaped)
        except BaseException as due:
            self._renew_cancel(due, exc, escaped)
            raise
        finally:
            del escaped, came
            log_unread(self._name, self.board)
            log_left(self._name, self.performer.guards.left)
        if exc is None and self.halting.halted is not None:
            # Calls were dropped because a scope around us was cancelled: that goes on outwards.
            await self.backend.checkpoint_if_cancelled()
        return (
            cut
            and exc is not None
            and split(exc, self.backend.cancelled)[1] is None
            and not self.backend.is_cut()
            and self.backend.native_cancels() <= self._native
        )

    def _renew_cancel(self, due: BaseException, *came: BaseException | None) -> None:
        """What is due takes the place of a cancellation; a scope's stays, a native one has gone."""
        cancelled = self.backend.cancelled
        has_come = any(one is not None and split(one, cancelled)[0] is not None for one in came)
        if has_come and split(due, cancelled)[0] is None:
            self.backend.renew_native_cancel(self._native)

    def _why_halt(self, exc: BaseException) -> tuple[Origin, str]:
        _, rest = split(exc, self.backend.cancelled)
        interrupt = next((one for one in leaves(exc) if isinstance(one, KeyboardInterrupt)), None)
        if self._grace is not None:
            # What the body makes of a cancellation does not end the grace of the calls.
            seen = self.halting.halted
            if seen is None and self.backend.is_cut():
                seen = Halt("outer", SCOPE_CANCELLED)
            if seen is not None:
                if interrupt is not None and interrupt not in self.performer.crashes:
                    self._grace.end()  # the user has pressed the keys once more
                return seen
        if rest is None:
            is_around = self.backend.is_cut()
            return "outer", SCOPE_CANCELLED if is_around else "the body of the runner was cancelled"
        if interrupt is not None:
            return "outer", "the body of the runner was interrupted"
        return "closed", f"the body of the runner raised {type(exc).__name__}"

    def _sweep(self) -> None:
        self._give_up_reservations()
        # Asked again for each: the callback of one may have settled the next.
        for slot in (slot for slot in self.board.open_slots() if not slot.done):
            self.board.cancel(slot, "lost", "it did not get to run, and the run has ended")
