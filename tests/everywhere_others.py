"""Task groups, flows, places, threads, other loops: functions that wait there, cancelled everywhere.

What it does not know: what must hold then; that is in `everywhere`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import trio
from anyio.abc import TaskStatus

from creche import (
    ConcurrentTaskRunner,
    SequentialTaskRunner,
    ThreadTaskRunner,
    allow_failure,
    flow,
    task,
)
from creche.testing import PlaceTaskRunner, ScriptedRunner, fails, leaks, returns
from elsewhere import Elsewhere
from everywhere import Scene, Trial, TroubleError, narrow, nothing, plain
from homes import HomeElsewhere

# Task groups ----------------------------------------------------------------------------------------


async def server(scene: Scene, key: str, *, task_status: TaskStatus[str]) -> None:
    """A child that takes a while until it is ready, and goes on."""
    await anyio.sleep(1)
    task_status.started("ready")
    await scene.work(key)


async def starts(scene: Scene) -> None:
    """In a group of a block, and its children are awaited."""
    async with scene.runner.as_task_group() as group:
        group.start_soon(scene.work, "child", name="child")
        assert await group.start(server, scene, "server", name="server") == "ready"
        handle = group.create_task(scene.work("made", 2), name="made")
        await handle.wait()
        assert await handle == "made"


async def starts_to_fail(scene: Scene) -> None:
    """A child fails, and takes the others and the block with it."""
    try:
        async with scene.runner.as_task_group() as group:
            group.start_soon(scene.work, "child", 5, name="child")
            group.start_soon(scene.fail)
            await group.start(server, scene, "server", name="server")
            await anyio.sleep(9)
    except* TroubleError:
        pass
    await anyio.lowlevel.checkpoint()  # a cancellation comes here, if it gave way to the failure


async def starts_at_once(scene: Scene) -> None:
    """Without a block; with a scope that ends them."""
    group = scene.runner.as_task_group()
    group.start_soon(scene.work, "child", 9, name="child")
    await group.start(server, scene, "server", name="server")
    group.cancel_scope.cancel()
    await scene.runner.until_idle()


# Flows ----------------------------------------------------------------------------------------------


def runner_for(scene: Scene) -> ConcurrentTaskRunner:
    """Of whose duplicates flows make use; the scene knows none of these."""
    return ConcurrentTaskRunner(2, **scene.options())


@task
async def double(n: int, seconds: float = 1) -> int:
    await anyio.sleep(seconds)
    return 2 * n


@task
async def breaks(n: int) -> int:
    await anyio.sleep(1)
    raise TroubleError(n)


@task(retries=2, retry_delay=1)
async def breaks_at_first(tries: list[int]) -> int:
    tries.append(1)
    await anyio.sleep(0.1)
    if len(tries) < 2:
        raise TroubleError
    return 3


async def flows(scene: Scene) -> None:
    """Tasks that are awaited, submitted, mapped; one whose failure is a value; a flow in the flow."""

    @flow(task_runner="parent")
    async def below(n: int) -> int:
        slot = double.submit(n)
        return await slot + await double(n)

    @flow(task_runner=runner_for(scene))
    async def program() -> int:
        first = double.submit(1)
        second: Any = double.submit(cast("Any", first))
        await allow_failure(breaks.submit(0))
        many = double.map([1, 2, 3])
        total = await double(second) + await below(2)
        return total + sum([await slot for slot in many]) + await breaks_at_first([])

    assert await program() == 8 + 8 + 12 + 3


async def flows_with_a_time_limit(scene: Scene) -> None:
    """It passes."""

    @flow(task_runner=runner_for(scene), timeout=1.5)
    async def program() -> None:
        double.submit(1, 1)
        double.submit(2, 9)
        await anyio.sleep(5)

    try:
        await program.run_async()
    except TimeoutError:
        scene.got.append("time")


@task
def halve(n: int) -> int:
    return n // 2


async def flows_in_a_thread(scene: Scene) -> None:
    """A sync flow, whose body is in a thread, and its tasks on a loop of another one."""

    @flow(task_runner=runner_for(scene), backend="asyncio" if scene.backend == "trio" else "trio")
    def program() -> int:
        return halve(10) + halve.submit(4).result()

    assert await program.run_async() == 7


# Places ---------------------------------------------------------------------------------------------


async def runs_elsewhere(scene: Scene) -> None:
    """At a place that is opened with the runner, and takes its time; one call crashes there."""
    place = Elsewhere(capacity=2)
    place.opens_after = 1
    runner = scene.make(PlaceTaskRunner, place)
    async with runner.start():
        for n in range(3):
            await runner.submit(n, scene.work, n)
        crashed = runner.submit_nowait("crash", scene.work, "crash", place_options={"crash": True})
        await runner.wait(crashed)
        await runner.map(partial(scene.work, seconds=0.5), ["x", "y"])
    assert place.running == 0


async def prepares_a_place(scene: Scene) -> None:
    """For one call of many, while others wait for it to be ready."""
    place = Elsewhere()
    place.opens_after = 2
    slot = await scene.runner.submit("there", scene.work, "there", place=place)
    other = await scene.runner.submit("there, too", scene.work, "there, too", place=place)
    await scene.runner.wait_all([slot, other])


async def runs_a_script(scene: Scene) -> None:
    """A runner that runs nothing."""
    script = {1: returns("one", after=3), 2: fails(TroubleError("a call"), after=1)}
    runner = ScriptedRunner(script)
    try:
        async with runner.start():
            await runner.submit(1, scene.fail)
            await runner.submit(2, scene.fail)
            await runner.wait_all()
    finally:
        assert all(slot.done for slot in runner.slots.values())


# Threads, and other loops ---------------------------------------------------------------------------


def plain_work(value: Any) -> Any:
    """A call that blocks for a moment."""
    time.sleep(0.001)
    return value


async def runs_in_threads(scene: Scene) -> None:
    """Plain functions, of a runner that has nothing but threads."""
    runner = scene.make(ThreadTaskRunner, 2)
    async with runner.start():
        slots = [await runner.submit(n, plain_work, n) for n in range(4)]
        assert await slots[3] == 3
        assert await runner.map(plain_work, [7, 8]) == [7, 8]


async def is_asked_by_threads(scene: Scene) -> None:
    """A thread without a loop submits, waits, reads and maps, while this task waits for it."""
    runner = scene.runner

    def ask() -> None:
        there = runner.from_thread
        slot = there.submit("asked", plain_work, "asked")
        there.wait(slot, timeout=30)
        there.result("asked")
        there.map(plain_work, ["m", "n"])
        runner.cancel("asked")

    await anyio.to_thread.run_sync(ask)


def on_a_loop(backend: str, fn: Callable[[], Awaitable[Any]]) -> Any:
    """An async function on a loop of this thread."""
    if backend == "trio":
        return trio.run(fn)
    with asyncio.Runner() as loop:
        return loop.run(fn())  # type: ignore[arg-type]  # a coroutine function


async def is_asked_from_another_loop(scene: Scene) -> None:
    """The same, from a task there."""
    runner = scene.runner

    async def ask() -> None:
        slot = await runner.submit("asked", plain_work, "asked")
        await runner.wait("asked")
        await runner.result("asked")
        await slot
        async with runner.as_completed(["asked"]) as slots:
            assert [one.key async for one in slots] == ["asked"]

    await anyio.to_thread.run_sync(on_a_loop, "asyncio" if scene.backend == "trio" else "trio", ask)


async def asks_another_loop(scene: Scene) -> None:
    """Of a runner in another thread: submit, wait, read; it is this task that is cancelled."""
    home = HomeElsewhere(ConcurrentTaskRunner(1), "asyncio" if scene.backend == "trio" else "trio")
    try:
        slot = await home.runner.submit("there", plain_work, "there")
        await home.runner.wait("there")
        await slot
        async with home.runner.as_completed() as slots:
            assert [one.key async for one in slots] == ["there"]
    finally:
        home.close()
    assert home.runner.slots["there"].done


async def looks_for_leaks(scene: Scene) -> None:
    """The kit's own."""
    async with leaks():
        await scene.work("work")
        async with anyio.create_task_group() as group:
            group.start_soon(scene.work, "other")


async def opens_in_turn(scene: Scene) -> None:
    """A runner of calls in turn, with a group of them, and a race."""
    runner = scene.make(SequentialTaskRunner)
    async with runner.start():
        async with runner.group() as group:
            await group.submit("a", scene.work, "a")
            group.submit_nowait("b", scene.work, "b")
        await runner.map(scene.work, ["c", "d"], key=str)
        await runner.race(partial(scene.work, "e"), partial(scene.work, "f"))
        await runner.drain(5)


TASK_GROUP = ("RunnerTaskGroup.__aenter__", "RunnerTaskGroup.start", "RunnerTaskGroup.__aexit__")
FLOW = ("Flow.run_async", "Flow.__call__", "Task.__call__")
START = ("_Started.__aenter__", "_Started.__aexit__")
THREAD = ("FromThread.submit", "FromThread.wait", "FromThread.result", "FromThread.map")

TRIALS = [
    Trial(starts, (*TASK_GROUP, "ChildHandle.__await__", "ChildHandle.wait"), plain),
    Trial(starts, (*TASK_GROUP, "ChildHandle.__await__", "ChildHandle.wait"), narrow),
    Trial(starts_to_fail, TASK_GROUP, plain),
    Trial(starts_at_once, ("RunnerTaskGroup.start",), plain),
    Trial(flows, (*FLOW, "AllowFailure.__await__"), nothing),
    Trial(flows_with_a_time_limit, FLOW, nothing),
    Trial(flows_in_a_thread, ("Flow.run_async",), nothing),
    Trial(runs_elsewhere, ("OpenPlace.run", "Place.open", *START), nothing),
    Trial(prepares_a_place, ("OpenPlace.run", "Place.open"), plain),
    Trial(runs_a_script, START, nothing),
    Trial(runs_in_threads, START, nothing),
    Trial(is_asked_by_threads, THREAD, plain),
    Trial(is_asked_from_another_loop, ("QueueingTaskRunner.submit", "Slot.__await__"), plain),
    Trial(asks_another_loop, ("QueueingTaskRunner.submit", "Slot.__await__"), nothing),
    Trial(looks_for_leaks, ("leaks.__aenter__", "leaks.__aexit__"), nothing),
    Trial(opens_in_turn, ("SequentialTaskRunner.submit", *START), nothing),
]
