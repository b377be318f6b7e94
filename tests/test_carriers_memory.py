"""What a call had comes free when it is over, without the collector, though its task goes on."""

from __future__ import annotations

import gc
import weakref
from contextvars import ContextVar
from typing import Any

import anyio
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
