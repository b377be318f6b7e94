"""`progress`: what it shows where, and that a run never suffers from it."""

from __future__ import annotations

import io
import os
import pickle
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from creche import ConcurrentTaskRunner, State
from creche.instruments import CallEvent, Progress, progress
from creche.instruments import _painting as painting
from creche.instruments import _progress as showing
from pools import until_here

pytestmark = pytest.mark.anyio


class Glass:
    """A terminal with a program that reads from it.

    Attributes:
        said: what was written.
    """

    def __init__(self) -> None:
        self._reads, self.fd = pty.openpty()
        termios.tcsetwinsize(self.fd, (24, 80))
        self.stream = os.fdopen(self.fd, "w", closefd=False)
        self.said = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._reads, 65536)
            except OSError:
                return
            self.said += data.decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self.fd)
        self._thread.join()
        os.close(self._reads)


@pytest.fixture
def glass(monkeypatch: pytest.MonkeyPatch) -> Iterator[Glass]:
    """Standard error is a terminal."""
    glass = Glass()
    # Not `sys.stderr` itself, which pytest puts back before the test begins.
    shown = SimpleNamespace(stderr=glass.stream)
    for module in (painting, showing):
        monkeypatch.setattr(module, "sys", shown)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    yield glass
    glass.close()


async def one_call(instrument: Progress, wait: Callable[[], object] = lambda: None) -> None:
    """A run of one call, which ends when something has been seen."""
    runner = ConcurrentTaskRunner(instruments=[instrument], limits={"db": 1})

    async def work() -> None:
        await anyio.to_thread.run_sync(wait)

    async with runner.start():
        runner.submit_nowait("one", work, limits=["db"])


@pytest.mark.usefixtures("real_time")
async def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal: a line when something has happened, and the last one stays."""
    instrument = progress(title="it", every=0.01)
    said = ""

    def look() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "it: 0 of 1 call, 1 running" in said

    await one_call(instrument, lambda: until_here(look))
    said += capsys.readouterr().err
    lines = said.splitlines()
    assert lines[-1].startswith("it: 1 of 1 call, 0 running, ")
    assert "/s" not in lines[-1]
    assert len([line for line in lines if "0 of 1 call, 1 running" in line]) == 1
    assert "\x1b" not in said


@pytest.mark.usefixtures("real_time")
async def test_a_view(glass: Glass) -> None:
    """On a terminal: a view with colours, gone at the end but for a line; no mode was changed."""
    before = termios.tcgetattr(glass.fd)
    await one_call(progress(), lambda: until_here(lambda: "one 0." in glass.said))
    until_here(lambda: "1 of 1 call" in glass.said)
    assert "db 1/1" in glass.said
    assert "\x1b[36m" in glass.said
    assert "\x1b[?25l" not in glass.said  # the cursor is never hidden
    assert glass.said.rindex("\x1b[r") > glass.said.rindex("one 0.")
    assert termios.tcgetattr(glass.fd) == before


@pytest.mark.usefixtures("real_time")
async def test_no_colours(glass: Glass, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NO_COLOR wants it."""
    monkeypatch.setenv("NO_COLOR", "1")
    await one_call(progress(), lambda: until_here(lambda: "one 0." in glass.said))
    assert "\x1b[36m" not in glass.said


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("TERM", "unknown")])
@pytest.mark.usefixtures("real_time")
async def test_a_dumb_terminal(
    name: str, value: str, glass: Glass, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain lines."""
    monkeypatch.setenv(name, value)
    await one_call(progress(every=0.01), lambda: until_here(lambda: "1 running" in glass.said))
    until_here(lambda: "1 of 1 call" in glass.said)
    assert "\x1b" not in glass.said


def test_what_is_no_terminal(glass: Glass, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without a size; standard error that is closed, or is none at all; colours that are forced."""
    assert painting.find_terminal() is not None
    termios.tcsetwinsize(glass.fd, (0, 0))
    assert painting.find_terminal() is None
    monkeypatch.setenv("FORCE_COLOR", "1")
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(vars(painting)["sys"], "stderr", stream)
        assert painting.find_terminal() is None


@pytest.mark.usefixtures("real_time")
async def test_a_terminal_that_goes_away(glass: Glass, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run does not notice, nor is anything shown any more."""
    failed = threading.Event()

    def fail(self: object, text: str) -> None:
        failed.set()
        raise OSError

    monkeypatch.setattr(painting.Terminal, "write", fail)
    await one_call(progress(), failed.wait)
    assert glass.said == ""


@pytest.mark.usefixtures("real_time")
async def test_a_terminal_that_is_stopped(glass: Glass, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the run waits for it, but not for ever."""
    stopped, on = threading.Event(), threading.Event()

    def wait(self: object, text: str) -> None:
        stopped.set()
        on.wait()

    monkeypatch.setattr(painting.Terminal, "write", wait)
    monkeypatch.setattr(showing, "_PATIENCE", 0.05)
    instrument = progress()
    await one_call(instrument, stopped.wait)
    shower = next(thread for thread in threading.enumerate() if thread.name == "creche progress")
    on.set()
    shower.join()
    assert "1 of 1 call" not in glass.said


@pytest.mark.usefixtures("real_time")
async def test_stuck_in_writing(glass: Glass, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes the view off does not wait for ever, either; nor does a process that was forked off."""
    monkeypatch.setattr(showing, "_PATIENCE", 0.01)
    shower = showing._Shower(progress(), painting.find_terminal())
    with shower._drawing:
        shower._give_back()
        shower._pid = 0
        shower._give_back()
    shower._draw()
    assert glass.said == ""


@pytest.mark.usefixtures("real_time")
async def test_a_standard_error_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on."""
    monkeypatch.setattr(sys, "stderr", None)
    instrument = progress()
    await one_call(instrument)
    assert instrument.look()[0].settled == 1


@pytest.mark.usefixtures("real_time")
async def test_several_runners(capsys: pytest.CaptureFixture[str]) -> None:
    """Shown together, inside each other and one after the other; one line at the end of the last."""
    instrument = progress()
    outer = ConcurrentTaskRunner(instruments=[instrument])
    async with outer.start():
        outer.submit_nowait("a", anyio.sleep, 0)
        await one_call(instrument)
        assert capsys.readouterr().err == ""
    assert "2 of 2 calls" in capsys.readouterr().err
    await one_call(instrument)
    assert "3 of 3 calls" in capsys.readouterr().err


async def test_when_the_total_is_known() -> None:
    """When it was told; else when the body has ended, or the runner takes no more calls."""
    instrument = progress(total=5)
    await one_call(instrument)
    assert instrument.look()[1].total == 5
    instrument = progress()
    runner = ConcurrentTaskRunner(instruments=[instrument])
    seen = []

    async def work() -> None:
        await anyio.sleep(1)
        seen.append(instrument.look()[1].total)

    async with runner.start():
        runner.submit_nowait("a", work)
        seen.append(instrument.look()[1].total)
    assert seen == [None, 1]
    async with runner.start():
        runner.submit_nowait("a", work)
        await runner.drain()
    assert seen == [None, 1, 2]


@pytest.mark.usefixtures("real_time")
async def test_a_long_silence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line now and then although nothing has happened, to say just that."""
    monkeypatch.setattr(showing, "_STILL", 0.02)
    said: list[str] = []

    def look() -> bool:
        said.extend(capsys.readouterr().err.splitlines())
        return len(said) > 3

    await one_call(progress(every=0.005), lambda: until_here(look))
    assert {line.rpartition(", ")[0] for line in said[-3:]} == {"0 of 1 call, 1 running"}


async def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing at all."""
    instrument = Progress(quiet=True)
    await one_call(instrument)
    instrument.stop()
    assert capsys.readouterr().err == ""


async def test_attempts_are_heard() -> None:
    """The hook for a next attempt is there."""
    instrument = Progress(quiet=True)
    assert instrument.seconds == 0
    await one_call(instrument)
    assert instrument.seconds > 0
    instrument.call_retrying(CallEvent("one", 0, State.RUNNING))
    assert instrument.look()[0].retries == 1


def test_pickled() -> None:
    """It takes its settings along, and no run."""
    instrument = progress(title="t", total=3, every=2)
    copy: Any = pickle.loads(pickle.dumps(instrument))
    assert copy.__reduce__()[1] == instrument.__reduce__()[1]
    assert copy.look()[1].total == 3


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"title": 1}, TypeError, "title must be a string, not 1"),
        ({"total": 1.5}, TypeError, "total must be a whole number"),
        ({"total": -1}, ValueError, "total must be at least 0"),
        ({"every": 0}, ValueError, "every must be more than 0 seconds, not 0"),
        ({"every": None}, ValueError, "every must be more than 0 seconds, not None"),
        ({"every": "x"}, TypeError, "every must be a number of seconds"),
    ],
)
def test_bad_options(options: Any, error: type[Exception], says: str) -> None:
    """Named, where the mistake is made."""
    with pytest.raises(error, match=says):
        progress(**options)


def test_without_rich() -> None:
    """It says what to install; importing the instruments does not need it."""
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "from creche.instruments import progress\n"
        "try: progress()\n"
        "except ImportError as exc: print(exc)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "progress() needs rich, which is not installed: pip install 'creche[cli]'\n"
