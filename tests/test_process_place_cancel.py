"""Cancelling calls in worker processes: by their time, by their scope, with grace and without."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from creche import ProcessTaskRunner, check_cancelled
from creche._errors import CallCrashed
from creche.places import _crew, _spawning
from creche.places._ticket import Ticket
from far_calls import (
    begin_and_nap,
    end_well_when_asked,
    fail_when_asked,
    give_much,
    nap,
    numbered,
    refuse,
    sleep_async,
    spin,
    stop_when_asked,
    write_and_wait,
    write_pid,
)
from pools import until
from processes import Opened, begun, is_alive, open_place

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]


async def cancelled(opened: Opened, path: Path, fn: Any, *args: Any, **options: Any) -> tuple[Any, int]:
    """Cancel a call once it has begun; gives what came of it all the same, and where it ran."""
    came: list[Any] = []
    async with anyio.create_task_group() as group:

        async def run() -> None:
            came.append(await opened.outcome(fn, str(path), *args, **options))

        group.start_soon(run)
        pid = await begun(path)
        group.cancel_scope.cancel()
    return (came[0] if came else None), pid


async def test_a_call_that_spins_is_killed(tmp_path: Path) -> None:
    """The process is gone when the cancelled call is, and another one takes its place."""
    async with open_place(1) as opened:
        came, pid = await cancelled(opened, tmp_path / "pid", spin)
        assert came is None
        assert not is_alive(pid)
        assert await opened.result(os.getpid) != pid


async def test_it_takes_no_time_and_the_loop_goes_on(tmp_path: Path) -> None:
    """Milliseconds, of which the loop stands still for none."""
    path = tmp_path / "pid"
    async with open_place(1) as opened, anyio.create_task_group() as group:
        group.start_soon(opened.outcome, spin, str(path))
        await begun(path)
        gaps: list[float] = []

        async def watch() -> None:
            last = time.perf_counter()
            while True:
                await anyio.sleep(0.001)
                gaps.append(time.perf_counter() - last)
                last = time.perf_counter()

        async with anyio.create_task_group() as inner:
            inner.start_soon(watch)
            began = time.perf_counter()
            with anyio.move_on_after(0.1):
                await opened.outcome(nap, 5)
            assert time.perf_counter() - began < 4
            inner.cancel_scope.cancel()
        group.cancel_scope.cancel()
        assert max(gaps) < 2


async def test_a_call_that_has_not_begun_is_taken_back(tmp_path: Path) -> None:
    """Its worker goes on with what it does, and with what else it has at hand."""
    path = tmp_path / "pid"
    async with open_place(1, batch=4) as opened, anyio.create_task_group() as group:
        found: list[Any] = []

        async def first() -> None:
            found.append(await opened.result(write_and_wait, str(path)))

        async def other(number: int) -> None:
            found.append(await opened.result(numbered, number))

        group.start_soon(first)
        pid = await begun(path)
        async with anyio.create_task_group() as inner:
            inner.start_soon(other, 1)
            await anyio.sleep(0.02)
            group.start_soon(other, 2)
            await until(lambda: len(opened.crew.workers[0].flight) == 3)
            inner.cancel_scope.cancel()
        assert len(opened.crew.workers[0].flight) == 2
        write_pid(f"{path}.go")
        await until(lambda: len(found) == 2)
        assert found == [pid, (2, pid)]


async def test_a_call_that_waits_for_a_worker_is_passed_over(tmp_path: Path) -> None:
    """It was nowhere yet, and is carried out nowhere."""
    path, other = tmp_path / "pid", tmp_path / "other"
    async with open_place(1) as opened, anyio.create_task_group() as group:
        group.start_soon(opened.outcome, write_and_wait, str(path))
        pid = await begun(path)
        with anyio.move_on_after(0.05) as scope:
            await opened.outcome(write_pid, str(other))
        assert scope.cancelled_caught
        assert is_alive(pid)
        write_pid(f"{path}.go")
        assert await opened.result(numbered, 3) == (3, pid)
    assert not other.exists()


async def test_what_is_behind_a_killed_call_goes_elsewhere(tmp_path: Path) -> None:
    """Each of them once."""
    path = tmp_path / "pid"
    async with open_place(1, batch=4) as opened:
        found: list[Any] = []

        async def other(number: int) -> None:
            found.append(await opened.result(numbered, number))

        async with anyio.create_task_group() as group, anyio.create_task_group() as inner:
            inner.start_soon(opened.outcome, spin, str(path))
            pid = await begun(path)
            group.start_soon(other, 1)
            group.start_soon(other, 2)
            await until(lambda: len(opened.crew.workers[0].flight) == 3)
            inner.cancel_scope.cancel()
        assert sorted(number for number, _ in found) == [1, 2]
        assert pid not in {where for _, where in found}


async def test_an_answer_that_is_there_beats_a_late_cancel() -> None:
    """The worker is not killed for it."""
    async with open_place(1) as opened:
        pid = await opened.result(os.getpid)
        came: list[Any] = []

        async def run() -> None:
            came.append(await opened.outcome(nap, 0.05))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await until(lambda: opened.crew.workers[0].flight)
            time.sleep(0.3)  # noqa: ASYNC251 - the loop does not look
            group.cancel_scope.cancel()
        assert came[0].value == pid
        assert await opened.result(os.getpid) == pid


async def test_many_are_cancelled_at_once() -> None:
    """As when a run closes: workers with a call that has begun end, and no new ones begin."""
    async with open_place(2, batch=4, prewarm=2) as opened:
        before = set(opened.crew.workers)
        with anyio.move_on_after(0.3):
            await opened.all_of(nap, [30] * 8)
        assert set(opened.crew.workers) <= before
        assert await opened.result(os.getpid)


async def test_grace_for_a_call_that_asks(tmp_path: Path) -> None:
    """It stops by itself, and its worker is kept."""
    async with open_place(1, kill_grace=20) as opened:
        came, pid = await cancelled(opened, tmp_path / "pid", stop_when_asked)
        assert came is None
        assert await opened.result(os.getpid) == pid


async def test_who_comes_after_a_call_that_was_asked_to_stop(tmp_path: Path) -> None:
    """In the same worker; it was not asked."""
    async with open_place(1, kill_grace=20) as opened:
        _, pid = await cancelled(opened, tmp_path / "pid", stop_when_asked)
        assert await opened.result(check_cancelled) is None
        assert await opened.result(numbered, 3) == (3, pid)


async def test_a_grace_that_is_over_does_no_harm(tmp_path: Path) -> None:
    """The worker is carrying out somebody else's call by then."""
    async with open_place(1, kill_grace=0.2) as opened:
        came, pid = await cancelled(opened, tmp_path / "pid", stop_when_asked)
        assert came is None
        assert await opened.result(nap, 0.4) == pid


async def test_grace_for_an_async_call(tmp_path: Path) -> None:
    """It is cancelled as its loop cancels."""
    async with open_place(1, kill_grace=20) as opened:
        came, pid = await cancelled(opened, tmp_path / "pid", sleep_async, is_async=True)
        assert came is None
        assert (tmp_path / "pid.end").exists()
        assert await opened.result(os.getpid) == pid


async def test_what_comes_within_the_grace_counts(tmp_path: Path) -> None:
    """A value, or what it raises by itself."""
    async with open_place(1, kill_grace=20) as opened:
        came, pid = await cancelled(opened, tmp_path / "one", end_well_when_asked)
        assert came.value == "well"
        came, _ = await cancelled(opened, tmp_path / "two", fail_when_asked)
        assert isinstance(came.error, ValueError)
        assert await opened.result(os.getpid) == pid


async def test_grace_has_an_end(tmp_path: Path) -> None:
    """Then it is killed."""
    async with open_place(1, kill_grace=0.1) as opened:
        came, pid = await cancelled(opened, tmp_path / "pid", refuse)
        assert came is None
        assert not is_alive(pid)


async def test_an_exit_within_the_grace_is_a_cancel(tmp_path: Path) -> None:
    """There is no answer, and it was to stop."""
    async with open_place(1, kill_grace=20) as opened:
        came, pid = await cancelled(opened, tmp_path / "pid", stop_when_asked, 5)
        assert came is None
        assert not is_alive(pid)


async def test_a_crash_of_its_own_within_the_grace(tmp_path: Path) -> None:
    """SystemExit is one, also then."""
    async with open_place(1, kill_grace=20) as opened, anyio.create_task_group() as group:
        crashes: list[Any] = []

        async def run() -> None:
            try:
                await opened.outcome(stop_when_asked, str(tmp_path / "pid"), "exit")
            except CallCrashed as crash:
                crashes.append(crash.kind)

        group.start_soon(run)
        await begun(tmp_path / "pid")
        group.cancel_scope.cancel()
    assert crashes == ["exit"]


async def test_cancelled_while_its_worker_is_buried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is there to be asked to stop, and nobody is waited for."""
    async with open_place(1, kill_grace=20) as opened, anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def wait_for_end(process: Any) -> int:
            code = await _spawning.wait_for_end(process)
            scope.cancel()
            return code

        async def run() -> None:
            with scope:
                await opened.outcome(spin, str(tmp_path / "pid"))

        monkeypatch.setattr(_crew, "wait_for_end", wait_for_end)
        with anyio.fail_after(10):
            group.start_soon(run)
            os.kill(await begun(tmp_path / "pid"), signal.SIGKILL)
    assert scope.cancelled_caught


async def test_grace_that_begins_before_its_worker_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has an end all the same."""
    async with open_place(1, kill_grace=20) as opened:
        worker = opened.crew.start()
        monkeypatch.setattr(worker.process, "terminate", lambda: None)
        opened.crew.stop(worker, Ticket("key", 1, [b""], 0), 0.01)
        with anyio.fail_after(10):
            await worker.gone.wait()
        assert worker.exit_code == -signal.SIGKILL


@pytest.mark.parametrize("grace", [0, 1])
async def test_one_whose_answer_nobody_has_read(tmp_path: Path, grace: float) -> None:
    """Behind many others, since the loop was busy: it has ended, and the call after it goes on."""
    path = tmp_path / "begun"
    async with ProcessTaskRunner(1, batch=64, kill_grace=grace).start() as runner:
        await runner.submit_nowait("warm", give_much, 0)
        runner.submit_nowait("first", nap, 0.3)
        answers = [runner.submit_nowait(number, give_much, number) for number in range(14)]
        last = runner.submit_nowait("last", begin_and_nap, str(path))
        await anyio.sleep(0.1)  # all are on their way to the worker
        until = time.monotonic() + 30
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.01)  # noqa: ASYNC251 - the loop is busy
        runner.cancel(12)
        assert await last == "napped"
        assert [len(await slot) for slot in answers] == [6001] * 14
