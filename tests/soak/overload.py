"""Too much of everything, at full size: what it costs, in seconds and in bytes.

What it is for: ``nox -s soak -- --overload``. Each case is run in a process of its own, on each loop,
and checks what comes out; what is printed is how long it took, and how much memory the process has had.

What it does not know: what is too much; `tests/test_overload.py` looks at the same at small sizes.

Invariant: a case checks its outcome itself, and raises if that is not right.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import trio

from creche import CallCancelled, ConcurrentTaskRunner, KeyTaken, ProcessTaskRunner
from creche.instruments import EventLog

MB = 1_000_000

Case = Callable[[int], Awaitable[None]]


async def nothing(value: int) -> int:
    """Return it at once."""
    return value


async def pending_run(number: int) -> None:
    """All of them wait for one place, and are run then."""
    gate = anyio.Event()
    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("gate", gate.wait)
        for key in range(number):
            runner.submit_nowait(key, nothing, key)
        assert runner.dump().count("\n") < 200
        gate.set()
    assert runner.statistics().completed == number + 1


async def pending_cancelled(number: int) -> None:
    """All of them wait for one place, and are cancelled together."""
    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("gate", anyio.sleep_forever)
        for key in range(number):
            runner.submit_nowait(key, nothing, key)
        runner.cancel_all()
    assert runner.statistics().cancelled == number + 1


async def runners_in_tasks(number: int) -> None:
    """Each in a task of its own, all open at once."""
    opened, go_on = [0], anyio.Event()

    async def one() -> None:
        async with ConcurrentTaskRunner().start() as runner:
            slot = runner.submit_nowait("key", nothing, 1)
            opened[0] += 1
            if opened[0] == number:
                go_on.set()
            await go_on.wait()
            assert await slot == 1

    async with anyio.create_task_group() as group:
        for _ in range(number):
            group.start_soon(one)


async def runners_in_one_task(number: int) -> None:
    """Each inside the one before."""
    async with AsyncExitStack() as stack:
        for _ in range(number):
            runner = await stack.enter_async_context(ConcurrentTaskRunner().start())
            runner.submit_nowait("key", nothing, 1)


async def waiters_served(number: int) -> None:
    """So many tasks wait for one call."""
    await _wait(number, is_cancelled=False)


async def waiters_cancelled(number: int) -> None:
    """So many tasks wait for one call, and are cancelled."""
    await _wait(number, is_cancelled=True)


async def _wait(number: int, *, is_cancelled: bool) -> None:
    gate, served = anyio.Event(), [0]

    async def wait() -> None:
        await runner.wait("gate")
        served[0] += 1

    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("gate", gate.wait)
        async with anyio.create_task_group() as group:
            for _ in range(number):
                group.start_soon(wait)
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            if is_cancelled:
                group.cancel_scope.cancel()
            else:
                gate.set()
        gate.set()
    assert served == [0 if is_cancelled else number]


async def large_keys(number: int) -> None:
    """Calls under keys of a megabyte, of which messages, dumps and event files say the beginning."""
    path = Path(f"overload-{time.time_ns()}.jsonl")
    try:
        with EventLog(path) as log:
            await _call_under_large_keys(number, ConcurrentTaskRunner(1, instruments=[log]))
        assert (await anyio.Path(path).stat()).st_size < number * 10_000 + 10_000
    finally:
        await anyio.Path(path).unlink(missing_ok=True)


async def _call_under_large_keys(number: int, runner: ConcurrentTaskRunner) -> None:
    async with runner.start():
        runner.submit_nowait("gate", anyio.sleep_forever)
        keys = [f"{at:09}" + "x" * MB for at in range(number)]
        slots = [runner.submit_nowait(key, nothing, 1) for key in keys]
        assert len(runner.dump()) < 200 * 500
        with pytest.raises(KeyTaken) as taken:
            runner.submit_nowait(keys[0], nothing, 1)
        assert len(str(taken.value)) < 1000
        runner.cancel_all()
    for slot in slots:
        with pytest.raises(CallCancelled) as caught:
            slot.result()
        assert max(map(len, (str(caught.value), repr(caught.value), repr(slot)))) < 1000


async def large_result(number: int) -> None:
    """One result of so many bytes, out of a worker process."""
    async with ProcessTaskRunner(1).start() as runner:
        slot = runner.submit_nowait("large", bytes, number)
        assert len(await slot) == number


CASES: dict[str, tuple[Case, int]] = {
    "pending calls, run": (pending_run, 1_000_000),
    "pending calls, cancelled": (pending_cancelled, 1_000_000),
    "runners, each in its task": (runners_in_tasks, 10_000),
    "runners, in one task": (runners_in_one_task, 3_000),
    "tasks that wait for one call": (waiters_served, 100_000),
    "tasks that wait for one call, cancelled": (waiters_cancelled, 100_000),
    "keys of 1 MB": (large_keys, 200),
    "bytes of one result, from a process": (large_result, 1_000_000_000),
}


def run_here(name: str, number: int, backend: str) -> dict[str, float]:
    """Run a case on a loop, in this process."""
    case, _ = CASES[name]
    begun, worked = time.perf_counter(), time.process_time()
    if backend == "trio":
        trio.run(case, number)
    else:
        asyncio.run(case(number))  # type: ignore[arg-type]  # each case is a coroutine function
    return {
        "wall": time.perf_counter() - begun,
        "cpu": time.process_time() - worked,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB,
    }


def overload(backends: list[str], names: list[str], part: float) -> int:
    """Each case in a process of its own, at full size and at half of it: what is linear doubles."""
    print("| how many | of what | loop | CPU, half as many | CPU | wall | memory at most |")
    print("| ---: | --- | --- | ---: | ---: | ---: | ---: |")
    failed = 0
    for name in names or CASES:
        for backend in backends:
            number = max(2, int(CASES[name][1] * part))
            took = [_run_apart(name, size, backend) for size in (number // 2, number)]
            if None in took:
                failed += 1
                continue
            half, whole = took
            assert half is not None
            assert whole is not None
            print(
                f"| {number:,} | {name} | {backend} | {half['cpu']:.1f} s | {whole['cpu']:.1f} s | "
                f"{whole['wall']:.1f} s | {whole['peak']:,.0f} MB |",
                flush=True,
            )
    return 1 if failed else 0


def _run_apart(name: str, number: int, backend: str) -> dict[str, float] | None:
    ended = subprocess.run(
        [sys.executable, __file__, name, str(number), backend], stdout=subprocess.PIPE, check=False
    )
    if ended.returncode:
        print(f"{name}, {number:,}, {backend}: FAILED", flush=True)
        return None
    said: dict[str, float] = json.loads(ended.stdout)
    return said


if __name__ == "__main__":
    print(json.dumps(run_here(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
