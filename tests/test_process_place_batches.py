"""Calls that are sent ahead: when, how many, and that none is hidden behind a slow one."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextvars import copy_context
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from creche._place import Work
from creche.places._depth import DEEPEST, LONG, Depth
from creche.places._ticket import Ticket
from far_calls import nap, numbered, write_and_wait, write_pid
from pools import until
from processes import begun, open_place

pytestmark = pytest.mark.slow

loops = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


def fed(depth: Depth, seconds: float, times: int, *, waits: bool = True) -> int:
    for _ in range(times):
        depth.learn([seconds], waits=waits)
    return depth.current


def test_short_calls_go_deep() -> None:
    """Step by step, while work waits."""
    depth = Depth("auto")
    assert depth.current == 1
    assert fed(depth, 0.00001, 5, waits=False) == 1
    assert fed(depth, 0.00001, 1) == 2
    assert fed(depth, 0.00001, 2) == 4
    assert fed(depth, 0.00001, 200) == DEEPEST


def test_one_call_in_the_worker_and_one_at_hand() -> None:
    """Of calls that take milliseconds."""
    assert fed(Depth("auto"), 0.005, 300) == 2


def test_long_calls_are_not_sent_ahead() -> None:
    """One is enough to say so; short ones have to come in numbers then."""
    assert fed(Depth("auto"), 2 * LONG, 300) == 1
    depth = Depth("auto")
    fed(depth, 0.00001, 200)
    assert depth.learn([LONG], waits=True)
    assert depth.current == 1
    assert fed(depth, 0.00001, 3) == 2
    assert fed(depth, 0.00001, 300) == DEEPEST


def test_a_number_is_a_number() -> None:
    """Whatever calls take."""
    depth = Depth(7)
    assert not depth.learn([100], waits=True)
    assert depth.current == 7


class TestOpened:
    """With workers, on every loop."""

    pytestmark = loops

    async def test_capacity_follows(self) -> None:
        """The run is told how many calls to hand over."""
        async with open_place(2, prewarm=2) as opened:
            assert opened.host.capacities == [2]
            assert await opened.all_of(abs, range(600)) == list(range(600))
            assert opened.host.capacities[1:3] == [4, 8]
            assert max(opened.host.capacities) == 2 * DEEPEST  # type: ignore  # none of them is None by now
            await opened.all_of(nap, [0.06] * 2)
            assert opened.host.capacities[-1] == 2

    async def test_one_by_one(self) -> None:
        """No call is sent to a busy worker."""
        async with open_place(2, batch=1) as opened:
            assert await opened.all_of(abs, range(300)) == list(range(300))
            assert opened.host.capacities == [2]

    async def test_a_finished_result_is_not_held(self, tmp_path: Path) -> None:
        """It comes while the next call of the same worker runs."""
        path = str(tmp_path / "pid")
        async with open_place(1, batch=8) as opened, anyio.create_task_group() as group:
            await opened.result(os.getpid)
            found: list[Any] = []

            async def short() -> None:
                found.append(await opened.result(os.getpid))

            group.start_soon(short)
            await anyio.lowlevel.checkpoint()
            group.start_soon(opened.outcome, write_and_wait, path)
            pid = await begun(tmp_path / "pid")
            await until(lambda: found)
            assert found == [pid]
            write_pid(f"{path}.go")

    async def test_no_call_waits_behind_a_slow_one(self, tmp_path: Path) -> None:
        """An idle worker takes over what the other has not begun."""
        path = str(tmp_path / "pid")
        async with open_place(2, batch=16, prewarm=2) as opened, anyio.create_task_group() as group:
            group.start_soon(opened.outcome, write_and_wait, path)
            slow = await begun(tmp_path / "pid")
            began = time.monotonic()
            found = await opened.all_of(numbered, range(20))
            assert [number for number, _ in found] == list(range(20))
            assert slow not in {pid for _, pid in found}
            assert time.monotonic() - began < 5
            write_pid(f"{path}.go")

    async def test_nor_when_calls_have_turned_out_to_be_long(self, tmp_path: Path) -> None:
        """Those that were sent ahead before are taken back, all of them."""
        paths = [str(tmp_path / name) for name in "ab"]
        async with open_place(2, prewarm=2) as opened, anyio.create_task_group() as group:
            opened.pool._depth.current = 16
            pids = []
            for path in paths:
                group.start_soon(opened.outcome, write_and_wait, path)
                pids.append(await begun(Path(path)))
            found: list[Any] = []

            async def one(number: int) -> None:
                found.append(await opened.result(numbered, number))

            for number in range(8):
                group.start_soon(one, number)
            await until(lambda: [len(worker.flight) for worker in opened.crew.workers] == [5, 5])
            await anyio.sleep(LONG)
            write_pid(f"{paths[1]}.go")
            await until(lambda: len(found) == 8)
            assert {pid for _, pid in found} == {pids[1]}
            write_pid(f"{paths[0]}.go")

    async def test_a_large_call_waits_for_an_idle_worker(self, tmp_path: Path) -> None:
        """The socket would not take it, and what is behind it could not be taken back."""
        path = str(tmp_path / "pid")
        async with open_place(1, batch=16) as opened, anyio.create_task_group() as group:
            group.start_soon(opened.outcome, write_and_wait, path)
            await begun(tmp_path / "pid")
            lengths: list[int] = []

            async def measure(size: int) -> None:
                lengths.append(await opened.result(len, bytes(size)))

            group.start_soon(measure, 10)
            await until(lambda: len(opened.crew.workers[0].flight) == 2)
            group.start_soon(measure, 200_000)
            group.start_soon(measure, 300_000)
            await anyio.sleep(0.05)
            assert len(opened.crew.workers[0].flight) == 2
            write_pid(f"{path}.go")
            await until(lambda: len(lengths) == 3)
        assert sorted(lengths) == [10, 200_000, 300_000]

    async def test_calls_behind_one_that_does_not_get_through(self) -> None:
        """A worker that does not read is given its calls when it does."""
        async with open_place(1, batch=8) as opened, anyio.create_task_group() as group:
            pid = await opened.result(os.getpid)
            os.kill(pid, signal.SIGSTOP)
            lengths: list[int] = []

            async def measure(size: int) -> None:
                lengths.append(await opened.result(len, bytes(size)))

            group.start_soon(measure, 3_000_000)
            await until(lambda: opened.crew.workers[0].out)
            group.start_soon(measure, 10)
            await until(lambda: len(opened.crew.workers[0].flight) == 2)
            os.kill(pid, signal.SIGCONT)
            await until(lambda: len(lengths) == 2)
        assert sorted(lengths) == [10, 3_000_000]  # told in one turn of the loop

    async def test_a_call_in_the_queue_that_nobody_wants(self, tmp_path: Path) -> None:
        """It is passed over, between others."""
        path = str(tmp_path / "pid")
        async with open_place(1, batch=3) as opened, anyio.create_task_group() as group:
            found: list[int] = []

            async def one(number: int) -> None:
                found.append((await opened.result(numbered, number))[0])

            group.start_soon(opened.outcome, write_and_wait, path)
            await begun(tmp_path / "pid")
            for number in (1, 2):
                group.start_soon(one, number)
            await until(lambda: len(opened.crew.workers[0].flight) == 3)
            async with anyio.create_task_group() as unwanted:
                for number, member in [(3, group), (4, unwanted), (5, group)]:
                    member.start_soon(one, number)
                    await until(lambda: len(opened.pool._queue) == number - 2)  # noqa: B023 - at once
                unwanted.cancel_scope.cancel()
            write_pid(f"{path}.go")
            await until(lambda: len(found) == 4)
        assert sorted(found) == [1, 2, 3, 5]

    async def test_many_calls_of_many_sizes(self) -> None:
        """Each comes back as it went."""
        sizes = [10 ** (number % 7) for number in range(60)]
        async with open_place(2, batch=8) as opened:
            found = await opened.all_of(bytes, sizes)
            assert list(map(len, found)) == sizes


@pytest.mark.anyio
@pytest.mark.usefixtures("real_time")
async def test_one_whose_turn_is_later_comes_meanwhile() -> None:
    """While the place waits for those between, which never come: both are carried out."""
    found: list[int] = []
    async with open_place(1, batch=2, prewarm=1) as opened:

        async def hand_over(turn: int, passes: int) -> None:
            for _ in range(passes):
                await anyio.lowlevel.checkpoint()
            work = Work(turn, abs, (-turn,), is_async=False, context=copy_context(), turn=turn)
            found.append((await opened.pool.run(work)).unwrap())

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(hand_over, 5, 0)
                group.start_soon(hand_over, 7, 2)
    assert sorted(found) == [5, 7]


@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_the_task_is_cancelled_in_the_moment_in_which_the_answer_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call has ended, so its outcome is what it was."""
    settle = Ticket.settle

    def settle_and_cancel(ticket: Ticket, answer: Any) -> None:
        settle(ticket, answer)
        task.cancel()

    monkeypatch.setattr(Ticket, "settle", settle_and_cancel)
    async with open_place(1) as opened:
        task = asyncio.create_task(opened.result(abs, -3))
        with anyio.fail_after(20):
            assert await task == 3
        assert task.cancelling() == 1
