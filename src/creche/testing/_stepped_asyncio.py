"""An asyncio loop that goes on only when it is told to, and stands still in between.

What it is for: the twin of `_stepped_trio`.

What it does not know: what is run.

Invariant: between two calls of `advance` no task takes a step and virtual time does not pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, final

from ._asyncio_loop import VirtualTimeLoop, as_task, close
from ._clock import PASSES
from ._stage import Chance


@final
class _Parked(asyncio.Future[None]):
    """What a task waits for whom a cancellation reaches only when it goes on."""

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - as asyncio's
        """No: the task keeps it in mind."""
        return False


@final
class SteppedAsyncio:
    """One loop of asyncio's."""

    cancelled: type[BaseException] = asyncio.CancelledError

    def __init__(
        self, main: Callable[[], Coroutine[Any, Any, None]], chance: Chance | None, *, virtual: bool
    ) -> None:
        self._loop = VirtualTimeLoop() if virtual else asyncio.SelectorEventLoop()
        if isinstance(self._loop, VirtualTimeLoop):
            self._loop.chance = chance
            self._loop.tells_tasks = False
        self._parked: _Parked | None = None
        self._is_closing = False
        self._context = copy_context()
        self._task = self._loop.create_task(main(), name="main", context=self._context)
        self._task.add_done_callback(lambda _: self._stand_still())

    def _stand_still(self) -> None:
        if not self._is_closing:  # else it would not close all that there is
            self._loop.stop()

    async def park(self) -> None:
        """In `main`: let the loop stand still as soon as those have had their turn who have it now."""
        self._parked = _Parked(loop=self._loop)
        self._stand_still()
        try:
            await self._parked
        except asyncio.CancelledError as exc:
            # It came meanwhile, and is meant for what comes next: seen at the next await.
            self._task.uncancel()
            self._task.cancel(*exc.args)

    def advance(self) -> None:
        """Let the loop go on until `main` parks, or the end.

        Raises:
            HungError: neither happens, or not within 200,000 passes of the loop.
        """
        __tracebackhide__ = True
        if self._parked is not None:
            self._parked.set_result(None)
        if isinstance(self._loop, VirtualTimeLoop):
            self._loop.virtual.allow(PASSES)
        self._loop.run_forever()

    def call(self, fn: Callable[[], Any]) -> Any:  # noqa: ANN401 - what it returns
        """Call a plain function as if `main` called it, while the loop stands still."""
        __tracebackhide__ = True
        with as_task(self._loop, self._task):
            return self._context.run(fn)

    def is_main(self) -> bool:
        """Whether the task that runs is `main`."""
        return asyncio.current_task() is self._task

    def close(self) -> None:
        """End what is left, and the loop, in the usual order."""
        self._is_closing = True
        if isinstance(self._loop, VirtualTimeLoop):
            self._loop.chance = None
        close(self._loop)
