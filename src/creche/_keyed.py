"""What every runner of creche's own does with calls: submit them under keys.

What it is for: `KeyedTaskRunner` opens and closes the run, and puts calls into it. What depends on
where or in which order calls are run is left to the runners on higher floors.

What it does not know: how calls are carried out; that is the run's.

Invariant: a call that is refused has left nothing behind: its key is free, and nothing was queued.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, TypeVar, TypeVarTuple, final, overload

from ._backends import detect
from ._base import TaskConcurrencyType
from ._call import Call, read_call
from ._checks import check_choice
from ._hosting import Run
from ._ki import protected
from ._options import ON_COLLISION, OnCollision, check_picklable
from ._place import Place, PlaceOptions
from ._place_names import place_named
from ._retry import Retry
from ._slot import Slot
from ._steering import SteerableTaskRunner
from ._submitting import submit_now, wish

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")


# What trio and anyio allow by default, too. An unbounded runner is unbounded on the loop; ten thousand
# plain functions do not get ten thousand threads.
DEFAULT_THREADS = 40

# What is given for limits and dependencies when there are none: there is one object of it.
_NONE = ()


class KeyedTaskRunner(SteerableTaskRunner):
    """A runner of creche's own: the interface that all of them share."""

    # Submitting ------------------------------------------------------------------------------------

    @overload
    def submit_nowait(
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
    def submit_nowait(
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
    def submit_nowait(
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
        """Check a call in under a key, without waiting; it runs when there is a place for it.

        An async callable runs on the loop, a plain one in a worker thread; an awaitable that a plain
        one returns is awaited on the loop, or in the process where the one has run. The call sees a
        copy of the present context variables.

        Args:
            key: the name of the call, unique in this run; `None` asks for a fresh one.
            call: what to call: a function, not what calling it gives.
            *args: its positional arguments; for keyword arguments use `functools.partial`.
            on_collision: what to do when the key is taken: `"raise"`, or `"join"` to hand back the slot
                that is there, settled or not, in which case `call` is not used, or `"replace"` to cancel
                the call that is there, and to run this one when that one has ended.
            timeout: how many seconds the call may run, from its start; then it is cancelled, and FAILED
                with a `TimeoutError`. A value that it returns all the same counts, and a plain
                function in a thread ends as it ends.
            retry: how often the call is tried again if it fails: a number, or a `Retry`. `timeout` is of
                each attempt then. Between two of them the call waits, without a place and without
                its limits; it is RUNNING all the time, and `slot.attempt` says which one it is. Only the
                last one counts. An attempt that was cancelled is the last one, and so is each
                once the run is being closed.
            priority: of the calls that wait for a place, those with a higher one come first, equal ones
                in the order of submission.
            limits: the names of the runner's limits that the call needs. It takes them all at once when
                it starts, and has them until it has ended.
            after: keys or slots of calls that must have COMPLETED before; reserved ones too, and slots
                of other runners. When one of them ends otherwise, this call is CANCELLED at once, with
                origin `upstream`. Until then it occupies no place.
            after_any_end: run it when all of them have ended, however they did.
            place: where the call runs: `None` for where calls of this runner do; `"loop"`, where a plain
                function blocks the loop; `"thread"`, where an async one has a loop of its own;
                `"process"`; `"dask"`; or a `Place`. It is opened when it is first asked for, and closed
                with the runner.
            place_options: what that place is told of this call, if it takes options.

        Returns:
            the slot in which the outcome will land.

        Raises:
            KeyTaken: the key is there already, and `on_collision` is `"raise"`.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            ImportError: what the place needs is not installed.
            RunnerFull: `max_pending` calls wait for a place, and this one could not start at once.
            TypeError: `call` is a coroutine object, an async generator or not callable; or the key
                cannot be hashed.
            UnknownKey: there is no call under one of the keys in `after`.
            ValueError: `on_collision` is none of the three, a number is negative or NaN, the
                runner has no limit or place of that name, or `after` closes a circle.
        """
        run = self._run
        if (
            run is not None
            and run.is_plain
            and timeout is None
            and retry is None
            and priority == 0
            and limits is _NONE
            and after is _NONE
            and place is None
            and place_options is None
            and on_collision == "raise"
        ):
            return run.intake.submit_plain(key, call, args)
        run, work = self._prepare(
            key, call, args, on_collision, timeout, retry, priority, limits, place, place_options
        )
        if run.room is None and on_collision == "raise" and isinstance(after, tuple) and not after:
            return run.intake.submit(key, work)
        return submit_now(run, key, work, on_collision, after, any_end=after_any_end)

    def reserve(self, key: Hashable) -> Slot[Any]:
        """Make a slot that may be waited for before its call is submitted.

        A reservation that nobody has filled when the run ends is `CANCELLED`, with origin `lost`: at a
        normal exit as soon as each call that still runs waits for another one without a time limit. A
        call whose child tasks wait counts as one that still runs: it may fill the reservation yet.

        Args:
            key: the key; `None` asks for a fresh one.

        Returns:
            the slot, pending; a later `submit` under its key fills it.

        Raises:
            KeyTaken: the key is there already.
            RunnerNotStarted: the runner is not started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: the key cannot be hashed.
        """
        return self._running(key).intake.claim(key, None)

    # For the runners on the next floor -------------------------------------------------------------

    async def _start(self, exit_stack: AsyncExitStack) -> None:
        run = Run(
            self.name,
            self._options,
            detect(),
            workers=self._workers,
            threads=self._threads,
            place_named=place_named,
            has_queue=self.concurrency_type is not TaskConcurrencyType.SEQUENTIAL,
        )
        await run.open()
        self._run = run
        exit_stack.push_async_exit(_Closing(run))
        await run.open_place()
        run.announce()

    def __getstate__(self) -> dict[str, Any]:
        check_picklable(self._options)
        return super().__getstate__()

    @property
    def _threads(self) -> int:
        """How many plain calls may be in threads at once."""
        return self._workers or DEFAULT_THREADS

    def _check_exit(self) -> None:
        if self._run is not None and not self._run.is_innermost():
            msg = (
                f"runner {self.name!r} is being left while a nursery that was opened inside it is "
                f"still open; leave that one first"
            )
            raise RuntimeError(msg)

    def _prepare(
        self,
        key: Hashable,
        call: object,
        args: tuple[object, ...],
        on_collision: OnCollision,
        timeout: float | None,
        retry: int | Retry | None,
        priority: float,
        limits: Iterable[str],
        place: str | Place | None,
        place_options: PlaceOptions | None,
    ) -> tuple[Run, Call]:
        """The run, and the call that was submitted to it, with what is wished of it.

        Raises:
            RunnerNotStarted: the runner is not started.
            TypeError: it cannot be called, or a wish is of the wrong type.
            ValueError: a wish is no such number, `on_collision` is none of the three, or the runner has
                no limit or place of that name.
            ImportError: what the place needs is not installed.
        """
        check_choice("on_collision", on_collision, ON_COLLISION)
        work = read_call(call, args)
        run = self._known(key)
        if (
            timeout is not None
            or retry is not None
            or priority != 0
            or limits != ()
            or place is not None
            or place_options is not None
            or run.has_wishes
        ):
            wish(
                run,
                key,
                work,
                timeout=timeout,
                retry=retry,
                priority=priority,
                limits=limits,
                place=place,
                place_options=place_options,
            )
        return run, work


@final
class _Closing:
    """Closes a run at the exit of the runner; what `AsyncExitStack` is handed."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def __aenter__(self) -> None:
        """Part of the protocol; the run is open already."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return await self._run.close(exc)
