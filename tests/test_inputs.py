"""Slots among the arguments of calls in another process: they arrive as what they hold."""

from __future__ import annotations

import re
from typing import Any

import pytest

from creche import ProcessTaskRunner, SequentialTaskRunner, Slot, State
from creche._errors import NotSettled

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


def add(*values: Any) -> int:
    """A sum."""
    return int(sum(values))


def add_inside(where: dict[str, Any]) -> int:
    """A sum of what is further inside."""
    return sum(sum(values) for values in where.values())


async def test_they_arrive_as_values() -> None:
    """Also inside containers, of calls that ran elsewhere, and of those that a map is given."""
    async with ProcessTaskRunner(max_workers=1).start() as runner:
        a = runner.submit_nowait("a", add, 1, 2)
        here = runner.submit_nowait("here", add, 4, place="thread")
        b = runner.submit_nowait("b", add, a, here, 10, after=["a", "here"])
        c = runner.submit_nowait("c", add_inside, {"x": [a, 1], "y": [here]}, after=[a, here, b])
        assert await b == 17
        assert await c == 8
        assert await runner.map(add, [a, here]) == [3, 4]
        local = runner.submit_nowait("local", type, a, place="thread")
        assert await local is Slot


async def test_in_order() -> None:
    """Nothing has to be waited for where one call is carried out after another."""
    async with SequentialTaskRunner().start() as runner:
        a = runner.submit_nowait("a", add, 1, 2, place="process")
        b = runner.submit_nowait("b", add, a, 3, place="process")
        assert await b == 6


async def test_what_has_no_value() -> None:
    """The call fails: with what the other one raised, or since that is open; a circle is one, too."""
    async with ProcessTaskRunner(max_workers=2).start() as runner:
        bad = runner.submit_nowait("bad", add, "1")
        runner.submit_nowait("with bad", add, bad, after=[bad], after_any_end=True)
        late = runner.reserve("late")
        early = runner.submit_nowait("early", add, late)
        circle: list[object] = [late]
        circle.append(circle)
        runner.submit_nowait("circle", add, circle, after=[late])
        await runner.wait("early")
        runner.submit_nowait("late", add, 1)
        await runner.wait_all()
        assert late.state is State.COMPLETED
        assert {slot.state for slot in runner.slots.values() if slot is not late} == {State.FAILED}
        with pytest.raises(TypeError, match="unsupported operand"):
            await runner.result("with bad")
        says = "call 'early' runs in another process, and takes slot 'late' as an argument"
        with pytest.raises(NotSettled, match=re.escape(says) + r".*after=\['late'\]"):
            await early
        with pytest.raises(ValueError, match="part of itself"):
            await runner.result("circle")
