"""Functions in which tasks wait: the methods of runners, groups and slots, each cancelled everywhere.

What it does not know: what must hold then; that is in `everywhere`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from creche import ConcurrentTaskRunner, Retry, RunnerClosed, SequentialTaskRunner, allow_failure
from everywhere import Scene, Trial, TroubleError, narrow, nothing, plain, sequential

# A runner is opened and left ------------------------------------------------------------------------


async def opens(scene: Scene) -> None:
    """It runs a few calls, which submit others."""
    runner = scene.make(ConcurrentTaskRunner, 2)

    async def nests() -> None:
        await runner.submit("inner", scene.work, "inner")
        await runner.wait("inner")

    async with runner.start():
        runner.submit_nowait("a", scene.work, "a")
        runner.submit_nowait("nests", nests)
        await anyio.sleep(0.5)
        runner.submit_nowait("b", scene.work, "b", 2)
        runner.submit_nowait("after", scene.work, "after", after=["a"])


async def opens_with_grace(scene: Scene) -> None:
    """Running calls get time, all the same."""
    runner = scene.make(ConcurrentTaskRunner, 1, grace=10)
    async with runner.start():
        for key in "abc":
            runner.submit_nowait(key, scene.work, key)
        await anyio.sleep(1.5)


async def opens_to_fail(scene: Scene) -> None:
    """The first failure ends it."""
    runner = scene.make(ConcurrentTaskRunner, on_error="cancel")
    try:
        async with runner.start():
            runner.submit_nowait("a", scene.work, "a", 3)
            runner.submit_nowait("bad", scene.fail)
            await anyio.sleep(5)
    except* TroubleError:
        pass
    await anyio.lowlevel.checkpoint()  # a cancellation comes here, if it gave way to the failure


async def opens_two(scene: Scene) -> None:
    """One inside another, and calls in turn in the task of a call."""
    outer = scene.make(ConcurrentTaskRunner, 1)
    inner = scene.make(SequentialTaskRunner)

    async def nests() -> None:
        await inner.submit("deep", scene.work, "deep")

    async with outer.start(), inner.start():
        outer.submit_nowait("nests", nests)
        await inner.submit("here", scene.work, "here")
        await outer.wait("nests")


# Submitting -----------------------------------------------------------------------------------------


async def submits(scene: Scene) -> None:
    """More than there is room for."""
    for n in range(5):
        await scene.runner.submit(n, scene.work, n)
        scene.got.append(n)


def one_more_at_most(scene: Scene) -> None:
    """What was not handed back is not on the board.

    A native cancellation may take a slot away from who was just being handed it; and a slot that was
    not handed over yet is one when the task that holds the room is the one that is hit.
    """
    there = {key for key in scene.runner.slots if isinstance(key, int)}
    more = there - set(scene.got)
    assert set(scene.got) <= there
    assert len(more) <= (scene.kind in ("native", "ctrl_c", "task")), more


async def submits_with_wishes(scene: Scene) -> None:
    """Limits, dependencies, retries, time limits, keys that are taken."""
    runner = scene.runner
    tries = iter(range(9))

    async def flaky() -> int:
        await anyio.sleep(0.5)
        if next(tries) == 0:
            raise TroubleError
        return 1

    policy = Retry(2, delay=1, factor=1, jitter="none", on=OSError)
    await runner.submit("db", scene.work, "db", limits=["db"])
    await runner.submit("both", scene.work, "both", limits=["db", "shared"], priority=1)
    await runner.submit("flaky", flaky, retry=policy, limits=["shared"])
    await runner.submit("after", scene.work, "after", after=["db", "flaky"], after_any_end=True)
    await runner.submit("timed", scene.work, "timed", 3, timeout=2)
    await runner.submit("db", scene.work, "not used", on_collision="join")
    await runner.submit("both", scene.work, "other", on_collision="replace")
    await runner.wait("both")


async def submits_in_turn(scene: Scene) -> None:
    """To a runner that runs them at once, or in their turn."""
    runner = scene.runner
    runner.submit_nowait("queued", scene.work, "queued")
    await runner.submit("a", scene.work, "a")
    await runner.submit("after", scene.work, "after", after=["queued"])
    await runner.submit("a", scene.work, "not used", on_collision="join")


# Waiting --------------------------------------------------------------------------------------------


async def waits(scene: Scene) -> None:
    """Without a time limit, with one that passes, and with one that does not."""
    first, second = scene.theirs
    await scene.runner.wait(second, timeout=0.5)
    await scene.runner.wait(first)
    await scene.runner.wait(second, timeout=50)
    await scene.runner.wait(second)


async def waits_for_what_will_come(scene: Scene) -> None:
    """A reserved key, of which somebody else makes a call."""
    runner = scene.runner
    runner.reserve("later")

    async def submits_it() -> None:
        await anyio.sleep(1)
        runner.submit_nowait("later", scene.work, "later")

    runner.submit_nowait("submits it", submits_it)
    await runner.wait("later", timeout=50)  # nobody will submit it, if that is what is hit


async def gets_results(scene: Scene) -> None:
    """`result`, and a slot that is awaited."""
    first, second = scene.theirs
    await scene.runner.result(first)
    await second
    await allow_failure(second)


async def awaits_a_failure(scene: Scene) -> None:
    """As a value."""
    slot = scene.runner.submit_nowait("bad", scene.fail)
    given = await allow_failure(slot)
    assert isinstance(given, Exception)


async def waits_for_all(scene: Scene) -> None:
    """With a time limit that passes, and without."""
    runner = scene.runner
    await runner.wait_all(scene.theirs, timeout=2)
    await runner.wait_all()


async def reads_as_completed(scene: Scene) -> None:
    """Two readers, of which one stops early."""
    runner = scene.runner
    runner.submit_nowait("a", scene.work, "a", 2)

    async def reads_one() -> None:
        async with runner.as_completed() as slots:
            async for _ in slots:
                break

    async with anyio.create_task_group() as group:
        group.start_soon(reads_one)
        async with runner.as_completed() as slots:
            async for slot in slots:
                scene.got.append(slot)


async def waits_inside(scene: Scene) -> None:
    """Calls that wait for calls, with their places lent, deeper than there are places."""
    runner = scene.runner

    async def nests(depth: int) -> int:
        if depth:
            runner.submit_nowait(("deep", depth), nests, depth - 1)
            return int(await runner.result(("deep", depth)))
        await anyio.sleep(1)
        return 7

    slot = await runner.submit("nests", nests, 3)
    await slot


# Emptying -------------------------------------------------------------------------------------------


async def waits_until_idle(scene: Scene) -> None:
    """And what is submitted meanwhile."""
    scene.runner.submit_nowait("a", scene.work, "a", 2)
    await scene.runner.until_idle()


async def drains(scene: Scene) -> None:
    """Twice; what has not ended is cut."""
    runner = scene.runner
    runner.submit_nowait("a", scene.work, "a", 9)
    await runner.drain(2)
    await runner.drain()


async def closes(scene: Scene) -> None:
    """At once."""
    await scene.runner.aclose()


# Many at once ---------------------------------------------------------------------------------------


async def maps(scene: Scene) -> None:
    """Over a list, more than there is room for."""
    assert await scene.runner.map(partial(scene.work, seconds=1), range(5), key=str) == [0, 1, 2, 3, 4]


async def maps_a_source(scene: Scene) -> None:
    """Over what comes bit by bit, to outcomes."""

    async def source() -> AsyncIterator[str]:
        for item in "abcd":
            yield item
            await anyio.sleep(0.4)

    await scene.runner.map(scene.work, source(), return_outcomes=True)


async def maps_to_a_failure(scene: Scene) -> None:
    """Which ends it."""

    async def fails_at(n: int) -> None:
        await (scene.fail() if n == 2 else scene.work(n, 2))

    try:
        await scene.runner.map(fails_at, range(6))
    except TroubleError:
        scene.got.append("failed")


async def races(scene: Scene) -> None:
    """One wins, one fails, one is cut."""
    assert await scene.runner.race(
        partial(scene.work, "slow", 3), partial(scene.work, "quick", 1), scene.fail
    ) in ("quick", "slow")


async def groups(scene: Scene) -> None:
    """Awaited together."""
    async with scene.runner.group() as group:
        for n in range(4):
            await group.submit(n, scene.work, n)


async def groups_that_stop(scene: Scene) -> None:
    """Cancelled together, also those that wait for room."""
    async with scene.runner.group(stop_when="first_success") as group:
        for n in range(4):
            with suppress(RunnerClosed):  # it has stopped, perhaps while the submit waited
                slot = await group.submit(n, scene.work, n, 1 + n)
                await scene.runner.wait(slot, timeout=0.3)


async def groups_in_a_call(scene: Scene) -> None:
    """Whose place they need."""
    runner = scene.runner

    async def call() -> Any:
        async with runner.group(stop_when="first_failure") as group:
            group.submit_nowait("x", scene.work, "x", 2)
            group.submit_nowait("bad", scene.fail)
        return await runner.map(scene.work, ["y", "z"])

    await (await runner.submit("call", call))


SUBMIT = ("QueueingTaskRunner.submit",)
START = ("_Started.__aenter__", "_Started.__aexit__")
WAIT = ("ReadableTaskRunner.wait",)
RESULT = ("ReadableTaskRunner.result", "Slot.__await__")
ALL = ("ReadableTaskRunner.wait_all",)
AS_COMPLETED = ("AsCompleted.__aenter__", "AsCompleted.__anext__", "AsCompleted.__aexit__")
GROUP = ("Group.__aenter__", "Group.submit", "Group.__aexit__")
MAP = ("BulkTaskRunner.map",)

TRIALS = [
    Trial(opens, START, nothing),
    Trial(opens_with_grace, START, nothing),
    Trial(opens_to_fail, START, nothing),
    Trial(opens_two, (*START, "SequentialTaskRunner.submit"), nothing),
    Trial(submits, SUBMIT, then=one_more_at_most),
    Trial(submits, SUBMIT, narrow, then=one_more_at_most),
    Trial(submits_with_wishes, SUBMIT, narrow),
    Trial(submits_in_turn, ("SequentialTaskRunner.submit",), sequential),
    Trial(waits, WAIT),
    Trial(waits, WAIT, narrow),
    Trial(waits_for_what_will_come, WAIT),
    Trial(gets_results, (*RESULT, "AllowFailure.__await__")),
    Trial(awaits_a_failure, ("AllowFailure.__await__",), narrow),
    Trial(waits_for_all, ALL),
    Trial(waits_for_all, ALL, narrow),
    Trial(reads_as_completed, AS_COMPLETED),
    Trial(reads_as_completed, AS_COMPLETED, narrow),
    Trial(waits_inside, (*RESULT, *SUBMIT), narrow),
    Trial(waits_until_idle, ("SteerableTaskRunner.until_idle",), plain),
    Trial(drains, ("SteerableTaskRunner.drain",), plain, spares=False),
    Trial(drains, ("SteerableTaskRunner.drain",), narrow, spares=False),
    Trial(closes, ("SteerableTaskRunner.aclose",), narrow, spares=False),
    Trial(maps, MAP),
    Trial(maps, MAP, narrow),
    Trial(maps_a_source, MAP, narrow),
    Trial(maps_to_a_failure, MAP, narrow),
    Trial(races, ("BulkTaskRunner.race",)),
    Trial(races, ("BulkTaskRunner.race",), narrow),
    Trial(groups, GROUP),
    Trial(groups, GROUP, narrow),
    Trial(groups_that_stop, GROUP, narrow),
    Trial(groups_in_a_call, (*GROUP, *MAP), narrow),
]
