"""`SequentialTaskRunner`: a call runs inside its `submit`, in the submitter's own task.

What it does not know: queues of its own. What `submit_nowait` checks in runs in the run's single
carrier, one call at a time.

Invariant: when `submit` returns, its slot is final.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, Literal, TypeVar, TypeVarTuple, final, overload

from creche._adaptable import AdaptableTaskRunner
from creche._base import TaskConcurrencyType
from creche._call import Call
from creche._events import Instrument
from creche._hosting import Run
from creche._keyed import DEFAULT_THREADS
from creche._ki import protected
from creche._options import OnCollision, read_options
from creche._place import Place, PlaceOptions
from creche._retry import Retry
from creche._slot import Slot
from creche._spelling import spell
from creche._submitting import find_all, make_way, to_join

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@final
class SequentialTaskRunner(AdaptableTaskRunner):
    """Runs each call inside its `submit`: the next line runs when the call has ended.

    Submits from different tasks may overlap.
    """

    def __init__(
        self,
        *,
        on_error: Literal["collect", "cancel"] = "collect",
        retain: bool = True,
        instruments: Iterable[Instrument] = (),
    ) -> None:
        """Set a runner up; nothing is started.

        Args:
            on_error: `"collect"` or `"cancel"`; see `ConcurrentTaskRunner`.
            retain: whether settled calls stay on the board.
            instruments: who is told what happens; see `creche.instruments.Instrument`.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: `on_error` is neither of the two.
        """
        self._options = read_options(
            max_workers=None,
            on_error=on_error,
            retain=retain,
            instruments=instruments,
        )

    @property
    def concurrency_type(self) -> TaskConcurrencyType:
        """`SEQUENTIAL`."""
        return TaskConcurrencyType.SEQUENTIAL

    @property
    def _workers(self) -> int:
        return 1

    @property
    def _threads(self) -> int:
        # Submits of different tasks overlap, and one may be waited for in the thread of another.
        return DEFAULT_THREADS

    @overload
    async def submit(
        self,
        key: Hashable,
        call: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        on_collision: OnCollision = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        after: Iterable[Hashable | Slot[Any]] = ...,
        after_any_end: bool = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> Slot[T]: ...
    @overload
    async def submit(
        self,
        key: Hashable,
        call: Callable[[*Ts], T],
        *args: *Ts,
        on_collision: OnCollision = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        after: Iterable[Hashable | Slot[Any]] = ...,
        after_any_end: bool = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> Slot[T]: ...
    @protected
    async def submit(
        self,
        key: Hashable,
        call: Callable[..., Any],
        *args: object,
        on_collision: OnCollision = "raise",
        timeout: float | None = None,
        retry: int | Retry | None = None,
        priority: float = 0,
        limits: Iterable[str] = (),
        after: Iterable[Hashable | Slot[Any]] = (),
        after_any_end: bool = False,
        place: str | Place | None = None,
        place_options: PlaceOptions | None = None,
    ) -> Slot[Any]:
        """Run a call here and now; its slot is final when this returns.

        It never raises for the call. A checkpoint. Cancelling it cancels the call, with origin
        `outer`, and what comes after the `submit` does not run; so does ``asyncio.timeout`` around
        it. Cancelled before the call has begun, it has submitted nothing.

        On the loop of another thread, too: the call runs on the runner's loop then, and a submit that is
        cancelled does not wait for its end.

        Args:
            key: the name of the call, unique in this run; `None` asks for a fresh one.
            call: what to call: a function, not what calling it gives.
            *args: its positional arguments; for keyword arguments use `functools.partial`.
            on_collision: what to do when the key is taken: `"raise"`; `"join"` to hand back the slot
                that is there, once it is settled; `"replace"` to cancel the call that is there, and
                wait for its end.
            timeout: how many seconds the call may run; then it has FAILED.
            retry: how often it is tried again if it fails, before this returns; see `submit_nowait`.
            limits: as the runner has no named limits, a name is refused.
            priority: of no effect here, where the call need not wait for a place.
            after: keys or slots of calls that must have COMPLETED before; it waits for those that have
                not ended. A reserved key is refused: this submit might wait for ever.
            after_any_end: run it when all of them have ended, however they did.
            place: where the call runs; see `submit_nowait`.
            place_options: for that place.

        Returns:
            the slot with the outcome.

        Raises:
            KeyTaken: the key is there already, and `on_collision` is `"raise"`.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: `call` is a coroutine object, an async generator or not callable; or the key
                cannot be hashed.
            UnknownKey: there is no call under one of the keys in `after`.
            ValueError: `on_collision` is none of the three, `timeout` is negative, a number is NaN,
                `limits` names one, there is no place of that name, or `after` names a key that is only
                reserved.
        """
        if (here := self._known(key)).home.is_elsewhere:
            options: dict[str, Any] = {
                "on_collision": on_collision,
                "timeout": timeout,
                "retry": retry,
                "priority": priority,
                "limits": limits,
                "after": after,
                "after_any_end": after_any_end,
                "place": place,
                "place_options": place_options,
            }
            return await self._from_afar(here, key, call, args, options).from_loop()
        run, work = self._prepare(
            key, call, args, on_collision, timeout, retry, priority, limits, place, place_options
        )
        await run.home.pass_by()
        run.intake.check(key)
        if on_collision == "join" and (there := to_join(run, key)) is not None:
            await there.wait(None)
            return there
        upstream = find_all(run, after)
        self._check_reserved(key, upstream)
        replaced = make_way(run, key) if on_collision == "replace" else []
        any_end = upstream + replaced if after_any_end else replaced
        slot = await self._when_ready(run, key, work, upstream + replaced, any_end)
        if not slot.done:  # it was not cancelled on the way here
            onward = await run.carriers.carry_here(slot, work)
            if onward is not None:
                try:
                    raise onward
                finally:
                    del onward
        try:
            return slot
        finally:
            del slot, work, call, args  # the traceback of a failure leads back to this frame

    def _submit_at_home(
        self,
        key: Hashable,
        call: Callable[..., Any],
        *args: object,
        **options: object,
    ) -> None:
        """It always has to wait: for the call itself."""

    @staticmethod
    async def _when_ready(
        run: Run,
        key: Hashable,
        work: Call,
        upstream: Sequence[Slot[Any]],
        any_end: Sequence[Slot[Any]],
    ) -> Slot[Any]:
        """Claim the key, and wait until the call may begin, or has been settled without."""
        if not upstream:
            return run.intake.claim(key, work)
        begin = run.backend.make_event()

        def ready(_slot: Slot[Any], _work: Call) -> None:
            begin.set()

        slot = run.intake.submit(key, work, upstream, any_end=any_end, ready=ready)
        wake = begin.set
        if not slot.enroll(wake):
            return slot
        try:
            await begin.wait()
        except BaseException:
            run.cancel(slot, "outer", "its submit was cancelled")
            raise
        finally:
            slot.withdraw(wake)
        return slot

    @staticmethod
    def _check_reserved(key: Hashable, upstream: Sequence[Slot[Any]]) -> None:
        """Refuse to wait for what nobody might ever submit.

        Raises:
            ValueError: one of the others is only reserved.
        """
        reserved = next((slot.key for slot in upstream if slot.reserved), None)
        if reserved is not None:
            msg = (
                f"call {spell(key)} cannot wait for {spell(reserved)}, which is only reserved: its "
                f"submit might wait for ever; use submit_nowait, or submit {spell(reserved)} first"
            )
            raise ValueError(msg)
