"""`runner.from_thread`: what threads without an event loop do with a runner."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio
from outcome import Error, Value

from calls import fail, forever, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    KeyTaken,
    RunnerClosed,
    RunnerNotStarted,
    SequentialTaskRunner,
    State,
    UnknownKey,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

VAR: ContextVar[str] = ContextVar("VAR", default="unset")

runners = pytest.mark.parametrize("make", [ConcurrentTaskRunner, SequentialTaskRunner])


async def in_plain_thread(fn: Callable[[], Any]) -> Any:
    """Call a function in a thread that no loop has started."""
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(Value(fn()))
        except BaseException as exc:
            came.append(Error(exc))

    thread = threading.Thread(target=run)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    return came[0].unwrap()


async def in_worker(fn: Callable[[], Any]) -> Any:
    """Call a function in a thread of the loop's own kind."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return await trio.to_thread.run_sync(fn)
    return await asyncio.to_thread(fn)


Run = Callable[[Callable[[], Any]], Awaitable[Any]]

threads = pytest.mark.parametrize(
    "run", [in_plain_thread, in_worker, anyio.to_thread.run_sync], ids=["plain", "loop's", "anyio's"]
)


@runners
@threads
async def test_what_a_thread_can_do(run: Run, make: Any) -> None:
    """Submit, wait, read, cancel, map."""
    home = threading.get_ident()

    async def where() -> tuple[bool, str]:
        await anyio.lowlevel.checkpoint()
        return threading.get_ident() == home, VAR.get()

    def there() -> None:
        VAR.set("of the thread")
        slot = runner.from_thread.submit("where", where)
        assert slot.result() == (True, "of the thread")
        assert runner.from_thread.wait("where") == Value((True, "of the thread"))
        assert runner.from_thread.result(slot) == (True, "of the thread")
        assert runner.from_thread.cancel("where") is False
        assert runner.from_thread.submit(None, threading.get_ident).result() != home
        bad = runner.from_thread.submit("bad", fail, after=["where"])
        with pytest.raises(ValueError, match="b"):
            runner.from_thread.result(bad)
        assert runner.from_thread.submit("bad", give, on_collision="join") is bad
        assert runner.from_thread.submit("bad", give, 2, on_collision="replace").result() == 2
        assert runner.from_thread.wait("open", timeout=0) is None
        assert runner.from_thread.wait("open", timeout=0.01) is None
        with pytest.raises(TimeoutError, match="'open'.*0.01"):
            runner.from_thread.result("open", timeout=0.01)
        assert runner.from_thread.cancel("open", reason="enough") is True
        with pytest.raises(CallCancelled, match="enough"):
            runner.from_thread.result("open")
        assert runner.from_thread.map(give, range(5)) == [0, 1, 2, 3, 4]
        assert VAR.get() == "of the thread"

    async with make().start() as runner:
        runner.reserve("open")
        await run(there)


@runners
async def test_what_is_wrong(make: Any) -> None:
    """It is raised in the thread, and nothing is left behind."""

    def there() -> None:
        portal = runner.from_thread
        with pytest.raises(KeyTaken):
            portal.submit("taken", give)
        for ask in (portal.wait, portal.result, portal.cancel):
            with pytest.raises(UnknownKey):
                ask("none")
            with pytest.raises(TypeError, match="hashable"):
                ask([])
        with pytest.raises(TypeError, match="hashable"):
            portal.submit([], give)
        with pytest.raises(TypeError, match="instead of"):
            portal.submit("k", give())
        with pytest.raises(ValueError, match="timeout"):
            portal.wait("taken", timeout=-1)
        with pytest.raises(TypeError, match="timeout"):
            portal.result("taken", timeout="1")  # pyright: ignore  # wrong on purpose
        with pytest.raises(TypeError, match="reason"):
            portal.cancel("taken", reason=1)  # pyright: ignore  # wrong on purpose
        with pytest.raises(TypeError, match="unexpected keyword"):
            portal.submit("k", give, colour="red")  # pyright: ignore  # wrong on purpose

    async with make().start() as runner:
        await runner.submit("taken", give)
        await runner.wait("taken")
        await anyio.to_thread.run_sync(there)
        assert list(runner.slots) == ["taken"]


@runners
async def test_before_and_after_the_run(make: Any) -> None:
    """What is settled can be read, in a thread and in the main thread without a loop."""
    runner = make()

    def before() -> None:
        for ask in (runner.from_thread.wait, runner.from_thread.result, runner.from_thread.cancel):
            with pytest.raises(RunnerNotStarted, match="'k'"):
                ask("k")
        with pytest.raises(RunnerNotStarted):
            runner.from_thread.submit("k", give)
        with pytest.raises(RunnerNotStarted):
            runner.from_thread.map(give, [1])

    def after() -> None:
        assert runner.from_thread.wait("k") == Value(1)
        assert runner.from_thread.result("k", timeout=0) == 1
        assert runner.from_thread.cancel("k") is False
        with pytest.raises(RunnerClosed, match="start it again"):
            runner.from_thread.submit("x", give)
        with pytest.raises(RunnerClosed):
            runner.from_thread.map(give, [1])

    await anyio.to_thread.run_sync(before)
    async with runner.start():
        await runner.submit("k", give)
    await anyio.to_thread.run_sync(after)


@runners
async def test_a_thread_that_runs_a_loop(make: Any) -> None:
    """It is refused, with the cure, and never blocked; the home loop's own and any other."""

    def ask_all() -> None:
        portal = runner.from_thread
        for verb, ask in {
            "submit": partial(portal.submit, "x", give),
            "wait": partial(portal.wait, "k"),
            "result": partial(portal.result, "k"),
            "cancel": partial(portal.cancel, "k"),
            "map": partial(portal.map, give, [1]),
        }.items():
            with pytest.raises(RuntimeError, match=f"write 'await runner.{verb}"):
                ask()

    async def there() -> None:
        ask_all()

    async with make().start() as runner:
        runner.reserve("k")
        ask_all()
        await anyio.to_thread.run_sync(trio.run, there)
        await anyio.to_thread.run_sync(asyncio.run, there())


def test_a_home_loop_that_stands_still() -> None:
    """Its thread would wait for itself."""
    runner = ConcurrentTaskRunner()

    async def host() -> None:
        async with runner.start():
            await may_end.wait()

    with asyncio.Runner() as loop:
        may_end = asyncio.Event()
        task = loop.get_loop().create_task(host())
        loop.run(asyncio.sleep(0))
        with pytest.raises(RuntimeError, match="event loop"):
            runner.from_thread.submit("k", give)
        may_end.set()
        loop.get_loop().run_until_complete(task)


@runners
async def test_while_the_home_loop_is_blocked(make: Any) -> None:
    """A submission waits, without spinning; a wait keeps to its time limit."""
    blocked, asked = threading.Event(), threading.Event()
    seen: list[Any] = []

    def there() -> None:
        blocked.wait(10)
        before = time.thread_time()
        assert runner.from_thread.wait("open", timeout=0.05) is None
        asked.set()
        seen.append(runner.from_thread.submit("k", give, 5).result())
        seen.append(time.thread_time() - before)

    async with anyio.create_task_group() as others, make().start() as runner:
        runner.reserve("open")
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, there)
            await settle_down()
            blocked.set()
            assert asked.wait(10)
            time.sleep(0.3)  # noqa: ASYNC251 - that is the point
        assert seen[0] == 5
        assert seen[1] < 0.25
        runner.cancel("open")
        others.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["normal", "raises", "cancelled"])
async def test_the_home_loop_ends(how: str) -> None:
    """Whoever waits gets the final outcome; a submission is refused, or was made in time."""
    waiting = threading.Barrier(3, timeout=10)
    seen: list[Any] = []

    def waits() -> None:
        waiting.wait()
        seen.append(runner.from_thread.wait("k"))

    def submits() -> None:
        waiting.wait()
        with pytest.raises((RunnerClosed, CallCancelled)) as caught:
            for n in range(1_000_000):
                runner.from_thread.submit(n, give, n).result()
        seen.append(caught.value)

    runner = ConcurrentTaskRunner()
    async with anyio.create_task_group() as others:
        with anyio.CancelScope() as scope:
            try:
                async with runner.start():
                    runner.reserve("k")
                    others.start_soon(anyio.to_thread.run_sync, waits)
                    others.start_soon(anyio.to_thread.run_sync, submits)
                    await anyio.to_thread.run_sync(waiting.wait)
                    if how == "raises":
                        raise LookupError
                    if how == "cancelled":
                        scope.cancel()
            except LookupError:
                pass
    assert len(seen) == 2
    assert all(slot.done for slot in runner.slots.values())


@runners
@pytest.mark.parametrize("depth", [1, 45])
async def test_calls_that_wait_in_threads(make: Any, depth: int) -> None:
    """A plain call that waits for another lends its place: 45 deep, more than there are threads."""

    def call(n: int) -> int:
        if n == 0:
            return 0
        slot = runner.from_thread.submit(n - 1, call, n - 1)
        assert runner.from_thread.wait(n - 1) == Value(n - 1)
        return slot.result() + 1

    for runner in (make(), ConcurrentTaskRunner(1)):
        async with runner.start():
            assert await (await runner.submit(depth, call, depth)) == depth


async def test_a_plain_call_that_submits_keeps_its_place() -> None:
    """Handing over is no wait for another call."""
    order: list[str] = []

    def call() -> None:
        runner.from_thread.submit("second", order.append, "second")
        order.append("first")

    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("first", call)
    assert order == ["first", "second"]


async def test_a_plain_call_that_waits_for_itself() -> None:
    """It is refused, and so is a circle; with a time limit it waits that long."""
    started = threading.Barrier(2, timeout=10)

    def itself() -> str:
        assert runner.from_thread.wait("itself", timeout=0.01) is None
        with pytest.raises(RuntimeError, match="waits for itself"):
            runner.from_thread.wait("itself")
        return "well"

    def circle(other: str) -> Any:
        started.wait()
        return runner.from_thread.result(other)

    async with ConcurrentTaskRunner().start() as runner:
        assert await runner.submit_nowait("itself", itself) == "well"
        runner.submit_nowait("a", circle, "b")
        runner.submit_nowait("b", circle, "a")
        for key in "ab":
            with pytest.raises(RuntimeError, match="waits for itself"):
                await runner.result(key)


async def test_cancelling_from_a_thread() -> None:
    """A pending call is CANCELLED when it returns; a running one when it has unwound; many at once."""

    def there() -> None:
        assert runner.from_thread.cancel("pending") is True
        assert runner.slots["pending"].state is State.CANCELLED
        assert runner.from_thread.cancel("pending") is False
        assert runner.from_thread.cancel(runner.slots["open"]) is True
        runner.from_thread.wait("open")
        assert runner.slots["open"].origin == "cancel"

    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("open", forever)
        runner.submit_nowait("pending", forever)
        await settle_down()
        await anyio.to_thread.run_sync(there)


async def test_a_run_that_ends_while_a_thread_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the call has ended, and nothing was done."""
    runner = ConcurrentTaskRunner()

    def refuse(fn: object) -> None:
        raise RunnerClosed("the run has ended")

    async with runner.start():
        runner.submit_nowait("k", forever)
        assert runner._run is not None
        monkeypatch.setattr(type(runner._run.home.portal), "ask", lambda _, fn: refuse(fn))
        assert await anyio.to_thread.run_sync(runner.from_thread.cancel, "k") is False
        monkeypatch.undo()
        runner.cancel("k")


async def test_a_failure_that_a_thread_has_read(caplog: pytest.LogCaptureFixture) -> None:
    """It is not said to be unread."""

    def there() -> None:
        for n in range(50):
            assert isinstance(runner.from_thread.wait(n), Error)

    async with ConcurrentTaskRunner(retain=False).start() as runner:
        runner.reserve(0)
        for n in range(1, 50):
            runner.submit_nowait(n, fail, after=[n - 1], after_any_end=True)
        slots = dict(runner.slots)

        def read() -> None:
            for slot in slots.values():
                assert isinstance(runner.from_thread.wait(slot), Error)

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, read)
            runner.submit_nowait(0, fail)
    assert caplog.records == []
