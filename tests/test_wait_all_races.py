"""`wait_all` while others come, go and settle; from other loops and threads."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from outcome import Value

from calls import Gate, counted, error_of, forever, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    Slot,
    State,
)
from creche._together import AllOf
from homes import HomeElsewhere

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


def wakers_of(runner: ConcurrentTaskRunner) -> list[Any]:
    return [slot._wakers for slot in runner.slots.values() if slot._wakers]


class TestWhileOthersGoOn:
    """The thing that is waited for, where another thread settles and lets go in its turn."""

    @pytest.fixture
    def slots(self, runner: ConcurrentTaskRunner) -> list[Any]:
        """A real one, which is waited for first, after one that does what a thread may do."""
        return [_Meddling(), Slot("k", runner, None)]  # type: ignore[arg-type]  # made by hand

    async def test_one_that_settles_just_before_it_is_listened_to(self, slots: list[Any]) -> None:
        """It is passed over."""
        woken: list[int] = []
        slots[0].meddle = lambda: False
        assert AllOf([slots[0]]).enroll(partial(woken.append, 1)) is False
        all_of = AllOf(slots)
        assert all_of.enroll(partial(woken.append, 2)) is True
        slots[1].settle(State.CANCELLED, ("cancel", "x"))
        assert woken == [2]

    async def test_letting_go_just_before_the_next_is_listened_to(self, slots: list[Any]) -> None:
        """Nothing is left there either, and nobody is woken."""
        all_of = AllOf(list(slots))

        def let_go() -> bool:
            all_of.withdraw(print)
            return True

        slots[0].meddle = let_go
        assert all_of.enroll(pytest.fail) is True
        slots[1].settle(State.CANCELLED, ("cancel", "x"))
        assert slots[0].wakers == []

    async def test_news_for_whoever_has_been_let_go(self, slots: list[Any]) -> None:
        """Another waiter of the same slot comes first, and brings it about that this one is let go."""
        all_of = AllOf(slots[1:])
        slots[1].enroll(lambda: all_of.withdraw(print))
        assert all_of.enroll(pytest.fail) is True
        slots[1].settle(State.CANCELLED, ("cancel", "x"))
        assert all_of.left == slots[1:]


class _Meddling:
    """Stands in for a slot in which, when somebody enrolls, something else happens at once."""

    done = False

    def __init__(self) -> None:
        self.wakers: list[Any] = []
        self.meddle: Callable[[], bool] = lambda: True

    def enroll(self, wake: Any) -> bool:
        if not self.meddle():
            return False
        self.wakers.append(wake)
        return True

    def withdraw(self, wake: Any) -> None:
        self.wakers = [other for other in self.wakers if other is not wake]


@pytest.mark.usefixtures("real_time")
class TestElsewhere:
    """The same, on the event loop of another thread."""

    async def test_what_it_gives(self, elsewhere: Any, runner: ConcurrentTaskRunner) -> None:
        """Settled and open, with a limit and without; the news comes once."""
        gate = Gate()
        steps: list[int] = []

        async def there() -> None:
            assert await runner.wait_all(["old", "old"]) == [Value(1), Value(1)]
            assert await runner.wait_all(["old", 3], timeout=0.01) == [Value(1), None]
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await settle_down()
                runner.cancel("start")

        async def wait() -> None:
            outcomes = await counted(runner.wait_all(), steps)
            assert outcomes[0] == Value(1)
            assert isinstance(error_of(outcomes[1]), CallCancelled)
            assert outcomes[2:] == [Value(n) for n in range(100)]

        async def start() -> None:
            try:
                await forever()
            finally:
                gate.open.set()

        async with runner.start():
            await runner.submit_nowait("old", give)
            runner.submit_nowait("start", start)
            for n in range(100):
                runner.submit_nowait(n, gate, n)
            await elsewhere(there)
            assert len(steps) == 2

    async def test_cancelling_it(self, elsewhere: Any, runner: ConcurrentTaskRunner) -> None:
        """At once, without a trace, though the home loop does nothing meanwhile."""
        ended = threading.Event()

        async def there() -> None:
            with anyio.move_on_after(0.01) as scope:
                await runner.wait_all()
            assert scope.cancelled_caught
            ended.set()

        async with anyio.create_task_group() as group, runner.start():
            for n in range(3):
                runner.submit_nowait(n, forever)
            await settle_down()
            group.start_soon(elsewhere, there)
            await settle_down()
            assert ended.wait(10)  # this blocks the loop
            assert wakers_of(runner) == []
            assert {slot.state for slot in runner.slots.values()} == {State.RUNNING}
            runner.cancel_all()

    async def test_the_home_loop_ends(self, elsewhere: Any, runner: ConcurrentTaskRunner) -> None:
        """The waiter gets the final outcomes."""
        waits = threading.Event()
        seen: list[Any] = []

        async def there() -> None:
            waits.set()
            seen.extend(await runner.wait_all())

        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                async with runner.start():
                    for n in range(3):
                        runner.submit_nowait(n, forever)
                    await settle_down()
                    group.start_soon(elsewhere, there)
                    await anyio.to_thread.run_sync(waits.wait, 10)
                    scope.cancel()
        assert [outcome.error.origin for outcome in seen] == ["outer"] * 3

    @pytest.mark.parametrize("mine_first", [False, True])
    async def test_calls_of_several_runners(
        self, runner: ConcurrentTaskRunner, *, mine_first: bool
    ) -> None:
        """Of this loop and of another one, handle by handle."""
        home = HomeElsewhere(ConcurrentTaskRunner())
        try:
            async with runner.start():
                mine, theirs = Gate(), threading.Event()
                slots = [await home.runner.submit(n, theirs.wait) for n in range(3)]
                slots += [runner.submit_nowait(n, mine, True) for n in range(3)]
                random.Random(2).shuffle(slots)
                async with anyio.create_task_group() as group:

                    async def wait() -> None:
                        assert await runner.wait_all(slots) == [Value(True)] * 6

                    group.start_soon(wait)
                    await settle_down()
                    if mine_first:
                        mine.open.set()
                        await settle_down()
                        theirs.set()
                    else:
                        theirs.set()
                        await home.runner.wait_all()
                        mine.open.set()
        finally:
            await anyio.to_thread.run_sync(home.close)

    async def test_in_a_call_here(self) -> None:
        """A call lends its place while it waits for many calls of a runner on another loop."""
        home = HomeElsewhere(ConcurrentTaskRunner())
        go = threading.Event()
        runner = ConcurrentTaskRunner(1)

        async def outer() -> Any:
            slots = [await home.runner.submit(n, go.wait) for n in range(3)]
            return await runner.wait_all(slots)

        async def inner() -> None:
            go.set()

        try:
            async with runner.start():
                slot = runner.submit_nowait("outer", outer)
                runner.submit_nowait("inner", inner)
                assert await slot == [Value(True)] * 3
        finally:
            await anyio.to_thread.run_sync(home.close)

    async def test_many_that_wait_and_let_go(self, elsewhere: Any, runner: ConcurrentTaskRunner) -> None:
        """While the calls end; nothing is left, and who still waits is told."""

        async def there() -> None:
            for n in range(20):
                with anyio.move_on_after(n * 0.0005):
                    await runner.wait_all()
            assert await runner.wait_all() == [Value(n) for n in range(300)]

        gates = [Gate() for _ in range(300)]
        async with runner.start(), anyio.create_task_group() as group:
            for n, gate in enumerate(gates):
                runner.submit_nowait(n, gate, n)
            group.start_soon(elsewhere, there)
            for gate in reversed(gates):  # so each of them is listened to in turn
                gate.open.set()
                await anyio.sleep(0.0001)
            await runner.wait_all()
        assert wakers_of(runner) == []
