"""`as_executor`: a runner in the place of an executor of `concurrent.futures`."""

from __future__ import annotations

import concurrent.futures as cf
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from calls import fail, forever, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    RunnerClosed,
    RunnerNotStarted,
    SequentialTaskRunner,
    State,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

VAR: ContextVar[str] = ContextVar("VAR", default="unset")

runners = pytest.mark.parametrize("make", [ConcurrentTaskRunner, SequentialTaskRunner])

in_thread: Callable[[Callable[[], Any]], Any] = anyio.to_thread.run_sync


async def ended(future: cf.Future[Any]) -> cf.Future[Any]:
    """Wait for a future as code does that knows nothing but `concurrent.futures`."""
    await anyio.to_thread.run_sync(cf.wait, [future], 10)
    assert future.done()
    return future


@runners
async def test_what_is_submitted_in_a_thread(make: Any) -> None:
    """Plain functions and async ones, with keyword arguments; by all that the standard library has."""

    def made() -> Any:
        return runner.as_executor()

    def there() -> None:
        VAR.set("of the thread")
        with made() as executor:
            assert isinstance(made(), cf.Executor)
            assert executor.submit(int, "11", base=2).result() == 3
            assert executor.submit(give, value=4).result(timeout=10) == 4
            assert executor.submit(lambda: give(5)).result() == 5
            assert executor.submit(VAR.get).result() == "of the thread"
            assert executor.submit(threading.get_ident).result() != threading.get_ident()
            assert list(executor.map(pow, [1, 2, 3], [2, 2, 2])) == [1, 4, 9]
            assert list(executor.map(give, range(3), timeout=10, chunksize=2)) == [0, 1, 2]
            futures = [executor.submit(give, n) for n in range(5)]
            assert {future.result() for future in cf.as_completed(futures)} == set(range(5))
            bad = executor.submit(fail)
            done, _ = cf.wait([bad], return_when=cf.FIRST_EXCEPTION)
            assert done == {bad}
            with pytest.raises(ValueError, match="b"):
                bad.result()
            assert isinstance(bad.exception(), ValueError)
            last = executor.submit(give, 6)
        assert last.done()
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            executor.submit(give)
        assert runner.as_executor().submit(give, 7).result() == 7

    async with make().start() as runner:
        await in_thread(there)


async def test_a_result_that_does_not_come_in_time() -> None:
    """In a thread and in a plain call of the runner's."""

    def there() -> None:
        for timeout in (0, -1, 0.01):
            with pytest.raises(TimeoutError):
                future.result(timeout)
            with pytest.raises(TimeoutError):
                future.exception(timeout)

    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        future = executor.submit(forever)
        await in_thread(there)
        await runner.submit_nowait(None, there)
        assert future.cancel()


async def test_what_is_submitted_on_the_home_loop() -> None:
    """`submit` does not block; what would is refused, until the call has ended."""
    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        future = executor.submit(give, 3)
        other = executor.submit(int, "5")
        for ask in (future.result, future.exception, other.result, executor.shutdown):
            with pytest.raises(RuntimeError, match="runs an event loop"):
                ask()
        with pytest.raises(RuntimeError, match="cannot schedule"):
            executor.submit(give)
        executor = runner.as_executor()
        mapped = executor.map(give, [1, 2])
        with pytest.raises(RuntimeError, match="runs an event loop"):
            next(mapped)
        await ended(future)
        await ended(other)
        await runner.until_idle()
        assert (future.result(), future.exception(), other.result()) == (3, None, 5)
        executor.shutdown()
    assert future.result() == 3


async def test_keys() -> None:
    """Of the function's name, or of the one that is given; slots like all others."""
    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        futures = [executor.submit(give, n) for n in range(2)]
        futures += [executor.submit(partial(pow, 2), 3), executor.submit(len, "a")]
        futures.append(runner.as_executor(name="db").submit(len, "a"))
        for future in futures:
            await ended(future)
        assert list(runner.slots) == ["give", "give-1", "pow", "len", "db"]
        assert await runner.result("pow") == 8


async def test_before_and_after_the_run() -> None:
    """It is refused; and a name that is none."""
    runner = ConcurrentTaskRunner()
    with pytest.raises(RunnerNotStarted):
        runner.as_executor()
    async with runner.start():
        executor: Any = runner.as_executor()
        with pytest.raises(TypeError, match="name must be a string"):
            runner.as_executor(name=1)  # type: ignore[arg-type]  # pyright: ignore  # wrong on purpose
        with pytest.raises(TypeError, match="callable"):
            executor.submit(5)  # pyright: ignore  # wrong on purpose
        with pytest.raises(TypeError, match="positional"):
            executor.submit(fn=give)  # pyright: ignore  # wrong on purpose
    with pytest.raises(RunnerClosed):
        runner.as_executor()

    def there() -> None:
        with pytest.raises(RunnerClosed, match="'give'"):
            executor.submit(give)
        executor.shutdown()

    await in_thread(there)


async def test_cancelling() -> None:
    """A call that waits, an async one that runs: the future at once, the slot when it has unwound."""
    unwound: list[int] = []

    async def call() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            unwound.append(1)

    def there() -> None:
        running, pending, plain = futures
        told: list[bool] = []
        for future in (pending, running):
            future.add_done_callback(lambda future: told.append(future.cancelled()))
            assert not future.running()
            assert future.cancel() is True
            assert future.cancelled()
            assert future.cancel() is True
            with pytest.raises(cf.CancelledError):
                future.result()
            with pytest.raises(cf.CancelledError):
                future.exception()
        assert told == [True, True]
        assert cf.wait(futures).not_done == set()
        assert plain.result() == 5
        assert plain.cancel() is False
        executor.shutdown()

    async with ConcurrentTaskRunner(1).start() as runner:
        executor: Any = runner.as_executor()
        futures = [executor.submit(call), executor.submit(forever), executor.submit(int, "5")]
        await settle_down()
        await in_thread(there)
        assert [slot.origin for slot in runner.slots.values()] == ["cancel", "cancel", None]
        assert unwound == [1]


async def test_a_plain_call_in_its_thread_is_not_cancelled() -> None:
    """Nobody can: `cancel` says so, and the future is running."""
    began, may_end = threading.Event(), threading.Event()

    def call() -> int:
        began.set()
        assert may_end.wait(10)
        return 3

    async with ConcurrentTaskRunner().start() as runner:
        future: Any = runner.as_executor().submit(call)
        await in_thread(began.wait)
        assert future.running()
        assert future.cancel() is False
        runner.cancel("call")
        may_end.set()
        assert (await ended(future)).result() == 3


async def test_a_plain_call_that_gave_an_awaitable_is_cancelled_by_key() -> None:
    """Its future was running, and cannot be cancelled any more: it says who has cancelled the call."""
    waits = anyio.Event()

    async def call() -> None:
        waits.set()
        await anyio.sleep_forever()

    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor(name="k")
        future = executor.submit(lambda: call())  # noqa: PLW0108 - it hides that it is async
        await waits.wait()
        assert future.running()
        assert future.cancel() is False
        runner.cancel("k", reason="enough")
        with pytest.raises(CallCancelled, match="enough"):
            (await ended(future)).result()


@runners
async def test_a_call_that_its_runner_cancels(make: Any) -> None:
    """By key, or as it closes: the future is cancelled."""
    async with make().start() as runner:
        executor: Any = runner.as_executor()
        first, second = executor.submit(forever), executor.submit(forever)
        await settle_down()
        runner.cancel("forever")
        assert (await ended(first)).cancelled()
        await runner.aclose()
        assert second.cancelled()
        with pytest.raises(RunnerClosed):
            executor.submit(give)


async def test_a_value_that_beats_the_cancellation() -> None:
    """Of the slot; the future has said that it is cancelled, and is."""

    async def call() -> int:
        try:
            await anyio.sleep_forever()
        except BaseException:
            return 4
        return 5

    async with ConcurrentTaskRunner().start() as runner:
        future: Any = runner.as_executor().submit(call)
        await settle_down()
        assert future.cancel()
        assert await runner.result("call") == 4
        assert future.cancelled()


@runners
async def test_shutting_down(make: Any) -> None:
    """With what waits cancelled, or not; without waiting; the runner goes on."""
    may_end = threading.Event()

    def there() -> None:
        executor: Any = runner.as_executor()
        futures = [executor.submit(may_end.wait, 10) for _ in range(4)]
        executor.shutdown(wait=False, cancel_futures=True)
        assert runner.from_thread.submit(None, give, 1, priority=-1).key
        assert sum(future.cancelled() for future in futures) == 3
        assert not futures[0].done()
        may_end.set()
        executor.shutdown()
        assert futures[0].result() is True
        other: Any = runner.as_executor()
        futures = [other.submit(may_end.wait, 10) for _ in range(4)]
        other.shutdown()
        assert [future.result() for future in futures] == [True] * 4

    runner = make() if make is SequentialTaskRunner else ConcurrentTaskRunner(1)
    async with runner.start():
        await in_thread(there)


async def test_a_done_callback_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and stops nobody."""

    def refuse(future: object) -> None:
        raise LookupError

    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        future = executor.submit(give, 1)
        future.add_done_callback(refuse)
        assert (await ended(future)).result() == 1
        await in_thread(executor.shutdown)
    assert [record.name for record in caplog.records] == ["concurrent.futures"]


async def test_what_nobody_read(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged, unless the future was asked; waiting for it is not asking."""
    async with ConcurrentTaskRunner().start() as runner:
        executor: Any = runner.as_executor()
        futures = [executor.submit(fail) for _ in range(3)]
        for future in futures:
            await ended(future)
        assert isinstance(futures[0].exception(), ValueError)
        with pytest.raises(ValueError, match="b"):
            futures[1].result()
    assert len(caplog.records) == 1
    assert "1 failed call(s)" in caplog.text
    assert "'fail-2'" in caplog.text


async def test_a_failure_follows_on_error() -> None:
    """The first one ends the run."""
    seen: list[cf.Future[Any]] = []
    with pytest.raises(ExceptionGroup, match="calls of a runner failed"):
        async with ConcurrentTaskRunner(on_error="cancel").start() as runner:
            executor: Any = runner.as_executor()
            seen += [executor.submit(forever), executor.submit(fail)]
            await anyio.sleep_forever()
    assert seen[0].cancelled()
    assert isinstance(seen[1].exception(), ValueError)


async def test_a_call_that_crashes() -> None:
    """The exception is the future's, and ends the run."""
    with pytest.raises(SystemExit):
        async with ConcurrentTaskRunner().start() as runner:
            future: Any = runner.as_executor().submit(fail, SystemExit(3))
            await anyio.sleep_forever()
    assert isinstance(future.exception(), SystemExit)
    assert runner.slots["fail"].state is State.CRASHED
