"""The scope that a carrier keeps for calls: entered, cancelled and left, quickly or by the book.

Each test runs with each way to it, which must have the same outcome; where they differ it says how.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from calls import settle_down
from creche import ConcurrentTaskRunner
from creche._backend import KeptScope
from creche._backends import _inside, _kept_trio, detect
from creche._backends._kept import KeptByTheBook
from creche._capture import leaves
from loops import run_asyncio, run_trio

pytestmark = pytest.mark.anyio

Keep = Callable[[], KeptScope]


@pytest.fixture(params=["quickly", "by the book", "as much as is known"])
def keep(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Enters a scope."""
    if request.param == "as much as is known":
        monkeypatch.setattr(_kept_trio, "KNOWN", False)
        monkeypatch.setattr(_inside, "_IS_QUICK", False)

    def enter() -> KeptScope:
        backend = detect()
        if request.param == "by the book":
            return KeptByTheBook(backend.open_scope())
        return backend.keep_scope(backend.current_task())

    return enter


def around(test: Callable[..., Any]) -> Callable[..., Any]:
    """There is always a scope around a carrier's, and only then is the quick way taken on asyncio."""

    @functools.wraps(test)
    async def in_a_scope(*args: Any, **options: Any) -> None:
        with anyio.CancelScope():
            await test(*args, **options)

    return in_a_scope


async def caught(fn: Callable[..., Any], *args: Any) -> BaseException:
    """What a function raises."""
    try:
        await fn(*args)
    except BaseException as exc:
        return exc
    raise AssertionError("it has returned")


def is_cancellation(exc: BaseException | None) -> bool:
    return exc is not None and all(isinstance(leaf, detect().cancelled) for leaf in leaves(exc))


async def assert_nothing_is_left() -> None:
    """Neither for who is here now, nor in a while."""
    assert not detect().is_cut()
    assert detect().native_cancels() == 0
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    await settle_down()


@around
async def test_a_cancellation_ends_with_the_scope(keep: Keep) -> None:
    """It comes to whoever waits inside, and nothing of it is left outside."""
    async with anyio.create_task_group():
        scope = keep()
        detect().poster()(scope.cancel)  # on asyncio no task is running then
        raised = await caught(anyio.sleep_forever)
        assert is_cancellation(raised)
        assert anyio.current_effective_deadline() == -math.inf
        assert scope.leave(raised) is None
        await assert_nothing_is_left()


@around
async def test_one_task_cancels_another(keep: Keep) -> None:
    """Also twice; and whoever does it goes on."""
    async with anyio.create_task_group() as group:
        scope = keep()

        async def cancel() -> None:
            scope.cancel()
            scope.cancel()
            await anyio.lowlevel.checkpoint()

        group.start_soon(cancel)
        assert scope.leave(await caught(anyio.sleep_forever)) is None
        await assert_nothing_is_left()


@around
async def test_whoever_swallows_it_is_cancelled_again(keep: Keep) -> None:
    """As often as it waits."""
    async with anyio.create_task_group() as group:
        scope = keep()
        group.start_soon(anyio.lowlevel.checkpoint)
        detect().poster()(scope.cancel)
        for _ in range(3):
            assert is_cancellation(await caught(anyio.sleep, 1))
        assert scope.leave(await caught(anyio.sleep_forever)) is None
        await assert_nothing_is_left()


@around
async def test_who_cancels_itself(keep: Keep) -> None:
    """It notices when it waits next."""
    scope = keep()
    scope.cancel()
    assert scope.leave(await caught(anyio.sleep_forever)) is None
    await assert_nothing_is_left()


@around
async def test_a_shield_inside_holds(keep: Keep) -> None:
    """Until it is left."""
    scope = keep()
    detect().poster()(scope.cancel)
    with anyio.CancelScope(shield=True):
        await anyio.sleep(0.01)
    raised = await caught(anyio.lowlevel.checkpoint)
    assert is_cancellation(raised)
    assert scope.leave(raised) is None
    await assert_nothing_is_left()


@around
async def test_tasks_below_are_cancelled_too(keep: Keep) -> None:
    """Those of a nursery, which is waited for."""
    ended: list[int] = []

    async def child(number: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(number)

    async def nested() -> None:
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(child, number)
            await settle_down()
            detect().poster()(scope.cancel)

    scope = keep()
    raised = await caught(nested)
    assert sorted(ended) == [0, 1, 2]
    assert is_cancellation(raised)
    assert scope.leave(raised) is None
    await assert_nothing_is_left()


@around
async def test_what_else_came_travels_on(keep: Keep) -> None:
    """An error, cancelled or not; nothing stays nothing."""
    error = ValueError("mine")
    assert keep().leave(error) is error
    assert keep().leave(None) is None
    scope = keep()
    scope.cancel()
    assert scope.leave(error) is error
    scope = keep()
    scope.cancel()
    assert scope.leave(None) is None
    await assert_nothing_is_left()


@around
async def test_a_mixed_group_is_split(keep: Keep) -> None:
    """The error travels on, and the cancellation does not."""
    scope = keep()
    scope.cancel()
    cancellation = await caught(anyio.sleep_forever)
    left = scope.leave(BaseExceptionGroup("both", [cancellation, ValueError("mine")]))
    assert left is not None
    assert [type(leaf) for leaf in leaves(left)] == [ValueError]
    await assert_nothing_is_left()


@pytest.mark.parametrize("own_too", [False, True])
@around
async def test_a_cancellation_from_further_out_travels_on(keep: Keep, *, own_too: bool) -> None:
    """Also where the scope is cancelled itself."""
    with anyio.CancelScope() as outer:
        scope = keep()
        detect().poster()(outer.cancel)
        if own_too:
            detect().poster()(scope.cancel)
        raised = await caught(anyio.sleep_forever)
        if own_too:
            await caught(anyio.sleep, 1)
        left = scope.leave(raised)
        assert left is raised
        assert detect().is_cut()
        raise left
    assert outer.cancelled_caught
    await assert_nothing_is_left()


@around
async def test_entered_where_all_is_cancelled(keep: Keep) -> None:
    """The first wait inside raises, and the scope does not take it for its own."""
    with anyio.CancelScope() as outer:
        outer.cancel()
        scope = keep()
        raised = await caught(anyio.sleep_forever)
        scope.cancel()
        left = scope.leave(raised)
        assert left is raised
        raise left
    assert outer.cancelled_caught
    await assert_nothing_is_left()


@around
async def test_left_while_a_scope_inside_is_open(keep: Keep) -> None:
    """A fault of whoever does it: said, and not hidden."""

    async def fault() -> None:
        scope = keep()
        inner = detect().open_scope()
        inner.__enter__()
        scope.cancel()
        left = scope.leave(await caught(anyio.sleep_forever))
        assert isinstance(left, RuntimeError)
        if detect().name == "asyncio":  # where nothing has been left
            inner.__exit__(None, None, None)
            assert scope.leave(None) is None
        else:
            assert inner.__exit__(type(left), left, None) in (False, None)

    await fault()


@around
async def test_a_native_cancel_is_not_taken_for_its_own(keep: Keep) -> None:
    """`Task.cancel` in the same turn of the loop: the two come as one, which travels on."""
    if detect().name == "trio":
        pytest.skip("trio has no native cancel")
    task = asyncio.current_task()
    assert task is not None
    scope = keep()
    asyncio.get_running_loop().call_soon(scope.cancel)
    asyncio.get_running_loop().call_soon(task.cancel)
    raised = await caught(anyio.sleep_forever)
    left = scope.leave(raised)
    if hasattr(anyio.CancelScope(), "_cancelling_at_enter"):  # older ones swallow it
        assert left is raised
    assert task.uncancel() == 0
    await assert_nothing_is_left()


def test_in_a_task_that_anyio_does_not_know() -> None:
    """There is no scope around it."""

    async def main() -> None:
        scope = detect().keep_scope(asyncio.current_task())
        asyncio.get_running_loop().call_soon(scope.cancel)
        assert scope.leave(await caught(asyncio.sleep, 3600)) is None
        await asyncio.sleep(0)

    run_asyncio(main)


def test_on_a_trio_that_looks_different() -> None:
    """It is found out, and the scope is trio's own."""
    assert _kept_trio.fits(_kept_trio.INSIDE)
    assert not _kept_trio.fits(None)
    assert not _kept_trio.fits(trio)


async def test_what_a_cancelled_call_sees() -> None:
    """Which task it was, on trio, as for a scope of trio's own; level by level, as ever."""
    seen: list[BaseException] = []

    async def call() -> None:
        seen.append(await caught(anyio.sleep_forever))
        seen.append(await caught(anyio.sleep_forever))
        await anyio.sleep_forever()

    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("k", call)
        await settle_down()
        runner.cancel("k", reason="enough")
        outcome: Any = await runner.wait("k")
        assert outcome.error.reason == "enough"
    assert len(seen) == 2
    if detect().name == "trio":
        assert f"from task {trio.lowlevel.current_task()!r}" in str(seen[0])


def test_cancelled_where_no_task_runs() -> None:
    """Trio has nobody to name then."""
    scope: Any = None

    class Instrument(trio.abc.Instrument):
        def after_io_wait(self, timeout: float) -> None:
            scope.cancel()

    async def main() -> None:
        nonlocal scope
        scope = detect().keep_scope(detect().current_task())
        trio.lowlevel.add_instrument(Instrument())
        trio.lowlevel.current_trio_token().run_sync_soon(lambda: None)  # else it waits for ever
        raised = await caught(trio.sleep_forever)
        assert "from task" not in str(raised)
        assert scope.leave(raised) is None

    run_trio(main)
