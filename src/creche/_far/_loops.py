"""An async call on a far side: a loop is opened for it, of the kind that the host runs.

What it is for: so it is for a plain call that gives an awaitable. The loop is imported when the first of
them comes, and not before.

What it does not know: transports, and how a call is packed.

Invariant: a call that is asked to stop is cancelled as on the loop of the run: until it ends, and not
where it is shielded. What it returns counts, also when it is being cancelled.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ._stop import Cut, Stop


def run_async(loop: str, stop: Stop | None, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever it gives
    """Open a loop, and run an async call in it to its end.

    Args:
        loop: `"trio"` or `"asyncio"`.
        stop: cancels the call when it is set.
        fn: gives a coroutine.
        args: its arguments.

    Returns:
        what the call returned.
    """
    return _in_trio(stop or Stop(), fn, args) if loop == "trio" else _in_asyncio(stop, fn, args)


def await_given(loop: str, stop: Stop | None, given: Any) -> Any:  # noqa: ANN401 - whatever it gives
    """Open a loop for what a plain call has given, if that is to be awaited.

    Args:
        loop: as for `run_async`.
        stop: the same.
        given: an awaitable, or anything else.

    Returns:
        what came of it; the same thing, if it is no awaitable.
    """
    # What gets here is pickled by a library that imports this, too.
    if not importlib.import_module("inspect").isawaitable(given):
        return given
    return run_async(loop, stop, _itself, (given,))


async def _itself(awaitable: Any) -> Any:  # noqa: ANN401 - whatever it gives
    return await awaitable


def _in_trio(stop: Stop, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever the call gives
    trio = importlib.import_module("trio")

    async def main() -> Any:  # noqa: ANN401 - whatever the call gives
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            stop.when_set(lambda: token.run_sync_soon(scope.cancel))
            try:
                return await fn(*args)
            finally:
                stop.when_set(None)
        raise Cut

    return trio.run(main)


def _in_asyncio(stop: Stop | None, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever the call gives
    asyncio = importlib.import_module("asyncio")
    came: list[Any] = []

    async def main() -> None:
        if stop is None:  # and nothing is imported for it
            came.append(await fn(*args))
            return
        loop = asyncio.get_running_loop()
        # asyncio's own `Task.cancel` comes once, and knows of no shield.
        with importlib.import_module("anyio").CancelScope() as scope:
            stop.when_set(lambda: loop.call_soon_threadsafe(scope.cancel))
            try:
                came.append(await fn(*args))
            finally:
                stop.when_set(None)

    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        # Of a task that is cancelled and returns, asyncio says the first only.
        if not came:
            raise
    if not came:
        raise Cut
    return came[0]
