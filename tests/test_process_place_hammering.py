"""Calls of all lengths that are cancelled at all times, in workers that die at all times."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import pytest

from creche._errors import CallCrashed
from far_calls import log_and_nap
from processes import open_place

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]


@pytest.mark.parametrize(
    "options", [{"batch": 6}, {"batch": "auto", "max_calls": 9}, {"kill_grace": 0.02}]
)
async def test_each_call_ends_in_one_way(tmp_path: Path, options: dict[str, object]) -> None:
    """With its own value, cancelled, or lost with its worker; begun once at most, and none hangs."""
    path, total, draw = str(tmp_path / "log"), 600, random.Random(0)
    ends: dict[int, str] = {}
    async with open_place(3, **options) as opened:
        limiter = anyio.CapacityLimiter(12)
        done = anyio.Event()

        async def one(number: int, seconds: float, patience: float) -> None:
            async with limiter:
                with anyio.move_on_after(patience) as scope:
                    try:
                        ends[number] = "value"
                        assert await opened.result(log_and_nap, path, number, seconds) == number
                    except CallCrashed as crash:
                        ends[number] = crash.kind
                if scope.cancelled_caught:
                    ends[number] = "cancel"

        async def kill() -> None:
            while not done.is_set():
                await anyio.sleep(0.15)
                if opened.crew.workers:
                    draw.choice(opened.crew.workers).process.kill()

        async with anyio.create_task_group() as outer:
            outer.start_soon(kill)
            with anyio.fail_after(100):
                async with anyio.create_task_group() as group:
                    for number in range(total):
                        seconds = draw.choice([0, 0, 0, 0.001, 0.01])
                        patience = draw.choice([0.002, 0.02, 30, 30, 30])
                        group.start_soon(one, number, seconds, patience)
            done.set()
    logged = list(map(int, Path(path).read_text(encoding="utf-8").split()))  # noqa: ASYNC240 - short
    assert len(logged) == len(set(logged))
    assert len(ends) == total
    assert {number for number, end in ends.items() if end == "value"} <= set(logged)
    assert {"value", "cancel"} <= set(ends.values()) <= {"value", "cancel", "worker-died"}
