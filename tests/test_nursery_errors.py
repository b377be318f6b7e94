"""What comes out of the nursery of bare asyncio tasks, beside anyio's task group.

Each test runs with both, on asyncio and on uvloop; where they differ the test says how.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from creche._backends._inside import INSIDE
from creche._backends._primitives import PUBLIC, Primitives
from nurseries import both_loops, both_ways, forever, settle_down, start

pytestmark = [pytest.mark.anyio, both_ways]
anyio_backend = both_loops


@pytest.mark.parametrize("kind", [ValueError, BaseException])
async def test_what_a_child_raises(way: Primitives, kind: type[BaseException]) -> None:
    """It cancels the others and comes out, and asyncio does not complain of it."""
    log: list[Any] = []
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))

    async def fail(error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    async def fail_late(error: BaseException) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    first, second = kind("first"), KeyError("second")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with way.open_nursery() as nursery:
            start(way, nursery, forever, log)
            start(way, nursery, fail_late, second)
            start(way, nursery, fail, first)
            await anyio.sleep_forever()
    assert caught.value.exceptions == (first, second)
    assert type(caught.value) is (ExceptionGroup if kind is ValueError else BaseExceptionGroup)
    assert log == ["cancelled"]
    gc.collect()
    assert said == []


async def test_what_the_body_raises(way: Primitives) -> None:
    log: list[Any] = []
    error = ValueError("body")

    async def fail_late(_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        async with way.open_nursery() as nursery:
            start(way, nursery, forever, log)
            start(way, nursery, fail_late)
            await settle_down()
            raise error
    assert caught.value.exceptions[0] is error
    assert [type(one) for one in caught.value.exceptions] == [ValueError, KeyError]
    assert log == ["cancelled"]


async def test_a_child_that_raises_when_a_scope_around_is_cancelled(way: Primitives) -> None:
    """The nursery need not be cancelled, too; what it raised comes out."""

    async def fail_late(_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError

    with pytest.raises(ExceptionGroup), anyio.CancelScope() as outer:
        async with way.open_nursery() as nursery:
            start(way, nursery, fail_late)
            await settle_down()
            outer.cancel()
    assert nursery.cancel_scope.cancel_called  # by the body, which was cancelled at the exit
    with pytest.raises(ExceptionGroup), anyio.CancelScope() as outer:
        async with way.open_nursery() as nursery:
            start(way, nursery, fail_late)
            await settle_down()
            outer.cancel()
            with anyio.CancelScope(shield=True):
                await settle_down()
                called = nursery.cancel_scope.cancel_called
            await anyio.sleep_forever()
    assert not called


async def test_an_exit_is_cancelled_once(way: Primitives) -> None:
    """From then on it waits behind a shield."""
    counts: list[int] = []

    async def child(_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await settle_down()
            counts.append(host.cancelling())  # type: ignore[union-attr]  # there is one

    host = asyncio.current_task()
    with anyio.CancelScope() as outer:
        async with way.open_nursery() as nursery:
            start(way, nursery, child)
            asyncio.get_running_loop().call_later(0.001, outer.cancel)
    assert counts == [1]
    assert outer.cancelled_caught


async def test_a_body_that_is_cancelled_by_the_nursery_itself(way: Primitives) -> None:
    async with way.open_nursery() as nursery:
        start(way, nursery, forever, [])
        assert not way.is_cut_from(nursery)
        nursery.cancel_scope.cancel()
        assert way.is_cut_from(nursery)
        await anyio.sleep_forever()
    assert nursery.cancel_scope.cancelled_caught


@pytest.mark.parametrize("by_scope", [None, "before", "after"])
async def test_a_native_cancel_of_the_host_at_the_exit(way: Primitives, by_scope: str | None) -> None:
    """It cancels the children, is waited out, and goes on; the nursery's own scope cannot hide it."""
    log: list[Any] = []

    async def child(_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await settle_down()
            log.append("ended")

    async def hold() -> None:
        try:
            async with way.open_nursery() as nursery:
                nurseries.append(nursery)
                start(way, nursery, child)
        finally:
            log.append("out")

    nurseries: list[Any] = []
    host = asyncio.ensure_future(hold())
    await settle_down()
    if by_scope == "before":
        nurseries[0].cancel_scope.cancel()
        await asyncio.sleep(0)
    host.cancel()
    if by_scope == "after":
        await asyncio.sleep(0)
        nurseries[0].cancel_scope.cancel()
    await asyncio.wait([host])
    assert log == ["ended", "out"]
    assert host.cancelled()


async def test_a_body_that_is_cancelled_by_both(way: Primitives) -> None:
    """By a scope in the body, and natively at the exit: the native one goes on."""
    if way is PUBLIC and not hasattr(INSIDE.CancelScope, "_cancelling_at_enter"):
        pytest.skip("it was lost in anyio's group until 4.16")

    async def hold() -> None:
        async with way.open_nursery() as nursery:
            start(way, nursery, child)
            nursery.cancel_scope.cancel()
            await anyio.sleep_forever()

    async def child(_: object) -> None:
        with anyio.CancelScope(shield=True):
            await asyncio.wait([ended])

    ended = asyncio.get_running_loop().create_future()
    host = asyncio.ensure_future(hold())
    await settle_down()
    await settle_down()
    host.cancel()
    await settle_down()
    ended.set_result(None)
    await asyncio.wait([host])
    assert host.cancelled()


def test_a_keyboard_interrupt_out_of_a_child(way: Primitives) -> None:
    """It leaves the loop at once, as out of any task."""

    async def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with way.open_nursery() as nursery:
            start(way, nursery, interrupt)
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
