"""`on_collision="replace"`: the call that is there is cancelled, and the new one runs after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio

each_runner = pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])


class CleansUp:
    """Runs until it is cancelled, and takes its time then."""

    def __init__(self) -> None:
        self.ended: list[Any] = []

    async def __call__(self, name: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            self.ended.append(name)


@each_runner
@pytest.mark.parametrize("retain", [True, False])
async def test_a_running_call_is_replaced(kind: Callable[..., Any], *, retain: bool) -> None:
    """The key is the new call's at once; it begins when the old one has unwound."""
    runner = kind(retain=retain)
    call = CleansUp()

    async def look() -> list[Any]:
        return list(call.ended)

    async with runner.start():
        old = runner.submit_nowait("k", call, "old")
        await settle_down()
        new = runner.submit_nowait("k", look, on_collision="replace")
        assert runner.slots["k"] is new
        assert (old.state, new.state) == (State.RUNNING, State.PENDING)
        assert len(runner) == 2
        assert await runner.result("k") == ["old"] if retain else await new == ["old"]
        assert (old.state, old.origin) == (State.CANCELLED, "cancel")
        assert "took its place" in str(old.reason)


@each_runner
async def test_what_is_pending_reserved_or_settled(kind: Callable[..., Any]) -> None:
    """There is nothing to wait for."""
    async with kind().start() as runner:
        runner.submit_nowait("running", forever)
        await settle_down()
        old = runner.submit_nowait("held", give, after=["running"])
        assert await (await runner.submit("held", give, 1, on_collision="replace")) == 1
        assert old.origin == "cancel"
        await runner.wait(await runner.submit("settled", fail))
        assert await (await runner.submit("settled", give, 2, on_collision="replace")) == 2
        reserved = runner.reserve("reserved")
        assert await runner.submit("reserved", give, 3, on_collision="replace") is reserved
        assert await (await runner.submit("new", give, 4, on_collision="replace")) == 4
        assert await (await runner.submit(None, give, 5, on_collision="replace")) == 5
        runner.cancel("running")


async def test_a_sequential_submit_waits_for_the_old_call() -> None:
    """Its call runs inside the submit, after the end of the other one."""
    call = CleansUp()
    async with SequentialTaskRunner().start() as runner:
        runner.submit_nowait("k", call, "old")
        await settle_down()
        slot = await runner.submit("k", give, 1, on_collision="replace")
        assert call.ended == ["old"]
        assert slot.result() == 1


async def test_one_after_another() -> None:
    """Each takes the place of the one before; only the last one runs to its end."""
    runner = ConcurrentTaskRunner(1)
    call = CleansUp()
    async with runner.start():
        slots = [runner.submit_nowait("k", call, n, on_collision="replace") for n in range(4)]
        await settle_down()
        last = runner.submit_nowait("k", give, 5, on_collision="replace")
    assert last.result() == 5
    assert [slot.origin for slot in slots] == ["cancel"] * 4
    assert call.ended == [3]


async def test_together_with_after() -> None:
    """What it is to run after must complete; of the call that it replaces only the end counts."""
    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("k", forever)
        runner.submit_nowait("bad", fail)
        await settle_down()
        slot = runner.submit_nowait("k", give, 1, after=["bad"], on_collision="replace")
        assert slot.origin == "upstream"
        runner.submit_nowait("l", forever)
        await settle_down()
        slot = runner.submit_nowait(
            "l", give, 2, after=["bad", "l"], after_any_end=True, on_collision="replace"
        )
        assert await slot == 2


async def test_a_halt_while_the_old_call_unwinds() -> None:
    """Both are settled at the exit, the one that has lost its key as well."""
    runner = ConcurrentTaskRunner()
    call = CleansUp()
    with pytest.raises(LookupError):
        async with runner.start():
            old = runner.submit_nowait("k", call, "old")
            await settle_down()
            new = runner.submit_nowait("k", give, on_collision="replace")
            assert [slot.key for slot in runner.cancel_matching(lambda slot: slot is old)] == ["k"]
            raise LookupError
    assert (old.origin, new.origin) == ("closed", "closed")
    assert len(runner) == 0


async def test_a_refused_submit_cancels_nothing() -> None:
    """What is wrong is found before the call that is there is touched."""
    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", forever)
        await settle_down()
        wrong: list[dict[str, Any]] = [{"after": ["unknown"]}, {"timeout": -1}, {"priority": "high"}]
        for options in wrong:
            with pytest.raises((KeyError, ValueError, TypeError)):
                runner.submit_nowait("k", give, on_collision="replace", **options)
        with pytest.raises(ValueError, match="on_collision must be 'raise' or 'join' or 'replace'"):
            runner.submit_nowait("k", give, on_collision="other")  # type: ignore  # wrong on purpose
        await settle_down()
        assert slot.state is State.RUNNING
        runner.cancel("k")
