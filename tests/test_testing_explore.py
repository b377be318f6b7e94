"""`explore`: orders are drawn from seeds, replayed, made small, and told in words."""

from __future__ import annotations

import builtins
import importlib
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings

import planted
from creche.testing import ExploreError, HungError, explore, schedules

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


@both
def test_a_planted_race(backend: Any) -> None:
    """It is found, made small, told in words, and fails again when it is replayed."""
    with pytest.raises(ExploreError, match="KeyError: 'a'") as caught:
        explore(planted.races, backend=backend)
    found = caught.value
    assert found.seed is not None
    assert f"raised at tests/planted.py:{planted.line_of('races')} in races" in str(found)
    assert len(found.order) <= 3
    assert all("read" in line or "not yet write" in line for line in found.order)
    assert f'again: explore(races, backend="{backend}", replay="{found.replay}")' in str(found)
    for _ in range(3):
        with pytest.raises(ExploreError) as again:
            explore(planted.races, backend=backend, replay=found.replay)
        assert (again.value.replay, again.value.order) == (found.replay, found.order)
        assert again.value.seed is None


@both
def test_the_repaired_twin(backend: Any) -> None:
    """Under no order."""

    async def fn() -> None:
        written = anyio.Event()
        table: dict[str, int] = {}

        async def write() -> None:
            await anyio.lowlevel.checkpoint()
            table["a"] = 1
            written.set()

        async def read() -> None:
            await written.wait()
            assert table["a"] == 1

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            group.start_soon(read)

    report = explore(fn, backend=backend, seeds=30)
    assert report.runs == 31
    assert 1 < report.orders <= 31
    assert explore(fn, backend=backend, replay="").runs == 1


@both
def test_all_orders_come(backend: Any) -> None:
    """Of three tasks that can run, each of the six; and the same seeds give the same ones."""
    orders: list[tuple[str, ...]] = []

    async def fn() -> None:
        order: list[str] = []

        async def one(name: str) -> None:
            await anyio.lowlevel.checkpoint()
            order.append(name)

        async with anyio.create_task_group() as group:
            for name in "abc":
                group.start_soon(one, name)
        orders.append(tuple(order))

    explore(fn, backend=backend, seeds=60)
    assert len(set(orders)) == 6
    assert orders[0] == ("a", "b", "c")
    first, orders = orders, []
    explore(fn, backend=backend, seeds=range(60))
    assert orders == first


@both
def test_what_does_not_matter_is_left_out(backend: Any) -> None:
    """Of many decisions, those that make no difference are the usual ones, and the end is cut off."""

    async def fn() -> None:
        order: list[str] = []

        async def one(name: str) -> None:
            for _ in range(4):
                await anyio.lowlevel.checkpoint()
                order.append(name)

        async with anyio.create_task_group() as group:
            for name in "abcd":
                group.start_soon(one, name, name=name)
        assert order.index("a") < order.index("d"), order

    with pytest.raises(ExploreError) as caught:
        explore(fn, backend=backend)
    assert 1 <= len(caught.value.order) <= 3
    assert len(caught.value.replay.split(".")) < 40


@both
def test_a_hang_is_a_failure(backend: Any) -> None:
    """Under the order in which it hangs."""

    async def fn() -> None:
        waiting: list[anyio.Event] = []

        async def waits() -> None:
            await anyio.lowlevel.checkpoint()
            event = anyio.Event()
            waiting.append(event)
            await event.wait()

        async def wakes() -> None:
            await anyio.lowlevel.checkpoint()
            for event in waiting:
                event.set()

        async with anyio.create_task_group() as group:
            group.start_soon(waits)
            group.start_soon(wakes)

    with pytest.raises(ExploreError, match="wakes before waits") as caught:
        explore(fn, backend=backend)
    assert isinstance(caught.value.__cause__, HungError)


def test_one_that_fails_in_the_usual_order() -> None:
    """Says so."""

    async def fn() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExploreError, match="in the usual order") as caught:
        explore(fn)
    assert (caught.value.replay, caught.value.seed) == ("", None)


@settings(max_examples=20, deadline=None)
@given(schedules(decisions=10))
def test_with_hypothesis(schedule: str) -> None:
    """It draws orders."""

    async def fn() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(anyio.sleep, 1)

    assert explore(fn, replay=schedule).runs == 1


def test_without_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    real = importlib.import_module

    def gone(name: str, package: str | None = None) -> Any:
        if name.startswith("hypothesis"):
            raise builtins.ModuleNotFoundError
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", gone)
    with pytest.raises(ModuleNotFoundError, match="pip install hypothesis"):
        schedules()


def test_bad_options() -> None:
    """Each is refused."""
    wrong: Any = "no"
    with pytest.raises(ValueError, match="backend"):
        explore(planted.races, backend=wrong)
    with pytest.raises(ValueError, match="'0.2.1'"):
        explore(planted.races, replay="a.b")
    with pytest.raises(TypeError, match="async function"):
        explore(wrong)


@both
@pytest.mark.parametrize(("second", "found"), [(1.0, 2), (1.001, 1)], ids=["equal", "another"])
def test_timers(backend: Any, second: float, found: int) -> None:
    """Those that are due at the same time end in either order; of others the first is first."""
    orders: set[tuple[str, ...]] = set()

    async def fn() -> None:
        order: list[str] = []

        async def sleeps(name: str, seconds: float) -> None:
            await anyio.sleep(seconds)
            order.append(name)

        async with anyio.create_task_group() as group:
            group.start_soon(sleeps, "a", 1.0)
            group.start_soon(sleeps, "b", second)
        orders.add(tuple(order))

    explore(fn, backend=backend, seeds=range(100, 130))
    assert len(orders) == found


@both
def test_a_long_function(backend: Any) -> None:
    """It may take as many passes as in the usual order, and more, also of those of a short one."""

    async def fn() -> None:
        for _ in range(3_000):
            await anyio.lowlevel.checkpoint()

    assert explore(fn, backend=backend, seeds=3).runs == 4
