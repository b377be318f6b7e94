"""Task groups of asyncio's own in calls that run in the task of their submitter.

Before Python 3.13 a group that fails while it is left leaves that task cancelled, by nobody.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any, NoReturn

import pytest

from calls import forever
from creche import Retry, SequentialTaskRunner, State
from creche._backends._left_groups import take_back
from creche._call import run_in_context

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def fail_later() -> NoReturn:
    await asyncio.sleep(0)
    raise ValueError("mine")


async def clean_up() -> None:
    """Take long to end when cancelled."""
    try:
        await forever()
    finally:
        await asyncio.sleep(0.3)


async def leave_a_group(*others: Any) -> None:
    """The child fails while the group is left."""
    async with asyncio.TaskGroup() as group:
        for other in others:
            group.create_task(other())
        group.create_task(fail_later())


async def fail_in_the_block() -> None:
    """The child fails before that, and what the block waits for is cut."""
    async with asyncio.TaskGroup() as group:
        group.create_task(fail_later())
        await asyncio.sleep(60)


async def go_on_after_that() -> str:
    for fn in (leave_a_group, fail_in_the_block, leave_a_group):
        with pytest.raises(ExceptionGroup):
            await fn()
    await asyncio.sleep(0)
    return "went on"


async def give_awaitable() -> Any:
    """A plain call that is given by one."""
    return await go_on_after_that()


async def test_its_failure_is_no_cancellation_of_the_submit() -> None:
    """The call has failed, or has gone on; and so does its submitter."""
    async with SequentialTaskRunner().start() as runner:
        for fn in (leave_a_group, fail_in_the_block):
            failed = await runner.submit(None, fn)
            assert failed.state is State.FAILED
        again = await runner.submit(None, leave_a_group, retry=Retry(2))
        assert (again.state, again.attempt) == (State.FAILED, 3)
        for goer in (go_on_after_that, lambda: go_on_after_that()):  # noqa: PLW0108 - a plain one
            slot = await runner.submit(None, goer)
            assert slot.result() == "went on"
        await asyncio.sleep(0)
        for slot in runner.slots.values():
            slot.mark_read()


async def test_a_cancellation_of_the_submit_beside_it() -> None:
    """Comes later than that of the group, and travels on."""
    async with SequentialTaskRunner().start() as runner:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await runner.submit("k", leave_a_group, clean_up)
        slot = runner.slots["k"]
        assert slot.state is State.FAILED
        slot.mark_read()


async def test_a_cancellation_while_a_group_is_left() -> None:
    """None of its children has failed."""

    async def fn() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(forever())

    async with SequentialTaskRunner().start() as runner:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await runner.submit("k", fn)
        assert runner.slots["k"].origin == "outer"


@pytest.mark.parametrize("fn", [go_on_after_that, give_awaitable])
@pytest.mark.parametrize("when_thrown", [take_back, None])
async def test_what_is_thrown(fn: Any, when_thrown: Any) -> None:
    """On every version: it is looked at where there is something to see to, and passed on."""
    assert await run_in_context(copy_context(), fn, (), when_thrown) == "went on"


async def test_other_exceptions_are_nobodys_affair() -> None:
    """Nor is what is delivered to something that does not wait."""

    async def fn() -> None:
        """Nothing."""

    coroutine = fn()
    take_back(coroutine, ValueError())
    coroutine.close()
    take_back(coroutine, asyncio.CancelledError())
