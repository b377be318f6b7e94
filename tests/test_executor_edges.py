"""An executor's calls that wait for each other, and futures that are cancelled at the worst moment."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, RunnerClosed, SequentialTaskRunner, State
from creche._bell import Bell
from creche._intake import Intake
from creche._portal import Portal
from creche.instruments import CallEvent, Instrument

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

in_thread: Callable[[Callable[[], Any]], Any] = anyio.to_thread.run_sync


# Waiting inside a call -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: ConcurrentTaskRunner(1), SequentialTaskRunner])
async def test_calls_that_wait_for_calls(make: Any) -> None:
    """A place is lent in `result`, `exception` and `map`: 45 deep, with one place."""

    def call(n: int) -> Any:
        if n == 0:
            return 0
        future = executor.submit(call, n - 1)
        assert future.exception() is None
        return sum(executor.map(call, [n - 1])) + 1 if n % 15 == 0 else future.result() + 1

    async with make().start() as runner:
        executor: Any = runner.as_executor()
        future = executor.submit(call, 45)
        await in_thread(future.exception)
        assert future.result() == 45


async def test_a_call_that_waits_for_itself() -> None:
    """It is refused: by its future, in a circle, and when it shuts its own executor down."""
    started = threading.Barrier(2, timeout=10)
    futures: dict[str, Any] = {}

    def itself() -> str:
        with pytest.raises(RuntimeError, match="waits for itself"):
            futures["itself"].result()
        with pytest.raises(RuntimeError, match="wait for itself"):
            executor.shutdown()
        return "well"

    def circle(other: str) -> Any:
        started.wait()
        return futures[other].result()

    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        for key in "ab":
            futures[key] = executor.submit(circle, "b" if key == "a" else "a")
        futures["itself"] = executor.submit(itself)
        for future in futures.values():
            await in_thread(partial(cf.wait, [future]))
        assert futures["itself"].result() == "well"
        for key in "ab":
            with pytest.raises(RuntimeError, match="waits for itself"):
                futures[key].result()


async def test_a_future_that_is_cancelled_while_a_call_waits_for_it() -> None:
    """The call goes on at once, though the other takes its time to unwind."""
    may_unwind = anyio.Event()
    waits = threading.Event()

    async def slow_to_unwind() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await may_unwind.wait()

    def call() -> str:
        waits.set()
        with pytest.raises(cf.CancelledError):
            other.result()
        return "went on"

    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        other = executor.submit(slow_to_unwind)
        future = executor.submit(call)
        await in_thread(waits.wait)
        await anyio.sleep(0.01)
        other.cancel()
        assert await runner.result("call") == "went on"
        assert future.done()
        assert not runner.slots["slow_to_unwind"].done
        may_unwind.set()


# The worst moments ---------------------------------------------------------------------------------


class CancelsAt(Instrument):
    """Cancels a future as soon as something is told of its call."""

    def __init__(self, name: str) -> None:
        setattr(self, name, self.cancel)
        self.executor: Any = None

    def cancel(self, event: CallEvent) -> None:
        """The one there is."""
        (future,) = self.executor._open
        assert future.cancel() is True

    call_admitted: Any = None
    call_started: Any = None
    call_submitted: Any = None


@pytest.mark.parametrize("name", ["call_submitted", "call_admitted", "call_started"])
@pytest.mark.parametrize("kind", [threading.get_ident, forever])
async def test_cancelled_as_it_begins(name: str, kind: Any) -> None:
    """A plain call is not called then, and its slot says so, too."""
    instrument = CancelsAt(name)
    for other in ("call_submitted", "call_admitted", "call_started"):
        if other != name:
            setattr(instrument, other, lambda event: None)
    async with ConcurrentTaskRunner(instruments=[instrument]).start() as runner:
        executor: Any = runner.as_executor(name="k")
        instrument.executor = executor
        future = executor.submit(kind)
        await runner.until_idle()
        assert future.cancelled()
        assert runner.slots["k"].state is State.CANCELLED


async def test_cancelled_on_the_way_into_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread has it, and has not called it."""
    executor: Any
    reached, go_on = threading.Event(), threading.Event()
    called: list[int] = []

    async with ConcurrentTaskRunner().start() as runner:
        executor = runner.as_executor(name="k")
        future = executor.submit(called.append, 1)
        begin = type(future)._begin

        def late(future: Any) -> Any:
            if threading.current_thread() is not home:
                reached.set()
                assert go_on.wait(10)
            return begin(future)

        home = threading.current_thread()
        monkeypatch.setattr(type(future), "_begin", late)
        await in_thread(reached.wait)
        assert future.cancel() is True
        go_on.set()
        await runner.wait("k")
        assert runner.slots["k"].origin == "cancel"
        await in_thread(executor.shutdown)
    assert called == []


async def test_cancelled_before_it_was_judged() -> None:
    """It is never submitted; one that is judged too late is refused."""
    blocked, submitted = threading.Event(), threading.Event()
    futures: list[Any] = []

    def there() -> None:
        assert blocked.wait(10)
        futures.extend(executor.submit(give, n) for n in range(2))
        assert futures[0].cancel() is True
        submitted.set()

    async with anyio.create_task_group() as group:
        with pytest.raises(LookupError):
            async with ConcurrentTaskRunner().start() as runner:
                executor: Any = runner.as_executor()
                group.start_soon(anyio.to_thread.run_sync, there)
                await settle_down()
                blocked.set()
                assert submitted.wait(10)  # this blocks the loop
                raise LookupError
    assert futures[0].cancelled()
    assert isinstance(futures[1].exception(), RunnerClosed)
    assert len(runner.slots) == 0


async def test_a_loop_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not take any more is not kept."""

    def refuse(portal: object, fn: object) -> None:
        raise RunnerClosed("the run has ended")

    def there() -> None:
        with pytest.raises(RunnerClosed):
            executor.submit(give)
        executor.shutdown()

    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        monkeypatch.setattr(Portal, "send", refuse)
        await in_thread(there)


async def test_an_answer_that_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody listens."""
    send = Portal.send

    def answered(portal: Portal, fn: Any) -> Any:
        errand = send(portal, fn)
        done = threading.Event()
        if errand.enroll(done.set):
            done.wait(10)
        return errand

    def there() -> None:
        assert executor.submit(give, 3).result() == 3

    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        monkeypatch.setattr(Portal, "send", answered)
        await in_thread(there)


async def test_a_call_that_is_left_to_itself_in_its_thread() -> None:
    """Its future was running: it says why the call was cancelled, and by whom."""
    began, may_end = threading.Event(), threading.Event()

    def call() -> None:
        began.set()
        may_end.wait(10)

    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor(name="k")
        future = executor.submit(call)
        await in_thread(began.wait)
        assert runner._run is not None
        runner._run.performer.abandon_thread(runner.slots["k"])
        runner.cancel("k", reason="enough")
        await runner.wait("k")
        await settle_down()
        assert "enough" in str(future.exception())
        may_end.set()


# asyncio -------------------------------------------------------------------------------------------


async def test_asyncio_and_its_executors(anyio_backend_name: str, caplog: Any) -> None:
    """`run_in_executor` and `wrap_future`, on the runner's own loop."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    async with ConcurrentTaskRunner(2).start() as runner:
        executor: Any = runner.as_executor()
        loop: Any = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, pow, 2, 8) == 256
        assert await asyncio.wrap_future(executor.submit(give, 3)) == 3
        with pytest.raises(ValueError, match="b"):
            await asyncio.wrap_future(executor.submit(fail))
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, divmod, 1, 0)
        results = await asyncio.gather(*(loop.run_in_executor(executor, abs, -n) for n in range(5)))
        assert results == list(range(5))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.wrap_future(executor.submit(forever))
        await runner.wait("forever")
        assert runner.slots["forever"].origin == "cancel"
    assert caplog.records == []


async def test_an_executor_on_another_loop(anyio_backend_name: str) -> None:
    """`submit` does not block that one, either."""

    async def there() -> None:
        executor: Any = runner.as_executor()
        loop: Any = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, abs, -3) == 3
        future = executor.submit(forever)
        with pytest.raises(RuntimeError, match="runs an event loop"):
            future.result()
        with pytest.raises(RuntimeError, match="runs an event loop"):
            executor.shutdown(cancel_futures=True)
        future.cancel()

    async with ConcurrentTaskRunner().start() as runner:
        await anyio.to_thread.run_sync(asyncio.run, there())


async def test_what_is_refused_while_it_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the home loop, where it comes out at once."""

    def refuse(intake: object, *args: object) -> None:
        raise RunnerClosed("it closes just now")

    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        monkeypatch.setattr(Intake, "submit", refuse)
        with pytest.raises(RunnerClosed):
            executor.submit(give)
        executor.shutdown()


def test_something_that_happens_while_one_enrolls() -> None:
    """Nobody is to be woken for it then."""
    bell = Bell(lambda: True)
    assert bell.done
    assert bell.enroll(lambda: pytest.fail("nobody waits")) is False
    bell.ring()
