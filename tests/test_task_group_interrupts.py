"""Task groups that are interrupted by what knows no scopes, and what is left of them afterwards."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, State
from creche._capture import leaves
from loops import both, ctrl_c


class OurError(Exception):
    """What a test raises, to find it again."""


async def linger() -> None:
    """Take some turns to end when cancelled."""
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.01)


# Task.cancel ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", range(12))
def test_a_native_cancel_at_any_moment(turns: int) -> None:
    """The children end first; then it comes out, and is not taken for one of a scope's."""
    runner = ConcurrentTaskRunner()
    ended: list[bool] = []

    async def host() -> None:
        try:
            async with runner.as_task_group() as group:
                group.start_soon(linger, name="child")
                group.start_soon(anyio.sleep, 0, name="short")
                if turns > 5:
                    await anyio.lowlevel.checkpoint()
        finally:
            ended.append(runner.slots["child"].done)

    async def main() -> None:
        async with runner.start():
            task = asyncio.create_task(host())
            for _ in range(turns + 1):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelling() == 1

    asyncio.run(main())
    assert ended in ([True], [])  # cancelled before its first step, it has not begun


@pytest.mark.parametrize("shielded", [True, False])
def test_native_cancels_while_it_waits(shielded: bool) -> None:
    """The children are waited for all the same, and the last one comes out."""
    runner = ConcurrentTaskRunner()

    async def host() -> None:
        with anyio.CancelScope(shield=shielded):
            async with runner.as_task_group() as group:
                group.start_soon(linger, name="child")

    async def main() -> None:
        async with runner.start():
            task = asyncio.create_task(host())
            await settle_down()
            task.cancel("one")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel("two")
            with pytest.raises(asyncio.CancelledError, match="two"):
                await task
            assert runner.slots["child"].done
            assert task.cancelling() == 2

    asyncio.run(main())


def test_no_cancel_of_its_own_is_left_on_the_host() -> None:
    """After a scope that was cancelled, a child that failed, an outer one."""
    runner = ConcurrentTaskRunner()

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with runner.start():
            async with runner.as_task_group() as group:
                group.start_soon(forever)
                group.cancel()
                await anyio.sleep(1)
            assert task.cancelling() == 0
            with pytest.raises(ExceptionGroup):
                async with runner.as_task_group() as group:
                    group.start_soon(fail)
                    await anyio.sleep(1)
            assert task.cancelling() == 0
            with anyio.move_on_after(0.01):
                async with runner.as_task_group() as group:
                    group.start_soon(forever)
            assert task.cancelling() == 0

    asyncio.run(main())


# Ctrl-C --------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_it_waits(run: Callable[[Any], None], presses: int) -> None:
    """It comes out when the children have ended; so does a second one."""
    runner = ConcurrentTaskRunner()

    async def press() -> None:
        await settle_down()
        with anyio.CancelScope(shield=True):
            for _ in range(presses):
                ctrl_c()
                await anyio.sleep(0.002)

    async def main() -> None:
        async with runner.start(), anyio.create_task_group() as others:
            others.start_soon(press)
            async with runner.as_task_group() as group:
                group.start_soon(linger, name="child")

    with pytest.raises(BaseException) as caught:
        run(main)
    assert {type(leaf) for leaf in leaves(caught.value)} == {KeyboardInterrupt}
    assert runner.slots["child"].state is State.CANCELLED


# What is left --------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_an_exception_is_free_when_nobody_has_it() -> None:
    """Without the garbage collector: neither the group nor its children hold it in a ring."""
    gone: list[weakref.ref[Any]] = []

    async def fail_once(*, task_status: Any = None) -> None:
        error = OurError()
        gone.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    async def attempt(runner: ConcurrentTaskRunner) -> None:
        try:
            async with runner.as_task_group() as group:
                group.start_soon(fail_once)
                await anyio.sleep_forever()
        except ExceptionGroup:
            pass
        try:
            async with runner.as_task_group() as group:
                await fail_once()
        except ExceptionGroup:
            pass
        with suppress(OurError):
            await runner.as_task_group().start(fail_once)
        handle = runner.as_task_group().start_soon(fail_once)
        with suppress(anyio.TaskFailed):
            await handle
        assert type(handle.exception) is OurError

    gc.collect()
    gc.disable()
    try:
        async with ConcurrentTaskRunner(retain=False).start() as runner:
            await attempt(runner)
            await settle_down()
            assert [ref() for ref in gone] == [None] * 4
    finally:
        gc.enable()


@pytest.mark.anyio
async def test_a_child_is_free_when_it_has_ended() -> None:
    """Its arguments too, while its group goes on; the runner holds a value at most."""

    class Thing:
        pass

    async with ConcurrentTaskRunner(retain=False).start() as runner:
        group = runner.as_task_group()
        gc.collect()
        gc.disable()
        try:
            for state in ("run", "closed"):
                thing = Thing()
                ref = weakref.ref(thing)
                handle = group.start_soon(give, thing)
                if state == "closed":
                    handle.cancel()
                await handle.wait()
                del handle, thing
                await settle_down()
                assert ref() is None, state
        finally:
            gc.enable()
