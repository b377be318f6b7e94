"""What is said on the page *Security*: who can reach what, and what is in the files that are written."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calls import fail, give
from creche import ConcurrentTaskRunner, ProcessTaskRunner
from creche.cli._app import main
from creche.instruments import EventLog
from reporting import of_everything

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

NET = Path("/proc/net")
on_linux = pytest.mark.skipif(not NET.exists(), reason="it is read from Linux's /proc")
LISTENING, CLOSED = "0A", "07"  # of TCP; an UDP socket that takes from anybody is "closed"


def sockets_of(pid: int | str) -> set[str]:
    """The numbers of the sockets that a process has open."""
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(one.readlink())
        except FileNotFoundError:  # of the listing itself
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found


def reachable(sockets: set[str]) -> Iterator[str]:
    """Those of them that others could connect to, or send to."""
    for name, state in (("tcp", LISTENING), ("tcp6", LISTENING), ("udp", CLOSED), ("udp6", CLOSED)):
        for line in (NET / name).read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in sockets and words[3] == state:
                yield f"{name} {words[1]}"
    for line in (NET / "unix").read_text().splitlines()[1:]:
        words = line.split()
        accepts = int(words[3], 16) & 0x10000
        if words[6] in sockets and (accepts or words[7:]):
            yield f"unix {words[7:]}"


def look_inside() -> tuple[int, set[str], list[int]]:
    """In a worker: its number, its sockets, and what of its descriptors a program of its would have."""
    numbers = [int(one) for one in os.listdir("/proc/self/fd")]  # noqa: PTH208 - as numbers
    handed_on = []
    for number in numbers:
        try:
            if number > 2 and os.get_inheritable(number):
                handed_on.append(number)
        except OSError:  # of the listing itself
            continue
    return os.getpid(), sockets_of("self"), handed_on


def look_from_a_program() -> list[str]:
    """In a worker: what a program has that it starts without closing anything for it."""
    there = "(n for n in os.listdir('/proc/self/fd') if int(n) > 2)"
    code = f"import os; print(*[n for n in {there} if os.path.exists(f'/proc/self/fd/{{n}}')])"
    return subprocess.run(
        [sys.executable, "-c", code], close_fds=False, capture_output=True, text=True, check=True
    ).stdout.split()


@on_linux
@pytest.mark.slow
async def test_nobody_can_reach_a_worker() -> None:
    """It has one socket, which has no name and takes no connection; its parent listens nowhere."""
    before = sockets_of("self")
    async with ProcessTaskRunner(2).start() as runner:
        pid, sockets, handed_on = await runner.submit_nowait("inside", look_inside)
        assert pid != os.getpid()
        assert len(sockets) == 1
        ours = sockets_of("self") - before
        assert list(reachable(sockets | ours)) == []
        assert handed_on == []
        assert await runner.submit_nowait("program", look_from_a_program) == []


@on_linux
def test_who_could_be_reached_is_found() -> None:
    """What the test above looks for it would see."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("\0creche test")
            unix.listen()
            names = [one.split()[0] for one in reachable(sockets_of("self"))]
        assert tcp.fileno() != -1
    assert {"tcp", "udp", "unix"} <= set(names)


SECRET = "hunter2"  # noqa: S105 - a word to look for


async def give_secret(value: str) -> str:
    await give(value)
    return value


@pytest.mark.parametrize("values", [False, True])
async def test_what_is_in_an_event_file(tmp_path: Path, *, values: bool) -> None:
    """Neither arguments nor results, unless they are asked for."""
    file = tmp_path / "events.jsonl"
    with EventLog(file, values=values) as log:
        async with ConcurrentTaskRunner(instruments=[log]).start() as runner:
            await runner.submit_nowait("call", give_secret, SECRET)
    assert (SECRET in file.read_text()) is values


async def test_what_an_error_says_is_in_the_file(tmp_path: Path) -> None:
    """Its message and its traceback, as they are: they are what a file is looked at for."""
    file = tmp_path / "events.jsonl"
    with EventLog(file) as log:
        async with ConcurrentTaskRunner(instruments=[log]).start() as runner:
            await runner.wait(runner.submit_nowait("call", fail, ValueError(SECRET)).key)
    lines = file.read_text().splitlines()
    (error,) = [line["error"] for line in map(json.loads, lines) if "error" in line]
    assert error["message"] == SECRET
    assert error["traceback"].endswith(f"ValueError: {SECRET}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such permissions there")
def test_who_may_read_an_event_file(tmp_path: Path) -> None:
    """Whoever has written it; one that was there keeps what was decided about it."""
    before = os.umask(0o022)
    try:
        new, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
        old.touch()
        old.chmod(0o640)
        for file in (new, old):
            EventLog(file).close()
        assert [stat.S_IMODE(file.stat().st_mode) for file in (new, old)] == [0o600, 0o640]
    finally:
        os.umask(before)


@pytest.mark.parametrize("command", ["report", "trace"])
def test_who_may_read_what_is_made_of_it(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page or a trace is made to be shown: it is like any file of its maker's."""
    events = str(of_everything().write(tmp_path / "events.jsonl"))
    before = os.umask(0o027)
    try:
        main([command, events, "--output", str(tmp_path / "out")])
    finally:
        os.umask(before)
    assert capsys.readouterr().err
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640
