"""`cancel_everywhere` finds planted bugs, names their lines, and is silent on their repaired twins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
import trio

import planted
from creche import ConcurrentTaskRunner
from creche.testing import CancelError, CancelReport, HungError, PointReport, cancel_everywhere

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])

BUGS = [
    (planted.holds, "scope", "holds", "held", "both"),
    (planted.holds, "fail_after", "holds", "held", "both"),
    (planted.holds, "ctrl_c", "holds", "held", "both"),
    (planted.holds, OSError("broken"), "holds", "held", "both"),
    (planted.holds_natively, "native", "holds natively", "held", "asyncio"),
    (planted.holds_natively, "scope", "holds natively", "held", "asyncio"),
    (planted.holds_natively, "task", "holds natively", "hung", "asyncio"),
    (planted.holds_a_semaphore, "scope", "holds a semaphore", "held", "trio"),
    (planted.swallows, "scope", "swallows", "swallowed", "both"),
    (planted.swallows, "ctrl_c", "swallows", "swallowed", "both"),
    (planted.swallows, "native", "swallows", "swallowed", "asyncio"),
    (planted.swallows_a_group, "scope", "swallows a group", "swallowed", "both"),
    (planted.swallows_a_group, "fail_after", "swallows a group", "swallowed", "both"),
    (planted.swallows_a_group, "ctrl_c", "swallows a group", "swallowed", "both"),
    (planted.goes_on, "scope", "goes on", "hung", "both"),
    (planted.loses, "task", "loses", "hung", "trio"),
    (planted.leaves_a_process, "scope", "leaves a process", "left", "both"),
    (planted.leaves_a_file, "scope", "leaves a file", "left", "both"),
    (planted.leaves_a_task, "native", "leaves a task", "left", "asyncio"),
    (planted.raises_another, "scope", "raises another", "raised", "both"),
]
TWINS = [
    (planted.lets_go, "scope", "both"),
    (planted.lets_go, "fail_after", "both"),
    (planted.lets_go, "ctrl_c", "both"),
    (planted.lets_go, "task", "trio"),
    (planted.lets_go, OSError("broken"), "both"),
    (planted.lets_go_natively, "scope", "asyncio"),
    (planted.lets_go_natively, "native", "asyncio"),
    (planted.lets_go_natively, "task", "asyncio"),
    (planted.lets_through, "scope", "both"),
    (planted.lets_through, "fail_after", "both"),
    (planted.lets_through, "native", "asyncio"),
    (planted.lets_a_group_through, "scope", "both"),
    (planted.lets_a_group_through, "ctrl_c", "both"),
    (planted.ends_its_children, "scope", "both"),
    (planted.ends_its_children, "ctrl_c", "both"),
    (planted.cancels_its_own, "scope", "both"),
    (planted.hands_on, "scope", "both"),
    (planted.hands_on, "task", "trio"),
    (planted.ends_its_process, "scope", "both"),
]


def on_each(cases: list[Any]) -> list[Any]:
    """Each on its loops."""
    return [
        pytest.param(*case[:-1], loop, id=f"{case[0].__name__}-{case[1]}-{loop}")
        for case in cases
        for loop in (["trio", "asyncio"] if case[-1] == "both" else [case[-1]])
    ]


def failing_at(report: CancelReport, line: str, kind: str) -> list[PointReport]:
    """The points at that line with that finding."""
    return [
        point
        for point in report.failures
        if point.place is not None
        and (point.place.file, point.place.line) == (planted.__file__, planted.line_of(line))
        and kind in {found.kind for found in point.findings}
    ]


@pytest.mark.parametrize(("fn", "how", "line", "kind", "backend"), on_each(BUGS))
def test_a_planted_bug(fn: Any, how: Any, line: str, kind: str, backend: Any) -> None:
    """It is found, its line is named, and the line that is printed goes there again."""
    with pytest.raises(CancelError) as caught:
        cancel_everywhere(fn, backend=backend, how=how)
    report = caught.value.report
    found = failing_at(report, line, kind)
    assert found, report
    assert f"planted.py:{planted.line_of(line)} in" in str(caught.value)
    assert planted.line_of(line) in {place.line for place in report.suspects}, report
    assert not report.points[0].findings
    again = eval(found[-1].again, {"cancel_everywhere": lambda _, **options: options, fn.__name__: fn})  # noqa: S307 - a program of this test's own
    alone = cancel_everywhere(fn, **{**again, "how": how}, check=False)
    assert [(one.number, one.place) for one in alone.points] == [(found[-1].number, found[-1].place)]
    assert failing_at(alone, line, kind)


@pytest.mark.parametrize(("fn", "how", "backend"), on_each(TWINS))
def test_a_repaired_twin(fn: Any, how: Any, backend: Any) -> None:
    """Nothing is said of it, and it was tried."""
    report = cancel_everywhere(fn, backend=backend, how=how)
    assert report.failures == ()
    assert all(point.ended for point in report.points)
    assert report.total == len(report.points) - 1 > 0
    assert str(report).endswith(f"{report.total} of {report.total} points tried, 0 failed")


@both
def test_every_point_of_every_task(backend: Any) -> None:
    """Each wait of each task is one, and cancelling there ends it there."""
    seen: list[str] = []

    async def fn() -> None:
        async def child() -> None:
            seen.append("child")
            await anyio.sleep(1)
            seen.append("slept")

        async with anyio.create_task_group() as group:
            group.start_soon(child)
            await anyio.sleep(2)
            seen.append("awake")
        await anyio.sleep(3)
        seen.append("end")

    report = cancel_everywhere(fn, backend=backend)
    lines = {point.place.line for point in report.points if point.place is not None}
    start = fn.__code__.co_firstlineno
    assert {start + 3, start + 8, start + 10} <= lines
    assert seen.count("end") < seen.count("awake") < len(report.points)
    assert {point.moment for point in report.points} == {"waiting", "woken"}


@both
def test_an_invariant(backend: Any) -> None:
    """It sees what `setup` made; it may be async; false, an error and a hang are findings."""

    async def make() -> Any:
        return planted.Turnstile(careful=False)

    async def can_enter(turnstile: Any) -> None:
        await turnstile.enter()

    async def fn(turnstile: Any) -> None:
        await turnstile.enter()
        await anyio.sleep(1)
        turnstile.leave()

    report = cancel_everywhere(fn, backend=backend, setup=make, invariant=can_enter, check=False)
    assert {found.kind for point in report.failures for found in point.findings} == {"invariant"}
    assert "waits in" in str(report)
    report = cancel_everywhere(
        fn, backend=backend, setup=make, invariant=lambda it: it.free, check=False
    )
    assert "it does not hold" in str(report)

    def fails(turnstile: Any) -> None:
        assert turnstile.free, "shut"

    report = cancel_everywhere(fn, backend=backend, setup=make, invariant=fails, check=False)
    assert "AssertionError: shut" in str(report)
    assert "in test_an_invariant.<locals>.fails" in str(report)
    assert not cancel_everywhere(
        fn, backend=backend, setup=make, invariant=fails, allow=["invariant"]
    ).failures


@both
def test_how_long_it_takes(backend: Any) -> None:
    """In virtual seconds, from the cancellation to the end."""
    report = cancel_everywhere(planted.lets_through, backend=backend, within=0.5, check=False)
    assert {found.kind for point in report.failures for found in point.findings} == {"slow"}
    assert report.points[1].seconds == 1
    assert not cancel_everywhere(
        planted.lets_through, backend=backend, within=0.5, allow=["slow"]
    ).failures
    assert not cancel_everywhere(planted.lets_through, backend=backend, within=1).failures


def test_which_points_are_tried() -> None:
    """Some of them, spread; those of a file or a line; one."""
    all_of_them = cancel_everywhere(planted.lets_go).points[1:]
    some = cancel_everywhere(planted.lets_go, max_points=3)
    assert len(some.points) == 4
    assert some.total == len(all_of_them) > 3
    line = next(point.place.line for point in all_of_them if point.place is not None)
    at = cancel_everywhere(planted.lets_go, places=[f"*planted.py:{line}"]).points[1:]
    assert {point.place.line for point in at if point.place is not None} == {line}
    assert [point.number for point in cancel_everywhere(planted.lets_go, only=2).points] == [2]


def test_what_is_wrong_undisturbed() -> None:
    """What it raises comes out, a hang too; what it leaves is point 0's."""

    async def fails() -> None:
        await trio.sleep(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cancel_everywhere(fails)
    with pytest.raises(HungError, match="sleep_forever"):
        cancel_everywhere(trio.sleep_forever)
    lock = trio.Lock()

    async def keeps() -> None:
        await lock.acquire()

    report = cancel_everywhere(keeps, check=False)
    assert str(report.points[0]).startswith("undisturbed\n  held: trio.Lock is still held")
    assert report.points[0].again == 'cancel_everywhere(keeps, backend="trio", how="scope")'


def test_a_run_that_takes_another_way() -> None:
    """The point is not reached, and so not tried; that is told, and is no failure."""
    runs: list[int] = []

    async def fn() -> None:
        runs.append(1)
        if len(runs) == 1:
            await trio.sleep(1)

    report = cancel_everywhere(fn)
    assert [point.reached for point in report.points] == [True, True, False]
    assert str(report).endswith("1 of 2 points tried, 1 not reached, 0 failed")


def test_errors_at_points_that_are_no_waits() -> None:
    """A checkpoint can raise one; what a function that was handed a lock does next cannot."""

    async def fn() -> None:
        await trio.lowlevel.checkpoint()
        async with trio.Lock():
            await trio.sleep(1)

    report = cancel_everywhere(fn, how=OSError("broken"))
    assert [point.moment for point in report.points[1:]] == ["woken", "waiting"]


def test_a_function_without_a_wait() -> None:
    """It can be cancelled before it begins, and may then return."""

    async def fn() -> None:
        pass

    report = cancel_everywhere(fn)
    assert [point.seconds for point in report.points] == [0, 0]
    report = cancel_everywhere(fn, backend="asyncio", how="native")
    assert str(report.points[1]).startswith("point 1: before task 'main' began")


def test_the_last_wait_is_one_of_two_points() -> None:
    """Also when nothing comes after it: what it waited for may have come just before."""

    async def fn() -> None:
        await asyncio.sleep(1)

    report = cancel_everywhere(fn, backend="asyncio", how="native")
    assert [point.moment for point in report.points[2:]] == ["waiting", "woken"]


def test_a_loop_that_is_left_in_disorder() -> None:
    """By the function undisturbed: what the loop says comes out."""

    async def fn() -> None:
        await trio.open_nursery().__aenter__()

    with pytest.raises(RuntimeError, match="stack corrupted"):
        cancel_everywhere(fn)


def test_a_deadline_of_the_functions_own() -> None:
    """It is no cancellation of ours that is swallowed, also when another task was cancelled before."""

    async def fn() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            with trio.move_on_after(2):
                await trio.sleep_forever()

    assert cancel_everywhere(fn, how="task").failures == ()


def test_what_a_loop_makes_for_itself() -> None:
    """No line of the author's made it; so it is not watched."""
    assert cancel_everywhere(partial(trio.to_thread.run_sync, len, "abc")).failures == ()
    assert cancel_everywhere(partial(trio.run_process, ["true"]), max_points=2).failures == ()


def test_slots_that_are_not_final() -> None:
    """Of a runner that was left open."""

    async def fn() -> None:
        started = ConcurrentTaskRunner().start()
        runner = await started.__aenter__()
        runner.reserve("a")
        await trio.sleep(1)
        await started.__aexit__(None, None, None)

    report = cancel_everywhere(fn, check=False)
    assert "slot 'a' made at" in str(report)
    assert "is PENDING" in str(report)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"backend": "curio"}, ValueError, "backend"),
        ({"how": "hard"}, ValueError, "how"),
        ({"how": "native"}, ValueError, "backend='asyncio'"),
        ({"how": StopIteration()}, TypeError, r"StopIteration\(\) .*no await can raise it"),
        ({"how": GeneratorExit(), "backend": "asyncio"}, TypeError, "no await can raise it"),
        ({"allow": ["nothing"]}, ValueError, "allow"),
        ({"max_points": 0}, ValueError, "max_points"),
        ({"only": 99}, ValueError, "there is no point 99; the points are 1 to"),
        ({"only": 0}, ValueError, "only must be at least 1"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], match: str) -> None:
    """Each is refused by name."""
    with pytest.raises(error, match=match):
        cancel_everywhere(planted.lets_go, **options)


def test_no_function() -> None:
    """It is refused."""
    nothing: Any = None
    with pytest.raises(TypeError, match="async function"):
        cancel_everywhere(nothing)


def test_the_classes_of_locks_are_as_before() -> None:
    """Nothing of the kit's stays in them."""

    def inits() -> list[Callable[..., Any]]:
        return [trio.Lock.__init__, trio.Semaphore.__init__, anyio.Lock.__init__]

    before = inits()
    cancel_everywhere(planted.lets_go)
    assert inits() == before
