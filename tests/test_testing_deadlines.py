"""`cancel_everywhere` tells its own cancellation from that of a timeout of the function's."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import anyio
import pytest

from creche.testing import cancel_everywhere


async def expires() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.sleep(2)


async def expires_as_it_ends() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.sleep(1)


async def expires_in_another() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(1), asyncio.timeout(1):
            await asyncio.sleep(2)


async def expires_at_once() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.sleep(2)


async def expires_while_it_cleans_up() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            try:
                await asyncio.sleep(0.5)
            finally:
                await asyncio.sleep(1)


async def expires_later() -> None:
    await asyncio.wait_for(asyncio.sleep(1), 2)
    await expires()


async def waits_for_it() -> None:
    await asyncio.wait_for(asyncio.sleep(1), 2)


async def waits_for_a_future() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(1, future.set_result, None)
    await asyncio.wait_for(future, 2)


async def waits_too_long_for_it() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(2), 1)


@pytest.mark.parametrize("how", ["scope", "fail_after", "native", "ctrl_c"])
@pytest.mark.parametrize(
    "fn",
    [
        expires,
        expires_as_it_ends,
        expires_in_another,
        expires_at_once,
        expires_while_it_cleans_up,
        expires_later,
        waits_for_it,
        waits_for_a_future,
        waits_too_long_for_it,
    ],
)
def test_a_timeout_of_asyncios(fn: Any, how: Any) -> None:
    """It may expire together with the cancellation, or after it; asyncio sees to that."""
    report = cancel_everywhere(fn, backend="asyncio", how=how)
    assert report.failures == ()
    assert report.total > 2


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("how", ["scope", "fail_after"])
def test_a_scope_of_the_functions_own(how: Any, backend: Any) -> None:
    """The same."""

    async def fn() -> None:
        with anyio.move_on_after(1), anyio.move_on_after(1):
            try:
                await anyio.sleep(0.5)
            finally:
                await anyio.sleep(1)

    assert cancel_everywhere(fn, backend=backend, how=how).failures == ()


@pytest.mark.parametrize("how", ["scope", "native", "ctrl_c"])
def test_one_that_catches_the_cancellation_too(how: Any) -> None:
    """It is told of, also if its timeout expires later."""

    async def fn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
        with suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(1):
                await asyncio.sleep(2)

    report = cancel_everywhere(fn, backend="asyncio", how=how, check=False)
    assert {one.kind for point in report.failures for one in point.findings} == {"swallowed"}
