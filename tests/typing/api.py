"""What type checkers make of the public names; checked by mypy and pyright, and never executed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, assert_type

from anyio.abc import TaskGroup
from outcome import Outcome

from creche import (
    ConcurrentTaskRunner,
    Retry,
    SequentialTaskRunner,
    Slot,
    State,
    allow_failure,
    flow,
    task,
    unmapped,
)
from creche.instruments import Summary


async def fetch(url: str, retries: int = 0) -> bytes:
    return url.encode() * retries


def parse(data: bytes) -> list[int]:
    return list(data)


async def numbers() -> AsyncIterator[int]:
    yield 1


async def retries(runner: ConcurrentTaskRunner) -> None:
    slot = runner.submit_nowait("r", fetch, "x", retry=3)
    assert_type(slot, Slot[bytes])
    assert_type(slot.attempt, int)
    policy = Retry(3, delay=1, factor=2, cap=9, jitter="none", deadline=60, on=(OSError, ValueError))
    assert_type(await runner.submit("s", parse, b"", retry=policy, timeout=1), Slot[list[int]])
    assert_type(await runner.map(fetch, ["a"], retry=Retry(2, on=OSError)), list[bytes])
    assert_type(runner.from_thread.submit("t", parse, b"", retry=1), Slot[list[int]])
    runner.submit_nowait("u", fetch, "x", retry=Retry(3, on=lambda error: "busy" in str(error)))
    runner.submit_nowait("v", fetch, "x", retry="3")  # type: ignore  # pyright: ignore  # wrong on purpose
    Retry(3, jitter="half")  # type: ignore  # pyright: ignore  # wrong on purpose


async def runners() -> None:
    runner = ConcurrentTaskRunner(4, on_error="cancel", instruments=[Summary()])
    async with runner.start() as started:
        assert_type(started, ConcurrentTaskRunner)
        slot = await runner.submit("a", fetch, "http://localhost", 1)
        assert_type(slot, Slot[bytes])
        assert_type(runner.submit_nowait("b", parse, b""), Slot[list[int]])
        assert_type(runner.submit_nowait("c", partial(fetch, retries=2), "x"), Slot[bytes])
        assert_type(await slot, bytes)
        assert_type(slot.result(), bytes)
        assert_type(slot.outcome, Outcome[bytes])
        assert_type(slot.state, State)
        assert_type(await runner.wait("a", timeout=1), Outcome[Any] | None)
        assert_type(await runner.wait("a"), Outcome[Any])
        assert_type(await runner.wait(slot), Outcome[bytes])
        assert_type(await runner.wait(slot, 1.5), Outcome[bytes] | None)
        assert_type(await runner.wait_all(), list[Outcome[Any]])
        assert_type(await runner.wait_all(["a", slot]), list[Outcome[Any]])
        assert_type(await runner.wait_all([slot]), list[Outcome[bytes]])
        assert_type(await runner.wait_all([slot], 1), list[Outcome[bytes] | None])
        assert_type(await runner.wait_all(timeout=1.5), list[Outcome[Any] | None])
        assert_type(await runner.wait_all({"a": 1}, timeout=1), list[Outcome[Any] | None])
        assert_type(await runner.map(fetch, ["a", "b"]), list[bytes])
        assert_type(await runner.map(parse, [b"a"], key=len), list[list[int]])
        assert_type(await runner.map(str, numbers(), return_outcomes=True), list[Outcome[str]])
        async with runner.as_completed() as slots:
            async for one in slots:
                assert_type(one, Slot[Any])
        async with runner.as_task_group() as group:
            stands_in: TaskGroup = group
            handle = stands_in.start_soon(fetch, "x", 1)
            assert_type(handle.return_value, bytes)
            assert_type(await group.create_task(fetch("x")), bytes)
        thread = runner.from_thread
        assert_type(thread.submit("e", fetch, "x", 1, timeout=3), Slot[bytes])
        assert_type(thread.submit(None, parse, b"", after=["e"]), Slot[list[int]])
        assert_type(thread.wait("e", timeout=1), Outcome[Any] | None)
        assert_type(thread.cancel("e"), bool)
        assert_type(thread.map(fetch, ["a", "b"]), list[bytes])
        assert_type(thread.map(parse, [b"a"], return_outcomes=True), list[Outcome[list[int]]])
        thread.submit("f", fetch, 5, 1)  # type: ignore  # pyright: ignore  # wrong on purpose
        executor = runner.as_executor(name="e")
        assert_type(executor, Executor)
        assert_type(executor.submit(parse, b"").result(), list[int])
        runner.submit_nowait("d", fetch, 5, 1)  # type: ignore  # pyright: ignore  # wrong on purpose
    assert_type(runner.duplicate(), ConcurrentTaskRunner)
    sequential = SequentialTaskRunner()
    async with sequential.start():
        assert_type(await sequential.submit("a", fetch, "x"), Slot[bytes])


@task
def double(n: int) -> int:
    return 2 * n


@task(name="later", key="{n}", timeout=3, limits=["db"], priority=1, tags=["a"], on_failed=[print])
async def double_later(n: int) -> int:
    return 2 * n


class Account:
    @task
    def balance(self, n: int) -> int:
        return n

    @flow
    def close(self, n: int) -> str:
        return str(n)


@flow
def sums(n: int) -> list[int]:
    assert_type(double(n), int)
    assert_type(double.submit(n), Slot[int])
    assert_type(double.submit(double.submit(n)), Slot[int])
    assert_type(double.map([1, 2]), list[Slot[int]])
    assert_type(double_later.submit(n), Slot[int])
    double("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # wrong on purpose
    other = double.with_options(name="other", timeout=1, key=lambda n: n)
    assert_type(other(n), int)
    assert_type(other.map([1], unmapped(2)), list[Slot[int]])
    double.with_options(retires=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # wrong on purpose
    assert_type(allow_failure(double.submit(n)).result(), int | BaseException)
    assert_type(Account().balance.submit(1), Slot[int])
    assert_type(Account().close(1), str)
    return [n]


@flow(task_runner=ConcurrentTaskRunner, backend="asyncio", timeout=1, on_error="cancel", log_prints=True)
async def sums_later(n: int) -> list[int]:
    coroutine: Coroutine[Any, Any, int] = double_later(n)
    await coroutine
    assert_type(await double_later(n), int)
    return [n]


async def flows() -> None:
    assert_type(sums(1), list[int])
    assert_type(await sums.run_async(1), list[int])
    assert_type(await sums_later.run_async(1), list[int])
    await sums.run_async("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # wrong on purpose
    assert_type(await allow_failure(double_later.submit(1)), int | BaseException)
    assert_type(sums.with_options(task_runner="parent", timeout=3)(1), list[int])
    assert_type(await sums_later(1), list[int])
    sums.task_runner = SequentialTaskRunner()
    assert_type(sums.with_options(name="other")(2), list[int])


async def groups(runner: ConcurrentTaskRunner) -> None:
    async with runner.group(stop_when="first_success") as calls:
        assert_type(await calls.submit("g", fetch, "x", 1, timeout=3), Slot[bytes])
        assert_type(calls.submit_nowait(None, parse, b""), Slot[list[int]])
        calls.submit_nowait("h", fetch, 5, 1)  # type: ignore  # pyright: ignore  # wrong on purpose
