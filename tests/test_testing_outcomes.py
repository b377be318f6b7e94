"""What is no `Exception` is a failure as any other; Ctrl-C, skips and the like come out as they are."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any, NoReturn
from unittest import SkipTest

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings, strategies
from hypothesis.errors import UnsatisfiedAssumption

from creche.testing import CancelReport, ExploreError, cancel_everywhere, explore, run_virtual

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


def cancels() -> NoReturn:
    raise asyncio.CancelledError


def fails() -> NoReturn:
    pytest.fail("wrong order")


def does_not_raise() -> None:
    with pytest.raises(OSError):
        pass


def exits() -> NoReturn:
    sys.exit("wrong order")


def skips() -> NoReturn:
    pytest.skip("not here")


def skips_as_unittest() -> NoReturn:
    raise SkipTest("not here")


def assumes() -> NoReturn:
    raise UnsatisfiedAssumption


def expects_it() -> NoReturn:
    pytest.xfail("known")


def interrupts() -> NoReturn:
    raise KeyboardInterrupt


FAILURES = [cancels, fails, does_not_raise, exits]
OUTCOMES: list[Any] = [
    (skips, pytest.skip.Exception),
    (skips_as_unittest, SkipTest),
    (expects_it, pytest.xfail.Exception),
    (interrupts, KeyboardInterrupt),
    (assumes, UnsatisfiedAssumption),
]


def race(end: Callable[[], object]) -> Callable[[], Any]:
    """A function that ends so if the second of two tasks comes first."""

    async def fn() -> None:
        order: list[int] = []

        async def one(number: int) -> None:
            await anyio.lowlevel.checkpoint()
            order.append(number)

        async with anyio.create_task_group() as group:
            group.start_soon(one, 1)
            group.start_soon(one, 2)
        if order == [2, 1]:
            end()

    return fn


@both
@pytest.mark.parametrize("end", FAILURES)
def test_explore_says_how_to_go_there_again(end: Any, backend: Any) -> None:
    """Whatever a failure is raised as."""
    with pytest.raises(ExploreError) as caught:
        explore(race(end), backend=backend)
    assert caught.value.order
    with pytest.raises(ExploreError) as again:
        explore(race(end), backend=backend, replay=caught.value.replay)
    assert type(again.value.__cause__) is type(caught.value.__cause__)


@both
@pytest.mark.parametrize(("end", "kind"), OUTCOMES)
def test_explore_lets_out_what_is_no_failure(end: Any, kind: Any, backend: Any) -> None:
    """As it is, also if the order was given."""
    with pytest.raises(kind):
        explore(race(end), backend=backend)

    async def fn() -> None:
        end()

    with pytest.raises(kind):
        explore(fn, backend=backend, replay="")


def test_a_skip_under_a_smaller_order() -> None:
    """A failure that was found is told of, whatever else comes while it is made small."""
    found: list[int] = []

    def end() -> None:
        found.append(1)
        assert len(found) > 1
        pytest.skip("not here")

    with pytest.raises(ExploreError) as caught:
        explore(race(end))
    assert type(caught.value.__cause__) is AssertionError
    assert len(found) > 1


def at_points(end: Callable[[], object]) -> Callable[[], object]:
    """Something to call once a run, which ends so in each but the first one."""
    runs: list[int] = []

    def once() -> None:
        runs.append(1)
        if len(runs) > 1:
            end()

    return once


async def sleeps(_: object = None) -> None:
    """A function that is in order."""
    await anyio.sleep(1)


def told(report: CancelReport) -> set[tuple[int, str]]:
    """In which run what was found."""
    return {(point.number, found.kind) for point in report.failures for found in point.findings}


@both
@pytest.mark.parametrize("end", FAILURES)
def test_an_invariant_that_fails_so(end: Any, backend: Any) -> None:
    """It is told at each point, and the others are tried."""
    report = cancel_everywhere(sleeps, backend=backend, invariant=at_points(end), check=False)
    assert told(report) == {(number, "invariant") for number in range(1, report.total + 1)}


@both
def test_a_cancellation_out_of_an_invariant(backend: Any) -> None:
    """It goes out through what `setup` has opened; if nothing there asked for it, it is a failure."""

    async def around() -> AsyncIterator[Any]:
        with anyio.CancelScope() as scope:
            yield scope

    async def holds(scope: anyio.CancelScope) -> None:
        scope.cancel()
        await anyio.sleep(1)

    assert not cancel_everywhere(sleeps, backend=backend, setup=around, invariant=holds).failures
    end = at_points(cancels)
    report = cancel_everywhere(
        sleeps, backend="asyncio", setup=around, invariant=lambda _: end(), check=False
    )
    assert told(report) == {(number, "invariant") for number in range(1, report.total + 1)}


@both
@pytest.mark.parametrize(("end", "kind"), OUTCOMES)
def test_what_is_no_failure_at_a_point(end: Any, kind: Any, backend: Any) -> None:
    """It comes out, of the invariant, the function, and what `setup` closes."""
    with pytest.raises(kind):
        cancel_everywhere(sleeps, backend=backend, invariant=at_points(end))
    if kind is KeyboardInterrupt:  # of a function that is cancelled it is an error as any other
        return
    end_of_fn, end_of_setup = at_points(end), at_points(end)

    async def fn() -> None:
        try:
            await anyio.sleep(1)
        finally:
            end_of_fn()

    with pytest.raises(kind):
        cancel_everywhere(fn, backend=backend)

    async def around() -> AsyncIterator[None]:
        yield
        end_of_setup()

    with pytest.raises(kind):
        cancel_everywhere(sleeps, backend=backend, setup=around)


@both
def test_a_setup_that_exits(backend: Any) -> None:
    """In a run but the first one it is told at the point."""
    report = cancel_everywhere(sleeps, backend=backend, setup=at_points(exits), check=False)
    assert told(report) == {(number, "raised") for number in range(1, report.total + 1)}


def test_a_task_that_exits() -> None:
    """On asyncio it takes the loop along; what was injected may do so."""

    async def fn() -> None:
        async def child() -> None:
            try:
                await asyncio.sleep(1)
            except OSError:
                sys.exit("no network")

        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    report = cancel_everywhere(fn, backend="asyncio", how=OSError("broken"), check=False)
    assert told(report) == {(1, "raised")}
    assert "SystemExit: no network" in str(report)
    for how in (SystemExit(3), KeyboardInterrupt()):
        assert not cancel_everywhere(fn, backend="asyncio", how=how).failures


@pytest.mark.parametrize("end", [exits, interrupts])
def test_a_task_that_exits_when_it_is_closed(end: Any) -> None:
    """The others are closed, too; an exit is not heard of, Ctrl-C is, if nothing else is to be told."""
    closed: list[int] = []

    async def fn() -> None:
        async def child() -> None:
            try:
                await asyncio.sleep(1)
            finally:
                end()

        async def other() -> None:
            try:
                await asyncio.sleep(1)
            finally:
                await asyncio.sleep(0.1)
                closed.append(1)

        kept.extend([asyncio.create_task(child()), asyncio.create_task(other())])
        await asyncio.sleep(0)

    kept: list[Any] = []
    with pytest.raises(KeyboardInterrupt) if end is interrupts else nullcontext():
        run_virtual(fn, backend="asyncio")
    assert closed == [1]

    async def fails() -> None:
        await fn()
        raise LookupError

    with pytest.raises(LookupError):
        run_virtual(fails, backend="asyncio")
    for task in kept:
        assert task.cancelled() or isinstance(task.exception(), (KeyboardInterrupt, SystemExit))


@settings(max_examples=20)
@given(strategies.data())
def test_hypothesis_can_draw_inside(data: Any) -> None:
    """It ends an example that way when it has drawn enough."""

    async def fn() -> None:
        for _ in range(data.draw(strategies.integers(0, 3))):
            await anyio.sleep(1)
            data.draw(strategies.lists(strategies.integers(), max_size=3))

    explore(fn, seeds=1)


def test_only_what_was_imported_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no pytest, a class of its name is an error as any other."""
    monkeypatch.delitem(sys.modules, "_pytest.outcomes")
    with pytest.raises(ExploreError, match="Skipped: not here"):
        explore(race(skips))
