"""How flows end: by themselves, by a failure, by Ctrl-C, or before they have begun."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextlib import suppress
from typing import Any

import anyio
import pytest
import trio

from creche import (
    ConcurrentTaskRunner,
    RunnerClosed,
    State,
    flow,
    task,
)
from creche.flows._flow_run import CURRENT
from creche.instruments import CallEvent, Instrument
from flowing import ON_BOTH, add, add_later, fail, run


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


@ON_BOTH
def test_an_inline_task_that_exits(backend: Any) -> None:
    """In an async flow a plain task is a function call: what it raises goes where such things go."""
    heard: list[str] = []

    class Hearing(Instrument):
        def call_started(self, event: CallEvent) -> None:
            heard.append(f"{event.key} on the {event.place}")

    @task
    def leave() -> None:
        raise SystemExit(5)

    @flow(task_runner=ConcurrentTaskRunner(instruments=[Hearing()]))
    async def leaving() -> None:
        leave()

    with pytest.raises(SystemExit):
        run(backend, leaving)
    assert heard == ["leave[0] on the loop"]


@ON_BOTH
def test_a_long_chain_of_tasks(backend: Any) -> None:
    """A thousand tasks, each with the one before as an argument: no recursion, either way it ends."""

    @flow(backend=backend)
    def chained(first: Any, length: int) -> list[Any]:
        slots = [first.submit(1, 0)]
        for _ in range(length):
            slots.append(add_later.submit(slots[-1], 1))
        with suppress(Exception):
            slots[-1].result()
        return slots

    slots = chained(add_later, 1000)
    assert slots[-1].result() == 1001
    slots = chained(fail, 1000)
    assert {slot.origin for slot in slots[1:]} == {"upstream"}
    assert "fail[0]" in str(slots[-1].reason)


def test_a_task_whose_dependency_is_of_a_flow_that_has_ended() -> None:
    """Slots outlive their flow, and are good as arguments of another."""

    @flow
    def first() -> Any:
        return add.submit(1, 2)

    @flow
    def second(slot: Any) -> int:
        return add.submit(slot, 3).result()

    assert second(first()) == 6


@ON_BOTH
def test_a_dependency_that_settles_when_the_flow_is_ending(backend: Any) -> None:
    """A task that has not begun then is dropped; its slot is final, and says why."""
    given: list[Any] = []
    begun = threading.Event()

    @task
    async def at_last() -> int:
        begun.set()
        try:
            await anyio.sleep_forever()
        except BaseException:
            return 7
        raise AssertionError

    @flow(backend=backend)
    def cut_short() -> None:
        upstream = at_last.submit()
        given.extend([upstream, add.submit(upstream, 1)])
        begun.wait(10)
        raise LookupError

    with pytest.raises(LookupError):
        cut_short()
    upstream, dependent = given
    assert upstream.result() == 7
    assert (dependent.state, dependent.origin) == (State.CANCELLED, "closed")


@ON_BOTH
def test_a_dependent_task_that_was_cancelled_by_itself(backend: Any) -> None:
    """Its own end stands, whatever becomes of what it waited for; two failures are one reason."""

    @task
    async def slow(error: Exception | None) -> int:
        await anyio.sleep(0.01)
        if error is not None:
            raise error
        return 1

    class MuteError(Exception):
        def __str__(self) -> str:
            raise LookupError

    @flow(backend=backend)
    async def main() -> list[Any]:
        the_run: Any = CURRENT.get().run  # type: ignore  # it is within a flow
        good, bad, worse, off = (slow.submit(None), slow.submit(MuteError()), slow.submit(MuteError()),
                                 slow.submit(None))  # fmt: skip
        slots = [add.submit(good, 1), add.submit(bad, worse), add.submit(off, 1)]
        for slot in (slots[0], off):
            the_run.cancel(slot, "cancel", "on a whim")
        with suppress(Exception):
            await slots[1]
        return slots

    cancelled, failed, dropped = run(backend, main)
    assert (cancelled.origin, cancelled.reason) == ("cancel", "on a whim")
    assert failed.origin == dropped.origin == "upstream"
    assert "MuteError" in failed.reason
    assert "'slow[3]', which it was to run after, is CANCELLED" in dropped.reason


@ON_BOTH
def test_a_failing_task_that_is_awaited(backend: Any) -> None:
    """In an async flow an async task is a coroutine, and its exception comes out of the await."""

    @task
    async def fail_async() -> None:
        raise LookupError("async task")

    @flow(backend=backend)
    async def main() -> str:
        with pytest.raises(LookupError):
            await fail_async()
        return "went on"

    assert run(backend, main) == "went on"


@ON_BOTH
def test_an_open_slot_as_the_argument_of_a_flow_inside(backend: Any) -> None:
    """The two flows have a loop in a thread each; the slot of one is good in the other."""
    gate = threading.Event()

    @task
    def wait_for_gate() -> int:
        assert gate.wait(10)
        return 5

    @flow(backend=backend)
    def inner(slot: Any) -> int:
        later = add.submit(slot, 1)
        gate.set()
        return later.result()

    @flow(backend=backend)
    def outer() -> int:
        return inner(wait_for_gate.submit())

    assert outer() == 6


@ON_BOTH
def test_a_flow_inside_that_raises_while_a_slot_from_outside_is_open(backend: Any) -> None:
    """Two async flows on one loop: the inner one does not wait for the outer one's task then."""

    @task
    async def slow() -> int:
        await anyio.sleep(0.01)
        return 5

    @flow
    async def raising(slot: Any) -> None:
        given.append(add_later.submit(slot, 1))
        raise LookupError

    @flow
    async def outer() -> Any:
        upstream = slow.submit()
        with pytest.raises(LookupError):
            await raising(upstream)
        assert not upstream.done
        return await upstream

    given: list[Any] = []
    assert run(backend, outer) == 5
    assert given[0].origin == "closed"
