"""How flows end: by themselves, by a failure, by Ctrl-C, or before they have begun."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio

from creche import (
    ConcurrentTaskRunner,
    RunnerClosed,
    flow,
    task,
)
from creche.instruments import Instrument

ON_BOTH = pytest.mark.parametrize("backend", ["trio", "asyncio"])


def run(backend: str, fn: Callable[..., Any], *args: Any) -> Any:
    return anyio.run(fn, *args, backend=backend)


@task
def add(a: int, b: int) -> int:
    return a + b


@task
async def add_async(a: int, b: int) -> int:
    await anyio.lowlevel.checkpoint()
    return a + b


@task
def fail(*_: Any) -> int:
    raise LookupError("task")


@ON_BOTH
def test_exceptions_come_out_bare(backend: Any) -> None:
    """Of a task that is called, of a slot that is read, of the body itself."""

    @flow(backend=backend)
    def by(how: str) -> None:
        if how == "call":
            fail()
        if how == "read":
            fail.submit().result()
        add.submit(1, 1)
        raise LookupError("body")

    for how in ("call", "read", "body"):
        with pytest.raises(LookupError, match="task|body") as caught:
            by(how)
        assert caught.value.__context__ is None

    @flow
    async def async_by(how: str) -> None:
        if how == "call":
            fail()
        if how == "read":
            await fail.submit()
        raise LookupError("body")

    for how in ("call", "read", "body"):
        with pytest.raises(LookupError, match="task|body"):
            run(backend, async_by, how)


def test_flows_on_the_wrong_side() -> None:
    """A sync flow on a running loop, and an async one in a sync one, say what to do instead."""

    @flow
    def plain() -> int:
        return 1

    @flow
    async def asynchronous() -> int:
        return 1

    @flow
    def outer() -> Any:
        return asynchronous()

    async def on_a_loop() -> None:
        with pytest.raises(RuntimeError, match="'plain' is sync.*async def.*in a thread"):
            plain()
        assert await anyio.to_thread.run_sync(plain) == 1

    trio.run(on_a_loop)
    asyncio.run(on_a_loop())
    with pytest.raises(RuntimeError, match="make 'outer' async too"):
        outer()


@ON_BOTH
def test_cancelling_the_code_that_called_a_task_cancels_the_task(backend: str) -> None:
    """As it would the function."""
    slots: list[Any] = []

    @task
    async def forever() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            slots.append("unwound")

    @flow
    async def impatient() -> bool:
        with anyio.move_on_after(0.01) as scope:
            await forever()
        return scope.cancelled_caught

    assert run(backend, impatient) is True
    assert slots == ["unwound"]


@ON_BOTH
def test_ctrl_c_ends_a_sync_flow_at_once(backend: Any) -> None:
    """Also when a task sits in a thread that cannot be stopped."""
    begun, go_on = threading.Event(), threading.Event()

    @task
    def stuck() -> None:
        begun.set()
        go_on.wait()

    def press() -> None:
        begun.wait()
        signal.raise_signal(signal.SIGINT)

    @flow(backend=backend)
    def body() -> None:
        slot = stuck.submit()
        begun.wait()
        signal.raise_signal(signal.SIGINT)
        slot.result()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        body()
    assert time.monotonic() - began < 5
    go_on.set()


@ON_BOTH
def test_a_crash_in_a_task_comes_out(backend: Any) -> None:
    """A SystemExit out of a task is the flow's, bare; later submits are refused."""

    @task
    def crash() -> None:
        raise SystemExit(3)

    @flow(backend=backend)
    def crashing() -> None:
        slot = crash.submit()
        with pytest.raises(SystemExit):
            slot.result()
        with pytest.raises(RunnerClosed):
            for _ in range(1_000):
                add.submit(1, 1)

    with pytest.raises(SystemExit):
        crashing()


@ON_BOTH
def test_a_failure_that_cancels_the_rest(backend: Any) -> None:
    """A runner with `on_error="cancel"` raises its group from the flow."""

    @flow(task_runner=ConcurrentTaskRunner(on_error="cancel"), backend=backend)
    def strict(inline: bool) -> None:
        fail.submit()
        if not inline:
            fail.submit().result()

    with pytest.raises(ExceptionGroup):
        strict(True)
    with pytest.raises(ExceptionGroup):
        strict(False)

    @flow(task_runner=ConcurrentTaskRunner(on_error="cancel"))
    async def strict_inline() -> None:
        fail()

    with pytest.raises(ExceptionGroup) as caught:
        run(backend, strict_inline)
    assert [type(error) for error in caught.value.exceptions] == [LookupError]


def test_a_runner_that_cannot_start() -> None:
    """The error comes out of the flow, bare."""

    class Broken(Instrument):
        def runner_started(self, event: Any) -> None:
            raise SystemExit(4)

    @flow(task_runner=ConcurrentTaskRunner(instruments=[Broken()]))
    def never() -> None:
        raise AssertionError

    with pytest.raises(SystemExit):
        never()
