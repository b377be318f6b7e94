"""A runner as threads see it that run no event loop: they block.

What it is for: what `await` does on a loop, blocking does in a thread. What touches the run is handed
over to its loop; what only reads a slot is not.

What it does not know: loops; how calls are carried out.

Invariant: a thread that runs an event loop, or whose loop is the runner's, is refused and never blocked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import partial
from typing import Any, Literal, TypeVar, TypeVarTuple, final, overload

from outcome import Outcome

from ._call import read_call
from ._checks import check_reason, check_timeout
from ._errors import RunnerClosed
from ._hosting import Run
from ._options import OnCollision
from ._place import Place, PlaceOptions
from ._retry import Retry
from ._slot import Slot
from ._submitting import wish
from ._thread_mapping import ThreadMapping

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")


@final
class FromThread:
    """A runner for threads that run no event loop; what `runner.from_thread` gives.

    For plain threads, those of `trio.to_thread`, `asyncio.to_thread` and `anyio.to_thread`, and plain
    calls of the runner itself, which lend their place while they wait. While the runner's loop is
    blocked, they wait. Ctrl-C in the main thread ends a wait. After the run, settled calls can be read.
    """

    def __init__(self, known: Any, from_afar: Any) -> None:  # noqa: ANN401 - private types
        self._known = known
        self._from_afar = from_afar

    @overload
    def submit(
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
    def submit(
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
    def submit(
        self,
        key: Hashable,
        call: Callable[..., Any],
        *args: object,
        **options: Any,
    ) -> Slot[Any]:
        """Check a call in under a key, as the runner's own `submit` does, and give its slot.

        It is judged on the runner's loop, and sees a copy of the thread's context variables. Interrupted
        by Ctrl-C it has submitted nothing, unless it had been judged already: then the call is on the
        board.

        Args:
            key: the name of the call, unique in this run; `None` asks for a fresh one.
            call: what to call: a function, not what calling it gives.
            *args: its positional arguments.
            **options: those of the runner's `submit`.

        Returns:
            the slot; its `result()` blocks in a thread.

        Raises:
            RunnerNotStarted: the runner was never started.
            RunnerClosed: the runner has closed, or is closing.
            RuntimeError: this thread runs an event loop.
            BaseException: whatever the runner's `submit` raises: `KeyTaken`, `UnknownKey`, `TypeError`,
                `ValueError`.
        """
        run: Run = self._known(key)
        self._check_thread(run, "submit")
        if not run.home.is_elsewhere:
            run.intake.check(key)
        submission = self._from_afar(run, key, call, args, options)
        return submission.from_thread()  # type: ignore[no-any-return]  # a submission does not know the type

    def wait(self, key: Hashable | Slot[Any], timeout: float | None = None) -> Outcome[Any] | None:
        """Wait for the outcome of a call; never raise for the call.

        Args:
            key: the key of the call, or its slot.
            timeout: seconds to wait at most; a settled slot beats a timeout of 0.

        Returns:
            a fresh `outcome.Value` or `outcome.Error`; `None` when the time passed first.

        Raises:
            UnknownKey: nothing was submitted or reserved under the key.
            RunnerNotStarted: the runner was never started.
            TypeError: `timeout` is not a number, or the key cannot be hashed.
            ValueError: `timeout` is negative or NaN.
            RuntimeError: this thread runs an event loop; or a call waits for itself.
        """
        seconds = check_timeout(timeout)
        slot = self._find(key, "wait")
        if not slot.done and not slot.block(seconds):
            return None
        return slot.outcome

    def result(self, key: Hashable | Slot[T], timeout: float | None = None) -> Any:  # noqa: ANN401 - as the runner's own
        """Wait for a call, and give its value or raise what it raised.

        Args:
            key: the key of the call, or its slot.
            timeout: seconds to wait at most; a settled slot beats a timeout of 0.

        Returns:
            what the call returned.

        Raises:
            TimeoutError: `timeout` seconds passed.
            CallCancelled: the call was cancelled; a new one for each reader.
            UnknownKey: nothing was submitted or reserved under the key.
            RunnerNotStarted: the runner was never started.
            TypeError: `timeout` is not a number, or the key cannot be hashed.
            ValueError: `timeout` is negative or NaN.
            RuntimeError: this thread runs an event loop; or a call waits for itself.
            BaseException: whatever the call raised, the original object.
        """
        slot = self._find(key, "result")
        try:
            return slot.result(timeout)
        finally:
            del slot  # a raised exception must not hold the slot that holds it

    def cancel(self, key: Hashable | Slot[Any], reason: str = "cancel() was called") -> bool:
        """Cancel a call; idempotent. It waits until the runner's loop has seen to it.

        A pending or reserved one is `CANCELLED` when this returns; a running one settles when it has
        unwound. The runner's own `cancel` does not wait, and may be called in any thread, too.

        Args:
            key: the key of the call, or its slot.
            reason: why, for people; the first reason stands.

        Returns:
            False when the call had ended already, and nothing was done.

        Raises:
            UnknownKey: nothing was submitted or reserved under the key, or the slot is another run's.
            RunnerNotStarted: the runner was never started.
            TypeError: the key cannot be hashed, or `reason` is no string.
            RuntimeError: this thread runs an event loop.
        """
        check_reason(reason)
        run: Run = self._known(key)
        self._check_thread(run, "cancel")
        slot = run.own(key)
        if slot.done:
            return False
        try:
            return run.home.portal.ask(partial(run.cancel, slot, "cancel", reason))
        except RunnerClosed:  # the run has ended meanwhile, and with it the call
            return False

    @overload
    def map(
        self,
        fn: Callable[[Item], Awaitable[T]],
        items: Iterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[False] = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> list[T]: ...
    @overload
    def map(
        self,
        fn: Callable[[Item], Awaitable[T]],
        items: Iterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[True],
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> list[Outcome[T]]: ...
    @overload
    def map(
        self,
        fn: Callable[[Item], T],
        items: Iterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[False] = ...,
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> list[T]: ...
    @overload
    def map(
        self,
        fn: Callable[[Item], T],
        items: Iterable[Item],
        *,
        key: Callable[[Item], Hashable] | None = ...,
        return_outcomes: Literal[True],
        timeout: float | None = ...,
        retry: int | Retry | None = ...,
        priority: float = ...,
        limits: Iterable[str] = ...,
        place: str | Place | None = ...,
        place_options: PlaceOptions | None = ...,
    ) -> list[Outcome[T]]: ...
    def map(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        key: Callable[[Any], Hashable] | None = None,
        return_outcomes: bool = False,
        timeout: float | None = None,
        retry: int | Retry | None = None,
        priority: float = 0,
        limits: Iterable[str] = (),
        place: str | Place | None = None,
        place_options: PlaceOptions | None = None,
    ) -> list[Any]:
        """Run a function over items, and give the values in the order of the items.

        As the runner's own `map`; the items are pulled, and `key` is called, in this thread. When it
        raises, also by Ctrl-C, the calls of this map have ended.

        Args:
            fn: a function of one item, async or plain.
            items: an iterable.
            key: a function from an item to the key of its call; without it the calls have fresh keys
                and leave the board as they settle.
            return_outcomes: give every call's outcome instead, and end at no failure.
            timeout: of each call, from its start, in seconds.
            retry: of each call: how often it is tried again if it fails, or a `Retry`.
            priority: of each call.
            limits: that each call needs, by their names.
            place: where each call runs; see the runner's own `submit_nowait`.
            place_options: for that place.

        Returns:
            the values, or the outcomes.

        Raises:
            CallCancelled: one of the calls was cancelled.
            KeyTaken: two items have the same key, or one that is taken.
            RunnerNotStarted: the runner was never started.
            RunnerClosed: the runner has closed, or is closing.
            TypeError: `fn`, `items`, `key` or another option is of the wrong kind.
            ValueError: `timeout` is negative, a number is NaN, or there is no limit of that name.
            RuntimeError: this thread runs an event loop.
            BaseException: what the first call in time raised; or what `items` or `key` raised.
        """
        run: Run = self._known(None)
        call = read_call(fn, ())  # a wrong one is refused although there may be no item
        wish(
            run,
            None,
            call,
            timeout=timeout,
            retry=retry,
            priority=priority,
            limits=limits,
            place=place,
            place_options=place_options,
        )
        mapping = ThreadMapping[Any, Any](run, call, items, key, stop_at_failure=not return_outcomes)
        self._check_thread(run, "map")
        if not run.home.is_elsewhere:
            run.intake.check(None)
        return mapping.collect()

    def _find(self, key: Hashable | Slot[Any], verb: str) -> Slot[Any]:
        run: Run = self._known(key)
        self._check_thread(run, verb)
        return run.board.find(key)

    @staticmethod
    def _check_thread(run: Run, verb: str) -> None:
        if run.home.in_loop():
            msg = (
                f"runner.from_thread.{verb}() blocks, and this thread runs an event loop, which would "
                f"stand still; write 'await runner.{verb}(...)' here"
            )
            raise RuntimeError(msg)
