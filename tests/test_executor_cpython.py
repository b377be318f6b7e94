"""CPython's own tests of its executors, where Python has brought them along, against `as_executor`."""

from __future__ import annotations

import importlib
import inspect
import unittest
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from creche import ConcurrentTaskRunner
from homes import HomeElsewhere

pytestmark = pytest.mark.slow

PACKAGE = "test.test_concurrent_futures"

# Where the tests are in a package; in older Pythons all are in one module.
CLASSES = {
    "test_thread_pool": "ThreadPoolExecutorTest",
    "test_wait": "ThreadPoolWaitTests",
    "test_as_completed": "AsCompletedTests",
    "test_shutdown": "ThreadPoolShutdownTest",
}

# What does not apply: for each what its source must contain, and why that is not ours.
ITS_OWN = "futures.ThreadPoolExecutor("
BY_NAME = "executor_type.__name__"
THREADS = "._threads"
EXCEPTED = {
    "test_max_workers_negative": ("max_workers must be greater", "the places are the runner's"),
    "test_default_workers": ("._max_workers", "the places are the runner's"),
    "test_saturation": ("._max_workers", "the places are the runner's"),
    "test_idle_thread_reuse": (THREADS, "the threads are the loop's"),
    "test_threads_terminate": (THREADS, "the threads are the loop's"),
    "test_context_manager_shutdown": (ITS_OWN, "it tests the standard library's own"),
    "test_del_shutdown": (ITS_OWN, "it tests the standard library's own"),
    "test_shutdown_no_wait": (ITS_OWN, "it tests the standard library's own"),
    "test_thread_names_assigned": (ITS_OWN, "it tests the standard library's own"),
    "test_thread_names_default": (ITS_OWN, "it tests the standard library's own"),
    "test_hang_global_shutdown_lock": (ITS_OWN, "it tests the standard library's own"),
    "test_cancel_futures_wait_false": (
        "import ThreadPoolExecutor",
        "it tests the standard library's own",
    ),
    "test_interpreter_shutdown": (BY_NAME, "an executor here lives in a runner, which is left in time"),
    "test_submit_after_interpreter_shutdown": (BY_NAME, "the same"),
    "test_hang_gh83386": (BY_NAME, "the same"),
}


def originals() -> Iterator[type]:
    """The classes with CPython's tests."""
    for module, name in CLASSES.items():
        try:
            found = importlib.import_module(f"{PACKAGE}.{module}")
        except ModuleNotFoundError:
            found = importlib.import_module(PACKAGE)
        yield getattr(found, name)


try:
    ORIGINALS = list(originals())
except ImportError as missing:
    pytest.skip(f"this Python has no tests of its own: {missing}", allow_module_level=True)


class Ours:
    """In the place of the mixin that makes a thread pool."""

    worker_count = 5
    loop: ClassVar[str]
    assertRaises: Any  # noqa: N815 - unittest's

    def setUp(self) -> None:
        """One executor for each test, whose runner's loop is in another thread."""
        self.homes: list[HomeElsewhere] = []
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
        return home.runner.as_executor()


def ours(original: type, loop: str) -> type:
    """The class with ours in the place of theirs, and without what does not apply."""
    bases = (
        (Ours, original)
        if issubclass(original, unittest.TestCase)
        else (Ours, original, unittest.TestCase)
    )
    names = [name for name in dir(original) if name.startswith("test_")]
    without: dict[str, Any] = {name: None for name in names if name in EXCEPTED}
    return type(f"{original.__name__}On{loop.title()}", bases, {**without, "loop": loop})


for each in ORIGINALS:
    for loop in ("trio", "asyncio"):
        made = ours(each, loop)
        globals()[made.__name__] = made


def excepted() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Each test that is left out, and what it does."""
    for original in ORIGINALS:
        for name in EXCEPTED:
            if hasattr(original, name):
                yield name, getattr(original, name)


@pytest.mark.parametrize(("name", "test"), [pytest.param(*pair, id=pair[0]) for pair in excepted()])
def test_what_does_not_apply(name: str, test: Any) -> None:
    """It is about something that an executor of a runner's does not have."""
    assert EXCEPTED[name][0] in inspect.getsource(test)


def test_there_are_enough_left() -> None:
    """Of each class some apply."""
    for original in ORIGINALS:
        names = {name for name in dir(original) if name.startswith("test_")}
        assert len(names - EXCEPTED.keys()) >= 3
