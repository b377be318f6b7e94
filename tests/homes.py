"""A runner whose loop runs in a thread of its own, for code that has none.

What it does not know: which loop the test itself runs on, if any.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import anyio.from_thread
import trio

from creche import ConcurrentTaskRunner, SequentialTaskRunner


class HomeElsewhere:
    """Opened by its making; to be closed."""

    def __init__(self, runner: ConcurrentTaskRunner | SequentialTaskRunner, loop: str = "trio") -> None:
        self.runner = runner
        self.error: BaseException | None = None
        self._opened = threading.Event()
        self._end: Any = None
        self._thread = threading.Thread(target=self._main, args=(loop,), name="home of a runner")
        self._thread.start()
        self._opened.wait(10)

    def close(self) -> None:
        """Leave the runner, and wait for that."""
        self.runner._run.home.hand_over(self._end)  # type: ignore[union-attr]  # there is one
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def _main(self, loop: str) -> None:
        try:
            if loop == "trio":
                trio.run(self._host)
            else:
                asyncio.run(self._host())
        except BaseException as exc:
            self.error = exc
        finally:
            self._opened.set()

    async def _host(self) -> None:
        async with self.runner.start():
            end = anyio.Event()
            self._end = end.set
            self._opened.set()
            await end.wait()
