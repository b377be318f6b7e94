"""The pytest plugin, inert unless used, beside anyio's and pytest-trio; the contract, subclassed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import sniffio
from hypothesis import given, settings
from hypothesis import strategies as st

from creche import testing
from creche.testing import plugin
from creche.testing.contract import RunnerContract

SUITE = """
import inspect, socket
from functools import partial
import anyio, pytest, sniffio, trio
from creche import ConcurrentTaskRunner
from creche.testing import HungError, cancel_everywhere, virtual_time
from creche.testing.contract import RunnerContract

@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request):
    return virtual_time(request.param)

@pytest.mark.anyio
async def test_with_anyio():
    await anyio.sleep(36000)

@pytest.mark.trio
async def test_with_pytest_trio(creche_clock):
    await trio.sleep(36000)

def test_run(creche_run, creche_backend):
    async def main(seconds):
        await anyio.sleep(seconds)
        return creche_backend
    assert creche_run(main, 36000) == creche_backend
    with pytest.raises(HungError):
        creche_run(anyio.sleep_forever)

def test_backend(creche_backend):
    assert not cancel_everywhere(partial(anyio.sleep, 1), backend=creche_backend).failures

def test_no_leak(creche_leaks):
    socket.socket().close()

kept = []

def test_leak(creche_leaks):
    kept.append(socket.socket())

def test_close():
    kept.pop().close()

class TestMine(RunnerContract):
    runs_async = False
    skips = {name: "it is slow" for name in dir(RunnerContract) if name[:5] == "test_"}
    skips["test_again"] = "it is started once"
    del skips["test_keys"]

    @pytest.fixture(params=[anyio.sleep])
    def make(self, request, anyio_backend_name):
        def made():
            assert sniffio.current_async_library() == anyio_backend_name
            return ConcurrentTaskRunner(2)
        return made

class Plain(ConcurrentTaskRunner):
    def submit_nowait(self, key, fn, *args, **options):
        assert not inspect.iscoroutinefunction(getattr(fn, "func", fn))
        return super().submit_nowait(key, fn, *args, **options)

class TestPlain(RunnerContract):
    runs_async = False
    wanted = {"test_values", "test_failures", "test_retries", "test_exceptions_with_a_meaning_elsewhere"}
    skips = {name: "it is slow" for name in {*dir(RunnerContract)} - wanted if name[:5] == "test_"}

    @pytest.fixture
    def make(self):
        return partial(Plain, 2)
"""


# Trio's mode has pytest-trio run every async test, on trio.
LOOPS = """
from functools import partial
import pytest, sniffio
from creche import ConcurrentTaskRunner
from creche.testing.contract import RunnerContract

class TestLoops(RunnerContract):
    skips = {name: "it is slow" for name in dir(RunnerContract) if name[:5] == "test_"}
    del skips["test_keys"]

    @pytest.fixture
    def make(self, anyio_backend_name):
        def made():
            assert sniffio.current_async_library() == anyio_backend_name
            return ConcurrentTaskRunner(2)
        return made
"""


def pytest_says(folder: Path, suite: str, *options: str) -> str:
    """Run a suite in a pytest of its own."""
    (folder / "test_suite.py").write_text(suite, encoding="utf-8")
    plugins = ["-p", "creche.testing.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "-W", "error", "--strict-markers"]
    ended = subprocess.run(
        [*command, *options, str(folder / "test_suite.py")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout


@pytest.mark.slow
def test_a_suite_that_uses_it(tmp_path: Path) -> None:
    """All fixtures, under both plugins; a leak is an error of its test; skipped clauses are printed."""
    out = pytest_says(tmp_path, SUITE)
    assert "left behind:" in out, out
    assert "ERROR test_suite.py::test_leak" in out, out
    assert out.splitlines()[-1].split(" in ")[0].startswith("20 passed, "), out
    assert " 1 error" in out.splitlines()[-1], out
    assert "clauses of the runner contract that were skipped" in out
    assert "TestMine.test_again: it is started once" in out
    assert "TestPlain.async functions: they cannot be called there" in out
    assert "TestPlain.GeneratorExit out of a call: it ends the runner" in out


@pytest.mark.slow
def test_the_clauses_run_on_the_loop_that_they_are_told(tmp_path: Path) -> None:
    """Whatever other plugin takes all async tests, and says nothing of it."""
    out = pytest_says(tmp_path, LOOPS, "-o", "trio_mode=true")
    assert out.splitlines()[-1].startswith("2 passed, "), out


def test_the_entry_point_is_of_that_name() -> None:
    """So that the plugin is one, whether pytest finds it or is told of it."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert '"creche.testing.plugin" = "creche.testing.plugin"' in text
    point = EntryPoint("creche.testing.plugin", "creche.testing.plugin", "pytest11")
    assert point.load() is plugin


def test_what_it_adds() -> None:
    """Fixtures with names of its own, and no hook that touches a test."""
    public = {name for name in vars(plugin) if name.startswith(("creche_", "pytest_"))}
    assert public == {
        "creche_backend",
        "creche_clock",
        "creche_leaks",
        "creche_run",
        "pytest_configure",
        "pytest_terminal_summary",
    }


class Reporter:
    """As much of pytest's as the summary asks for."""

    def __init__(self, *reports: Any) -> None:
        self.stats = {"skipped": list(reports), "": [object()]}
        self.said: list[str] = []

    def section(self, title: str) -> None:
        self.said.append(title)

    line = section


def test_what_is_printed_comes_with_the_reports() -> None:
    """From the workers of pytest-xdist too, whose configuration is elsewhere; each line once."""
    report = SimpleNamespace(user_properties=[("other", "x"), (plugin.SKIPPED, "TestX.test_a: slow")])
    reporter = Reporter(report, report)
    plugin.pytest_terminal_summary(reporter)
    assert reporter.said == ["clauses of the runner contract that were skipped", "TestX.test_a: slow"]


def test_nothing_is_printed_if_nothing_was_skipped() -> None:
    """And the contract is not announced again once it has been imported."""
    plugin.pytest_configure()
    reporter = Reporter(SimpleNamespace(user_properties=[]))
    plugin.pytest_terminal_summary(reporter)
    assert reporter.said == []


@given(number=st.integers(0, 3))
@settings(max_examples=3)
def test_fixtures_without_state_go_with_given(creche_run: Any, creche_backend: str, number: int) -> None:
    """Of hypothesis, which refuses what is made anew for each test."""

    async def main() -> str:
        await anyio.sleep(number)
        return sniffio.current_async_library()

    assert creche_run(main) == creche_backend


def test_it_loads_next_to_nothing() -> None:
    """Every pytest with creche in its environment imports it."""
    code = "import sys, pytest; before = set(sys.modules); import creche.testing.plugin; "
    code += "print(*sorted(set(sys.modules) - before))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["creche", "creche.testing", "creche.testing.plugin"]


@pytest.mark.parametrize(
    ("skips", "match"),
    [
        ({"test_nothing": "why"}, "no clause 'test_nothing'"),
        ({"workers": "why"}, "no clause 'workers'"),
        ({3: "why"}, "no clause 3"),
        ({"test_keys": " "}, "say why clause 'test_keys'"),
        ({"test_keys": None}, "say why clause 'test_keys'"),
        (None, "must map names of clauses to reasons, not None"),
        (["test_keys"], "must map names of clauses to reasons, not "),
    ],
)
def test_skipping_takes_a_clause_and_a_reason(skips: Any, match: str) -> None:
    """Else the class is refused."""
    with pytest.raises(TypeError, match=match):
        type("Mine", (RunnerContract,), {"skips": skips})


def test_no_clause_is_left_out_in_silence() -> None:
    """As by a name that is taken; those that a class in between has added may be skipped."""
    with pytest.raises(TypeError, match="Mine.test_keys is no test; put the clause into skips"):
        type("Mine", (RunnerContract,), {"test_keys": None})
    between = type("Between", (RunnerContract,), {"test_more": lambda self: None})
    type("Mine", (between,), {"skips": {"test_more": "not here"}})


def test_other_names_are_refused() -> None:
    """As by any module; those that are there are listed."""
    assert set(testing.__all__) <= set(dir(testing))
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        testing.nope  # noqa: B018 - wrong on purpose
