"""Each run takes the same way: on asyncio what is in a set has an order, whatever its address."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio._backends import _asyncio as anyios

from creche._backends._inside import fits
from creche.testing import run_virtual

NUMBERS = list(range(12))


class Ended:
    """Takes note of who ends, in that order."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self._others: list[bytearray] = []

    async def waits(self, number: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.order.append(number)

    async def waits_in_a_scope(self, number: int) -> None:
        with anyio.CancelScope():
            await self.waits(number)

    def scatter(self) -> None:
        """Have what is made next be somewhere else than it would be."""
        self._others.append(bytearray(random.randrange(3_000)))


async def group_of_anyios(ended: Ended) -> None:
    async with anyio.create_task_group() as group:
        for number in NUMBERS:
            ended.scatter()
            group.start_soon(ended.waits, number)
        await anyio.sleep(1)
        group.cancel_scope.cancel()


async def scopes(ended: Ended) -> None:
    async with anyio.create_task_group() as group:
        for number in NUMBERS:
            ended.scatter()
            group.start_soon(ended.waits_in_a_scope, number)
        await anyio.sleep(1)
        group.cancel_scope.cancel()


async def group_of_asyncios(ended: Ended) -> None:
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for number in NUMBERS:
                ended.scatter()
                group.create_task(ended.waits(number))
            await asyncio.sleep(1)
            raise OSError


async def set_of_tasks(ended: Ended) -> None:
    tasks = set()
    for number in NUMBERS:
        ended.scatter()
        tasks.add(asyncio.create_task(ended.waits(number)))
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def equal_timers(ended: Ended) -> None:
    async def sleeps(number: int) -> None:
        await asyncio.sleep(1)
        ended.order.append(number)

    await asyncio.gather(*map(sleeps, NUMBERS))


@pytest.mark.parametrize(
    "fn",
    [group_of_anyios, scopes, group_of_asyncios, set_of_tasks, equal_timers],
    ids=lambda fn: fn.__name__,
)
def test_those_that_began_first_end_first(fn: Callable[[Ended], Awaitable[None]]) -> None:
    """Whether they are cancelled, by whom, or wake up at the same time."""
    ended = Ended()
    run_virtual(fn, ended, backend="asyncio")
    assert ended.order == NUMBERS


def test_timers_come_by_time_first() -> None:
    """Not in the order in which they are set."""
    order: list[float] = []

    async def sleeps(seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(seconds)

    async def main() -> None:
        await asyncio.gather(*map(sleeps, [3, 1, 2.5]))

    run_virtual(main, backend="asyncio")
    assert order == [1, 2.5, 3]


def test_creche_knows_anyio_in_virtual_time() -> None:
    """It looks once, and that may be in the first run of the kit: what it takes then stays."""

    async def main() -> bool:
        return fits(anyios)

    assert run_virtual(main, backend="asyncio")


def test_what_an_ordered_set_of_scopes_has() -> None:
    """The same as any other, whatever was taken out of it."""

    async def main() -> None:
        some = anyio.CancelScope()._tasks  # type: ignore[attr-defined]  # anyio's own
        for one in (3, 1, 2, 1, 4):
            some.add(one)
        some.discard(1)
        some.discard(1)
        some.remove(4)
        assert (list(some), some, len(some)) == ([3, 2], {2, 3}, 2)
        some.clear()
        assert (list(some), len(some)) == ([], 0)

    run_virtual(main, backend="asyncio")


def test_a_task_looks_as_asyncios() -> None:
    """It is called so, and what is around a run does not see the kit's hand."""
    before = anyios.CancelScope.__init__

    async def main() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(None)  # as the loop of Python 3.13.0 does for whoever gives none
        return repr(task)

    assert run_virtual(main, backend="asyncio").startswith("<Task pending name='main' coro=<")
    assert anyios.CancelScope.__init__ is before
