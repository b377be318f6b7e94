"""Flows and tasks whose calls run in a place of their own."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from creche import ConcurrentTaskRunner, State, ThreadTaskRunner, flow, task
from elsewhere import Elsewhere, owner, ran

pytestmark = pytest.mark.anyio
make_task: Any = task


def double(n: int) -> int:
    if n < 0:
        raise ValueError(n)
    return 2 * n


@pytest.fixture
def place() -> Elsewhere:
    return Elsewhere()


@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("is_own", [True, False])
async def test_flows(place: Elsewhere, *, is_own: bool) -> None:
    """Slots among the arguments arrive as values; keyword arguments arrive."""
    there = None if is_own else place

    @task(place=there)
    def add(a: int, b: int = 0, *, more: list[int]) -> int:
        return a + b + sum(more)

    @task(place=there)
    async def async_add(a: int, b: int) -> int:
        await anyio.lowlevel.checkpoint()
        return a + b

    @task(place="loop")
    def here() -> int:
        return 1

    runner = owner(place) if is_own else ConcurrentTaskRunner()

    @flow(task_runner=runner)
    async def body() -> Any:
        first = add.submit(1, b=2, more=[3])
        second = async_add.submit(first, 4)
        third = add.submit(second, more=[first, here.submit()])
        mapped = async_add.map([1, first], [2, second])
        called = await async_add(1, 1)
        return [await first, await second, await third, [await one for one in mapped], called]

    assert await body() == [6, 10, 17, [3, 16], 2]
    assert sorted(ran(place)) == [
        *(f"add[{n}]" for n in range(2)),
        *(f"async_add[{n}]" for n in range(4)),
    ]


async def test_tasks_and_their_places(place: Elsewhere) -> None:
    """Options are kept by copies and methods, and checked where they are given."""

    @task(place=place, place_options={"takes": 0.02})
    def one(n: int) -> int:
        return 2 * n

    other = one.with_options(place_options={"crash": True})
    loop = one.with_options(place="loop", place_options={}, name="loop")
    assert (other.place, loop.place, one.place_options) == (place, "loop", {"takes": 0.02})

    class Holder:
        @task(place=place)
        def method(self) -> str:
            return "method"

    @flow(task_runner=ConcurrentTaskRunner())
    async def body() -> Any:
        lost = other.submit(1)
        values = [await one.submit(1), await loop.submit(2), await Holder().method.submit()]
        return values, lost

    values, lost = await body()
    assert values == [2, 4, "method"]
    assert lost.state is State.CRASHED
    assert sorted(ran(place)) == ["method[0]", "one[0]", "one[1]"]
    make_from: Any = one.with_options
    for options, kind, message in (
        ({"place": "moon"}, ValueError, "task 'one' asks for place 'moon'"),
        ({"place": 3}, TypeError, "the place of task 'one' must be a name or a Place object"),
        ({"place_options": 3}, TypeError, "place_options of task 'one' must be a mapping"),
    ):
        with pytest.raises(kind, match=message):
            make_from(**options)
        with pytest.raises(kind, match=message):
            make_task(**options)(one.fn)


@pytest.mark.usefixtures("real_time")
async def test_a_failed_dependency_in_a_place(place: Elsewhere) -> None:
    """What was to have its value never runs."""

    @task(place=place)
    def one(n: int) -> int:
        return double(n)

    @flow(task_runner=ThreadTaskRunner())
    async def body() -> Any:
        bad = one.submit(-1)
        return bad, one.submit(bad)

    bad, after = await body()
    assert (bad.state, after.origin) == (State.FAILED, "upstream")
