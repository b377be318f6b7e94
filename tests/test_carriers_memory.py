"""What a call had comes free when it is over, without the collector, though its task goes on."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.to_thread
import pytest

from calls import forever, give, settle_down
from creche import ConcurrentTaskRunner, State

pytestmark = pytest.mark.anyio

VAR: ContextVar[Any] = ContextVar("VAR", default=None)


class Thing:
    """Something that a weak reference can see going."""


@pytest.mark.parametrize("warm", [False, True], ids=["new carriers", "idle carriers"])
@pytest.mark.parametrize("workers", [None, 1])
async def test_memory_comes_free_without_the_collector(workers: int | None, *, warm: bool) -> None:
    """Arguments, values, exceptions and context variables, with carriers waiting idle."""
    alive: dict[str, weakref.ref[Any]] = {}

    def make(name: str) -> Thing:
        thing = Thing()
        alive[name] = weakref.ref(thing)
        return thing

    async def value(thing: Any) -> Thing:
        await anyio.lowlevel.checkpoint()
        return make("value")

    async def fail(thing: Any) -> None:
        inside = make("inside")
        await anyio.lowlevel.checkpoint()
        error = ValueError(inside)
        alive["error"] = weakref.ref(error)
        try:
            raise error
        finally:
            del error

    async def set_one() -> None:
        VAR.set(make("set inside"))

    async def submit(runner: ConcurrentTaskRunner) -> None:
        VAR.set(make("context"))
        runner.submit_nowait("a", value, make("argument"))
        runner.submit_nowait("b", fail, make("argument of one that fails"))
        runner.submit_nowait("c", set_one)
        runner.submit_nowait("d", forever)
        await settle_down()
        runner.cancel("d")

    gc.collect()
    gc.disable()
    try:
        async with ConcurrentTaskRunner(workers).start() as runner:
            if warm:  # the first call has the runner's own context, in which its carrier idles
                await runner.submit_nowait("first", give)
                await settle_down()
            async with anyio.create_task_group() as group:
                group.start_soon(submit, runner)
            await runner.until_idle()
            await settle_down()
            assert runner.slots["b"].state is State.FAILED
            for key in list(runner.slots):
                runner.forget(key)
            await anyio.sleep(0.01)
            left = {name for name, thing in alive.items() if thing() is not None}
            assert left == set()
    finally:
        gc.enable()


class FoundError(Exception):
    """Something that a weak reference can see going."""


class Failing:
    """Items, a function of them and a key, of which one fails at the fourth item."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.alive: list[weakref.ref[Any]] = []

    def look(self, where: str, n: int) -> None:
        """Fail, if it is here."""
        if where not in self.where or n < 3:
            return
        error = FoundError(where)
        self.alive.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    async def call(self, n: int) -> int:
        """What is mapped."""
        await anyio.lowlevel.checkpoint()
        self.look("call", n)
        return n

    def key(self, n: int) -> int:
        """Of an item."""
        self.look("key", n)
        return n

    def items(self) -> Iterator[int]:
        """At hand."""
        for n in range(6):
            self.look("iterable", n)
            yield n

    async def aitems(self) -> AsyncIterator[int]:
        """That come."""
        for n in self.items():
            yield n

    def check(self) -> None:
        """Nothing is left of what was raised."""
        assert len(self.alive) > 0
        assert [error() for error in self.alive] == [None] * len(self.alive)


@pytest.mark.parametrize("where", ["call", "iterable", "key", "call, async", "call, outcomes"])
@pytest.mark.parametrize("workers", [None, 1, 3])
async def test_the_exception_of_a_map_comes_free_without_the_collector(
    workers: int | None, where: str
) -> None:
    """Whoever raised it: the frames that it leads to do not lead back to it."""
    failing = Failing(where)

    async def use(runner: ConcurrentTaskRunner) -> None:
        source: Any = failing.aitems() if "async" in where else failing.items()
        outcomes: Any = "outcomes" in where
        with suppress(FoundError):
            await runner.map(failing.call, source, key=failing.key, return_outcomes=outcomes)

    gc.collect()
    gc.disable()
    try:
        async with ConcurrentTaskRunner(workers).start() as runner:
            await use(runner)
            for key in list(runner.slots):
                runner.forget(key)
            await settle_down()
            failing.check()
    finally:
        gc.enable()


@pytest.mark.usefixtures("real_time")
async def test_the_exception_of_a_map_in_a_thread_comes_free_without_the_collector() -> None:
    """The same."""
    failing = Failing("call")

    def use(runner: ConcurrentTaskRunner) -> None:
        with suppress(FoundError):
            runner.from_thread.map(failing.call, failing.items())

    gc.collect()
    gc.disable()
    try:
        async with ConcurrentTaskRunner(1).start() as runner:
            await anyio.to_thread.run_sync(use, runner)
            await settle_down()
            failing.check()
    finally:
        gc.enable()
