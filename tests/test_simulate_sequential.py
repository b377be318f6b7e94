"""Sequential runs, replayed as they were: who waited for whom, and what ran beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from creche import Retry, SequentialTaskRunner
from creche.afterwards._simulate import Simulation, simulate
from creche.instruments import EventLog, read_history

POLICY = Retry(3, delay=0.7, factor=1, jitter="none")


class Flaky:
    """A call that fails so often, and takes a second each time."""

    def __init__(self, fails: int) -> None:
        self.fails = fails

    async def __call__(self) -> None:
        await anyio.sleep(1)
        self.fails -= 1
        if self.fails >= 0:
            raise LookupError


async def between(runner: Any) -> None:
    """Time of the body's own between the submits, and at the end."""
    for n in range(4):
        await anyio.sleep(1)
        await runner.submit(n, anyio.sleep, 2)
    await anyio.sleep(3)


async def retries(runner: Any) -> None:
    """Attempts, and the delays between them, are waited for as well."""
    for n in range(3):
        await anyio.sleep(0.5)
        await runner.submit(n, Flaky(n), retry=POLICY)


async def nested(runner: Any) -> None:
    """Calls that submit others, which run inside of theirs."""

    async def outer(depth: int) -> None:
        await anyio.sleep(1)
        for n in range(2 if depth else 0):
            await runner.submit(None, outer, depth - 1)
            await anyio.sleep(0.3 + n)

    for _ in range(3):
        await runner.submit(None, outer, 2)
        await anyio.sleep(0.2)


async def checked_in(runner: Any) -> None:
    """Those take their turn; while one waits for its next attempt, the next one has it."""
    for n in range(4):
        runner.submit_nowait(n, Flaky(n), retry=POLICY)
        await anyio.sleep(0.4)


async def tasks(runner: Any) -> None:
    """Submits of different tasks overlap."""

    async def walk(seconds: float) -> None:
        for n in range(5):
            await anyio.sleep(seconds)
            await runner.submit(None, anyio.sleep, 2 * seconds + n)

    async with anyio.create_task_group() as group:
        for seconds in (0.3, 1, 2):
            group.start_soon(walk, seconds)


async def both(runner: Any) -> None:
    """Submits of a task, beside those that take their turn meanwhile."""

    async def walk() -> None:
        for n in range(5):
            await anyio.sleep(0.3)
            await runner.submit(None, anyio.sleep, n + 1)

    async with anyio.create_task_group() as group:
        group.start_soon(walk)
        for n in range(4):
            runner.submit_nowait(n, anyio.sleep, 3)
            await anyio.sleep(0.1)


async def after(runner: Any) -> None:
    """Nothing but a call that it comes after keeps one waiting; it has no need of the place then."""
    await runner.submit(0, anyio.sleep, 1)
    first = runner.submit_nowait(1, anyio.sleep, 2)
    runner.submit_nowait(2, anyio.sleep, 3, after=[first])
    await anyio.sleep(0.5)
    await runner.submit(3, anyio.sleep, 1)


def replayed(path: Path, body: Any, workers: int) -> Simulation:
    """The same with another number of workers."""

    async def main() -> None:
        with EventLog(path) as log:
            async with SequentialTaskRunner(instruments=[log]).start() as runner:
                await body(runner)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return simulate(read_history(path), [workers], {})


@pytest.mark.parametrize("body", [between, retries, nested, checked_in, tasks, both, after])
def test_the_run_as_it_was(body: Any, tmp_path: Path) -> None:
    """Each call begins when it did; asked for one worker, it is the same."""
    found = replayed(tmp_path / "log", body, 1)
    assert found.own.seconds == pytest.approx(found.measured, rel=1e-5)
    assert found.rows[0].seconds == found.own.seconds
    assert not any("compare the rows" in note for note in found.notes)


def test_with_more_workers(tmp_path: Path) -> None:
    """As if no submit had waited for its call."""
    found = replayed(tmp_path / "log", between, 2)
    assert (found.measured, found.own.seconds) == (15, 15)
    assert found.rows[0].seconds == 9  # the last of four begins at 4, and the body goes on for 3
    assert any("with more workers is taken not to wait" in note for note in found.notes)
