"""Trying faults: each in a copy of the project, with the tests that must notice it.

What it is for: one fault at a time in one copy; several copies beside each other. A fault that the tests
meant for it have let pass gets a second chance, with all tests that are not slow.

What it does not know: which faults there are, how the outcome is shown.

Invariant: the sources of this project are read and never written. When a function returns here, no
process that it has started runs.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from planting import Fault, plant

ROOT = Path(__file__).parent.parent.parent
PACKAGE = Path("src", "creche")

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "_build", "build", "dist", "*.egg-info")
_NOTICED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)
_HAS_FAILED = 1  # what pytest exits with when a test has


@dataclass(frozen=True)
class Found:
    """What became of a fault.

    Attributes:
        fault: itself.
        caught_by: the first test that has failed; `None` if none has.
        seconds: that this took.
        detail: how it ended if no test has failed: it survived, or the tests hung or broke off.
        by_all: whether it took all tests to find it.
    """

    fault: Fault
    caught_by: str | None
    seconds: float
    detail: str = ""
    by_all: bool = False


@dataclass(frozen=True)
class Terms:
    """How faults are tried.

    Attributes:
        jobs: how many at once.
        loops: that shared tests run on, with commas.
        seconds: for the tests of one fault. A test of ours that hangs is no test that has noticed
            something: what runs into this limit is not caught.
        more_seconds: the same for all tests.
        everything: what is run for a second chance, after `pytest`; `None` for no second chance.
        at_once: whether that is run without a first chance.
    """

    jobs: int = os.cpu_count() or 1
    loops: str = "trio,asyncio"
    seconds: float = 300.0
    more_seconds: float = 1800.0
    # Those of the faults themselves fail for each: it cannot be planted twice.
    everything: Sequence[str] | None = ("-m", "not slow", "--ignore=tests/test_mutation.py")
    at_once: bool = False


def files_of(names: Iterable[str]) -> list[str]:
    """The test files with these names, each once; or single tests in them, `"closing::test_it"`."""
    parts = [name.partition("::") for name in dict.fromkeys(names)]
    return [f"tests/test_{name}.py{colons}{test}" for name, colons, test in parts]


def try_all(faults: Sequence[Fault], terms: Terms) -> Iterator[Found]:
    """Try faults; each is given as soon as it is known what became of it.

    Args:
        faults: any.
        terms: see there.

    Yields:
        what became of one.
    """
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="creche-faults-") as folder:
        jobs = min(terms.jobs, len(faults))
        for number in range(jobs):
            copies.put(copy_project(Path(folder, str(number))))

        def try_in_some(fault: Fault) -> Found:
            copy = copies.get()
            try:
                return try_one(copy, fault, terms)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as threads:
            futures = [threads.submit(try_in_some, fault) for fault in faults]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                threads.shutdown(cancel_futures=True)


def try_one(copy: Path, fault: Fault, terms: Terms) -> Found:
    """Try one fault in a copy of the project, which is as it was afterwards."""
    began = time.monotonic()
    with planted(copy, fault):
        name, detail = None, ""
        if not terms.at_once:
            name, detail = run_tests(copy, files_of(fault.tests), terms.loops, terms.seconds)
        by_all = name is None and terms.everything is not None
        if by_all:
            assert terms.everything is not None
            name, detail = run_tests(copy, terms.everything, terms.loops, terms.more_seconds)
    return Found(fault, name, time.monotonic() - began, detail, by_all=by_all)


def copy_project(to: Path) -> Path:
    """Copy what the tests need."""
    return shutil.copytree(ROOT, to, ignore=_LEFT_OUT)


@contextmanager
def planted(copy: Path, fault: Fault) -> Iterator[None]:
    """Have a fault in a copy of the project."""
    path = copy / PACKAGE / f"{fault.file}.py"
    source = path.read_text(encoding="utf-8")
    _write(path, plant(source, fault))
    try:
        yield
    finally:
        _write(path, source)


def _write(path: Path, source: str) -> None:
    path.write_text(source, encoding="utf-8")
    # What was compiled before is told apart by the second and the size only, which may be the same.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


def run_tests(copy: Path, what: Sequence[str], loops: str, seconds: float) -> tuple[str | None, str]:
    """Run tests of a copy up to the first that fails.

    Args:
        copy: of the project.
        what: which tests; for pytest.
        loops: that shared tests run on.
        seconds: at most.

    Returns:
        the test that has failed, or `None`; and in that case how it ended.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            [*command, "--loops", loops, *what],
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # Whatever a test with a fault has left behind, too.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        text = said.read()
    if code is None:
        return None, f"hung: no end within {seconds:g} s"
    if code == 0:
        return None, "survived"
    noticed = _NOTICED.search(text)
    if code != _HAS_FAILED or noticed is None:
        return None, f"pytest exited with {code}: {text.strip()[-300:]}"
    return noticed[1].removeprefix("tests/"), ""
