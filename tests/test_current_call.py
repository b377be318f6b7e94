"""`current_call`: code knows which call it is part of, wherever it runs; and so do log lines."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import logging.handlers
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, MutableMapping
from typing import Any

import anyio
import anyio.to_thread
import pytest
import sniffio
import structlog

from calls import give
from creche import (
    ConcurrentTaskRunner,
    CurrentCall,
    ProcessTaskRunner,
    SequentialTaskRunner,
    ThreadTaskRunner,
    current_call,
    flow,
    task,
)
from creche.instruments import CallContext, CallEvent, Instrument, Summary
from creche.logging import CallFilter, add_call, install_record_factory
from far_logging import ask, ask_later, line, loaded

pytestmark = pytest.mark.anyio

KINDS = pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])


async def ask_deeper() -> CurrentCall | None:
    """Asked in a child task of a child task."""
    said: list[CurrentCall | None] = []

    async def child(depth: int) -> None:
        async with anyio.create_task_group() as group:
            if depth:
                group.start_soon(child, depth - 1)
            else:
                said.append(current_call())

    await child(2)
    return said[0]


async def result(runner: Any, key: Any, *call: Any, **options: Any) -> Any:
    return await runner.result(runner.submit_nowait(key, *call, **options))


@KINDS
@pytest.mark.parametrize("instruments", [(), (Summary(),)])
async def test_on_the_loop(kind: Any, instruments: Any) -> None:
    """In the body and in every task that it has started; outside there is none."""
    assert current_call() is None
    async with kind(instruments=instruments).start() as runner:
        name = runner.name
        for fn in (ask_later, ask_deeper):
            for _ in range(3):  # a carrier carries out one call after another
                key = ("page", _, fn.__name__)
                assert await result(runner, key, fn) == CurrentCall(key, name, 1, "loop")
        slot = await runner.submit("here", ask_later, timeout=5)
        assert (await slot).key == "here"
        assert current_call() is None
    assert current_call() is None


async def test_the_innermost() -> None:
    """Of a call that another one waits for, and of a runner that a call has opened."""

    async def outer() -> list[Any]:
        async with SequentialTaskRunner().start() as inner:
            slot = await inner.submit("inner", ask_later)
            return [slot.result(), current_call()]

    async with ConcurrentTaskRunner().start() as runner:
        inner, around = await result(runner, "outer", outer)
    assert (inner.key, inner.runner) == ("inner", "sequential")
    assert (around.key, around.runner) == ("outer", "concurrent")


async def test_a_task_that_outlives_its_call() -> None:
    """It is part of no call any more, whatever its carrier does next."""
    if sniffio.current_async_library() == "trio":
        pytest.skip("a task of trio's cannot")
    said: list[CurrentCall | None] = []
    go = anyio.Event()

    async def late() -> None:
        await go.wait()
        said.append(current_call())

    kept: list[Any] = []

    async def start() -> None:
        kept.append(asyncio.ensure_future(late()))

    async with ConcurrentTaskRunner(max_workers=1).start() as runner:
        await result(runner, "a", start)
        go.set()
        await result(runner, "b", anyio.sleep, 0)
        await kept[0]
    assert said == [None]


async def test_between_two_tasks() -> None:
    """A callback of the loop's is part of no call."""
    said: list[CurrentCall | None] = []
    if sniffio.current_async_library() == "trio":
        pytest.skip("a callback of asyncio's")
    async with ConcurrentTaskRunner().start() as runner:

        async def schedule() -> None:
            asyncio.get_running_loop().call_soon(lambda: said.append(current_call()))
            await anyio.sleep(0.01)

        await result(runner, "a", schedule)
    assert said == [None]


@KINDS
@pytest.mark.parametrize("instruments", [(), (Summary(),)])
@pytest.mark.usefixtures("real_time")
async def test_in_threads(kind: Any, instruments: Any) -> None:
    """Of a plain call, and of a loop that runs there."""
    async with kind(instruments=instruments).start() as runner:
        assert await result(runner, "a", ask) == CurrentCall("a", runner.name, 1, "thread")
        if kind is ConcurrentTaskRunner:
            assert await result(runner, "b", ask_later, place="thread") == CurrentCall(
                "b", runner.name, 1, "thread"
            )
            assert (await result(runner, "c", ask_deeper, place="thread")).key == "c"


@pytest.mark.usefixtures("real_time")
async def test_a_thread_of_ones_own() -> None:
    """Nothing is known there."""
    said: list[CurrentCall | None] = []

    def start() -> None:
        thread = threading.Thread(target=lambda: said.append(current_call()))
        thread.start()
        thread.join()

    async with ConcurrentTaskRunner().start() as runner:
        await result(runner, "a", start)
    assert said == [None]


@pytest.mark.usefixtures("real_time")
async def test_a_thread_of_ones_own_that_asks_to_be_told() -> None:
    """With an instrument it is known there, as long as the call goes on."""
    runner = ConcurrentTaskRunner(instruments=[CallContext()])
    kept: list[contextvars.Context] = []

    async def start() -> CurrentCall | None:
        kept.append(contextvars.copy_context())
        assert current_call() == await anyio.to_thread.run_sync(current_call)
        return await anyio.to_thread.run_sync(current_call)

    async with runner.start():
        assert await result(runner, "a", start) == CurrentCall("a", "concurrent", 1, "loop")
        assert kept[0].run(current_call) is None
        runner.submit_nowait("late", start, after=["a", runner.reserve("never")])
        runner.cancel("late")
    assert current_call() is None


async def test_an_instrument_that_cancels_at_once() -> None:
    """No context is made for a call that has ended."""

    class Cancel(Instrument):
        def call_submitted(self, event: CallEvent) -> None:
            runner.cancel(event.key)

    runner = ConcurrentTaskRunner(instruments=[Cancel(), CallContext()])
    async with runner.start():
        assert runner.submit_nowait("a", give).done


def test_in_a_flow() -> None:
    """Tasks that are called, in a plain flow and in an async one; the flow's own code is no call."""

    @task
    def which() -> Any:
        call = current_call()
        assert call is not None
        return call.key, call.flow

    @flow(task_runner=SequentialTaskRunner())
    def plain() -> list[Any]:
        assert current_call() is None
        return [which(), which.submit().result(), which()]

    @flow
    async def on_the_loop() -> list[Any]:
        said = [which(), await which.submit(), which()]
        assert current_call() is None
        return said

    assert plain() == [(f"which[{number}]", "plain") for number in range(3)]
    assert anyio.run(on_the_loop) == [(f"which[{number}]", "on_the_loop") for number in range(3)]
    assert plain.with_options(task_runner=ThreadTaskRunner())()[1] == ("which[1]", "plain")


async def test_a_flow_in_a_call() -> None:
    """A task that the flow calls is itself; before and after, it is the call around the flow."""

    @task
    def inner() -> Any:
        return current_call()

    @flow
    async def on_the_loop() -> list[Any]:
        return [current_call(), inner(), current_call()]

    async with ConcurrentTaskRunner().start() as runner:
        said = await result(runner, "outer", on_the_loop)
    assert [call.key for call in said] == ["outer", "inner[0]", "outer"]
    assert {call.place for call in said} == {"loop"}


async def test_an_iterable_is_no_call() -> None:
    """`map` takes the next item where a call has just ended."""

    def items() -> Iterator[CurrentCall | None]:
        for _ in range(5):
            yield current_call()

    async with ConcurrentTaskRunner(max_workers=1).start() as runner:
        assert await runner.map(give, items()) == [None] * 5


@pytest.mark.slow
@pytest.mark.usefixtures("real_time")
async def test_in_processes() -> None:
    """Key, runner, attempt and place are known there; a key of another kind by its `repr`."""
    async with ProcessTaskRunner(max_workers=1).start() as runner:
        assert await result(runner, "c", loaded) == []
        assert await result(runner, "a", ask) == CurrentCall("a", "process", 1, "process")
        assert await result(runner, 7, ask_later) == CurrentCall(7, "process", 1, "process")
        assert await result(runner, ("a", 1), ask) == CurrentCall("('a', 1)", "process", 1, "process")
        assert await result(runner, "b", line) == "process/b#1 said"


def test_asking_loads_little() -> None:
    """A program that logs need not have a runner."""
    code = "import sys, creche.logging; creche.logging.add_call(0, '', {}); print('trio' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


# Log lines -----------------------------------------------------------------------------------------

FORMAT = "[%(creche_runner)s %(creche_key)s %(creche_attempt)s %(creche_place)s] %(message)s"


@pytest.fixture
def handler() -> Iterator[logging.handlers.QueueHandler]:
    """A handler that keeps lines, of a logger `test`."""
    kept = logging.handlers.QueueHandler(queue.Queue())
    kept.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("test")
    logger.addHandler(kept)
    logger.propagate = False
    yield kept
    logger.removeHandler(kept)
    logger.propagate = True


def lines(handler: logging.handlers.QueueHandler) -> list[str]:
    kept: Any = handler.queue
    found = []
    while not kept.empty():
        found.append(kept.get_nowait().getMessage())
    return found


def say() -> None:
    logging.getLogger("test").warning("said")


async def say_later() -> None:
    say()


@pytest.fixture
def factory() -> Iterator[None]:
    """The record factory is put back."""
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


WRITTEN = [
    "[   ] said",
    "[concurrent a 1 loop] said",
    "[concurrent ('b', 1) 1 thread] said",
    "[   ] said",
]


async def _write() -> None:
    say()
    async with ConcurrentTaskRunner().start() as runner:
        await result(runner, "a", say_later)
        await result(runner, ("b", 1), say)
    say()


@pytest.mark.usefixtures("real_time")
async def test_a_filter(handler: logging.handlers.QueueHandler) -> None:
    """On a handler it sees to all that comes there."""
    handler.addFilter(CallFilter())
    await _write()
    assert lines(handler) == WRITTEN


@pytest.mark.usefixtures("real_time", "factory")
async def test_the_record_factory(handler: logging.handlers.QueueHandler) -> None:
    """For all handlers; a second time nothing happens."""
    install_record_factory()
    once = logging.getLogRecordFactory()
    install_record_factory()
    assert logging.getLogRecordFactory() is once
    await _write()
    assert lines(handler) == WRITTEN


async def test_a_record_that_comes_by_way_of_a_queue() -> None:
    """It keeps the call that wrote it, wherever it is handled."""
    record = logging.LogRecord("test", logging.INFO, "", 0, "said", (), None)

    async def write() -> None:
        assert CallFilter().filter(record)

    async with ConcurrentTaskRunner().start() as runner:
        await result(runner, "a", write)
        await result(runner, "b", write)
    CallFilter().filter(record)
    assert record.creche_key == "a"  # type: ignore[attr-defined]  # creche's filter has set it


async def test_a_key_that_cannot_be_shown() -> None:
    """No line is lost."""

    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no words")

    async def write() -> Any:
        return add_call(None, "info", {})["creche_key"]

    async with ConcurrentTaskRunner().start() as runner:
        assert "Silent object at" in await result(runner, Silent(), write)


async def test_structlog() -> None:
    """A processor; what the line says itself stands, and outside there is nothing."""
    written: list[MutableMapping[str, Any]] = []

    def keep(_logger: Any, _name: str, event_dict: MutableMapping[str, Any]) -> Any:
        written.append(dict(event_dict))
        raise structlog.DropEvent

    logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[add_call, keep])

    async def write() -> None:
        logger.info("said", creche_place="mine")

    logger.info("outside")
    async with ConcurrentTaskRunner().start() as runner:
        await result(runner, "a", write)
        await result(runner, "b", give)
    assert written == [
        {"event": "outside"},
        {
            "event": "said",
            "creche_key": "a",
            "creche_runner": "concurrent",
            "creche_attempt": 1,
            "creche_place": "mine",
            "creche_flow": "",
        },
    ]
