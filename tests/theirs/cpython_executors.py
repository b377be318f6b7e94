"""CPython's own tests of its thread pools, with `as_executor()` in the place of a `ThreadPoolExecutor`.

What it is for: a file for pytest; its classes are those of `test.test_concurrent_futures`, once for each
loop that the runner lives on. They are in Python's own installation, where that has brought them along.

What it does not know: which of them do not hold, and why.

Invariant: each test has an executor of its own, and the runner of each is left at its end.
"""

from __future__ import annotations

import importlib
import unittest
from collections.abc import Iterator
from typing import Any, ClassVar

from creche import ConcurrentTaskRunner
from homes import HomeElsewhere

PACKAGE = "test.test_concurrent_futures"

# Where the tests are in a package; in older Pythons all are in one module.
CLASSES = {
    "test_thread_pool": "ThreadPoolExecutorTest",
    "test_wait": "ThreadPoolWaitTests",
    "test_as_completed": "AsCompletedTests",
    "test_shutdown": "ThreadPoolShutdownTest",
}


def originals() -> Iterator[type]:
    """The classes with CPython's tests."""
    for module, name in CLASSES.items():
        try:
            found = importlib.import_module(f"{PACKAGE}.{module}")
        except ModuleNotFoundError:
            found = importlib.import_module(PACKAGE)
        yield getattr(found, name)


class Ours:
    """In the place of the mixin that makes a thread pool."""

    worker_count = 5
    loop: ClassVar[str]
    assertRaises: Any  # noqa: N815 - unittest's

    def setUp(self) -> None:
        """One executor for each test, whose runner's loop is in another thread."""
        self.homes: list[HomeElsewhere] = []
        ASKED.clear()
        self.executor = self.executor_type(max_workers=self.worker_count)

    def tearDown(self) -> None:
        """All that were made end."""
        self.executor.shutdown(wait=True)
        for home in self.homes:
            home.close()

    def executor_type(self, max_workers: int | None = None) -> Any:
        """What the tests make more of."""
        # With what stays on the board, `test_free_reference` would find its objects there.
        home = HomeElsewhere(ConcurrentTaskRunner(max_workers, retain=False), self.loop)
        self.homes.append(home)
        executor: Any = home.runner.as_executor()
        submit = executor.submit

        def counted(*args: Any, **kwargs: Any) -> Any:
            ASKED.append(1)
            return submit(*args, **kwargs)

        executor.submit = counted
        return executor


ASKED: list[int] = []


def used() -> int:
    """How often executors of the present test were asked for something; what the plugin looks for."""
    return len(ASKED)


def ours() -> Iterator[type]:
    """The classes with ours in the place of theirs."""
    for original in originals():
        bases: tuple[type, ...] = (Ours, original)
        if not issubclass(original, unittest.TestCase):
            bases += (unittest.TestCase,)
        for loop in ("trio", "asyncio"):
            yield type(f"{original.__name__}On{loop.title()}", bases, {"loop": loop})


globals().update({made.__name__: made for made in ours()})
