"""Places at the end of a run, however it ends: work is stopped first, and then the place is closed."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from calls import forever, give, settle_down
from creche import ConcurrentTaskRunner, State
from creche._place import Host, OpenPlace
from elsewhere import Elsewhere, OpenElsewhere, owner
from loops import both, ctrl_c

pytestmark = pytest.mark.anyio

LONG = {"takes": 1000}


def double(n: int) -> int:
    return 2 * n


@pytest.fixture
def place() -> Elsewhere:
    return Elsewhere()


async def test_the_body_raises(place: Elsewhere) -> None:
    """What runs there is stopped, and the place is closed."""
    runner = ConcurrentTaskRunner()
    with pytest.raises(KeyError):
        async with runner.start():
            runner.submit_nowait("a", double, 1, place=place, place_options=LONG)
            await settle_down()
            raise KeyError
    assert runner.slots["a"].origin == "closed"
    assert place.log == ["open", "run a", "stop a", "closed"]


async def test_an_outer_cancellation(place: Elsewhere) -> None:
    """It does not reach the place itself, which is closed after the work was stopped."""
    runner = ConcurrentTaskRunner()
    with anyio.CancelScope() as scope:
        async with runner.start():
            runner.submit_nowait("a", double, 1, place=place, place_options=LONG)
            runner.submit_nowait("late", double, 1, place=place, place_options={**LONG, "late": 7})
            await settle_down()
            scope.cancel()
    assert scope.cancelled_caught
    assert runner.slots["a"].origin == "outer"
    assert runner.slots["late"].result() == 7
    assert sorted(place.log[-3:-1]) == ["stop a", "stop late"]
    assert place.log[-1] == "closed"


async def test_grace() -> None:
    """Work that ends in time has its value; what is stopped is stopped when the time is over."""
    place = Elsewhere()
    runner = ConcurrentTaskRunner(grace=0.3)
    with anyio.CancelScope() as scope:
        async with runner.start():
            runner.submit_nowait("a", double, 1, place=place, place_options=LONG)
            runner.submit_nowait("quick", double, 1, place=place, place_options={"takes": 0.1})
            await settle_down()
            begin = anyio.current_time()
            scope.cancel()
    assert anyio.current_time() - begin > 0.29
    assert runner.slots["a"].origin == "outer"
    assert runner.slots["quick"].result() == 2
    assert place.log[-2:] == ["stop a", "closed"]


async def test_drain(place: Elsewhere) -> None:
    """What is cut is stopped; the place goes on until the run is left."""
    runner = ConcurrentTaskRunner()
    async with runner.start():
        runner.submit_nowait("a", double, 1, place=place, place_options=LONG)
        runner.submit_nowait("quick", double, 1, place=place)
        assert await runner.drain(0.1) == ["a"]
        assert place.log[-1] == "stop a"
    assert runner.slots["a"].origin == "closed"
    assert place.log[-1] == "closed"


@both
@pytest.mark.parametrize("make", [ConcurrentTaskRunner, None])
def test_ctrl_c(run: Callable[[Callable[[], Awaitable[Any]]], None], make: Any) -> None:
    """As for any run; the place is closed all the same."""
    place = Elsewhere()
    runner = owner(place) if make is None else make()

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait("a", double, 1, place=place, place_options=LONG)
            await anyio.sleep(0.02)
            ctrl_c()
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert runner.slots["a"].origin == "outer"
    assert place.log == ["open", "run a", "stop a", "closed"]


@pytest.mark.parametrize("way", ["normal", "cancel", "raise"])
async def test_the_run_ends_while_the_place_opens(place: Elsewhere, way: str) -> None:
    """Calls that wait for it are waited for at a normal end; else the opening is cut short."""
    place.opens_after = 0.5 if way == "normal" else 5
    runner = ConcurrentTaskRunner()
    error: Exception | None = None
    begin = anyio.current_time()
    with anyio.CancelScope() as scope:
        try:
            async with runner.start():
                slot = runner.submit_nowait("a", double, 1, place=place)
                await settle_down()
                if way == "cancel":
                    scope.cancel()
                if way == "raise":
                    raise KeyError
        except KeyError as exc:
            error = exc
    assert (error is not None) == (way == "raise")
    if way == "normal":
        assert slot.result() == 2
    else:
        assert slot.origin == ("outer" if way == "cancel" else "closed")
        assert place.log == ["open", "closed"]
        assert anyio.current_time() - begin < 4


async def test_an_opening_that_is_cut_short_and_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is there to be told: it is logged."""

    class Failing(Elsewhere):
        @asynccontextmanager
        async def open(self, host: Host) -> AsyncIterator[OpenPlace]:
            try:
                await anyio.sleep_forever()
            finally:
                raise OSError("half open")
            yield

    runner = ConcurrentTaskRunner()
    async with runner.start():
        runner.submit_nowait("a", double, 1, place=Failing())
        await settle_down()
        runner.cancel("a")
    (record,) = caplog.records
    assert record.message.endswith("failed to close")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)


class Leaving(Elsewhere):
    """Comes to its end by itself."""

    error: Exception | None = None
    leave = False

    @asynccontextmanager
    async def open(self, host: Host) -> AsyncIterator[OpenPlace]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._wait, group)
                yield OpenElsewhere(self)
        except BaseExceptionGroup as exc:
            raise exc.exceptions[0] from None

    async def _wait(self, group: anyio.abc.TaskGroup) -> None:
        while not self.leave:  # noqa: ASYNC110 - an event of anyio's is of one loop
            await anyio.sleep(0.01)
        if self.error is not None:
            raise self.error
        group.cancel_scope.cancel()


@pytest.mark.parametrize("error", [None, OSError("it fell over")])
async def test_closes_too_early(error: Exception | None, caplog: pytest.LogCaptureFixture) -> None:
    """Later calls are CRASHED with the reason; what runs is the affair of the place."""
    place = Leaving()
    place.error = error
    runner = ConcurrentTaskRunner()
    with caplog.at_level(logging.ERROR):
        async with runner.start():
            assert await runner.submit_nowait("a", double, 1, place=place) == 2
            place.leave = True
            await anyio.sleep(0.1)
            slot = runner.submit_nowait("b", double, 1, place=place)
            assert await runner.submit_nowait("other", give, 1) == 1
            await runner.wait("b")
            assert len(caplog.records) == (error is not None)
    assert slot.state is State.CRASHED
    with pytest.raises(RuntimeError if error is None else OSError, match="too early|it fell over"):
        slot.result()
    assert len(caplog.records) == (error is not None)


async def test_what_ends_a_program_out_of_the_opening(place: Elsewhere) -> None:
    """It ends the run, and is raised by it."""
    place.fails_to_open = SystemExit(3)
    runner = ConcurrentTaskRunner()
    with pytest.raises(SystemExit):
        async with runner.start():
            runner.submit_nowait("other", forever)
            runner.submit_nowait("a", double, 1, place=place)
            await anyio.sleep_forever()
    assert runner.slots["other"].origin == "closed"
    assert runner.slots["a"].done


async def test_asyncios_own_cancel_of_its_task(
    anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody cancels all tasks that there are: the place is closed, and its later calls CRASHED."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    place = Elsewhere()
    async with ConcurrentTaskRunner().start() as runner:
        await runner.submit_nowait("a", double, 1, place=place)
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "creche place")
        task.cancel()
        await settle_down()
        slot = runner.submit_nowait("b", double, 1, place=place)
        assert await runner.submit_nowait("other", give, 1) == 1
    assert slot.state is State.CRASHED
    assert place.log[-1] == "closed"


# A runner whose own place it is -----------------------------------------------------------------------


async def test_an_own_place_that_fails_to_open(place: Elsewhere) -> None:
    """The start raises it, bare; the runner can be started again."""
    runner = owner(place)
    error = place.fails_to_open = OSError("nobody there")
    with pytest.raises(OSError, match="nobody there") as caught:
        async with runner.start():
            raise AssertionError
    assert caught.value is error
    assert not runner.is_started
    place.fails_to_open = None
    async with runner.start():
        assert await runner.submit_nowait("a", double, 1) == 2


async def test_an_own_place_whose_opening_is_cancelled(place: Elsewhere) -> None:
    """The scope around the start catches it."""
    place.opens_after = 1000
    runner = owner(place)
    with anyio.move_on_after(0.1) as scope:
        async with runner.start():
            raise AssertionError
    assert scope.cancelled_caught
    assert place.log == ["open", "closed"]


async def test_an_own_place_is_open_though_no_call_comes(place: Elsewhere) -> None:
    """It is opened at the start, and closed at the end."""
    async with owner(place).start():
        assert place.log == ["open"]
    assert place.log == ["open", "closed"]


# Memory ----------------------------------------------------------------------------------------------


class Thing:
    """Something that a weak reference can see going."""


def take(thing: Any) -> Thing:
    return Thing()


def refuse(thing: Any) -> None:
    error = ValueError("b")
    try:
        raise error
    finally:
        del error, thing


@pytest.mark.parametrize("way", ["value", "failed", "crash", "break", "cancel"])
async def test_nothing_is_kept_while_the_run_goes_on(way: str) -> None:
    """Neither arguments nor what came of them, without the collector."""
    place, thing = Elsewhere(), Thing()
    alive: list[weakref.ref[Any]] = [weakref.ref(thing)]
    gc.collect()
    gc.disable()
    try:
        async with ConcurrentTaskRunner().start() as runner:
            options = LONG if way == "cancel" else {way: True}
            fn = refuse if way == "failed" else take
            slot: Any = runner.submit_nowait("a", fn, thing, place=place, place_options=options)
            del thing
            await settle_down()
            if way == "cancel":
                runner.cancel(slot)
            await runner.wait(slot)
            if way == "value":
                alive.append(weakref.ref(slot.result()))
            if way != "cancel":  # what it raised has frames of the place, which have the work in hand
                runner.forget("a")
            del slot
            await runner.submit_nowait("next", give)
            await settle_down()
            assert [one() for one in alive if one() is not None] == []
    finally:
        gc.enable()


@pytest.mark.parametrize("way", ["crash", "to open", "to close", "early"])
async def test_a_place_does_not_keep_a_run_that_is_over(way: str) -> None:
    """Though it knows its host, and that its error."""
    place = Leaving() if way == "early" else Elsewhere()
    if way == "to open":
        place.fails_to_open = OSError()
    if way == "to close":
        place.fails_to_close = OSError()

    async def use() -> weakref.ref[Any]:
        runner = ConcurrentTaskRunner()
        async with runner.start():
            slot = await runner.submit("a", double, 1, place=place, place_options={way: True})
            await runner.wait(slot)
            if isinstance(place, Leaving):
                place.leave = True
                await anyio.sleep(0.1)
        return weakref.ref(runner._run)

    run = await use()
    place.fails_to_open = place.fails_to_close = None
    await settle_down()
    gc.collect()
    assert run() is None


async def test_no_rings() -> None:
    """The collector finds nothing of ours after calls in a place."""
    place = Elsewhere()
    gc.disable()
    try:
        async with ConcurrentTaskRunner(retain=False).start() as runner:
            await (await runner.submit(None, give, 1, place=place))
            gc.collect()
            for fn in (take, refuse) * 10:
                slot = await runner.submit(None, fn, 1, place=place)
                await runner.wait(slot)
            del slot
            await settle_down()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            ours = [one for one in gc.garbage if "creche" in type(one).__module__]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert ours == []


async def test_a_crash_that_nobody_reads_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As a failure is, once and with its key: it ends nothing, and would pass in silence."""
    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("lost", give, 1, place=Elsewhere(), place_options={"crash": True})
        runner.submit_nowait("read", give, 1, place=Elsewhere(), place_options={"crash": True})
        await runner.wait("read")
    (record,) = caplog.records
    assert "'lost'" in record.getMessage()
    assert "'read'" not in record.getMessage()
