"""Calls on loops of their own, in threads, that wait for other calls: places are lent at home."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
from outcome import Error, Value

from calls import Gate, fail, forever, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    SequentialTaskRunner,
    ThreadTaskRunner,
)
from creche._blocking import LentAway

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

Make = Callable[[], Any]
one_place = pytest.mark.parametrize(
    "make", [lambda: ThreadTaskRunner(1), lambda: ConcurrentTaskRunner(1)], ids=["threads", "loop"]
)


@one_place
async def test_every_way_of_waiting(make: Make) -> None:
    """With one place: none of them hangs."""
    runner = make()

    async def outer() -> list[Any]:
        found: list[Any] = []
        slot = await runner.submit("a", give, 1)
        found.append(await slot)
        await runner.submit("b", fail, ValueError("b"))
        outcome = await runner.wait("b")
        assert isinstance(outcome, Error)
        found.append(str(outcome.error))
        await runner.submit("c", lambda: 3)
        found.append(await runner.result("c"))
        for key in "def":
            await runner.submit(key, give, key)
        found.append(await runner.wait_all(["d", "e"]))
        async with runner.as_completed(["e", "f"]) as slots:
            found.append(sorted([one.key async for one in slots]))
        found.append(await runner.wait("c"))  # which has settled
        return found

    with anyio.fail_after(8):
        async with runner.start():
            found = await runner.submit_nowait("outer", outer, place="thread")
    assert found[:3] == [1, "b", 3]
    assert found[4:] == [["e", "f"], Value(3)]


@one_place
async def test_nested(make: Make) -> None:
    """Each call waits for two others, all in threads."""
    runner = make()

    async def at_depth(depth: int) -> int:
        if depth == 0:
            return 1
        slots = [await runner.submit(None, at_depth, depth - 1, place="thread") for _ in range(2)]
        return sum([await one for one in slots])

    with anyio.fail_after(8):
        async with runner.start():
            assert await runner.submit_nowait("top", at_depth, 3, place="thread") == 8
    assert runner.statistics().running == 0


async def test_more_waiting_threads_than_an_unbounded_runner_has() -> None:
    """A thread that waits does not count among the 40."""
    runner = ConcurrentTaskRunner()

    async def outer(n: int) -> Any:
        slot = await runner.submit(f"inner {n}", give, n, place="thread")
        return await slot

    with anyio.fail_after(20):
        async with runner.start():
            slots = [runner.submit_nowait(n, outer, n, place="thread") for n in range(45)]
    assert [slot.result() for slot in slots] == list(range(45))


async def test_never_more_than_there_are_places() -> None:
    """A call that has waited goes on when its place is back, and no earlier."""
    runner = ThreadTaskRunner(1)
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.02)
        inside.pop()

    async def outer() -> None:
        work()
        await (await runner.submit(None, work))
        work()

    with anyio.fail_after(8):
        async with runner.start():
            for _ in range(5):
                runner.submit_nowait(None, outer)
                runner.submit_nowait(None, work)
    assert max(most) == 1


async def test_a_wait_whose_time_passes() -> None:
    """It goes on without its place; one that has arrived waits for its place whatever the time."""
    runner = ThreadTaskRunner(1)
    begun, gate = threading.Event(), threading.Event()

    def block() -> str:
        begun.set()
        gate.wait(10)
        return "open"

    async def outer() -> Any:
        await runner.submit("block", block)
        first = await runner.wait("block", timeout=0.05)
        gate.set()
        return first, await runner.wait("block", timeout=30)

    with anyio.fail_after(8):
        async with runner.start():
            slot = runner.submit_nowait("outer", outer)
    assert slot.result() == (None, Value("open"))


@pytest.mark.parametrize("end", ["time passes", "back", "cancelled"])
async def test_a_place_that_comes_back_late(end: str) -> None:
    """What the call waits for has ended, and somebody else has its place still."""
    runner, other = ThreadTaskRunner(1), ConcurrentTaskRunner()
    go_on, holds = threading.Event(), threading.Event()
    gate = Gate()

    def hold() -> None:
        holds.set()
        go_on.wait(10)

    async def outer() -> Any:
        return await other.wait("gate", timeout=0.3 if end == "time passes" else None)

    with anyio.fail_after(8):
        async with other.start(), runner.start():
            other.submit_nowait("gate", gate)
            slot = runner.submit_nowait("outer", outer)
            runner.submit_nowait("hold", hold)
            await anyio.to_thread.run_sync(holds.wait)
            gate.open.set()
            await other.wait("gate")
            await anyio.sleep(0.5)
            assert not slot.done
            if end == "cancelled":
                runner.cancel("outer")
                with pytest.raises(CallCancelled):
                    await slot
                assert not runner.slots["hold"].done
            go_on.set()
            await runner.until_idle()
            assert await runner.submit_nowait("next", give, 1) == 1
    if end != "cancelled":
        assert slot.result() == Value(None)
    assert runner.statistics().running == 0


async def test_cancelled_while_it_waits() -> None:
    """It ends at once, and what it has waited for goes on."""
    runner = ThreadTaskRunner(1)
    go_on, holds = threading.Event(), threading.Event()

    def hold() -> int:
        holds.set()
        go_on.wait(10)
        return 3

    async def outer() -> Any:
        await runner.submit("inner", hold)
        return await runner.wait("inner")

    with anyio.fail_after(8):
        async with runner.start():
            slot = runner.submit_nowait("outer", outer)
            await anyio.to_thread.run_sync(holds.wait)
            runner.cancel("outer")
            with pytest.raises(CallCancelled):
                await slot
            go_on.set()
            assert await runner.result("inner") == 3
            assert await runner.submit_nowait("next", give, 1) == 1


async def test_circles() -> None:
    """A call that would wait for itself, through another loop or alone, is told so."""
    runner = ThreadTaskRunner(2)
    errors: list[str] = []

    async def wait_for(key: str) -> None:
        while key not in runner:  # noqa: ASYNC110 - an event is of one loop
            await anyio.sleep(0.001)
        try:
            await runner.wait(key)
        except RuntimeError as exc:
            errors.append(str(exc))

    with anyio.fail_after(8):
        async with runner.start():
            runner.submit_nowait("self", wait_for, "self")
            await runner.wait("self")
            runner.submit_nowait("a", wait_for, "b")
            runner.submit_nowait("b", wait_for, "a")
    assert len(errors) == 2
    assert all("waits for itself" in error for error in errors)


async def test_children_of_a_call_may_wait_for_what_it_will_do() -> None:
    """They are no circle: the call itself goes on."""
    runner = ThreadTaskRunner(2)

    async def outer() -> Any:
        seen: list[Any] = []

        async def child() -> None:
            seen.append(await runner.result("filled"))

        async with anyio.create_task_group() as group:
            group.start_soon(child)
            await anyio.sleep(0.1)
            await runner.submit("filled", give, 5)
        return seen

    with anyio.fail_after(8):
        async with runner.start():
            runner.reserve("filled")
            slot = runner.submit_nowait("outer", outer)
    assert slot.result() == [5]


async def test_a_reservation_that_nobody_fills() -> None:
    """At the exit every call waits: what they wait for is given up."""
    runner = ThreadTaskRunner(1)

    async def outer() -> Any:
        return await runner.wait("never")

    with anyio.fail_after(8):
        async with runner.start():
            runner.reserve("never")
            slot = runner.submit_nowait("outer", outer)
    outcome = slot.result()
    assert isinstance(outcome, Error)
    assert runner.slots["never"].origin == "lost"


async def test_waiting_for_room() -> None:
    """A submit that waits for room lends the place, too."""
    runner = ThreadTaskRunner(1, max_pending=0)

    async def outer() -> list[Any]:
        slots = [await runner.submit(n, give, n) for n in range(3)]
        return [await one for one in slots]

    with anyio.fail_after(8):
        async with runner.start():
            assert await runner.submit_nowait("outer", outer) == [0, 1, 2]


async def test_a_runner_inside_a_call() -> None:
    """On the loop of the thread: its calls lend its places, and the call lends its own at home."""
    outer = ThreadTaskRunner(1)

    async def inner_call() -> Any:
        slot = await outer.submit(None, give, 3)
        return await slot

    async def call(make: Make) -> Any:
        async with make().start() as inner:
            async with anyio.create_task_group() as group:
                group.start_soon(inner.submit, "c", inner_call)
            plain = await inner.submit("p", lambda: 4)
            return await inner.result("c"), await plain, await inner.wait("c")

    with anyio.fail_after(8):
        async with outer.start():
            for make in (
                lambda: ConcurrentTaskRunner(1),
                SequentialTaskRunner,
                lambda: ThreadTaskRunner(1),
            ):
                assert await outer.submit_nowait(None, call, make) == (3, 4, Value(3))


async def test_a_plain_call_that_runs_a_loop() -> None:
    """Its place is lent as well; whether it goes on meanwhile nobody knows, and no circle is seen."""
    runner = ConcurrentTaskRunner(1)

    async def main() -> Any:
        slot = await runner.submit("inner", give, 2)
        return await slot, await runner.wait("outer", timeout=0.05)

    with anyio.fail_after(8):
        async with runner.start():
            assert await runner.submit_nowait("outer", trio.run, main) == (2, None)


async def test_the_run_ends_while_a_call_waits() -> None:
    """It is cancelled there; nothing is left over."""
    runner = ThreadTaskRunner(2)

    async def outer() -> Any:
        return await runner.wait("open")

    with anyio.move_on_after(0.2) as scope:
        async with runner.start():
            runner.submit_nowait("open", forever)
            runner.submit_nowait("outer", outer)
    assert scope.cancelled_caught
    assert runner.slots["outer"].origin == "outer"


class Place:
    """Something to wait for, that has happened already or has not."""

    def __init__(self, *, has_happened: bool) -> None:
        self.has_happened = has_happened
        self.wakers: list[Any] = []

    def enroll(self, wake: Any) -> bool:
        self.wakers.append(wake)
        return not self.has_happened

    def withdraw(self, wake: Any) -> None:
        self.wakers.remove(wake)


class Home:
    """Where a call lives, and whether that goes on."""

    def __init__(self, *, goes_on: bool) -> None:
        self.goes_on = goes_on

    def hand_over(self, fn: Callable[[], object]) -> bool:
        if self.goes_on:
            fn()
        return self.goes_on


@pytest.mark.parametrize("goes_on", [True, False])
async def test_the_small_print(*, goes_on: bool) -> None:
    """What has happened already is not waited for; nor is a place of a run that is over."""
    posted: list[Any] = []
    async with ConcurrentTaskRunner(1).start() as runner:
        slot = runner.submit_nowait("k", forever)
        await settle_down()
        carrier: Any = slot.carrying
        for has_happened in (True, False):
            place = Place(has_happened=has_happened)
            home = Home(goes_on=goes_on)
            lent = LentAway(place, (slot, [carrier]), home, posted.append, is_noted=False)
            woken: list[int] = []
            assert lent.enroll(partial(woken.append, 1)) is not has_happened
            if not has_happened:
                place.wakers[0]()
                posted.pop()()
                assert woken == [1]
                assert not lent.enroll(lambda: None), "it is back already"
            lent.end()
        # It has arrived, and the message that it has is still under way.
        lent = LentAway(
            Place(has_happened=False), (slot, [carrier]), home, posted.append, is_noted=False
        )
        lent.has_arrived = True
        lent.end()
        lent._go_on()  # nobody waits for it any more
        runner.cancel("k")
