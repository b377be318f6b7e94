"""Running something in virtual time, by oneself or through a pytest plugin.

What it does not know: how time is made to jump.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

from ._asyncio_loop import VirtualTimeLoop
from ._clock import PASSES, VirtualTime
from ._stages import BackendName, stage_named
from ._trio_clock import VirtualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run_virtual(fn: Callable[[*Ts], Awaitable[T]], *args: *Ts, backend: BackendName = "trio") -> T:
    """Run an async function on a loop of its own, in which an hour of sleep costs nothing.

    Time jumps to the next timer when nothing can run. A thread or child process that is at work gets a
    tenth of a second of real time before time jumps over it.

    Args:
        fn: the function.
        *args: its arguments.
        backend: `"trio"` or `"asyncio"`.

    Returns:
        what it returns.

    Raises:
        HungError: nothing can run any more, or it goes on and on, for 200,000 passes of the loop. The
            message is a tree of what each task waits for.
        ValueError: `backend` is neither of the two.
    """

    async def main(time: VirtualTime) -> T:
        time.most = PASSES
        return await fn(*args)

    return stage_named(backend).run(main)


def virtual_time(backend: BackendName) -> tuple[str, dict[str, Any]]:
    """What a fixture `anyio_backend` gives for anyio's pytest plugin to run tests in virtual time.

    Args:
        backend: `"trio"` or `"asyncio"`.

    Returns:
        the name and the options of the backend, new ones each time.

    Raises:
        ValueError: `backend` is neither of the two.
    """
    if stage_named(backend).name == "trio":
        return "trio", {"clock": VirtualClock()}
    return "asyncio", {"loop_factory": VirtualTimeLoop}
