"""``creche run`` on a terminal: what is seen on it, while it runs and afterwards."""

from __future__ import annotations

import os
import signal
import sys
import termios
from pathlib import Path

import pytest

from terminals import Watched, has

PROGRAM = """
import logging, os, sys, threading, time
logging.basicConfig(level="INFO", format="%(message)s")  # holds standard error as it is now
from creche import flow, task

@task
def work(n):
    print(f"begun {n}")
    print(f"half {n} ", end="", flush=True)
    time.sleep(0.3)
    logging.info("logged %s", n)
    os.write(1, b"raw\\n")
    if n == 1:
        raise ValueError("no \\x1b[31mway")
    print(f"told {n}", file=sys.stderr)

@task
def child(n):
    os.system(f"echo from a process of a process {n}")
    time.sleep(0.3)

@flow
def shows():
    for n in range(3):
        work.submit(n)
    threading.Thread(target=print, args=("in a thread",)).start()
    time.sleep(0.6)
    print("\\n".join(f"line {n}" for n in range(40)))
    time.sleep(0.3)
    print("the last words", end="")

@flow
def elsewhere():
    child.map(range(3))

@flow
def waits():
    print("waiting", flush=True)
    time.sleep(1000)

@flow
def crashes():
    time.sleep(0.3)
    raise MemoryError("crash")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def watch(folder: Path, *args: str, size: tuple[int, int] = (80, 24)) -> Watched:
    env = {**os.environ, "TERM": "xterm-256color"}
    return Watched("-m", "creche", "run", *args, cwd=folder, size=size, env=env)


def is_in_order(seen: Watched) -> bool:
    """The cursor is shown, and the whole terminal scrolls."""
    margins = seen.screen.margins
    return not seen.screen.cursor.hidden and (
        margins is None or (margins.top == 0 and margins.bottom >= 23)
    )


@pytest.mark.slow
def test_what_is_seen(folder: Path) -> None:
    """The view is in the lowest lines; all that is printed, by whatever means, is above it, whole."""
    seen = watch(folder, "program.py:shows")
    lines = seen.see(has("line 39"))
    lines = seen.see(has("1 failed"))
    assert any(line.startswith("flow shows: ") and " of 3 calls, " in line for line in lines[-12:])
    assert any("work[1] FAILED ValueError: no �[31mway" in line for line in lines[-12:])
    assert seen.end() == 1
    everything = seen.all_lines()
    text = "\n".join(everything)
    for n in range(3):
        for words in (f"begun {n}", f"half {n}", f"logged {n}"):
            assert text.count(words) == 1
    for n in range(40):
        assert everything.count(f"line {n}") == 1
    assert text.count("raw") == 3
    assert "in a thread" in text
    assert "the last words" in text
    assert not any(" of 3 calls, " in line for line in everything)  # nothing of the view has stayed
    assert is_in_order(seen)


@pytest.mark.slow
def test_processes(folder: Path) -> None:
    """What worker processes print is above the view, too."""
    seen = watch(folder, "program.py:elsewhere", "--runner", "process", "--max-workers", "2")
    seen.see(has("workers 2/2"))
    assert seen.end() == 0
    everything = seen.all_lines()
    for n in range(3):
        assert f"from a process of a process {n}" in everything
    assert is_in_order(seen)


@pytest.mark.slow
def test_ctrl_c(folder: Path) -> None:
    """The terminal is in order again, and the mode of it is as it was."""
    seen = watch(folder, "program.py:waits")
    before = termios.tcgetattr(seen.child.child_fd)
    seen.see(has("flow waits: 0 of 0 calls"))
    seen.child.sendintr()
    assert seen.end() == 130
    assert any("flow waits: interrupted in" in line for line in seen.lines())  # after the ^C
    assert not any("0 of 0 calls" in line for line in seen.all_lines())
    assert is_in_order(seen)
    assert before[3] & termios.ECHO


@pytest.mark.slow
def test_a_crash(folder: Path) -> None:
    """The traceback is whole, and the terminal in order."""
    seen = watch(folder, "program.py:crashes")
    assert seen.end() == 1
    assert "MemoryError: crash" in seen.all_lines()
    assert is_in_order(seen)


@pytest.mark.slow
def test_another_size(folder: Path) -> None:
    """The view follows: it is in the lowest lines of a smaller and of a larger terminal."""
    seen = watch(folder, "program.py:waits")
    seen.see(has("flow waits: 0 of 0 calls"))
    for columns, height in ((30, 10), (120, 40)):
        seen.resize(columns, height)
        lines = seen.see(lambda lines: lines[-1].startswith("flow waits: "))
        assert sum("flow waits: " in line for line in lines) == 1
    seen.child.kill(signal.SIGTERM)
    assert seen.end() == 143


@pytest.mark.slow
def test_standard_output_elsewhere(folder: Path) -> None:
    """With one of the two redirected: the view where standard error is a terminal, else plain lines."""
    command = f"{sys.executable} -m creche run program.py:shows"
    env = {**os.environ, "TERM": "xterm-256color"}
    run = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1], shell=True))"
    seen = Watched("-c", run, f"{command} > out.txt", cwd=folder, env=env)
    seen.see(has("of 3 calls"))
    assert seen.end() == 1
    assert "begun 0" in (folder / "out.txt").read_text()
    assert "begun 0" not in "\n".join(seen.all_lines())
    seen = Watched("-c", run, f"{command} 2> err.txt", cwd=folder, env=env)
    assert seen.end() == 1
    assert "begun 0" in "\n".join(seen.all_lines())  # threads print into each other's lines there
    assert b"\x1b7" not in seen.said
    assert "\x1b7" not in (folder / "err.txt").read_text()
