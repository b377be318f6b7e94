"""One task that carries out one job after another, and stands still in between, with its loop.

What it is for: the steps of a state machine. What one of them has started lives on through the next
ones, and what one has entered is left at the end, in the same task.

What it does not know: hypothesis, and which loop it is.

Invariant: an error comes out of the step that raised it, and afterwards what was entered is left with
that error. A cancellation comes out of no step: what it came from says why.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar, final

from creche._capture import leaves

from ._clock import HungError
from ._stage import Chance
from ._stages import BackendName
from ._stepped_asyncio import SteppedAsyncio
from ._stepped_trio import SteppedTrio

T = TypeVar("T")


@final
class Acting:
    """A loop whose one task does what it is told to."""

    def __init__(self, backend: BackendName, chance: Chance | None, *, virtual: bool) -> None:
        self.inside = False
        self._stepped = (SteppedTrio if backend == "trio" else SteppedAsyncio)(
            self._main, chance, virtual=virtual
        )
        self._stack = AsyncExitStack()
        self._job: Callable[[], Awaitable[Any]] | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._failed: BaseException | None = None
        self.hung = False
        self._doing = ""
        self._ended = False
        self._go_on()

    # The task ------------------------------------------------------------------------------------

    async def _main(self) -> None:
        while not self._ended:
            await self._stepped.park()
            job, self._job = self._job, None
            if job is not None:
                try:
                    self._value = await job()
                except BaseException as exc:  # noqa: BLE001 - it is raised where the job was given
                    self._error = await self._told(exc)

    async def _told(self, exc: BaseException) -> BaseException:
        """What the step is said to have raised.

        A cancellation must go out through what was entered: there is the scope that it belongs to.
        """
        if not any(isinstance(one, self._stepped.cancelled) for one in leaves(exc)):
            return exc
        stack, self._stack = self._stack, AsyncExitStack()
        try:
            await stack.__aexit__(type(exc), exc, exc.__traceback__)
        except BaseException as raised:  # noqa: BLE001 - the same
            if not any(isinstance(one, self._stepped.cancelled) for one in leaves(raised)):
                return raised
        error = RuntimeError(
            "the step was cancelled: by a cancel scope that an earlier step entered, or by itself; "
            "what was entered with enter_async_context is left by now"
        )
        error.__cause__ = exc if isinstance(exc, Exception) else None
        return error

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter it, to be left at the end.

        Raises:
            RuntimeError: not in the task of the steps.
        """
        if not self._stepped.is_main():
            msg = (
                "enter_async_context is for the rules themselves: what another task enters, "
                "that task has to leave"
            )
            raise RuntimeError(msg)
        return await self._stack.enter_async_context(manager)

    # Outside of it -------------------------------------------------------------------------------

    def _go_on(self) -> None:
        __tracebackhide__ = True
        self.inside = True
        try:
            self._stepped.advance()
        except HungError as exc:
            self.hung = True
            exc.args = (f"{self._doing} does not end; {exc}",)
            raise
        finally:
            self.inside = False

    def _do(self, job: Callable[[], Awaitable[T]]) -> T:
        """Let the task do this, and nothing else happen before and after."""
        __tracebackhide__ = True
        self._value = self._error = None
        self._job = job
        self._go_on()
        value, error = self._value, self._error
        self._value = self._error = None
        if error is not None:
            trace = error.__traceback__
            raise error.with_traceback(trace.tb_next if trace is not None else None)
        return value  # type: ignore[no-any-return]  # whatever the step gave

    def step(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it is given
        """Carry out a step: an async function as a job, a plain one while all stands still.

        Raises:
            HungError: it does not end.
        """
        __tracebackhide__ = True
        self._doing = f"{getattr(fn, '__name__', 'teardown')}()"
        try:
            if inspect.iscoroutinefunction(fn):
                return self._do(lambda: fn(*args, **kwargs))
            self.inside = True
            try:
                value = self._stepped.call(lambda: fn(*args, **kwargs))
            finally:
                self.inside = False
            # A slot can be awaited, too, and is not meant to be.
            return self._do(lambda: value) if inspect.iscoroutine(value) else value
        except BaseException as exc:
            self._failed = exc
            raise

    def end(self, last: Callable[[], Any]) -> None:
        """Do this, leave what was entered, and end.

        After a step that failed its error is what counts: what else goes wrong now is a note on it.

        Raises:
            HungError: it does not end.
        """
        __tracebackhide__ = True
        failed = self._failed
        errors: list[BaseException] = []
        for do in (lambda: self.step(last), lambda: self._do(self._leave), self._finish):
            if not self.hung:
                try:
                    do()
                except BaseException as exc:  # noqa: BLE001 - it is raised below
                    errors.append(exc)
        self._stepped.close()
        first, *others = [failed, *errors] if failed is not None else [*errors, None]
        for error in others:
            if (
                first is not None
                and error is not None
                and not any(one is first for one in leaves(error))
            ):
                first.add_note(f"and then, while it ended: {type(error).__name__}: {error}")
        if first is not failed and first is not None:
            raise first

    def _finish(self) -> None:
        self._ended = True
        self._go_on()

    async def _leave(self) -> None:
        self._doing = "what was entered"
        failed = self._failed
        if failed is None:
            await self._stack.aclose()
        else:
            await self._stack.__aexit__(type(failed), failed, failed.__traceback__)
