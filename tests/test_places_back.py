"""Places that calls have lent and want back, while their number changes or their waits are cut short."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from calls import Gate, settle_down
from creche import CallCancelled, ConcurrentTaskRunner
from creche._backends import detect
from creche._lending import enter
from creche._places import Places
from limiting import running

pytestmark = pytest.mark.anyio


class Outer:
    """A call that waits for a reserved key, and then stays; says whether it has gone on."""

    def __init__(self, runner: ConcurrentTaskRunner) -> None:
        self.runner = runner
        self.goes_on = False
        self.stays = Gate()

    async def __call__(self) -> None:
        with pytest.raises(CallCancelled):
            await self.runner.result("reserved")
        self.goes_on = True
        await self.stays()

    async def lend_to(self, others: dict[str, Gate]) -> None:
        """Begin, wait, and let these calls have its place, as far as there is one for each."""
        self.runner.reserve("reserved")
        self.runner.submit_nowait("outer", self)
        await settle_down()
        for key, gate in others.items():
            self.runner.submit_nowait(key, gate)
        await settle_down()


async def test_a_lowered_limit_goes_for_who_comes_back() -> None:
    """It waits until no more run than are allowed now, though others end before."""
    runner = ConcurrentTaskRunner(2)
    outer, first, second = Outer(runner), Gate(), Gate()
    async with runner.start():
        await outer.lend_to({"first": first, "second": second})
        assert running(runner) == ["outer", "first", "second"]
        runner.set_max_workers(1)
        runner.cancel("reserved")
        await settle_down()
        assert not outer.goes_on
        first.open.set()
        await settle_down()
        assert not outer.goes_on
        second.open.set()
        await settle_down()
        assert outer.goes_on
        outer.stays.open.set()


async def test_a_raised_limit_serves_who_comes_back() -> None:
    """At once, also beside the one that has its former place."""
    runner = ConcurrentTaskRunner(1)
    outer, first, next_one = Outer(runner), Gate(), Gate()
    async with runner.start():
        await outer.lend_to({"first": first, "next": next_one})
        runner.cancel("reserved")
        await settle_down()
        assert not outer.goes_on
        runner.set_max_workers(2)
        await settle_down()
        assert outer.goes_on
        assert running(runner) == ["outer", "first"]
        outer.stays.open.set()
        first.open.set()
        next_one.open.set()


@pytest.mark.parametrize("cut", ["timeout", "scope"])
async def test_a_wait_after_one_that_was_cut_short(cut: str) -> None:
    """The call goes on without its place then; what it waits for next gives it one again."""
    runner = ConcurrentTaskRunner(1)
    first, last = Gate(), Gate()

    async def outer() -> None:
        if cut == "timeout":
            assert await runner.wait("first", timeout=1) is None
        else:
            with anyio.move_on_after(1):
                await runner.wait("first")
        assert running(runner) == ["outer", "first"]
        await runner.wait("first")
        # It has its place again, which "first" had, and "last" has none.
        await anyio.sleep(1)
        assert running(runner) == ["outer"]
        # And lends it again.
        assert await runner.result("last") == 3

    async def open_both() -> None:
        await anyio.sleep(2)
        first.open.set()
        await anyio.sleep(2)
        assert running(runner) == ["outer", "last"]
        last.open.set()

    with anyio.fail_after(100):
        async with anyio.create_task_group() as group, runner.start():
            slot = runner.submit_nowait("outer", outer)
            runner.submit_nowait("first", first)
            runner.submit_nowait("last", last, 3)
            group.start_soon(open_both)
    assert slot.result() is None


async def test_who_does_not_want_it_back_any_more() -> None:
    """A call that is cancelled out of its waiting for the place goes on without; others have that."""
    runner = ConcurrentTaskRunner(1)
    gates = {key: Gate() for key in ("first", "next", "outer")}
    scope = anyio.CancelScope()

    async def outer() -> None:
        with scope:
            await runner.wait("reserved")
        assert scope.cancelled_caught
        await gates["outer"]()

    async with runner.start():
        runner.reserve("reserved")
        runner.submit_nowait("outer", outer)
        await settle_down()
        runner.submit_nowait("first", gates["first"])
        runner.submit_nowait("next", gates["next"])
        await settle_down()
        runner.cancel("reserved")
        await settle_down()
        assert gates["outer"].begun == 0  # "first" has the place
        scope.cancel()
        await settle_down()
        assert gates["outer"].begun == 1
        gates["first"].open.set()
        await settle_down()
        assert running(runner) == ["outer", "next"]
        gates["outer"].open.set()
        gates["next"].open.set()


@pytest.mark.parametrize("first", ["granted", "cancelled"])
async def test_a_place_that_is_granted_in_the_step_of_the_cancellation(first: str) -> None:
    """Whoever was to have it has it, or somebody else has; it is not lost."""
    places, scope = Places(1), anyio.CancelScope()
    assert places.take()

    async def stay() -> None:
        with scope:
            await enter(detect(), places)
            try:
                await anyio.sleep_forever()
            finally:
                places.free()

    async with anyio.create_task_group() as group:
        group.start_soon(stay)
        await settle_down()
        for step in (places.free, scope.cancel)[:: 1 if first == "granted" else -1]:
            step()
    assert places.taken == 0
    assert places.take()


async def test_who_has_ended_wants_nothing_back(anyio_backend_name: str) -> None:
    """A task that outlives its call, as asyncio's own may, waits for the place of a call no longer."""
    if anyio_backend_name == "trio":
        pytest.skip("a task of trio's does not outlive its call")
    runner = ConcurrentTaskRunner(1)
    gates = {key: Gate() for key in ("outer", "first", "next")}
    left: list[asyncio.Task[Any]] = []

    async def outer() -> None:
        left.append(asyncio.create_task(runner.wait("reserved")))
        await gates["outer"]()

    async with runner.start():
        runner.reserve("reserved")
        runner.submit_nowait("outer", outer)
        await settle_down()
        runner.submit_nowait("first", gates["first"])
        runner.submit_nowait("next", gates["next"])
        await settle_down()
        assert running(runner) == ["outer", "first"]
        runner.cancel("reserved")
        await settle_down()
        assert not left[0].done()  # it waits for the place, which "first" has
        gates["outer"].open.set()
        await settle_down()
        assert left[0].done()
        gates["first"].open.set()
        await settle_down()
        assert running(runner) == ["next"]
        gates["next"].open.set()


async def test_nothing_follows_a_call_that_goes_on_without_its_place() -> None:
    """When it ends it has none to pass on: somebody else has it."""
    runner = ConcurrentTaskRunner(1)
    first, last = Gate(), Gate()

    async def outer() -> None:
        assert await runner.wait("first", timeout=1) is None

    async with runner.start():
        runner.submit_nowait("outer", outer)
        runner.submit_nowait("first", first)
        runner.submit_nowait("last", last)
        await anyio.sleep(2)
        assert runner.slots["outer"].done
        assert running(runner) == ["first"]
        first.open.set()
        await settle_down()
        assert running(runner) == ["last"]
        last.open.set()


async def test_a_submit_that_is_let_in_because_it_waits() -> None:
    """Its call starts in the place that it lends; it goes on when that has come back."""
    runner = ConcurrentTaskRunner(1, 0)
    inner, found = Gate(), list[Any]()

    async def outer() -> None:
        slot = await runner.submit("inner", inner, 3)
        found.append((slot.done, running(runner)))

    async with runner.start():
        slot = await runner.submit("outer", outer)
        await settle_down()
        assert inner.begun == 1
        assert found == []
        inner.open.set()
        await slot
    assert found == [(True, ["outer"])]
