"""What signals to ``creche run`` mean: the table, and real programs that get them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from creche.cli import _signals
from creche.cli._app import main
from creche.cli._signals import Manners
from creche.cli._stopping import MOMENT, PATIENCE, Step, Stopping


def test_the_table() -> None:
    """Drain; when nothing runs, or the grace is over, cancel; after some patience leave, ever again."""
    stopping = Stopping(10)
    assert stopping.look(0, 0) is None
    assert stopping.press(0, 1) is Step.DRAIN
    assert stopping.look(9, 1) is None
    assert stopping.look(10, 1) is Step.CUT
    assert stopping.look(10, 0) is None
    assert stopping.look(10 + PATIENCE, 1) is Step.LEAVE
    assert stopping.look(10 + PATIENCE, 1) is None
    assert stopping.look(10 + 2 * PATIENCE, 1) is Step.LEAVE
    stopping = Stopping(10)
    stopping.press(0, 1)
    assert stopping.look(1, 0) is None  # the body may read it
    assert stopping.look(1 + MOMENT, 0) is Step.CUT
    stopping = Stopping(10)
    stopping.press(0, 0)
    assert stopping.look(0, 0) is Step.CUT
    stopping = Stopping(10)
    assert [stopping.press(0, 1) for _ in range(4)] == [Step.DRAIN, Step.CUT, Step.LEAVE, Step.LEAVE]


PROGRAM = """
import sys, threading, time
from anyio import sleep, to_thread
from creche import flow, task

def say(what):
    print(what, flush=True)

@task
def short(n):
    say(f"begun {n}")
    time.sleep(1)
    return n

@task
def stuck(n):
    say(f"begun {n}")
    threading.Event().wait()

@task
async def asleep(n):
    say(f"begun {n}")
    await sleep(1 if n == 0 else 1000)
    return n

@task
async def blocks():
    say("begun")
    while True:
        time.sleep(0.01)

@flow
def drains():
    slots = [short.submit(n) for n in range(100)]
    say("submitted")
    say(f"got {slots[0].result()}")
    slots[99].result()

@flow
def hangs():
    stuck.map([1, 2])
    try:
        time.sleep(1000)
    finally:
        say("body unwinds")

@flow
async def sleeps():
    slots = [asleep.submit(n) for n in range(2)]
    say(f"got {await slots[0]}")
    await sleep(1000)

@flow
async def spins():
    blocks.submit()
    await sleep(1000)

@flow
def loop_spins():
    blocks.submit()
    time.sleep(1000)

@flow
def fails():
    short.submit(0)
    try:
        time.sleep(1000)
    finally:
        raise ValueError("while it unwinds")
"""


class Program:
    """A flow that runs, and is sent signals."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "creche", "run", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        self.said: list[str] = []

    def until(self, line: str, stream: str = "stdout") -> None:
        while not any(line in one for one in self.said):
            more = getattr(self.process, stream).readline()
            assert more, self.said
            self.said.append(more)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=40)
        return self.process.returncode, out, err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flow", "options", "number", "status", "word"),
    [
        ("drains", ["--max-workers", "2"], signal.SIGINT, 130, "interrupted"),
        ("drains", [], signal.SIGTERM, 143, "terminated"),
        ("drains", ["--runner", "process", "--max-workers", "2"], signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_drain(
    flow: str, options: list[str], number: int, status: int, word: str, folder: Path
) -> None:
    """What runs ends, and the body may read it; nothing new starts; it is said what is waited for."""
    program = Program(folder, f"program.py:{flow}", *options)
    program.until("begun 0")
    program.until("submitted")
    program.send(number)
    code, out, err = program.end()
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert code == status
    assert "got 0" in out
    assert out.count("begun") < 60
    assert f"creche: {name}: nothing more starts; waiting up to 10 s for " in err
    assert "short[0] (" in err
    assert "once more cancels them" in err
    assert f"flow {flow}: {word} in " in err
    assert "COMPLETED" in err
    assert "CANCELLED" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_second_signal(folder: Path) -> None:
    """It cancels at once, of whichever kind; the body unwinds, threads are left to themselves."""
    program = Program(folder, "program.py:hangs", "--grace", "1000")
    program.until("begun 1")
    program.until("begun 2")
    program.send(signal.SIGTERM)
    program.until("waiting up to 1000 s for 2 calls: stuck[", "stderr")
    program.send(signal.SIGINT)
    code, out, err = program.end()
    assert code == 143
    assert "body unwinds" in out
    assert "creche: SIGTERM, once more: cancelling 2 calls: stuck[" in err
    assert "flow hangs: terminated in" in err
    assert "calls: 2 CANCELLED" in err


@pytest.mark.slow
def test_the_end_of_the_grace(folder: Path) -> None:
    """What has not ended by then is cancelled; with --quiet it is not told."""
    program = Program(folder, "program.py:hangs", "--grace", "0.3")
    program.until("begun 1")
    program.until("begun 2")
    program.send(signal.SIGINT)
    code, _, err = program.end()
    assert code == 130
    assert "the grace of 0.3 s is over: cancelling 2 calls" in err
    program = Program(folder, "program.py:hangs", "--grace", "0.3", "--quiet")
    program.until("begun 2")
    program.send(signal.SIGINT)
    code, _, err = program.end()
    assert (code, "creche: " in err, "flow hangs" in err) == (130, False, False)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_an_async_flow(backend: str, folder: Path) -> None:
    """The same; its body is cancelled."""
    program = Program(folder, "program.py:sleeps", "--grace", "2", "--backend", backend)
    program.until("begun 0")
    program.until("begun 1")
    program.send(signal.SIGINT)
    code, out, err = program.end()
    assert code == 130
    assert "got 0" in out
    assert "waiting up to 2 s for 2 calls: " in err
    assert "calls: 1 COMPLETED, 1 CANCELLED" in err


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("flow", ["spins", "loop_spins"])
def test_a_loop_that_is_blocked(flow: str, backend: str, folder: Path) -> None:
    """SIGUSR1 shows who blocks; the summary comes when one presses on."""
    program = Program(folder, f"program.py:{flow}", "--grace", "0", "--backend", backend)
    program.until("begun")
    program.send(signal.SIGUSR1)
    program.until("program.py:", "stderr")
    assert "whose loop has not answered for 1 s: 1 running" in program.said[-3]
    assert "in blocks" in program.said[-1]
    program.send(signal.SIGINT)
    program.until("cancelling 1 call: blocks[0]", "stderr")
    for _ in range(2):
        program.send(signal.SIGINT)
        try:
            program.process.wait(10)
        except subprocess.TimeoutExpired:
            continue
    code, _, err = program.end()
    assert code == 130
    assert f"flow {flow}: interrupted in" in err


@pytest.mark.slow
def test_what_else_goes_wrong(folder: Path) -> None:
    """A traceback is shown of what is not the stopping itself; with nothing running it is at once."""
    program = Program(folder, "program.py:fails", "--grace", "1000")
    program.until("begun 0")
    program.send(signal.SIGINT)
    code, _, err = program.end()
    assert code == 130
    assert "ValueError: while it unwinds" in err
    assert "calls: 1 COMPLETED" in err


# In this process ----------------------------------------------------------------------------------


@pytest.fixture
def manners() -> Manners:
    return Manners(5, say=lambda _: None, tell=lambda _: None)


def test_handlers_are_put_back(manners: Manners) -> None:
    """All of them; and what is ignored stays ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        handlers = [signal.getsignal(number) for number in numbers]
        with manners.watching(is_sync=True):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) == manners._handle
        signal.raise_signal(signal.SIGINT)  # it is over, and nobody hears it
        manners.uninstall()
        assert [signal.getsignal(number) for number in numbers] == handlers
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread(manners: Manners) -> None:
    """No handlers, and no trouble."""

    def run() -> None:
        with manners.watching(is_sync=True):
            pass
        manners.uninstall()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("grace", ["-1", "nan"])
def test_a_bad_grace(grace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Said in a sentence."""
    assert main(["run", "program.py", "--grace", grace]) == 2
    assert capsys.readouterr().err == f"creche: --grace must be 0 seconds or more, not {float(grace)}\n"


def steps(manners: Manners) -> Any:
    """What is sent to the main thread, instead of being sent."""
    sent: list[Any] = []
    manners._send = sent.append  # type: ignore[method-assign, assignment]  # replaced for the test
    return sent


def test_what_each_step_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said, what is shown meanwhile, and what reaches the flow."""
    said: list[str] = []
    shown: list[str | None] = []
    manners = Manners(float("inf"), say=said.append, tell=shown.append)
    sent = steps(manners)
    calls = [("a", 1.0)]
    monkeypatch.setattr(_signals, "running_calls", lambda: calls)
    manners._look()
    manners._press(signal.SIGINT)
    manners._press(signal.SIGTERM)
    assert (manners.status, manners.ended) == (130, "interrupted")
    assert said == [
        "Ctrl-C: nothing more starts; waiting for 1 call: a (1.0 s); once more cancels them",
        "Ctrl-C, once more: cancelling 1 call: a (1.0 s)",
    ]
    assert shown[0] == "Ctrl-C: waiting for 1 call: a (1.0 s)"
    assert sent == [manners._interrupt]
    manners._press(signal.SIGTERM)
    manners._take(Step.LEAVE, is_asked=False)
    manners._is_sync = False
    manners._take(Step.LEAVE, is_asked=False)
    assert sent[1:] == [manners._interrupt, manners._interrupt_end, manners._pass_on]


def test_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is nothing to wait for, and nothing to say."""
    said: list[str] = []
    manners = Manners(5, say=said.append, tell=lambda _: None)
    sent = steps(manners)
    monkeypatch.setattr(_signals, "running_calls", list)
    manners._press(signal.SIGTERM)
    assert (said, sent) == ([], [manners._interrupt])


def test_what_the_main_thread_does(manners: Manners, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises, or not, or leaves it to the loop; it is poked until it has."""
    frame = sys._getframe()
    poked: list[bool] = []
    manners._poke = lambda: poked.append(True)  # type: ignore[method-assign]  # replaced for the test
    done: list[int] = []
    manners._send(lambda number, _: done.append(number))
    manners._look()
    assert poked == [True, True]
    manners._handle(signal.SIGURG, frame)
    assert not done  # no flow runs
    manners._is_over = False
    manners._handle(signal.SIGURG, frame)
    manners._handle(signal.SIGURG, frame)
    assert done == [signal.SIGINT]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_signals, "is_ending", lambda _: True)
        manners._interrupt_end(signal.SIGINT, frame)
    with pytest.raises(KeyboardInterrupt):
        manners._interrupt(signal.SIGINT, frame)
    manners._interrupt_end(signal.SIGINT, frame)  # no end is being waited for here
    manners._interrupt_end(signal.SIGINT, None)
    manners._pass_on(signal.SIGINT, frame)  # there is no loop
    heard: list[int] = []
    manners._before[signal.SIGINT] = lambda number, frame: heard.append(number)
    manners._pass_on(signal.SIGINT, frame)
    assert heard == [signal.SIGINT]
    manners._before.clear()
