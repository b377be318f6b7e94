"""What type checkers make of the public names; checked by mypy and pyright, and never executed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, assert_type

from anyio.abc import TaskGroup
from outcome import Outcome

from creche import ConcurrentTaskRunner, SequentialTaskRunner, Slot, State, flow, task
from creche.instruments import Summary


async def fetch(url: str, retries: int = 0) -> bytes:
    return url.encode() * retries


def parse(data: bytes) -> list[int]:
    return list(data)


async def numbers() -> AsyncIterator[int]:
    yield 1


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
        thread.submit("f", fetch, 5, 1)  # type: ignore  # pyright: ignore
        executor = runner.as_executor(name="e")
        assert_type(executor, Executor)
        assert_type(executor.submit(parse, b"").result(), list[int])
        runner.submit_nowait("d", fetch, 5, 1)  # type: ignore  # pyright: ignore
    assert_type(runner.duplicate(), ConcurrentTaskRunner)
    sequential = SequentialTaskRunner()
    async with sequential.start():
        assert_type(await sequential.submit("a", fetch, "x"), Slot[bytes])


@task
def double(n: int) -> int:
    return 2 * n


@task(name="later")
async def double_later(n: int) -> int:
    return 2 * n


@flow
def sums(n: int) -> list[int]:
    assert_type(double(n), int)
    assert_type(double.submit(n), Slot[int])
    assert_type(double.submit(double.submit(n)), Slot[int])
    assert_type(double.map([1, 2]), list[Slot[int]])
    assert_type(double_later.submit(n), Slot[int])
    double("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return [n]


@flow(task_runner=ConcurrentTaskRunner, backend="asyncio")
async def sums_later(n: int) -> list[int]:
    coroutine: Coroutine[Any, Any, int] = double_later(n)
    await coroutine
    assert_type(await double_later(n), int)
    return [n]


async def flows() -> None:
    assert_type(sums(1), list[int])
    assert_type(await sums_later(1), list[int])
    sums.task_runner = SequentialTaskRunner()
    assert_type(sums.with_options(name="other")(2), list[int])
