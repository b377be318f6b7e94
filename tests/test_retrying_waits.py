"""The wait for the next attempt: what the call has meanwhile, and how it ends before its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from calls import forever, give, settle_down
from creche import (
    ConcurrentTaskRunner,
    Limit,
    Rate,
    Retry,
    SequentialTaskRunner,
    State,
)
from retrying import MAKES, SLOWLY, STEADY, Flaky, FlakyError, submit, until_failed

pytestmark = pytest.mark.anyio

each_runner = pytest.mark.parametrize("make", MAKES, ids=["unbounded", "bounded", "limited", "paced"])


@each_runner
async def test_others_run_meanwhile(make: Callable[..., Any]) -> None:
    """Neither its place nor its limit is taken; it is RUNNING, and its first attempt."""
    flaky = Flaky(1)
    async with make().start() as runner:
        slot = submit(runner, "k", flaky.on_loop)
        await until_failed(flaky)
        with anyio.fail_after(5):
            for n in range(3):
                assert await submit(runner, n, give) == 1
        assert (slot.state, slot.attempt, slot.done) == (State.RUNNING, 1, False)
        assert runner.statistics().running == 1
        runner.cancel("k")


@each_runner
async def test_it_has_its_place_again_before_those_that_have_not_begun(
    make: Callable[..., Any], virtual_time: bool
) -> None:
    """It waits until a call that runs has ended, and comes next; several in the order of coming."""
    if not virtual_time:
        pytest.skip("the order of events is made by times")
    if make is MAKES[0]:
        pytest.skip("it takes as many as there are")
    order: list[object] = []
    policy = Retry(1, delay=1, factor=1, jitter="none")

    def work(key: object, failures: int, seconds: float) -> Callable[[], Any]:
        left = [failures]

        async def call() -> None:
            order.append(key)
            await anyio.sleep(seconds)
            left[0] -= 1
            if left[0] >= 0:
                raise FlakyError

        return call

    async with make().start() as runner:
        submit(runner, "a", work("a", 1, 0), policy)
        submit(runner, "b", work("b", 1, 0.5), policy)
        submit(runner, "long", work("long", 0, 3))
        await anyio.sleep(0.7)
        for n in range(3):
            submit(runner, n, work(n, 0, 1), priority=5)
        # `a` wants to go on after 1 second, and `b` after 1.5; both wait for the long one.
    assert order == ["a", "b", "long", "a", "b", 0, 1, 2]


async def test_each_attempt_counts_as_a_start(virtual_time: bool) -> None:
    """A rate, of the runner or of a limit, is kept, whatever the policy says."""
    if not virtual_time:
        pytest.skip("it would take seconds")
    for made in (
        ConcurrentTaskRunner(rate=Rate(1, 10), limits={"db": 1}),
        ConcurrentTaskRunner(limits={"db": Limit(rate=Rate(1, 10))}),
    ):
        flaky = Flaky(3)
        async with made.start() as runner:
            assert await submit(runner, "k", flaky.on_loop, STEADY) == 4
        assert flaky.gaps == pytest.approx([10, 10, 10])


async def test_a_limiter_object_is_given_back() -> None:
    """Others may have its tokens, and it takes one again before the next attempt."""
    limiter = anyio.CapacityLimiter(1)
    flaky = Flaky(1)
    policy = Retry(1, delay=0.02, factor=1, jitter="none")

    async def use_it() -> None:
        async with limiter:
            await anyio.sleep(0.1)
            assert (flaky.calls, slot.done) == (1, False)

    async with ConcurrentTaskRunner(limits={"db": limiter}).start() as runner:
        slot = submit(runner, "k", flaky.on_loop, policy)
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(use_it)
            assert await slot == 2
    assert limiter.borrowed_tokens == 0


@each_runner
async def test_nothing_is_left_taken(make: Callable[..., Any]) -> None:
    """However it ends: the places and limits are all free, and as many calls run as before."""
    async with make().start() as runner:
        for n in range(20):
            submit(runner, ("v", n), Flaky(n % 3).on_loop, Retry(3, delay=0.001 * (n % 4)))
            submit(runner, ("f", n), Flaky().on_loop, Retry(n % 3, delay=0.001))
            submit(runner, ("c", n), Flaky().on_loop)
        await anyio.sleep(0.05)
        for n in range(20):
            runner.cancel(("c", n))
        await runner.until_idle()
        places = runner._run.queue.places
        assert places is None or places.taken == 0
        assert all(not gate.holders for gate in runner._run.queue.gates.values())
        assert len(runner._run.queue) == 0
        statistics = runner.statistics()
        assert (statistics.completed, statistics.failed, statistics.cancelled) == (20, 20, 20)


async def test_places_that_are_limited_while_it_waits() -> None:
    """It needs one then, and has one when it goes on."""
    flaky = Flaky(1)
    policy = Retry(1, delay=0.05, factor=1, jitter="none")
    async with ConcurrentTaskRunner(limits={"db": 1}).start() as runner:
        for key, limits in (("a", []), ("b", ["db"])):
            runner.set_max_workers(None)
            flaky = Flaky(1)
            slot = runner.submit_nowait(key, flaky.on_loop, retry=policy, limits=limits)
            await until_failed(flaky)
            runner.set_max_workers(1)
            assert await slot == 2
            await settle_down()
            assert runner.statistics().running == 0
            assert await runner.submit_nowait(None, give, limits=["db"]) == 1


async def test_a_call_of_a_call_lends_both_places() -> None:
    """One that a sequential runner carries out in the task of another lends the place of that, too."""
    flaky = Flaky(1)

    async def outer() -> object:
        async with SequentialTaskRunner().start() as inner:
            slot = await inner.submit("inner", flaky.on_loop, retry=SLOWLY)
            return await slot

    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("outer", outer)
        await until_failed(flaky)
        with anyio.fail_after(5):
            assert await runner.submit_nowait("k", give, 1) == 1
        runner.cancel("outer")


async def test_a_sequential_runner_with_a_queue(virtual_time: bool) -> None:
    """A call of `submit` never was in the queue, and does not go there for its next attempt."""
    if not virtual_time:
        pytest.skip("it would take seconds")
    async with SequentialTaskRunner().start() as runner:
        runner.submit_nowait("first", anyio.sleep, 1000, priority=2)
        runner.submit_nowait("second", forever, priority=1)
        assert await (await runner.submit("k", Flaky(2).on_loop, retry=STEADY)) == 3
        runner.cancel_all()


async def test_waiting_calls_are_not_pending() -> None:
    """The end of a run waits for them, and so does `until_idle`."""
    flaky = Flaky(2)
    async with ConcurrentTaskRunner(1).start() as runner:
        slot = runner.submit_nowait("k", flaky.on_loop, retry=Retry(2, delay=0.02))
        await until_failed(flaky)
        await runner.until_idle()
        assert slot.done
        slot = runner.submit_nowait("l", Flaky(2).on_loop, retry=Retry(2, delay=0.02))
    assert slot.state is State.COMPLETED
