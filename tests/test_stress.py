"""Random runs, from seeds: calls that call, wait, cancel and fail; in the end the books are in order."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from creche import ConcurrentTaskRunner, SequentialTaskRunner, State
from creche._carrier import CARRIED

pytestmark = pytest.mark.anyio


class Chaos:
    """One random run."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.max_workers = self.rng.choice([1, 1, 2, 3, None])
        self.runner: Any = ConcurrentTaskRunner(self.max_workers)
        self.guests = SequentialTaskRunner()
        self.working = 0
        self.most = 0
        self.has_gone_without = False
        self.left = 150

    def key(self) -> int | None:
        """A new key, as long as there are some."""
        self.left -= 1
        return self.left if self.left >= 0 else None

    async def work(self) -> None:
        """Something between two waits."""
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            await anyio.sleep(self.rng.random() / 1000)
        finally:
            self.working -= 1

    async def call(self, depth: int) -> int:
        """What every call does."""
        await self.work()
        for _ in range(self.rng.randrange(3)):
            key = self.key()
            if depth == 0 or key is None:
                break
            await self.rng.choice([self.nested, self.timed, self.in_children, self.guest, self.hasty])(
                key, depth - 1
            )
            await self.work()
        if self.rng.random() < 0.1:
            raise LookupError(depth)
        return depth

    async def nested(self, key: int, depth: int) -> None:
        await self.runner.wait(self.runner.submit_nowait(key, self.call, depth))

    async def timed(self, key: int, depth: int) -> None:
        self.runner.submit_nowait(key, self.call, depth)
        if await self.runner.wait(key, timeout=self.rng.random() / 500) is None:
            self.has_gone_without = True

    async def in_children(self, key: int, depth: int) -> None:
        self.runner.submit_nowait(key, self.call, depth)
        async with anyio.create_task_group() as group:
            for _ in range(self.rng.randrange(1, 3)):
                group.start_soon(self.runner.wait, key)

    async def guest(self, key: int, depth: int) -> None:
        async def inside() -> None:
            await self.nested(key, depth)

        await self.guests.submit(key, inside)

    async def hasty(self, key: int, depth: int) -> None:
        slot = self.runner.submit_nowait(key, self.call, depth)
        if self.rng.random() < 0.5:
            await anyio.sleep(self.rng.random() / 1000)
        self.runner.cancel(slot)
        await self.runner.wait(slot)

    async def run(self, *, cut: bool) -> None:
        async with self.guests.start(), self.runner.start():
            for n in range(5):
                self.runner.submit_nowait(f"top {n}", self.call, 4)
            if cut:
                await anyio.sleep(self.rng.random() / 100)
                raise KeyError("cut")


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("seed", range(25))
async def test_chaos(seed: int, *, cut: bool) -> None:
    """Every slot is final, no place is lost, and the limit holds unless a wait was cut short."""
    chaos = Chaos(seed)
    with anyio.fail_after(60):
        try:
            await chaos.run(cut=cut)
        except KeyError:
            assert cut
    for runner in (chaos.runner, chaos.guests):
        assert all(slot.done for slot in runner.slots.values())
        run: Any = runner._run
        assert run.carriers._busy == 0
        assert run.carriers._waits == {}
        assert run.halting.guests == {}
        assert run.queue.places is None or run.queue.places.taken == 0
    assert CARRIED == {}
    if chaos.max_workers is not None and not chaos.has_gone_without:
        assert chaos.most <= chaos.max_workers
    if not cut:
        tops = [chaos.runner.slots[f"top {n}"] for n in range(5)]
        assert {slot.state for slot in tops} <= {State.COMPLETED, State.FAILED}
