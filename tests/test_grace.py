"""Grace: what running calls may do yet when the run is cancelled from outside, or by Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
import trio

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, State
from loops import both, ctrl_c

pytestmark = pytest.mark.anyio


async def work(seconds: float) -> str:
    """Take some time."""
    await anyio.sleep(seconds)
    return "stored"


def ends(runner: ConcurrentTaskRunner) -> dict[Any, Any]:
    """How each call has ended: its value, or the origin of its cancellation."""
    return {
        key: slot.result() if slot.state is State.COMPLETED else slot.origin or slot.state
        for key, slot in runner.slots.items()
    }


async def test_an_outer_cancellation() -> None:
    """What ends in time has its value, the rest is cut when the time is over; nothing starts."""
    begin = anyio.current_time()
    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(2, grace=0.2).start() as runner:
            runner.submit_nowait("quick", work, 0.1)
            runner.submit_nowait("slow", forever)
            runner.submit_nowait("next", give)
            await settle_down()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert ends(runner) == {"quick": "stored", "slow": "outer", "next": "closed"}
    assert 0.19 < anyio.current_time() - begin < 5


async def test_it_ends_with_the_last_call() -> None:
    """Nobody waits for the rest of the time."""
    begin = anyio.current_time()
    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(grace=1000).start() as runner:
            runner.submit_nowait("quick", work, 0.1)
            await settle_down()
            scope.cancel()
    assert ends(runner) == {"quick": "stored"}
    assert anyio.current_time() - begin < 10


async def test_a_deadline_that_passes_while_the_exit_waits() -> None:
    """It is counted from when the cancellation is seen; calls do not see the deadline."""
    seen: list[float] = []

    async def look() -> None:
        seen.append(anyio.current_effective_deadline())
        await anyio.sleep(0.2)

    with anyio.move_on_after(0.1) as scope:
        async with ConcurrentTaskRunner(grace=0.2).start() as runner:
            runner.submit_nowait("look", look)
            runner.submit_nowait("slow", work, 5)
    assert scope.cancelled_caught
    assert seen == [float("inf")]
    assert ends(runner) == {"look": None, "slow": "outer"}


async def test_it_is_seen_while_the_body_takes_its_time() -> None:
    """A watcher sees it at once: no call starts while the body unwinds, and the time is counted."""
    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(1, grace=0.2).start() as runner:
            runner.submit_nowait("first", work, 0.1)
            runner.submit_nowait("second", give)
            await settle_down()
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await runner.wait("first")
                await anyio.sleep(0.05)
                assert runner.slots["second"].origin == "closed"
    assert ends(runner) == {"first": "stored", "second": "closed"}


async def test_what_the_body_makes_of_a_cancellation() -> None:
    """An error in its clean-up comes out, and the calls have their time all the same."""
    with pytest.raises(KeyError), anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(grace=1).start() as runner:
            runner.submit_nowait("quick", work, 0.05)
            await settle_down()
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyError("clean-up")
    assert ends(runner) == {"quick": "stored"}


@pytest.mark.parametrize("how", ["body", "failure", "crash"])
async def test_it_is_not_for_errors(how: str) -> None:
    """A body that raises, fail-fast and a crash cancel the rest at once; also during the grace."""
    runner = ConcurrentTaskRunner(grace=1000, on_error="cancel")
    begin = anyio.current_time()
    with pytest.raises(BaseException) as caught:
        async with runner.start():
            runner.submit_nowait("slow", forever)
            await settle_down()
            if how == "body":
                raise KeyError
            runner.submit_nowait("bad", fail, SystemExit() if how == "crash" else None)
    assert anyio.current_time() - begin < 100
    assert runner.slots["slow"].origin == "closed"
    assert not isinstance(caught.value, (anyio.get_cancelled_exc_class(), AssertionError))


async def test_a_failure_during_the_grace() -> None:
    """With `on_error="cancel"` it ends the time of the others."""

    async def fail_later() -> None:
        await anyio.sleep(0.1)
        msg = "late"
        raise ValueError(msg)

    begin = anyio.current_time()
    with pytest.raises(ExceptionGroup), anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(grace=1000, on_error="cancel").start() as runner:
            runner.submit_nowait("slow", forever)
            runner.submit_nowait("bad", fail_later)
            await settle_down()
            scope.cancel()
    assert anyio.current_time() - begin < 100
    assert ends(runner) == {"slow": "outer", "bad": State.FAILED}


async def test_a_key_can_be_cancelled_meanwhile() -> None:
    """And a call's own timeout holds, and a call that waits for another one gets its value."""

    async def cancel_it() -> None:
        await anyio.sleep(0.05)
        runner.cancel("slow", reason="by another call")

    async def wait_for_it() -> Any:
        return await runner.result("quick")

    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(3, grace=1000).start() as runner:
            runner.submit_nowait("slow", forever)
            runner.submit_nowait("timed", forever, timeout=0.1)
            runner.submit_nowait("cancels", cancel_it)
            await settle_down()
            runner.set_max_workers(9)
            runner.submit_nowait("quick", work, 0.1)
            runner.submit_nowait("waits", wait_for_it)
            await settle_down()
            scope.cancel()
    assert ends(runner) == {
        "slow": "cancel",
        "timed": State.FAILED,
        "cancels": None,
        "quick": "stored",
        "waits": "stored",
    }


async def test_no_grace_is_needed() -> None:
    """A normal exit waits as ever, and a run of nothing ends at once; calls may submit at the exit."""

    async def chain(n: int) -> None:
        if n:
            await runner.submit(n - 1, chain, n - 1)

    runner = ConcurrentTaskRunner(2, grace=5)
    async with runner.start():
        pass
    async with runner.start():
        runner.submit_nowait(3, chain, 3)
    assert ends(runner) == {3: None, 2: None, 1: None, 0: None}


async def test_cancelled_before_anything_ran() -> None:
    """The watcher may never have begun."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with ConcurrentTaskRunner(grace=5).start() as runner:
            runner.submit_nowait("k", give)
    assert ends(runner) in ({"k": "closed"}, {"k": "lost"})


async def test_as_long_as_they_need() -> None:
    """`None` is no limit."""
    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(grace=None).start() as runner:
            runner.submit_nowait("k", work, 0.3)
            await settle_down()
            scope.cancel()
    assert ends(runner) == {"k": "stored"}


async def test_in_threads(real_time: None) -> None:
    """A plain function is waited for, as without grace; its value counts."""
    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(grace=0.01).start() as runner:
            runner.submit_nowait("k", partial(pow, 2, 3))
            await runner.wait("k")
            scope.cancel()
    assert ends(runner) == {"k": 8}


@pytest.mark.parametrize(
    ("grace", "error", "match"),
    [
        (-1, ValueError, "grace must be 0 seconds or more, not -1"),
        (float("nan"), ValueError, "grace must be 0 seconds or more"),
        ("1", TypeError, "grace must be a number of seconds"),
    ],
)
async def test_bad_input(grace: Any, error: type[Exception], match: str) -> None:
    """Refused where the runner is made."""
    with pytest.raises(error, match=match):
        ConcurrentTaskRunner(grace=grace)


# Ctrl-C and asyncio's own cancellations -------------------------------------------------------------


async def press_later(seconds: float) -> str:
    """A call that presses Ctrl-C, with the main thread in the loop, and goes on."""
    if trio.lowlevel.in_trio_run():
        trio.lowlevel.current_trio_token().run_sync_soon(ctrl_c)
    else:
        asyncio.get_running_loop().call_soon(ctrl_c)
    return await work(seconds)


@both
@pytest.mark.parametrize("where", ["body", "exit"])
def test_ctrl_c(run: Callable[[Any], None], where: str) -> None:
    """It comes out bare when the calls have ended, within their time."""
    runner = ConcurrentTaskRunner(2, grace=30)

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait("stores", press_later, 0.05)
            runner.submit_nowait("other", work, 0.05)
            runner.submit_nowait("next", give)
            if where == "body":
                await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert ends(runner) == {"stores": "stored", "other": "stored", "next": "closed"}


@both
@pytest.mark.parametrize("where", ["body", "exit"])
def test_a_second_ctrl_c(run: Callable[[Any], None], where: str) -> None:
    """It ends the grace: the calls are cancelled then, and every slot is final."""
    runner = ConcurrentTaskRunner(grace=1000)

    async def press_again() -> None:
        await anyio.sleep(0.05)
        await press_later(1000)

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait("first", press_later, 1000)
            runner.submit_nowait("second", press_again)
            if where == "body":
                await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert ends(runner) == {"first": "outer", "second": "outer"}


@pytest.mark.parametrize("where", ["body", "exit"])
def test_a_native_cancel(where: str) -> None:
    """Asyncio's own cancel begins the grace, and a second one ends it; it is not lost."""

    async def host(runner: ConcurrentTaskRunner) -> None:
        async with runner.start():
            runner.submit_nowait("quick", work, 0.05)
            runner.submit_nowait("slow", forever)
            if where == "body":
                await asyncio.sleep(1000)

    async def main() -> None:
        runner = ConcurrentTaskRunner(grace=1000)
        task = asyncio.create_task(host(runner))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.1)
        assert runner.slots["quick"].done
        assert not runner.slots["slow"].done
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ends(runner) == {"quick": "stored", "slow": "outer"}

    asyncio.run(main())
