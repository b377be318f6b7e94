"""What calls cost, where it can be counted exactly: tasks, scopes, events, objects and bytes.

What it is for: these numbers repeat on any machine, so that what was gained is not lost unseen.

What it does not know: time.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
import trio

from calls import settle_down
from creche import ConcurrentTaskRunner, State
from creche._growth import BASE

pytestmark = pytest.mark.anyio

N = 10_000
AT_ONCE = 100


async def checkpoint() -> None:
    """The loop's own, in one step."""
    if trio.lowlevel.in_trio_run():
        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


async def once(value: int = 0) -> int:
    await checkpoint()
    return value


async def at_once(value: int = 0) -> int:
    return value


class Counter(trio.abc.Instrument):
    """How often things were made."""

    def __init__(self) -> None:
        self.tasks = self.scopes = self.events = 0

    def task_spawned(self, task: object) -> None:
        """Trio has started one."""
        self.tasks += 1

    def counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, which is counted."""

        def count(*args: Any, **options: Any) -> Any:
            setattr(self, name, getattr(self, name) + 1)
            return real(*args, **options)

        return count


@contextmanager
def counting() -> Iterator[Counter]:
    """Count the tasks that are started for calls meanwhile, the scopes entered and the events made."""
    counter = Counter()
    scope: Any
    event: Any
    kept: Any
    with pytest.MonkeyPatch.context() as patch:
        if trio.lowlevel.in_trio_run():
            scope, event = trio.CancelScope, trio.Event
            kept = sys.modules["creche._backends._kept_trio"].Kept
            trio.lowlevel.add_instrument(counter)
        else:
            nursery: Any = sys.modules["creche._backends._nursery"].BareNursery
            scope, event = sys.modules["anyio._backends._asyncio"].CancelScope, asyncio.Event
            kept = sys.modules["creche._backends._inside"].Kept  # entered as it is made
            patch.setattr(nursery, "start", counter.counted("tasks", nursery.start))
        patch.setattr(scope, "__enter__", counter.counted("scopes", scope.__enter__))
        patch.setattr(kept, "__init__", counter.counted("scopes", kept.__init__))
        patch.setattr(event, "__init__", counter.counted("events", event.__init__))
        yield counter
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.remove_instrument(counter)


@pytest.mark.parametrize("call", [once, at_once])
@pytest.mark.parametrize("workers", [None, 1, AT_ONCE])
async def test_what_ten_thousand_calls_take(workers: int | None, call: Any) -> None:
    """Tasks and scopes for the carriers only, and no event, submitted one by one or by a map."""
    most = 2 * BASE if workers is None else workers
    async with ConcurrentTaskRunner(workers).start() as runner:
        with counting() as counter:
            for key in range(N):
                runner.submit_nowait(key, call, key)
            for key in range(N):
                assert await runner.result(key) == key
        assert 0 < counter.tasks <= most + 1  # without a limit one more watches those that block
        assert 0 < counter.scopes <= most
        assert counter.events == 0
        await settle_down()
        with counting() as counter:
            assert await runner.map(call, range(N)) == list(range(N))
        # Without a limit the map itself yields every so often, and each time there is one that watches.
        assert counter.tasks <= (most + N / 64 if workers is None else 0)
        assert counter.scopes <= most
        assert counter.events == 0


async def test_what_calls_take_that_fail() -> None:
    """An exception costs neither a task nor a scope."""

    async def fail(value: int) -> None:
        await checkpoint()
        raise ValueError(value)

    async with ConcurrentTaskRunner(AT_ONCE).start() as runner:
        with counting() as counter:
            slots = [runner.submit_nowait(None, fail, n) for n in range(1000)]
            for slot in slots:
                await runner.wait(slot)
                assert slot.state is State.FAILED
    assert 0 < counter.tasks <= AT_ONCE
    assert counter.scopes <= AT_ONCE


class Usage:
    """Objects and bytes since it was made."""

    def __init__(self) -> None:
        gc.collect()
        self._objects = len(gc.get_objects())
        tracemalloc.start()

    def per_call(self) -> tuple[float, float]:
        """Of which the collector knows, and in all; for each of the calls."""
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        return (len(gc.get_objects()) - self._objects) / N, used / N


class Doer:
    """Has a method to be submitted."""

    async def at_once(self, value: int) -> int:
        return value


@pytest.mark.parametrize(
    ("fn", "room"), [(at_once, 310), (Doer().at_once, 310)], ids=["function", "method"]
)
async def test_what_a_call_takes_that_waits_and_an_outcome_that_is_kept(fn: Any, room: int) -> None:
    """A pending call is a slot and a call, and its context is shared; then the slot is left.

    Its arguments are counted, too.
    """
    keys = list(range(N, 2 * N))
    gate = anyio.Event()
    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("first", gate.wait)
        await settle_down()
        usage = Usage()
        try:
            for key in keys:
                runner.submit_nowait(key, fn, key)
            objects, size = usage.per_call()
            assert objects < 2.1
            assert size <= room
            gate.set()
            await runner.until_idle()
            objects, size = usage.per_call()
            assert objects < 1.1
            assert size <= 150
        finally:
            tracemalloc.stop()
        assert await runner.result(N) == N


@pytest.mark.parametrize("workers", [None, 1, AT_ONCE])
@pytest.mark.parametrize("bulk", ["submit", "map"])
async def test_calls_that_never_block_let_others_run(bulk: str, workers: int | None) -> None:
    """Between two steps of a bystander there is a bounded number of them."""
    done = 0
    gaps: list[int] = []

    async def count(_: int) -> None:
        nonlocal done
        done += 1

    async def stand_by() -> None:
        before = done
        while done < N:
            await checkpoint()
            gaps.append(done - before)
            before = done

    async with ConcurrentTaskRunner(workers).start() as runner, anyio.create_task_group() as group:
        group.start_soon(stand_by)
        await checkpoint()
        if bulk == "map":
            await runner.map(count, range(N))
        else:
            for key in range(N):
                runner.submit_nowait(key, count, key)
            await runner.until_idle()
    # On trio the order inside a pass is random: two shares may come in a row.
    assert max(gaps) <= 2 * 32 * (workers or 2 * BASE)


async def test_a_call_that_submits_the_next_lets_others_run() -> None:
    """A chain that never ends, of calls that never block."""
    done = 0

    async def again() -> None:
        nonlocal done
        done += 1
        if not stopped:
            runner.submit_nowait(None, again)

    stopped = False
    for workers in (None, 1):
        async with ConcurrentTaskRunner(workers, retain=False).start() as runner:
            runner.submit_nowait(None, again)
            for _ in range(50):
                await checkpoint()
            stopped = True
        assert 0 < done < 50 * 2 * 64
        stopped, done = False, 0
