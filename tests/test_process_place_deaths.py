"""Worker processes that die: before a call, in it, while its result travels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from creche._errors import CallCrashed
from creche.places import _crew
from far_calls import (
    answer_and_die,
    answer_for_nobody,
    become_another,
    close_everything,
    die_of,
    fork_and_exit,
    maybe,
    nap,
    scribble,
    segfault,
    write_and_nap,
    write_and_return_much,
)
from pools import until
from processes import begun, is_alive, open_place

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]


@pytest.mark.parametrize(
    ("fn", "arg", "code", "said"),
    [
        (os._exit, 3, 3, "exited with code 3"),
        (os._exit, 0, 0, "exited with code 0"),
        (die_of, signal.SIGKILL, -9, "was killed by SIGKILL"),
        (die_of, signal.SIGSEGV, -11, "was killed by SIGSEGV"),
        (segfault, 0, -11, "was killed by SIGSEGV"),
        (die_of, signal.SIGTERM, -15, "was killed by SIGTERM"),
        (die_of, signal.SIGRTMIN + 3, -(signal.SIGRTMIN + 3), "was killed by"),
    ],
)
async def test_a_death_costs_the_call_that_had_begun(fn: Any, arg: int, code: int, said: str) -> None:
    """The others, in another worker or behind it, never notice."""
    async with open_place(2) as opened:
        opened.host.set_capacity(8)
        found = await opened.all_of(maybe, [(nap, 0.1), (fn, arg), (nap, 0), (nap, 0), (nap, 0)])
        crash = found.pop(1)
        assert isinstance(crash, CallCrashed)
        assert (crash.kind, crash.exit_code) == ("worker-died", code)
        assert said in crash.detail
        assert all(isinstance(pid, int) for pid in found)


async def test_killed_before_the_call(tmp_path: Path) -> None:
    """An idle worker that is gone is nobody's loss, nor one that has a call at hand only."""
    async with open_place(1, batch=4) as opened:
        pid = await opened.result(os.getpid)
        os.kill(pid, signal.SIGKILL)
        assert await opened.result(os.getpid) != pid
        pid = await opened.result(os.getpid)
        os.kill(pid, signal.SIGSTOP)
        # Frozen, it begins none of these.
        async with anyio.create_task_group() as group:
            found: list[int] = []

            async def one() -> None:
                found.append(await opened.result(os.getpid))

            for _ in range(3):
                group.start_soon(one)
            await until(lambda: any(len(worker.flight) == 3 for worker in opened.crew.workers))
            os.kill(pid, signal.SIGKILL)
        assert len(set(found)) == 1
        assert pid not in found


async def test_killed_in_the_midst_of_a_call(tmp_path: Path) -> None:
    """By somebody outside; what was sent ahead to it is done by the next one."""
    path = tmp_path / "pid"
    async with open_place(1, batch=4) as opened:
        found: list[Any] = []

        async def first() -> None:
            with pytest.raises(CallCrashed, match="SIGKILL"):
                await opened.outcome(write_and_nap, str(path))

        async def other() -> None:
            found.append(await opened.result(os.getpid))

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            pid = await begun(path)
            group.start_soon(other)
            group.start_soon(other)
            await until(lambda: sum(len(worker.flight) for worker in opened.crew.workers) == 3)
            os.kill(pid, signal.SIGKILL)
        assert len(found) == 2
        assert pid not in found


async def test_killed_while_a_large_result_travels(tmp_path: Path) -> None:
    """Half a result is none."""
    path = tmp_path / "pid"
    async with open_place(1) as opened:
        await opened.result(os.getpid)
        (worker,) = opened.crew.workers

        async def kill() -> None:
            pid = await begun(path)
            await until(lambda: worker.inbox.is_filling)
            os.kill(pid, signal.SIGKILL)

        async with anyio.create_task_group() as group:
            group.start_soon(kill)
            with pytest.raises(CallCrashed, match="SIGKILL"):
                await opened.outcome(write_and_return_much, str(path))
        assert await opened.result(os.getpid)


async def test_killed_while_a_large_argument_travels() -> None:
    """It had begun, as far as anybody knows."""
    async with open_place(1) as opened:
        pid = await opened.result(os.getpid)

        async def kill() -> None:
            await anyio.sleep(0.02)
            os.kill(pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)

        outcomes: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(kill)
            try:
                outcomes.append(await opened.outcome(len, bytes(100_000_000)))
            except CallCrashed as crash:
                outcomes.append(crash)
        assert len(outcomes) == 1
        assert await opened.result(os.getpid) != pid


@pytest.mark.parametrize("fn", [close_everything, become_another])
async def test_a_worker_that_cannot_answer_any_more(fn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is of no use to anybody, and killed."""
    monkeypatch.setattr(_crew, "_DYING", 0.2)
    async with open_place(1) as opened:
        with pytest.raises(CallCrashed, match="SIGKILL"), anyio.fail_after(10):
            await opened.outcome(fn)
        assert await opened.result(os.getpid)


async def test_a_worker_that_talks_nonsense() -> None:
    """The same."""
    async with open_place(1) as opened:
        with pytest.raises(CallCrashed), anyio.fail_after(10):
            await opened.outcome(scribble)
        assert await opened.result(os.getpid)


async def test_what_was_said_before_a_death_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is the death that is noticed first."""

    async def hear_nothing(crew: _crew.Crew, worker: Any) -> None:
        del crew, worker
        await anyio.sleep_forever()

    monkeypatch.setattr(_crew.Crew, "_read", hear_nothing)
    async with open_place(1) as opened:
        assert await opened.result(answer_and_die) == "said"


async def test_an_answer_that_nobody_waits_for() -> None:
    """It is not listened to."""
    async with open_place(1) as opened:
        assert await opened.result(answer_for_nobody) == "answered"


async def test_a_program_that_a_call_has_started_does_not_hide_a_death() -> None:
    """It has the ways to the parent open as well, and lives on."""
    async with open_place(1) as opened:
        with pytest.raises(CallCrashed, match="exited with code 5"), anyio.fail_after(10):
            await opened.outcome(fork_and_exit)
        assert await opened.result(os.getpid)


ORPHANS = """
import os, sys, anyio
from far_calls import nap, spin
from processes import open_place
from pathlib import Path

async def main():
    async with open_place(3, prewarm=3) as opened:
        async with anyio.create_task_group() as group:
            group.start_soon(opened.outcome, spin)
            group.start_soon(opened.outcome, nap, 60)
            await anyio.sleep(0.3)
            if sys.argv[2] == "fork" and not os.fork():
                import time
                time.sleep(20)
                os._exit(0)
            print(*[worker.process.pid for worker in opened.crew.workers], flush=True)
            await anyio.sleep(60)
anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("how", ["kill", "fork"])
def test_no_worker_outlives_its_parent(backend: str, how: str) -> None:
    """Killed by SIGKILL, in the midst of calls; also when a fork of it keeps its descriptors."""
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, backend, how],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as parent:
        assert parent.stdout is not None
        pids = list(map(int, parent.stdout.readline().split()))
        assert len(pids) == 3
        parent.kill()
        end = time.monotonic() + 5
        while any(map(is_alive, pids)):
            assert time.monotonic() < end
            time.sleep(0.02)
        parent.stdout.close()
