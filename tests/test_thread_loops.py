"""Async calls in threads, each on a loop of its own: how they end, and how they wait for others."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
import sniffio

from calls import fail, forever, give, nested, nested_and_failing, settle_down, stray
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    SequentialTaskRunner,
    State,
    ThreadTaskRunner,
    check_cancelled,
    flow,
    task,
)
from loops import both, ctrl_c

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


def is_home() -> bool:
    return threading.current_thread() is threading.main_thread()


async def where() -> tuple[str, bool]:
    await anyio.lowlevel.checkpoint()
    return sniffio.current_async_library(), is_home()


async def test_a_loop_of_the_same_kind(anyio_backend_name: str) -> None:
    """In another thread; by default on a runner of threads, and when it is asked for elsewhere."""
    async with ThreadTaskRunner().start() as runner:
        assert await runner.submit_nowait(None, where) == (anyio_backend_name, False)
        assert await runner.submit_nowait(None, where, place="loop") == (anyio_backend_name, True)
        assert await runner.submit_nowait(None, is_home, place="loop") is True
        assert await runner.map(lambda n: n + 1, range(3)) == [1, 2, 3]
        future: Any = runner.as_executor().submit(where)
        assert await anyio.to_thread.run_sync(future.result) == (anyio_backend_name, False)
    for make in (ConcurrentTaskRunner, SequentialTaskRunner):
        async with make().start() as runner:
            slot = await runner.submit(None, where, place="thread")
            assert await slot == (anyio_backend_name, False)


async def test_it_blocks_nobody() -> None:
    """What an async call does between two awaits is its thread's affair."""

    async def blocking() -> float:
        time.sleep(0.3)  # noqa: ASYNC251 - the point
        return time.monotonic()

    async with ThreadTaskRunner().start() as runner:
        slot = runner.submit_nowait("b", blocking)
        await runner.submit_nowait("loop", give, place="loop")
        assert not slot.done


@pytest.mark.parametrize("options", [{}, {"timeout": 60}])
async def test_failures(options: dict[str, Any]) -> None:
    """The original exceptions, groups included."""
    errors = [ValueError("a"), ExceptionGroup("g", [KeyError(1)]), StopIteration(3)]
    async with ThreadTaskRunner().start() as runner:
        for n, error in enumerate(errors):
            slot = runner.submit_nowait(n, fail, error, **options)
            await runner.wait(slot)
            assert slot.state is State.FAILED
            if n < 2:
                assert slot.peek_error() is error


async def test_cancelled_by_its_key() -> None:
    """Where it stands, children included; it is not begun any more if it has not begun."""
    begun = threading.Event()

    async def wait_in_children() -> None:
        begun.set()
        await nested()

    async with ThreadTaskRunner(2).start() as runner:
        runner.submit_nowait("a", wait_in_children)
        runner.submit_nowait("b", nested_and_failing)
        runner.submit_nowait("queued", give)
        await anyio.to_thread.run_sync(begun.wait)
        await settle_down()
        for key in "ab":
            runner.cancel(key)
        runner.cancel("queued")
        await runner.until_idle()
        for n in range(20):  # wherever it is on its way
            slot = runner.submit_nowait(n, forever)
            for _ in range(n):
                await anyio.lowlevel.checkpoint()
            runner.cancel(slot)
            with pytest.raises(CallCancelled, match="cancel"):
                await slot
    assert runner.slots["a"].origin == "cancel"
    assert runner.slots["b"].state is State.FAILED
    assert runner.slots["queued"].origin == "cancel"


async def test_a_timeout_and_a_late_value() -> None:
    """FAILED when its time is over; a value beats it."""

    async def late() -> int | None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return 7
        return None

    async with ThreadTaskRunner().start() as runner:
        slot = runner.submit_nowait("a", forever, timeout=0.05)
        assert await runner.submit_nowait("b", late, timeout=0.05) == 7
        await runner.wait(slot)
    with pytest.raises(TimeoutError):
        slot.result()


@pytest.mark.parametrize("grace", [0, 0.2])
async def test_an_outer_cancellation(grace: float) -> None:
    """It reaches the loop of the thread; under grace when that is over."""
    with anyio.CancelScope() as scope:
        async with ThreadTaskRunner(grace=grace).start() as runner:
            runner.submit_nowait("a", forever)
            runner.submit_nowait("quick", anyio.sleep, 0.1)
            await anyio.sleep(0.05)
            begin = time.monotonic()
            scope.cancel()
    assert scope.cancelled_caught
    assert runner.slots["a"].origin == "outer"
    assert time.monotonic() - begin >= grace * 0.95  # uvloop counts milliseconds
    assert (runner.slots["quick"].state is State.COMPLETED) == (grace > 0)


async def test_the_body_raises() -> None:
    """What runs is cancelled there."""
    runner = ThreadTaskRunner()
    with pytest.raises(KeyError):
        async with runner.start():
            runner.submit_nowait("a", forever)
            await anyio.sleep(0.05)
            raise KeyError
    assert runner.slots["a"].origin == "closed"


async def test_a_stray_cancellation(anyio_backend_name: str) -> None:
    """Of nobody's making: contained, and never brought to the loop of the runner."""

    async def in_a_group() -> None:
        try:
            await stray()
        except BaseException as exc:
            raise BaseExceptionGroup("g", [exc, ValueError("b")]) from None

    async with ThreadTaskRunner().start() as runner:
        slot = runner.submit_nowait("a", stray)
        mixed = runner.submit_nowait("b", in_a_group)
        assert await runner.submit_nowait("other", give, 1) == 1
        await runner.until_idle()
    assert (slot.state, slot.origin) == (State.CANCELLED, "foreign")
    assert mixed.state is State.FAILED
    assert isinstance(mixed.peek_error(), ExceptionGroup)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_what_ends_a_program(error: BaseException) -> None:
    """CRASHED; the runner closes, and raises it."""
    runner = ThreadTaskRunner()
    with pytest.raises(type(error)):
        async with runner.start():
            runner.submit_nowait("other", forever)
            runner.submit_nowait("a", fail, error)
            await anyio.sleep_forever()
    assert runner.slots["a"].state is State.CRASHED
    is_interrupt = isinstance(error, KeyboardInterrupt)
    assert runner.slots["other"].origin == ("outer" if is_interrupt else "closed")


async def test_what_ends_a_program_out_of_a_child_task(anyio_backend_name: str) -> None:
    """Asyncio lets it out of any task, past the call."""

    async def call() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail, SystemExit(3))

    runner = ThreadTaskRunner()
    with pytest.raises(BaseException) as caught:
        async with runner.start():
            runner.submit_nowait("a", call)
            await anyio.sleep_forever()
    assert isinstance(caught.value, (SystemExit, BaseExceptionGroup))
    assert runner.slots["a"].state is State.CRASHED


@both
def test_ctrl_c(run: Callable[[Callable[[], Awaitable[Any]]], None]) -> None:
    """The calls in threads are cancelled as those on the loop are; in a sequential runner, too."""
    runners: list[Any] = [ThreadTaskRunner(), SequentialTaskRunner()]

    async def main() -> None:
        async with runners[0].start() as runner:
            runner.submit_nowait("a", forever)
            await anyio.sleep(0.1)
            ctrl_c()
            await anyio.sleep_forever()

    async def sequential() -> None:
        async with runners[1].start() as runner:
            threading.Timer(0.2, ctrl_c_in_main).start()
            await runner.submit("a", forever, place="thread")

    with pytest.raises(KeyboardInterrupt):
        run(main)
    with pytest.raises(KeyboardInterrupt):
        run(sequential)
    assert [runner.slots["a"].done for runner in runners] == [True, True]


def ctrl_c_in_main() -> None:
    import signal  # noqa: PLC0415 - it runs in another program

    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_asyncios_own_cancel_of_a_sequential_submit(anyio_backend_name: str) -> None:
    """It comes only once, and is handed on all the same."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    async with SequentialTaskRunner().start() as runner:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await runner.submit("a", forever, place="thread")
        assert runner.slots["a"].origin == "outer"
        assert (await runner.submit("b", give, 1, place="thread")).result() == 1


async def test_a_task_that_is_cancelled_as_it_ends(anyio_backend_name: str) -> None:
    """What the call gives counts, though asyncio says of the task only that it was cancelled."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")

    async def end(error: Exception | None) -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if error is not None:
            raise error
        return 5

    async with ThreadTaskRunner().start() as runner:
        assert await runner.submit_nowait("returns", end, None) == 5
        with pytest.raises(LookupError):
            await runner.submit_nowait("fails", end, LookupError())


async def test_a_helper_thread_of_a_cancelled_call() -> None:
    """Code in a thread that an async call has started learns of the cancellation, too."""

    def spin() -> None:
        while True:
            check_cancelled()
            time.sleep(0.005)

    async def call() -> None:
        await anyio.to_thread.run_sync(spin)

    async with ThreadTaskRunner().start() as runner:
        slot = runner.submit_nowait("a", call)
        await anyio.sleep(0.05)
        runner.cancel("a")
        await runner.wait(slot)
    assert slot.origin == "cancel"


async def test_flows_in_threads() -> None:
    """Tasks run in threads on a runner of threads, or where they say so."""

    @task
    async def one(n: int, add: int = 0) -> int:
        await anyio.lowlevel.checkpoint()
        return n + add + (100 if is_home() else 0)

    @flow(task_runner=ThreadTaskRunner(2))
    async def body() -> list[int]:
        first = one.submit(1)
        second = one.submit(first, add=first)
        third = one.with_options(place="loop").submit(second)
        return [await first, await second, await third]

    assert await body() == [1, 2, 102]


async def test_nothing_is_kept() -> None:
    """Neither arguments nor outcomes, without the collector."""

    class Thing(Exception):  # noqa: N818 - it is raised, too
        pass

    async def take(thing: Thing) -> Thing:
        return Thing()

    async def refuse(thing: Thing) -> None:
        error = Thing()
        try:
            raise error
        finally:
            del error, thing

    alive: list[weakref.ref[Any]] = []
    gc.collect()
    gc.disable()
    try:
        async with ThreadTaskRunner().start() as runner:
            for fn in (take, refuse):
                thing = Thing()
                alive.append(weakref.ref(thing))
                slot: Any = runner.submit_nowait("a", fn, thing)
                del thing
                await runner.wait(slot)
                error = slot.peek_error() if fn is refuse else slot.result()
                alive.append(weakref.ref(error))
                del error
                runner.forget("a")
                del slot
            await runner.submit_nowait("next", give)
            await settle_down()
            await anyio.sleep(0.05)
            assert [one() for one in alive if one() is not None] == []
    finally:
        gc.enable()
