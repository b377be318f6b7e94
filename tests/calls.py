"""Calls that the tests submit: each is one way in which a call can behave.

What it does not know: runners. They are plain functions, as a user would write them.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NoReturn, TypeVar

import anyio
from outcome import Error, Outcome

T = TypeVar("T")


async def give(value: Any = 1) -> Any:
    """Return a value after a checkpoint."""
    await anyio.lowlevel.checkpoint()
    return value


async def give_at_once(value: Any = 1) -> Any:
    """Return a value without a checkpoint."""
    return value


async def fail(error: BaseException | None = None) -> NoReturn:
    """Raise after a checkpoint."""
    await anyio.lowlevel.checkpoint()
    raise ValueError("b") if error is None else error


async def forever() -> NoReturn:
    """Wait until cancelled."""
    await anyio.sleep_forever()
    raise AssertionError


async def nested() -> None:
    """Wait until cancelled, in two child tasks: what comes out is a group, on trio."""
    async with anyio.create_task_group() as group:
        group.start_soon(forever)
        group.start_soon(forever)


async def nested_and_failing() -> None:
    """When cancelled, one child task is cancelled and the other fails in its clean-up."""

    async def clean_up_badly() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("clean-up")

    async with anyio.create_task_group() as group:
        group.start_soon(forever)
        group.start_soon(clean_up_badly)


async def swallow(value: Any = 4) -> Any:
    """Wait until cancelled, swallow that, and return a value."""
    try:
        await anyio.sleep_forever()
    except BaseException:
        return value


async def stray() -> None:
    """Raise a cancellation whose scope is long closed."""
    kept: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except BaseException as exc:
            kept.append(exc)
            raise
    raise kept[0]


class Gate:
    """A call that waits until it is let go; says how many have begun, and how many are inside."""

    def __init__(self) -> None:
        self.begun = 0
        self.inside = 0
        self.most = 0
        self.open = anyio.Event()

    async def __call__(self, value: Any = None) -> Any:
        """Wait, and give the value."""
        self.begun += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.open.wait()
        finally:
            self.inside -= 1
        return value


def error_of(outcome: Outcome[Any] | None) -> BaseException:
    """The exception of an outcome that must have one."""
    assert isinstance(outcome, Error)
    return outcome.error


async def settle_down() -> None:
    """Let everything run that can, until all tasks wait."""
    await anyio.wait_all_tasks_blocked()


async def start_in(group: Any, fn: Callable[..., Awaitable[Any]], *args: Any) -> None:
    """Start a task and let it run until it waits."""
    group.start_soon(fn, *args)
    await settle_down()


@types.coroutine
def counted(awaitable: Awaitable[T], steps: list[int]) -> Generator[Any, Any, T]:
    """Await it, and note each step: the first, and one for each time that the task is woken."""
    inner = awaitable.__await__()
    value = None
    while True:
        steps.append(1)
        try:
            asked = inner.send(value)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # whatever the coroutine gives
        value = yield asked
