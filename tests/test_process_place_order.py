"""The order in which calls begin in worker processes, also of those handed over together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import anyio
import pytest

from creche import ConcurrentTaskRunner, ProcessTaskRunner
from creche.places import ProcessPlace
from far_calls import spin
from processes import begun as pid_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]


def write(path: str, number: int) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, b"%d\n" % number)
    os.close(log)


@pytest.mark.parametrize("batch", ["auto", 7, 1])
@pytest.mark.parametrize("most", [1, 5])
async def test_calls_begin_in_turn(tmp_path: Path, batch: Literal["auto"] | int, most: int) -> None:
    """By priority, and then as they were submitted; a loop may wake their tasks in any order."""
    path = tmp_path / "log"
    async with ProcessTaskRunner(1, batch=batch).start() as runner:
        for number in range(300):
            runner.submit_nowait(number, write, str(path), number, priority=number % most)
    # Those that there is room for start at once, before there are others to compare them with.
    begun = list(map(int, path.read_text(encoding="utf-8").split()))
    room = 1 if batch == "auto" else batch
    assert sorted(begun[:room]) == list(range(room))
    assert begun[room:] == sorted(range(room, 300), key=lambda number: -(number % most))


async def test_a_place_beside_others(tmp_path: Path) -> None:
    """The same, where calls of the loop are among them."""
    path = tmp_path / "log"
    async with ConcurrentTaskRunner(max_workers=20).start() as runner:
        for number in range(300):
            runner.submit_nowait(number, write, str(path), number, place=ProcessPlace(1))
            runner.submit_nowait(f"beside {number}", anyio.sleep, 0)
    assert list(map(int, path.read_text(encoding="utf-8").split())) == list(range(300))


async def test_those_behind_a_call_that_is_killed_keep_their_turns(tmp_path: Path) -> None:
    """They were with its worker, and are sent to another."""
    path, log = tmp_path / "pid", tmp_path / "log"
    async with ProcessTaskRunner(1, batch=9).start() as runner:
        runner.submit_nowait("spins", spin, str(path))
        for number in range(6):
            runner.submit_nowait(number, write, str(log), number)
        await pid_of(path)
        runner.cancel("spins")
    assert list(map(int, log.read_text(encoding="utf-8").split())) == list(range(6))


@pytest.mark.parametrize("batch", [1, 6])
async def test_those_with_a_task_between_them(tmp_path: Path, batch: int) -> None:
    """All begin in turn."""
    path = tmp_path / "log"
    async with ProcessTaskRunner(1, batch=batch).start() as runner:
        for number in range(200):
            timeout = 60 if number % 3 == 0 else None
            runner.submit_nowait(number, write, str(path), number, timeout=timeout)
    assert list(map(int, path.read_text(encoding="utf-8").split())) == list(range(200))
