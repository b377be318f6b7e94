"""Where the nursery of bare asyncio tasks does more than anyio's task group, and what it is made of."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import pytest

from creche._backends._nursery import BareNursery
from nurseries import both_loops, find, give, settle_down

pytestmark = pytest.mark.anyio
anyio_backend = both_loops

VAR: ContextVar[str] = ContextVar("var")


def start(nursery: BareNursery, fn: Callable[[Any], Any], arg: Any = None) -> None:
    nursery.start(copy_context(), fn, arg, "child")


async def test_a_native_cancel_of_a_child_is_its_own_affair() -> None:
    log: list[Any] = []

    async def child(_: object) -> None:
        await anyio.sleep_forever()

    async with BareNursery() as nursery:
        start(nursery, child)
        await settle_down()
        find("child").cancel()
        await settle_down()
        assert not nursery.cancel_scope.cancel_called
        start(nursery, give, log)
    assert log == ["ran"]


async def test_a_cancelled_error_out_of_a_child_is_its_own_affair() -> None:
    async def child(_: object) -> None:
        raise asyncio.CancelledError

    async with BareNursery() as nursery:
        start(nursery, child)
    assert not nursery.cancel_scope.cancel_called


@pytest.mark.parametrize("at_the_exit", [False, True])
async def test_told_of_a_child_that_never_began(at_the_exit: bool) -> None:
    """With what it would have called, as soon as the loop has come round."""
    told: list[Any] = []
    log: list[Any] = []

    def note(fn: object, arg: object) -> None:
        told.append((fn, arg, asyncio.current_task(), VAR.get()))
        start(nursery, give, log)

    VAR.set("nursery")
    async with BareNursery(note) as nursery:
        VAR.set("child")
        start(nursery, give, "arg")
        find("child").cancel()
        if not at_the_exit:
            await settle_down()
            assert log == ["ran"]
    assert told == [(give, "arg", None, "nursery")]
    assert log == ["ran"]
    assert not nursery.cancel_scope.cancel_called


async def test_nobody_is_told_of_a_child_that_never_began() -> None:
    """Then the nursery is cancelled: somebody may wait for what is never called."""
    async with BareNursery() as nursery:
        start(nursery, give)
        find("child").cancel()
        await anyio.sleep_forever()
    assert nursery.cancel_scope.cancelled_caught


async def test_what_is_told_of_it_raises() -> None:
    """It comes out, and the next one is told of all the same."""
    told: list[Any] = []

    def note(fn: object, arg: object) -> None:
        told.append(arg)
        raise KeyError(arg)

    with pytest.raises(ExceptionGroup) as caught:
        async with BareNursery(note) as nursery:
            for number in range(2):
                start(nursery, give, number)
                find("child").set_name("other")
            for task in asyncio.all_tasks():
                if task.get_name() == "other":
                    task.cancel()
    assert sorted(told) == [0, 1]
    assert sorted(one.args[0] for one in caught.value.exceptions) == [0, 1]


async def test_a_child_lets_go_of_what_it_was_given() -> None:
    """Nobody else holds its argument, from its first step on."""

    class Thing:
        pass

    gone: list[bool] = []

    async def child(thing: list[Thing]) -> None:
        held = weakref.ref(thing.pop())
        await asyncio.sleep(0)
        gone.append(held() is None)

    async def drop(thing: Thing) -> None:
        held = weakref.ref(thing)
        del thing
        await asyncio.sleep(0)
        gone.append(held() is None)

    async with BareNursery() as nursery:
        start(nursery, child, [Thing()])
        start(nursery, drop, Thing())
    assert gone == [True, True]


class Thing(Exception):  # noqa: N818 - thrown away
    """Raised; weakly referenced."""


class Cancelling(asyncio.CancelledError):
    """The same, as cancellation."""


async def raise_out_of_a_child() -> None:
    async def fail(_: object) -> None:
        raise Thing

    async with BareNursery() as nursery:
        start(nursery, fail)
        await anyio.sleep_forever()


async def raise_out_of_a_body() -> None:
    async with BareNursery():
        raise Cancelling


@pytest.mark.parametrize("raise_out", [raise_out_of_a_child, raise_out_of_a_body])
async def test_what_comes_out_does_not_lead_to_itself(raise_out: Callable[[], Any]) -> None:
    """It is freed when nobody holds it any more, without the help of the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        try:
            await raise_out()
        except (ExceptionGroup, Cancelling) as exc:
            held = weakref.ref(exc.exceptions[0] if isinstance(exc, ExceptionGroup) else exc)
        await settle_down()
        assert held() is None
    finally:
        gc.enable()


async def test_the_first_cancellation_comes_out() -> None:
    """That of the body, when its exit is cancelled, too."""
    log: list[Any] = []

    async def hold() -> None:
        try:
            async with BareNursery() as nursery:
                start(nursery, shielded)
                raise Cancelling
        except asyncio.CancelledError as exc:
            log.append(type(exc))

    async def shielded(_: object) -> None:
        with anyio.CancelScope(shield=True):
            await settle_down()
            host.cancel()
            await settle_down()

    host = asyncio.ensure_future(hold())
    await host
    assert log == [Cancelling]


async def test_a_child_started_in_the_last_moment() -> None:
    """While the exit of an empty nursery lets others run: it is waited for."""
    log: list[Any] = []
    async with BareNursery() as nursery:
        asyncio.get_running_loop().call_soon(start, nursery, give, log)
    assert log == ["ran"]


async def test_a_child_started_where_all_are_shielded() -> None:
    """A cancelled scope that has found nobody to cancel goes on with whoever comes."""
    log: list[Any] = []

    async def shielded(end: anyio.Event) -> None:
        with anyio.CancelScope(shield=True):
            await end.wait()

    async def child(end: anyio.Event) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cancelled")
            end.set()

    async with BareNursery() as nursery:
        end = anyio.Event()
        start(nursery, shielded, end)
        await settle_down()
        nursery.cancel_scope.cancel()
        with anyio.fail_after(1, shield=True):
            await settle_down()
            asyncio.get_running_loop().call_soon(start, nursery, child, end)
            await end.wait()
    assert log == ["cancelled"]


def test_thrown_away_after_its_loop() -> None:
    """A child that is left when the loop is closed says nothing when it is thrown away."""
    loop = asyncio.new_event_loop()
    log: list[Any] = []

    async def child(_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("thrown away")

    async def main() -> None:
        async with BareNursery() as nursery:
            start(nursery, child)
            await settle_down()
            log.append(find("child"))
            loop.stop()

    host: Any = loop.create_task(main())
    loop.run_forever()
    loop.close()
    task = log.pop()
    task.get_coro().close()
    assert log == ["thrown away"]
    with pytest.raises(RuntimeError, match="no running event loop"):  # by the scope, which is anyio's
        host.get_coro().close()
    for one in (task, host):
        one._log_destroy_pending = False
