"""Workers that are killed at random while calls go on: nothing is lost, and nothing is done twice.

Each call writes a line to a file, which is what tells how often it was carried out.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Self

import anyio
import pytest

from calls import error_of
from calls_anywhere import note
from creche import CallCrashed, ProcessTaskRunner, State
from processes import children

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]

CALLS = 5000
EVERY = 0.1
"""Seconds from kill to kill."""


class Killer:
    """A thread that kills one of this process's children every so often.

    If there was progress since the last time: a machine that is so busy that no worker gets ready
    between two kills would never come to an end.
    """

    def __init__(self, log: Path) -> None:
        self.kills = 0
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _main(self) -> None:
        draw = random.Random(4)
        size = 0
        while not self._stop.wait(EVERY):
            before, size = size, self._log.stat().st_size
            if size == before:
                continue
            found = sorted(children())
            if found:
                with suppress(ProcessLookupError):
                    os.kill(draw.choice(found), signal.SIGKILL)
                    self.kills += 1


@pytest.mark.parametrize("batch", ["auto", 1])
async def test_nothing_lost_and_nothing_twice(tmp_path: Path, batch: int) -> None:
    """Each call ends once: it was carried out once, or had begun at most once and is CRASHED."""
    log = tmp_path / "log"
    log.touch()
    keys = [f"call {number}" for number in range(CALLS)]
    before = children()
    with anyio.fail_after(400):  # for what hangs; a busy machine may need minutes
        async with ProcessTaskRunner(2, batch=batch).start() as runner:
            with Killer(log) as killer:
                for key in keys:
                    runner.submit_nowait(key, note, str(log), key)
                outcomes = await runner.wait_all(keys)
            assert len(outcomes) == CALLS
            slots = [runner.slots[key] for key in keys]
    done = Counter(log.read_text(encoding="utf-8").split("\n")[:-1])
    for slot in slots:
        if slot.state is State.COMPLETED:
            assert slot.result() == slot.key
            assert done[str(slot.key)] == 1
        else:
            assert slot.state is State.CRASHED
            error = error_of(slot.outcome)
            assert isinstance(error, CallCrashed)
            assert (error.kind, error.exit_code) == ("worker-died", -signal.SIGKILL)
            assert done[str(slot.key)] <= 1
    crashed = sum(slot.state is State.CRASHED for slot in slots)
    assert crashed <= killer.kills
    assert children() == before
