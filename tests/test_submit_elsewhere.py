"""Submitting on the event loop of another thread."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import sniffio

from calls import fail, forever, give, settle_down
from creche import (
    ConcurrentTaskRunner,
    KeyTaken,
    RunnerClosed,
    RunnerNotStarted,
    SequentialTaskRunner,
    State,
    UnknownKey,
)
from creche.instruments import CallEvent, Instrument

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

VAR: ContextVar[str] = ContextVar("VAR", default="unset")

runners = pytest.mark.parametrize("make", [ConcurrentTaskRunner, SequentialTaskRunner])


def name_of_loop() -> str:
    """What a library that asks which loop runs here is told."""
    return sniffio.current_async_library()


@runners
async def test_submitting(elsewhere: Any, make: Any) -> None:
    """The call runs on the runner's loop, and its slot comes back."""
    home = threading.get_ident()

    async def where() -> tuple[bool, str]:
        await anyio.lowlevel.checkpoint()
        return threading.get_ident() == home, VAR.get()

    async def there() -> None:
        VAR.set("of the submitter")
        slot = await runner.submit("where", where)
        assert await slot == (True, "of the submitter")
        assert await (await runner.submit(None, give, 3)) == 3
        slot = await runner.submit("plain", threading.get_ident)
        assert await slot not in {home, threading.get_ident()}
        after = await runner.submit("after", give, 4, after=["where", slot])
        assert await after == 4
        assert (await runner.wait(await runner.submit("bad", fail))) is not None
        assert VAR.get() == "of the submitter"

    async with make().start() as runner:
        await elsewhere(there)
        assert VAR.get() == "unset"
        assert runner.slots["bad"].state is State.FAILED


@runners
async def test_what_is_wrong_with_a_submission(elsewhere: Any, make: Any) -> None:
    """It is raised at the submitter, and nothing is left behind."""

    async def there() -> None:
        with pytest.raises(KeyTaken):
            await runner.submit("taken", give)
        with pytest.raises(UnknownKey):
            await runner.submit("k", give, after=["none"])
        with pytest.raises(TypeError, match="instead of"):
            await runner.submit("k", give())
        with pytest.raises(TypeError, match="hashable"):
            await runner.submit([], give)
        with pytest.raises(ValueError, match="timeout"):
            await runner.submit("k", give, timeout=-1)
        with pytest.raises(ValueError, match="limit"):
            await runner.submit("k", give, limits=["none"])
        joined = await runner.submit("taken", fail, on_collision="join")
        assert joined is runner.slots["taken"]
        again = await runner.submit("taken", give, 2, on_collision="replace")
        assert await again == 2
        with pytest.raises(RuntimeError, match="await runner.submit"):
            runner.submit_nowait("k", give)
        with pytest.raises(RuntimeError, match="lives on another"):
            await runner.map(give, [1])
        with pytest.raises(RuntimeError, match="lives on another"):
            await group.submit("k", give)

    with pytest.raises(RunnerNotStarted):
        await make().submit("k", give)
    async with make().start() as runner:
        await runner.submit("taken", give)
        await runner.wait("taken")
        async with runner.group() as group:
            await elsewhere(there)
        assert list(runner.slots) == ["taken"]

    async def too_late() -> None:
        with pytest.raises(RunnerClosed, match="'k'.*start it again"):
            await runner.submit("k", give)

    await elsewhere(too_late)


@runners
async def test_the_call_does_not_see_the_marks_of_the_other_loop(elsewhere: Any, make: Any) -> None:
    """Sniffio's, that is, which libraries go by, and creche's own."""

    async def asks() -> str:
        with anyio.CancelScope():
            await anyio.lowlevel.checkpoint()
        return name_of_loop()

    async def there() -> None:
        here = name_of_loop()
        sniffio.current_async_library_cvar.set(here)
        assert await (await runner.submit("asks", asks)) == home

    home = name_of_loop()
    async with make().start() as runner:
        await elsewhere(there)


async def test_a_done_callback_runs_in_the_context_of_the_home_loop(elsewhere: Any) -> None:
    """Also when another loop's `cancel` is what settles the call."""
    seen: list[tuple[str, int]] = []
    home = threading.get_ident()

    async def there() -> None:
        VAR.set("of the other loop")
        runner.cancel("k")
        await runner.wait("k")

    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("open", forever)
        slot = runner.submit_nowait("k", forever)
        slot.add_done_callback(lambda _: seen.append((VAR.get(), threading.get_ident())))
        await elsewhere(there)
        runner.cancel("open")
    assert seen == [("unset", home)]


@runners
async def test_while_the_home_loop_is_blocked(elsewhere: Any, make: Any) -> None:
    """It waits, its own loop goes on, and it is answered when the home loop is free."""
    blocked, goes_on = threading.Event(), threading.Event()
    seen: list[Any] = []

    async def there() -> None:
        blocked.wait(10)
        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await settle_down()
            assert "k" not in runner
            goes_on.set()

    async def submit() -> None:
        seen.append(await (await runner.submit("k", give, 5)))

    async with anyio.create_task_group() as group, make().start() as runner:
        async with anyio.create_task_group() as others:
            others.start_soon(elsewhere, there)
            await settle_down()
            blocked.set()
            assert goes_on.wait(10)  # this blocks the loop
        assert seen == [5]
        group.cancel_scope.cancel()


@runners
async def test_cancelled_before_it_was_judged(elsewhere: Any, make: Any) -> None:
    """At once, though the home loop does nothing meanwhile; nothing has been submitted."""
    blocked, ended = threading.Event(), threading.Event()

    async def there() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await runner.submit("k", give)
        assert scope.cancelled_caught
        blocked.wait(10)
        with anyio.move_on_after(0.01) as scope:
            await runner.submit("k", give)
        assert scope.cancelled_caught
        ended.set()

    async with make().start() as runner:
        async with anyio.create_task_group() as others:
            others.start_soon(elsewhere, there)
            await settle_down()
            blocked.set()
            assert ended.wait(10)  # this blocks the loop
            await settle_down()
        assert len(runner.slots) == 0
        assert await (await runner.submit("k", give, 2)) == 2


class Holds(Instrument):
    """An instrument that holds the home loop up while a submission is judged."""

    def __init__(self) -> None:
        self.judging, self.go_on = threading.Event(), threading.Event()

    def call_submitted(self, event: CallEvent) -> None:
        """Say so, and wait."""
        self.judging.set()
        assert self.go_on.wait(10)


async def test_cancelled_while_it_is_judged(elsewhere: Any) -> None:
    """It gives the slot, and the cancellation shows at the next checkpoint: nothing is half done."""
    holds = Holds()
    seen: list[Any] = []

    async def there() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(submit, scope)
                await anyio.to_thread.run_sync(holds.judging.wait, 10)
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    await settle_down()
                    holds.go_on.set()

    async def submit(scope: anyio.CancelScope) -> None:
        seen.append(await runner.submit("k", give, 5))
        assert scope.cancel_called
        await anyio.sleep_forever()

    async with ConcurrentTaskRunner(instruments=[holds]).start() as runner:
        await elsewhere(there)
        assert seen == [runner.slots["k"]]
        assert await seen[0] == 5


async def test_cancelled_by_asyncio_while_it_is_judged() -> None:
    """That comes only once, and is not kept back; the call is on the board."""
    holds = Holds()

    async def there() -> None:
        task = asyncio.create_task(runner.submit("k", give, 5))
        await asyncio.to_thread(holds.judging.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        holds.go_on.set()

    async with ConcurrentTaskRunner(instruments=[holds]).start() as runner:
        await anyio.to_thread.run_sync(asyncio.run, there())
        assert await runner.result("k") == 5


async def test_refused_while_its_submitter_is_cancelled(elsewhere: Any) -> None:
    """Whatever it raises, it has submitted nothing."""
    holds = Holds()

    class Key:
        def __hash__(self) -> int:
            holds.call_submitted(None)  # type: ignore[arg-type]  # pyright: ignore  # it is not looked at
            return 1

    async def there() -> None:
        with pytest.raises(ValueError, match="circle"), anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(submit)
                await anyio.to_thread.run_sync(holds.judging.wait, 10)
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    await settle_down()
                    holds.go_on.set()

    async def submit() -> None:
        with pytest.raises(KeyTaken):
            await runner.submit(Key(), give, 5)
        raise ValueError("circle")

    async with ConcurrentTaskRunner().start() as runner:
        key = Key()
        holds.go_on.set()
        Key.__eq__ = lambda self, other: True  # type: ignore[method-assign]  # replaced for the test
        runner.submit_nowait(key, give)
        holds.go_on.clear()
        holds.judging.clear()
        with pytest.raises(BaseExceptionGroup):
            await elsewhere(there)
