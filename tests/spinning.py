"""A plain call that takes for ever, and asks whether it is to stop."""

from __future__ import annotations

import threading
import time

import anyio.to_thread

from creche import check_cancelled


class Spin:
    """A plain call that takes for ever, but asks; says how it went."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.stopped = 0.0

    def __call__(self) -> None:
        self.begun.set()
        end = time.monotonic() + 20
        try:
            while time.monotonic() < end:
                try:
                    self.helper()
                except Exception:  # noqa: S112 - it would be caught here
                    continue
        finally:
            self.stopped = time.monotonic()

    def helper(self) -> None:
        check_cancelled()
        time.sleep(0.002)

    async def until_begun(self) -> None:
        await anyio.to_thread.run_sync(self.begun.wait)
