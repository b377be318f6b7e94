"""An instrument that sets context variables for a call: who sees them, and who does not."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from calls import give
from creche import ConcurrentTaskRunner, SequentialTaskRunner
from creche.instruments import CallEvent, Instrument, Summary

pytestmark = pytest.mark.anyio

MARK: ContextVar[Any] = ContextVar("mark", default=None)
MINE: ContextVar[Any] = ContextVar("mine", default=None)


class Marks(Instrument):
    """Writes the key of a call into its context."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def prepare_context(self, event: CallEvent) -> None:
        self.seen.append(MINE.get())
        MARK.set(event.key)


async def look(*_: Any) -> tuple[Any, Any]:
    await anyio.lowlevel.checkpoint()
    return MARK.get(), MINE.get()


def look_here(*_: Any) -> tuple[Any, Any]:
    return MARK.get(), MINE.get()


@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
@pytest.mark.parametrize("fn", [look, look_here])
async def test_the_call_sees_it(kind: Any, fn: Any) -> None:
    """And what the submitter has set; the submitter and the other calls do not see it."""
    marks = Marks()
    async with kind(instruments=[marks]).start() as runner:
        MINE.set("mine")
        for key in "ab":
            slot = await runner.submit(key, fn, timeout=5 if key == "b" else None)
            assert await slot == (key, "mine")
        assert MARK.get() is None
        seen = await runner.map(fn, range(3), key=lambda item: ("item", item))
        assert seen == [(("item", number), "mine") for number in range(3)]
        if kind is ConcurrentTaskRunner:
            assert await runner.submit_nowait("c", look, place="thread") == ("c", "mine")
    assert marks.seen == ["mine"] * len(marks.seen)
    assert MARK.get() is None


async def test_a_child_task_sees_it() -> None:
    """As it sees every variable of the call."""
    said: list[Any] = []

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)

    async def child() -> None:
        said.append(MARK.get())
        said.append((await runner.submit_nowait("inner", look))[0])

    async with ConcurrentTaskRunner(instruments=[Marks()]).start() as runner:
        await runner.submit_nowait("outer", parent)
    assert said == ["outer", "inner"]


async def test_one_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once and taken off, and the calls go on."""

    class Bad(Instrument):
        def prepare_context(self, event: CallEvent) -> None:
            raise ValueError("bad")

    with caplog.at_level(logging.ERROR, logger="creche"):
        async with ConcurrentTaskRunner(instruments=[Bad(), Marks()]).start() as runner:
            assert await runner.submit_nowait("a", look) == ("a", None)
            assert await runner.submit_nowait("b", look) == ("b", None)
    (record,) = caplog.records
    assert "raised in prepare_context and is taken off" in record.getMessage()


async def test_one_that_does_nothing_else() -> None:
    """An object with this method alone is an instrument."""

    class Only:
        def prepare_context(self, event: CallEvent) -> None:
            MARK.set("only")

    only: Any = Only()
    async with ConcurrentTaskRunner(instruments=[only]).start() as runner:
        assert await runner.submit_nowait("a", look) == ("only", None)


async def test_nobody_who_does_it() -> None:
    """An instrument that only listens has no contexts made."""
    async with ConcurrentTaskRunner(instruments=[Summary(), Instrument()]).start() as runner:
        assert runner._run is not None
        assert not runner._run.board.announcer.listeners["prepare_context"]
        await runner.submit_nowait("a", give)
