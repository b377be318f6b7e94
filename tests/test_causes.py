"""What a history says of why things happened: who had a place when, and who waited for whom."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from creche import ConcurrentTaskRunner, SequentialTaskRunner, flow, task
from creche.afterwards._causes import Causes
from creche.afterwards._places_held import Span, find_places_held
from creche.afterwards._simulate import simulate
from creche.instruments import EventLog, read_history
from recording import events, in_time, record, started, written


def waits(previous: float, mark: float, wanted: float) -> Span:
    """One that submits something at its end, and has waited."""
    return Span(previous, mark, object(), waits=("it",), wanted=wanted)


def test_a_place_is_lent_when_it_is_needed() -> None:
    """Up to then whoever waits has gone on with his own work; and he has it back when there is one."""
    waiter, end = waits(0, 20, 12), Span(20, 20, None)
    other = Span(5, 15, None)
    find_places_held([waiter, end, other], 1)
    assert (waiter.lent, waiter.resumed) == (5, 15)


def test_a_place_that_nobody_needs() -> None:
    """Is kept."""
    waiter = waits(0, 20, 12)
    find_places_held([waiter, Span(20, 20, None), Span(5, 15, None)], 2)
    assert (waiter.lent, waiter.resumed) == (None, None)


def test_a_place_that_somebody_waits_for_in_vain() -> None:
    """Was not lent: it would have been given to that one."""
    waiter = waits(0, 30, 25)
    busy = Span(0, 10, None)
    late = Span(10, 20, None, ready=2)
    find_places_held([waiter, Span(30, 30, None), busy, late], 2)
    assert (waiter.lent, waiter.resumed) == (10, None)


def test_a_wait_that_ends_at_once() -> None:
    """Needs nothing to be lent; also one that ends where the next step does."""
    waiter = waits(5, 20, 5)
    find_places_held([Span(0, 5, object()), waiter, Span(20, 20, None)], 1)
    assert (waiter.lent, waiter.resumed) == (None, None)


def test_who_goes_on_has_a_place() -> None:
    """Whatever the numbers say."""
    waiter = waits(0, 12, 12)
    last = Span(12, 13, None)
    find_places_held([waiter, last, Span(5, 50, None)], 1)
    assert (waiter.lent, waiter.resumed) == (5, 12)
    waiter = waits(0, 14, 12)
    find_places_held([waiter, Span(14, 15, None), Span(5, 50, None)], 1)
    assert (waiter.lent, waiter.resumed) == (5, 14)


def test_a_place_that_went_to_another() -> None:
    """One that is admitted just after a place came free has had it; who wanted his own has not."""
    waiter = waits(0, 20, 4)
    end = Span(20, 20, None)
    spans = [waiter, end, Span(1, 5, None), Span(5.001, 9, None)]
    find_places_held(spans, 1)
    assert (waiter.lent, waiter.resumed) == (1, 9)
    # Much later it is one more than there are places: nothing can be told.
    waiter = waits(0, 20, 4)
    find_places_held([waiter, end, Span(1, 5, None), Span(7, 9, None)], 1)
    assert waiter.resumed == 5


def test_perhaps_it_waited() -> None:
    """A body that is seen to have lent its place has waited, and else has not."""
    span = Span(0, 20, None, perhaps=("it",), wanted=8)
    find_places_held([span, Span(3, 9, None)], 1)
    assert (span.waits, span.lent, span.resumed) == (("it",), 3, 9)
    span = Span(0, 20, None, perhaps=("it",), wanted=8)
    find_places_held([span, Span(3, 9, None)], 2)
    assert (span.waits, span.lent) == ((), None)


def test_a_wait_for_one_of_many(tmp_path: Path) -> None:
    """A call that goes on some time after one of its calls has ended, and lent its place before."""

    async def body(runner: ConcurrentTaskRunner) -> None:
        async def outer() -> None:
            first = runner.submit_nowait("first", anyio.sleep, 1)
            runner.submit_nowait("long", anyio.sleep, 30)
            await first
            await anyio.sleep(3)
            await runner.submit_nowait("second", anyio.sleep, 1)

        runner.submit_nowait("outer", outer)

    history = record(tmp_path / "log", body, max_workers=1)
    found = simulate(history, [2], {})
    assert found.own.seconds == pytest.approx(found.measured, rel=0.05)
    (session,) = Causes(history).sessions
    assert any(step.waits for step in session.nodes[0].attempts[0][0][:-1])


def test_a_body_that_only_submits(tmp_path: Path) -> None:
    """Does not wait for what happens to end meanwhile."""
    calls = in_time(*(events(f"{n}", 2.0 * n, 2.0 * n, 2.0 * n + 3) for n in range(5)))
    (session,) = Causes(written(tmp_path / "log", started(), *calls)).sessions
    steps = session.scripts[0]
    assert [bool(step.waits) for step in steps] == [False] * 5 + [True]
    assert [step.seconds for step in steps] == [0, 2, 2, 2, 2, 0]


def test_a_sequential_run(tmp_path: Path) -> None:
    """It shows what a concurrent one could have done at best, and that is said."""

    @task
    def add(one: int, other: int) -> int:
        return one + other

    path = tmp_path / "log"
    with EventLog(path) as log:

        @flow(task_runner=SequentialTaskRunner(instruments=[log]))
        def sums() -> None:
            add(1, 2)
            add(3, 4)

        sums()
    found = simulate(read_history(path), [2], {})
    assert any("sequential" in note for note in found.notes)
    assert found.rows[0].most <= 2


def test_submitted_by_a_later_attempt(tmp_path: Path) -> None:
    """The calls of each attempt are its own."""
    base = {"run": 1, "key": "flaky", "place": "loop", "state": "RUNNING"}
    tries = [
        {"event": "call_submitted", "time": 0.0, **base},
        {"event": "call_started", "time": 0.0, **base},
        {"event": "call_retrying", "time": 3.0, "delay": 1.0, **base},
        {"event": "call_started", "time": 4.0, "attempt": 2, **base},
        {"event": "call_finished", "time": 9.0, **base, "state": "COMPLETED"},
    ]
    parent = {"run": 1, "key": "flaky"}
    inner = (
        events("first", 1.0, 1.0, 2.0, parent=parent),
        events("second", 5.0, 5.0, 8.0, parent=parent),
    )
    history = written(tmp_path / "log", started(), *in_time(tries, *inner))
    (session,) = Causes(history).sessions
    first, second = (steps for steps, _ in session.nodes[0].attempts)
    assert [step.submits is not None and step.submits.call.key for step in first] == ["first", False]
    assert [step.submits is not None and step.submits.call.key for step in second] == ["second", False]
    found = simulate(history, [1], {})
    assert found.own.seconds == found.rows[0].seconds == 9


def test_a_history_that_is_not_understood(tmp_path: Path) -> None:
    """One that could not have been, by what is inferred: said so."""
    parent = {"run": 1, "key": "outer"}
    calls = in_time(
        events("outer", 0.0, 0.0, 6.0, limits=["db"]),
        events("inner", 1.0, 1.0, 5.0, limits=["db"], parent=parent),
    )
    found = simulate(written(tmp_path / "log", started(limits={"db": 1}), *calls), [1], {})
    assert found.own.seconds is None
    assert any("is not understood" in note for note in found.notes)


def test_a_circle_over_two_runs(tmp_path: Path) -> None:
    """Which no runner sees as a whole; it ends nevertheless, without a result."""
    outer = events("outer", 0.0, 0.0, 9.0, limits=["db"])
    middle = events("middle", 1.0, 1.0, 8.0, parent={"run": 1, "key": "outer"})
    middle = [{**event, "run": 2} for event in middle]
    inner = events("inner", 2.0, 2.0, 7.0, limits=["db"], parent={"run": 2, "key": "middle"})
    begins = {**started(), "run": 2, "time": 0.5, "wall": 0.5}
    calls = in_time([begins], outer, middle, inner)
    history = written(tmp_path / "log", started(limits={"db": 2}), *calls)
    found = simulate(history, [2], {"db": 1})
    assert found.own.seconds == 9
    assert found.rows[0].seconds is None
    assert found.rows[0].stuck


def test_a_circle_that_nobody_sees(tmp_path: Path) -> None:
    """Nothing is due any more, and not all have ended: that is the end, too."""
    calls = in_time(
        events("holder", 0.0, 0.0, 8.0, limits=["db"]),
        events("other", 0.0, 0.0, 4.0),
        events("needs", 1.0, 1.0, 2.0, limits=["db"], parent={"run": 1, "key": "other"}),
        events("then", 2.0, 2.0, 4.0, parent={"run": 1, "key": "other"}),
        events("last", 6.0, 6.0, 8.0, parent={"run": 1, "key": "holder"}, after=["then"]),
    )
    history = written(tmp_path / "log", started(limits={"db": 2}), *calls)
    found = simulate(history, [5], {"db": 1})
    assert found.own.seconds == 8
    assert found.rows[0].stuck == "calls would wait for each other for ever"


def test_what_the_loop_takes_to_get_to_a_call(tmp_path: Path) -> None:
    """Is replayed with it, also between two attempts; a longer wait is none of that."""
    calls = [events(f"{n}", 0.0, n * 0.011 + 0.001, n * 0.011 + 0.011) for n in range(100)]
    history = written(tmp_path / "log", started(max_workers=1), *in_time(*calls))
    found = simulate(history, [], {})
    assert found.own.seconds == pytest.approx(found.measured, rel=1e-6)
    late = in_time(events("a", 0.0, 0.0, 1.0), events("b", 0.0, 1.1, 2.0))
    found = simulate(written(tmp_path / "late", started(max_workers=1), *late), [], {})
    assert found.own.seconds == pytest.approx(1.9)
    alone = written(tmp_path / "alone", started(max_workers=1), *events("a", 0.5, 0.5, 1.0))
    assert simulate(alone, [], {}).own.seconds == pytest.approx(1.0)


def test_a_rate_is_not_what_the_loop_takes(tmp_path: Path) -> None:
    """A call that had to wait for its time has begun for that, whatever has ended just before."""
    calls = in_time(events("a", 0.0, 0.0, 0.998), events("b", 0.0, 1.0, 1.5))
    rate = {"starts": 1, "per": 1, "burst": 1}
    of_limit = {"limits": {"api": None}, "rates": {"api": rate}}
    for more, limits in (({"rate": rate}, []), (of_limit, ["api"])):
        limited = [{**event, "limits": limits} for event in calls]
        found = simulate(written(tmp_path / "log", started(max_workers=9, **more), *limited), [], {})
        assert found.own.seconds == pytest.approx(1.5)


@pytest.mark.parametrize("of_limit", [False, True])
def test_how_late_a_rate_is(of_limit: bool, tmp_path: Path) -> None:
    """Starts that are spaced by a rate are each a bit late, and that adds up."""
    limits = ["api"] if of_limit else []
    calls = [events(f"{n}", 0.0, n * 0.0115, n * 0.0115 + 0.3, limits=limits) for n in range(100)]
    rate = {"starts": 100, "per": 1, "burst": 1}
    more = {"limits": {"api": None}, "rates": {"api": rate}} if of_limit else {"rate": rate}
    found = simulate(written(tmp_path / "log", started(**more), *in_time(*calls)), [], {})
    assert found.own.seconds == pytest.approx(found.measured, rel=0.001)
