"""The nursery of bare asyncio tasks beside anyio's task group: inside a child they are the same.

Each test runs with both, on asyncio and on uvloop; where they differ the test says how.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import Context, ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from creche._backends import _primitives, by_name
from creche._backends._inside import INSIDE
from creche._backends._primitives import Primitives
from nurseries import both_loops, both_ways, forever, settle_down, start

pytestmark = [pytest.mark.anyio, both_ways]
anyio_backend = both_loops

VAR: ContextVar[str] = ContextVar("var", default="none")


async def test_exit_waits_for_all(way: Primitives) -> None:
    """Also for those that are started while it waits, in whatever order they end."""
    log: list[Any] = []

    async def child(depth: int) -> None:
        if depth:
            start(way, nursery, child, depth - 1)
        for _ in range(depth % 3):
            await asyncio.sleep(0)
        log.append(depth)

    async with way.open_nursery() as nursery:
        start(way, nursery, child, 7)
        start(way, nursery, child, 2)
    assert sorted(log) == [0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7]


async def test_exit_without_children_lets_others_run(way: Primitives) -> None:
    log: list[Any] = []
    asyncio.get_running_loop().call_soon(log.append, "ran")
    async with way.open_nursery():
        pass
    assert log == ["ran"]


async def test_cancelling_is_level_triggered(way: Primitives) -> None:
    """Whoever swallows it gets it again; in the child and in what it opens."""
    log: list[Any] = []

    async def child(_: object) -> None:
        for turn in range(3):
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                log.append(turn)
        async with anyio.create_task_group() as inner:
            inner.start_soon(forever, log)
            await forever(log)

    async with way.open_nursery() as nursery:
        start(way, nursery, child)
        await settle_down()
        nursery.cancel_scope.cancel()
        log.append("asked")
    assert log == ["asked", 0, 1, 2, "cancelled", "cancelled"]


async def test_a_scope_around_cancels(way: Primitives) -> None:
    log: list[Any] = []
    with anyio.CancelScope() as outer:
        async with way.open_nursery() as nursery:
            start(way, nursery, forever, log)
            await settle_down()
            outer.cancel()
            await anyio.sleep_forever()
    assert log == ["cancelled"]
    assert outer.cancelled_caught
    assert not nursery.cancel_scope.cancelled_caught


async def test_behind_an_exit_nothing_runs_when_a_scope_around_is_cancelled(way: Primitives) -> None:
    """Though the children may all have ended by then."""
    log: list[Any] = []
    with anyio.CancelScope() as outer:
        async with way.open_nursery() as nursery:
            start(way, nursery, forever, log)
            await settle_down()
            outer.cancel()
        log.append("behind it")
    assert log == ["cancelled"]


async def test_a_shield_in_a_child_is_honoured(way: Primitives) -> None:
    """And when it is left, the cancellation is there."""
    log: list[Any] = []

    async def child(_: object) -> None:
        with anyio.CancelScope(shield=True):
            await settle_down()
            await settle_down()
            log.append(anyio.current_effective_deadline())
        log.append(anyio.current_effective_deadline())
        await forever(log)

    async with way.open_nursery() as nursery:
        start(way, nursery, child)
        await settle_down()
        nursery.cancel_scope.cancel()
    assert log == [math.inf, -math.inf, "cancelled"]


async def test_deadlines_are_seen_and_kept(way: Primitives) -> None:
    seen: list[float] = []
    log: list[Any] = []

    async def child(_: object) -> None:
        seen.append(anyio.current_effective_deadline())
        with anyio.CancelScope(deadline=scope.deadline - 0.01):  # noqa: ASYNC100 - it is looked at
            seen.append(anyio.current_effective_deadline())
        await forever(log)

    with anyio.move_on_after(0.02) as scope:
        async with way.open_nursery() as nursery:
            start(way, nursery, child)
    assert seen == [scope.deadline, scope.deadline - 0.01]
    assert log == ["cancelled"]
    assert scope.cancelled_caught


async def test_what_anyio_tells_of_a_child(way: Primitives) -> None:
    """Its parent, its name, and whether it is being cancelled."""
    host = anyio.get_current_task()
    seen: list[Any] = []

    async def child(_: object) -> None:
        me = anyio.get_current_task()
        seen.append((me.parent_id, me.name, me.has_pending_cancellation()))
        seen.append(me.id in {task.id for task in anyio.get_running_tasks()})
        nursery.cancel_scope.cancel()
        seen.append(me.has_pending_cancellation())

    async with way.open_nursery() as nursery:
        start(way, nursery, child)
        assert by_name("asyncio").have_children([asyncio.current_task()])
    assert seen == [(host.id, "child", False), True, True]
    assert not by_name("asyncio").have_children([asyncio.current_task()])


async def test_started_in_a_callback_and_in_a_context(way: Primitives) -> None:
    """In a copy of the context that is given, whatever that of the callback is."""
    seen: list[str] = []

    async def child(_: object) -> None:
        seen.append(VAR.get())
        VAR.set("child")

    context = Context()
    context.run(VAR.set, "given")
    VAR.set("callback")
    async with way.open_nursery() as nursery:
        for _ in range(2):
            asyncio.get_running_loop().call_soon(way.start_soon, nursery, context, child, None, "x")
        await settle_down()
    assert seen == ["given", "given"]
    assert context[VAR] == "given"


async def test_started_as_trio_does_it(way: Primitives) -> None:
    seen: list[Any] = []

    async def child(*args: object) -> None:
        seen.append((args, VAR.get(), anyio.get_current_task().name))

    VAR.set("here")
    async with way.open_nursery() as nursery:
        nursery.start_soon(child, name="first")
        nursery.start_soon(child, 1, 2, name="second")
    assert seen == [((), "here", "first"), ((1, 2), "here", "second")]


async def test_without_sniffio(way: Primitives, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio brings it along, and may not for ever; in a task anyio does without."""
    monkeypatch.setattr(_primitives, "_LIBRARY", None)
    log: list[Any] = []
    async with way.open_nursery() as nursery:
        start(way, nursery, forever, log)
        await settle_down()
        nursery.cancel_scope.cancel()
    assert log == ["cancelled"]


async def test_a_closed_nursery_starts_nothing(way: Primitives) -> None:
    nursery: Any = way.open_nursery()
    with pytest.raises(RuntimeError, match="not (open|active)"):
        start(way, nursery, forever)
    async with nursery:
        pass
    with pytest.raises(RuntimeError, match="not (open|active)"):
        start(way, nursery, forever)


async def test_nothing_is_left_of_a_child(way: Primitives) -> None:
    """Neither what it was given, longer than it needs it, nor what anyio knew of its task."""
    tasks: list[Any] = []

    async def child(_: object) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)

    async with way.open_nursery() as nursery:
        start(way, nursery, child)
    await asyncio.sleep(0)
    assert tasks[0].done()
    assert tasks[0] not in INSIDE._task_states
    assert nursery.cancel_scope._tasks == set()
