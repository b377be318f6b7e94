"""Named limits of a runner: numbers and limiter objects; waiting for what one holds oneself."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import anyio
import pytest
import trio
from outcome import Value

from calls import Gate, error_of, fail, forever, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    Rate,
    State,
)
from limiting import limiter_of, running

pytestmark = pytest.mark.anyio


async def test_a_limit() -> None:
    """Only so many calls have it at once; those that do not need it are not held up."""
    gate = Gate()
    async with ConcurrentTaskRunner(limits={"db": 2}).start() as runner:
        for n in range(5):
            runner.submit_nowait(n, gate, limits=["db"])
        await (await runner.submit("free", give))
        await settle_down()
        assert running(runner) == [0, 1]
        gate.open.set()
    assert gate.most == 2
    assert all(slot.state is State.COMPLETED for slot in runner.slots.values())


async def test_all_at_once_or_none() -> None:
    """A call that lacks one of its limits does not have the others meanwhile."""
    db, gpu = Gate(), Gate()
    async with ConcurrentTaskRunner(limits={"db": 1, "gpu": 2}).start() as runner:
        runner.submit_nowait("a", db, limits=["db"])
        runner.submit_nowait("both", give, limits=["gpu", "db"])
        runner.submit_nowait("c", gpu, limits=["gpu"])
        await settle_down()
        assert running(runner) == ["a", "c"]
        db.open.set()
        await runner.wait("both")
        assert running(runner) == ["c"]
        gpu.open.set()


async def test_nobody_starves() -> None:
    """A call that needs two limits starts, though others that need one each never end to come."""
    order: list[Any] = []

    async def note(key: Any) -> None:
        order.append(key)
        await anyio.sleep(0.02)

    async with ConcurrentTaskRunner(limits={"db": 1, "gpu": 1}).start() as runner:
        runner.submit_nowait("db 0", note, "db", limits=["db"])
        await anyio.sleep(0.01)
        runner.submit_nowait("gpu 0", note, "gpu", limits=["gpu"])
        runner.submit_nowait("both", note, "both", limits=["db", "gpu"])
        for n in range(1, 8):
            runner.submit_nowait(f"db {n}", note, "db", limits=["db"])
            runner.submit_nowait(f"gpu {n}", note, "gpu", limits=["gpu"])
    assert order.index("both") == 2


async def test_limits_and_places() -> None:
    """A call takes a place only together with its limits; a higher priority comes first."""
    gate = Gate()
    async with ConcurrentTaskRunner(2, limits={"db": 1}).start() as runner:
        runner.submit_nowait("a", gate, limits=["db"])
        runner.submit_nowait("low", give, limits=["db"])
        runner.submit_nowait("high", give, limits=["db"], priority=1)
        runner.submit_nowait("other", gate)
        await settle_down()
        assert running(runner) == ["a", "other"]
        runner.slots["low"].add_done_callback(lambda _: order.append("low"))
        runner.slots["high"].add_done_callback(lambda _: order.append("high"))
        order: list[str] = []
        gate.open.set()
    assert order == ["high", "low"]


async def test_what_was_kept_is_let_go_with_a_cancelled_call() -> None:
    """The call that waited for two limits is cancelled: what it had kept is free for the next."""
    db, gpu = Gate(), Gate()
    async with ConcurrentTaskRunner(limits={"db": 1, "gpu": 1}).start() as runner:
        runner.submit_nowait("a", db, limits=["db"])
        await settle_down()
        runner.submit_nowait("g", gpu, limits=["gpu"])
        runner.submit_nowait("both", give, limits=["db", "gpu"])
        await settle_down()
        gpu.open.set()
        runner.submit_nowait("next", give, limits=["gpu"])
        await settle_down()
        assert runner.slots["next"].state is State.PENDING  # kept for "both"
        runner.cancel("both")
        assert await runner.wait("next", timeout=100) == Value(1)
        db.open.set()


async def test_a_limit_is_free_after_every_end() -> None:
    """A failure, a cancellation, a timeout, and a call that was cancelled on the way to its start."""
    async with ConcurrentTaskRunner(limits={"db": 1}).start() as runner:
        runner.submit_nowait("fails", fail, limits=["db"])
        runner.submit_nowait("late", forever, limits=["db"], timeout=0.05)
        runner.submit_nowait("cancelled", forever, limits=["db"])
        runner.submit_nowait("never", give, limits=["db"])
        await runner.wait("late")
        await settle_down()
        runner.cancel("cancelled")
        await runner.wait("cancelled")
        runner.cancel("never")
        assert await (await runner.submit("last", give, limits=["db"])) == 1
        assert isinstance(error_of(await runner.wait("fails")), ValueError)


async def test_after_and_limits() -> None:
    """A call that is held by `after` has no limit yet."""
    gate = Gate()
    async with ConcurrentTaskRunner(limits={"db": 1}).start() as runner:
        runner.submit_nowait("a", gate)
        runner.submit_nowait("b", give, after=["a"], limits=["db"])
        assert await (await runner.submit("c", give, limits=["db"])) == 1
        gate.open.set()


async def test_in_threads(real_time: None) -> None:
    """Plain functions need their limits, too."""
    async with ConcurrentTaskRunner(limits={"db": 1}).start() as runner:
        for n in range(5):
            runner.submit_nowait(n, partial(pow, 2), n, limits=["db"])
    assert [slot.result() for slot in runner.slots.values()] == [1, 2, 4, 8, 16]


# Waiting for what one holds oneself -----------------------------------------------------------------


async def test_a_limit_is_not_lent() -> None:
    """To wait for a call that needs what the waiter has is refused, with the limit's name."""

    async def outer() -> None:
        slot = runner.submit_nowait("inner", give, limits=["db"])
        with pytest.raises(RuntimeError, match="'inner' needs limit 'db'.*held by 'outer'"):
            await slot

    async with ConcurrentTaskRunner(1, limits={"db": 1}).start() as runner:
        await (await runner.submit("outer", outer, limits=["db"]))
        assert await runner.result("inner") == 1


async def test_a_limit_with_room_is_no_circle() -> None:
    """With two of it, or when another holder goes on, the wait is allowed."""
    gate = Gate()

    async def outer() -> Any:
        return await runner.submit_nowait("inner", give, limits=["db"])

    async with ConcurrentTaskRunner(limits={"db": 2}).start() as runner:
        assert await (await runner.submit("outer", outer, limits=["db"])) == 1
        runner.forget("inner")
        runner.submit_nowait("other", gate, limits=["db"])
        runner.submit_nowait("again", outer, limits=["db"])
        await settle_down()
        assert runner.slots["inner"].state is State.PENDING
        gate.open.set()
        assert await runner.result("again") == 1


async def test_holders_that_wait_for_each_other() -> None:
    """The limit is held wholly by calls that wait for it: the last one to wait is refused."""

    async def outer(name: str) -> str:
        slot = runner.submit_nowait(f"inner {name}", give, limits=["db"])
        await anyio.sleep(0.05 if name == "a" else 0.1)
        refused = None
        try:
            await slot
        except RuntimeError as exc:
            refused = str(exc)
        return "waited" if refused is None else refused

    async with ConcurrentTaskRunner(limits={"db": 2}).start() as runner:
        runner.submit_nowait("a", outer, "a", limits=["db"])
        runner.submit_nowait("b", outer, "b", limits=["db"])
    assert runner.slots["a"].result() == "waited"
    assert "needs limit 'db' to start, which is held by 'a', 'b'" in runner.slots["b"].result()


async def test_through_after_and_with_a_time_limit() -> None:
    """The chain goes through `after`; a wait with a time limit ends by itself, and is allowed."""

    async def outer() -> Any:
        runner.submit_nowait("first", give, limits=["db"])
        last = runner.submit_nowait("last", give, after=["first"])
        assert await runner.wait(last, timeout=0.05) is None
        with pytest.raises(RuntimeError, match="'last' would never end: 'first' needs limit 'db'"):
            await last

    async with ConcurrentTaskRunner(limits={"db": 1}).start() as runner:
        await (await runner.submit("outer", outer, limits=["db"]))


async def test_a_reservation_that_only_a_blocked_call_could_fill() -> None:
    """What waits for it has the limit that the other one needs: it is given up, and the exit ends."""
    async with ConcurrentTaskRunner(2, limits={"db": 1}).start() as runner:

        async def holder() -> None:
            runner.reserve("later")
            with pytest.raises(CallCancelled, match="lost"):
                await runner.slots["later"]

        runner.submit_nowait("holder", holder, limits=["db"])
        runner.submit_nowait("blocked", give, limits=["db"])
    assert runner.slots["blocked"].result() == 1


# Limiter objects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["own", "anyio", "before"])
async def test_a_limiter_is_shared(kind: str, anyio_backend_name: str) -> None:
    """What other code has borrowed, calls wait for, and the other way round."""
    limiter = limiter_of(anyio_backend_name, 1) if kind == "own" else anyio.CapacityLimiter(1)
    if kind == "before":
        limiter = BEFORE.pop(0) if BEFORE else anyio.CapacityLimiter(1)
    gate = Gate()
    async with ConcurrentTaskRunner(limits={"gpu": limiter}).start() as runner:
        async with limiter:
            runner.submit_nowait("a", gate, limits=["gpu"])
            await settle_down()
            assert running(runner) == []
        await settle_down()
        assert running(runner) == ["a"]
        assert limiter.borrowed_tokens == 1
        with pytest.raises((trio.WouldBlock, anyio.WouldBlock)):
            limiter.acquire_nowait()
        gate.open.set()
    assert limiter.borrowed_tokens == 0


# Made before any loop runs, as a module of a user's would.
BEFORE = [anyio.CapacityLimiter(1) for _ in range(3)]


async def test_a_token_is_given_back_while_another_limit_is_short(anyio_backend_name: str) -> None:
    """A call does not sit on a limiter's token while it waits for something else."""
    limiter = limiter_of(anyio_backend_name, 1)
    gate = Gate()
    async with ConcurrentTaskRunner(limits={"db": 1, "gpu": limiter}).start() as runner:
        async with limiter:
            both = runner.submit_nowait("both", give, limits=["db", "gpu"])
            await settle_down()
            runner.submit_nowait("db", gate, limits=["db"], priority=1)
            await settle_down()
        await settle_down()
        assert both.state is State.PENDING
        assert limiter.borrowed_tokens == 0
        gate.open.set()
        assert await both == 1
    assert limiter.borrowed_tokens == 0


async def test_a_token_that_comes_too_late_is_given_back(anyio_backend_name: str) -> None:
    """Between its coming and its being taken, another call has taken what is needed besides."""
    limiter = limiter_of(anyio_backend_name, 1)
    limiter.acquire_on_behalf_of_nowait("other code")
    gate = Gate()
    async with ConcurrentTaskRunner(limits={"db": 1, "gpu": limiter}).start() as runner:
        both = runner.submit_nowait("both", give, limits=["db", "gpu"])
        await settle_down()
        limiter.release_on_behalf_of("other code")
        runner.submit_nowait("db", gate, limits=["db"], priority=1)
        await settle_down()
        assert running(runner) == ["db"]
        assert limiter.borrowed_tokens == 0
        gate.open.set()
        assert await both == 1
    assert limiter.borrowed_tokens == 0


@pytest.mark.parametrize("names", [["one", "two"], ["two", "one"]])
async def test_two_limiters(anyio_backend_name: str, names: list[str]) -> None:
    """Both at once: while one of them is out, the other's token is not kept, whichever comes first."""
    one, two = limiter_of(anyio_backend_name, 1), limiter_of(anyio_backend_name, 1)
    limits = {name: {"one": one, "two": two}[name] for name in names}
    async with ConcurrentTaskRunner(limits=limits).start() as runner:
        async with one:
            async with two:
                slot = runner.submit_nowait("k", give, limits=["one", "two"])
                await settle_down()
            await settle_down()
            assert two.borrowed_tokens == 0
        assert await slot == 1
    assert one.borrowed_tokens == two.borrowed_tokens == 0


async def test_nobody_stands_in_line_for_a_cancelled_call(anyio_backend_name: str) -> None:
    """The exit does not wait for a limiter that no call needs any more."""
    limiter = limiter_of(anyio_backend_name, 1)
    async with limiter:
        async with ConcurrentTaskRunner(limits={"gpu": limiter}).start() as runner:
            runner.submit_nowait("a", give, limits=["gpu"])
            await settle_down()
            assert limiter.statistics().tasks_waiting == 1
            runner.cancel("a")
        assert limiter.statistics().tasks_waiting == 0
    assert limiter.borrowed_tokens == 0


async def test_the_exit_waits_for_a_limiter(anyio_backend_name: str) -> None:
    """A call that only waits for other code to give a token back is still to run."""
    limiter = limiter_of(anyio_backend_name, 1)
    await limiter.acquire_on_behalf_of("other code")
    async with anyio.create_task_group() as group:

        async def give_back() -> None:
            await anyio.sleep(0.05)
            limiter.release_on_behalf_of("other code")

        group.start_soon(give_back)
        async with ConcurrentTaskRunner(limits={"gpu": limiter}).start() as runner:
            runner.submit_nowait("a", give, limits=["gpu"])
            runner.reserve("filled by a")
            runner.submit_nowait("b", fill, runner, limits=["gpu"])
    assert runner.slots["filled by a"].result() == 1
    assert runner.slots["a"].result() == 1


async def fill(runner: ConcurrentTaskRunner) -> None:
    """Submit what was reserved."""
    runner.submit_nowait("filled by a", give)


async def test_the_other_loops_limiter(anyio_backend_name: str) -> None:
    """It would seem to work, and fail later: refused at the start, and the runner can start again."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's limiter needs its loop to be made at all")
    runner = ConcurrentTaskRunner(limits={"gpu": trio.CapacityLimiter(1)})
    with pytest.raises(TypeError, match="limit 'gpu' is a limiter of trio's, and this is asyncio"):
        async with runner.start():
            raise AssertionError
    assert not runner.is_started


async def test_a_limiter_that_was_used_on_another_loop() -> None:
    """One of anyio's decides for a loop at its first use."""
    limiter = anyio.CapacityLimiter(1)
    theirs = {"trio": "asyncio", "asyncio": "trio"}[
        anyio.get_cancelled_exc_class().__module__.split(".")[0]
    ]

    async def use() -> None:
        kept.append(anyio.CapacityLimiter(1))

    kept: list[Any] = []
    await anyio.to_thread.run_sync(partial(anyio.run, use, backend=theirs))
    with pytest.raises(TypeError, match=f"limiter of {theirs}'s"):
        async with ConcurrentTaskRunner(limits={"gpu": kept[0]}).start():
            raise AssertionError
    async with ConcurrentTaskRunner(limits={"gpu": limiter}).start() as runner:
        assert await (await runner.submit(1, give, limits=["gpu"])) == 1


@pytest.mark.parametrize("cancel", [False, True])
async def test_in_a_callback_of_asyncios_loop(anyio_backend_name: str, cancel: bool) -> None:
    """Where no task runs a call may be submitted, too, and what it waits for comes."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has no callbacks")
    limiter = anyio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("other code")
    loop = asyncio.get_running_loop()
    async with ConcurrentTaskRunner(rate=Rate(50, burst=2), limits={"gpu": limiter}).start() as runner:

        def submit() -> None:
            for n in range(4):
                runner.submit_nowait(n, give, n, limits=["gpu"] if n else [])
            if cancel:
                runner.cancel_all()

        loop.call_soon(submit)
        await settle_down()
        loop.call_soon(limiter.release_on_behalf_of, "other code")
    states = {slot.state for slot in runner.slots.values()}
    assert states == {State.CANCELLED if cancel else State.COMPLETED}
    assert limiter.borrowed_tokens == 0
