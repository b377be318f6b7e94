"""The soak: its books and its verdict find what is wrong; and it goes well for some seconds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import verdict
from histogram import Histogram, interval, together
from ledger import Ledger
from overload import CASES, run_here

import soak
from creche import State
from creche.instruments import CallEvent

DONE = State.COMPLETED


# The books ---------------------------------------------------------------------------------------------


def submitted(ledger: Ledger, key: str) -> None:
    ledger.call_submitted(CallEvent(key, 0.0, State.PENDING))


def finished(ledger: Ledger, key: str, state: State = DONE, place: str = "loop") -> None:
    ledger.call_finished(CallEvent(key, 0.0, state, place))


def through(ledger: Ledger, *expected: State) -> str:
    """A key that went through as it must."""
    key = ledger.key("kind", *(expected or (DONE,)))
    submitted(ledger, key)
    finished(ledger, key, (expected or (DONE,))[0])
    ledger.tell(key, (expected or (DONE,))[0])
    return key


def test_books_in_order() -> None:
    """Nothing is open, nothing is wrong, and nothing is kept but what may be forgotten."""
    ledger = Ledger()
    keys = [through(ledger), through(ledger, State.FAILED, DONE)]
    early = ledger.key("told first", DONE)
    submitted(ledger, early)
    ledger.tell(early, DONE)
    assert len(ledger) == 1
    finished(ledger, early)
    ledger.withdraw(ledger.key("never", DONE))
    assert (ledger.errors, ledger.still_open(), len(ledger)) == ([], [], 0)
    assert list(ledger.closed) == [*keys, early]
    assert ledger.states == {"COMPLETED": 2, "FAILED": 1}


def wrong_twice(ledger: Ledger) -> None:
    submitted(ledger, key := ledger.key("kind", DONE))
    submitted(ledger, key)


def wrong_settled_twice(ledger: Ledger) -> None:
    finished(ledger, through(ledger))


def wrong_told_twice(ledger: Ledger) -> None:
    ledger.tell(through(ledger), DONE)


def wrong_told_otherwise(ledger: Ledger) -> None:
    submitted(ledger, key := ledger.key("kind", DONE))
    finished(ledger, key)
    ledger.tell(key, State.FAILED)


def wrong_end(ledger: Ledger) -> None:
    submitted(ledger, key := ledger.key("kind", DONE))
    finished(ledger, key, State.CANCELLED)


def wrong_crash(ledger: Ledger) -> None:
    submitted(ledger, key := ledger.key("kind", DONE))
    finished(ledger, key, State.CRASHED, "thread")


def wrong_withdrawal(ledger: Ledger) -> None:
    submitted(ledger, key := ledger.key("kind", DONE))
    ledger.withdraw(key)


def wrong_out_of_nowhere(ledger: Ledger) -> None:
    submitted(ledger, "unknown")


@pytest.mark.parametrize(
    "wrong",
    [
        wrong_twice,
        wrong_settled_twice,
        wrong_told_twice,
        wrong_told_otherwise,
        wrong_end,
        wrong_crash,
        wrong_withdrawal,
        wrong_out_of_nowhere,
    ],
)
def test_books_that_are_wrong(wrong: Callable[[Ledger], None]) -> None:
    """Each is found."""
    ledger = Ledger()
    wrong(ledger)
    assert ledger.error_count == len(ledger.errors) == 1


def test_a_lost_call_is_counted() -> None:
    """In a worker that was killed; one that was to crash is not among them."""
    ledger = Ledger()
    for expected in (DONE, State.CRASHED):
        submitted(ledger, key := ledger.key("kind", expected))
        finished(ledger, key, State.CRASHED, "process")
        ledger.tell(key, State.CRASHED)
    assert ledger.errors == []
    assert ledger.crashes == {"process": 1, "asked for": 1}


# The verdict -------------------------------------------------------------------------------------------


def test_percentiles() -> None:
    """To two per cent, and the same put together from parts or read from a file."""
    parts = [Histogram() for _ in range(3)]
    for number in range(3000):
        parts[number % 3].add((number + 1) / 1000)
    whole = Histogram(json.loads(json.dumps(together(parts).as_json())))
    assert len(whole) == 3000
    assert whole.percentile(0.5) == pytest.approx(1.5, rel=0.02)
    assert whole.percentile(0.99) == pytest.approx(2.97, rel=0.02)
    assert Histogram().percentile(0.99) == 0


def samples(
    change: Callable[[int, dict[str, Any]], object] = lambda _, __: None,
) -> list[dict[str, Any]]:
    """Two hundred samples of ten minutes in which nothing grows, or what a function changes."""
    draw = random.Random(3)
    made = []
    for number in range(100):
        times = Histogram()
        for _ in range(30):
            times.add(draw.uniform(0.001, 0.002))
        one: dict[str, Any] = {
            "seconds": 6.0 * (number + 1),
            "calls": 100 * number,
            "cpu": 0.2 * number,
            "load": 0.9,
            "times": {"loop": times.as_json()},
            "yardstick": times.as_json(),
            **dict.fromkeys(verdict.ALLOWED, 40),
            "rss": 80_000_000 + draw.randrange(200_000),
            "live blocks": 350_000 + draw.randrange(1000) if number % 4 == 0 else None,
        }
        change(number, one)
        made.append(one)
    return made


ENDS: dict[str, Any] = {
    "errors": [],
    "still_open": [],
    "left": [],
    "kills": {"process": 9, "dask": 0},
    "crashes": {"process": 3, "asked for": 5},
    "states": {"COMPLETED": 90, "CRASHED": 8},
    "keys": 99,
    "withdrawn": 1,
    "cores": 2,
}


def failed(many: list[dict[str, Any]], **ends: Any) -> list[str]:
    """The rules that do not hold."""
    return [one.rule for one in verdict.judge(many, {**ENDS, **ends}) if one.ok is False]


def test_a_good_run() -> None:
    """Every rule is judged, and holds: noise and a single peak are no growth."""

    def peak(number: int, one: dict[str, Any]) -> None:
        if number == 95:
            one.update(rss=200_000_000, threads=300, tasks=4000)

    assert failed(samples(peak)) == []
    assert [one.rule for one in verdict.judge(samples(), ENDS) if one.ok is None] == []


@pytest.mark.parametrize(
    ("series", "each"), [("rss", 80_000), ("live blocks", 80), ("descriptors", 0.2), ("tasks", 0.2)]
)
def test_a_leak(series: str, each: float) -> None:
    """What grows a little with each sample is found."""

    def leak(number: int, one: dict[str, Any]) -> None:
        if one[series] is not None:
            one[series] += int(each * number)

    assert failed(samples(leak)) == [series]


def test_a_leak_that_stops() -> None:
    """In the first half memory may fill up to a bound."""

    def warm(number: int, one: dict[str, Any]) -> None:
        one["rss"] += 500_000 * min(number, 45)

    assert failed(samples(warm)) == []


def test_latency_that_grows() -> None:
    """Unless the machine has become slower by as much, or is too busy; a short run says nothing."""

    def slower(number: int, one: dict[str, Any]) -> None:
        if number > 60:
            one["times"] = {"loop": {str(int(at) + 20): n for at, n in one["times"]["loop"].items()}}

    def all_slower(number: int, one: dict[str, Any]) -> None:
        slower(number, one)
        one["yardstick"] = one["times"]["loop"]

    assert failed(samples(slower)) == ["latency, loop"]
    assert failed(samples(all_slower)) == []
    assert failed(samples(slower)[:45]) == []
    assert failed([{**one, "load": 5.0} for one in samples(slower)]) == []


def test_a_percentile_that_few_calls_make() -> None:
    """Nine of some eight hundred that take long are not more than seven were."""

    def late(number: int, one: dict[str, Any]) -> None:
        if number in {25, 27, 29, 31, 33, 35, 37, *range(80, 98, 2)}:
            one["times"]["loop"][str(interval(0.5))] = 1

    found = {one.rule: one for one in verdict.judge(samples(late), ENDS)}
    assert float(found["latency, loop"].said.partition("ms: x ")[2].partition(",")[0]) > 2
    assert found["latency, loop"].ok is True


def test_calls_that_take_more_and_more() -> None:
    """Of the processor, on a machine as busy as may be."""

    def heavier(number: int, one: dict[str, Any]) -> None:
        one.update(cpu=0.2 * number + 0.002 * number**2, load=9.0)

    assert failed(samples(heavier)) == ["CPU of a call"]


@pytest.mark.parametrize(
    ("ends", "rule"),
    [
        ({"errors": ["a key was told twice"]}, "each key exactly once"),
        ({"still_open": ["a key"]}, "nothing open"),
        ({"keys": 100}, "nothing open"),
        ({"left": ["a thread"]}, "nothing left"),
        ({"crashes": {"process": 10}}, "a kill costs one call, process"),
        ({"crashes": {"dask": 1}}, "a kill costs one call, dask"),
    ],
)
def test_ends_that_are_wrong(ends: dict[str, Any], rule: str) -> None:
    """Each is found."""
    assert failed(samples(), **ends) == [rule]


# It runs -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "more"), [("trio", []), ("asyncio", ["--no-dask"])])
def test_some_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str, more: list[str]
) -> None:
    """Mixed load, and workers that are killed: every rule holds that a short run is judged by."""
    file = tmp_path / "soak.json"
    options = ["--minutes", "0.1", "--rate", "30", "--backend", backend, "--json", str(file), *more]
    assert soak.main(options) == 0, capsys.readouterr().out
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["ends"]["states"]["COMPLETED"] > 50
    assert {one["rule"] for one in written["verdict"] if one["ok"]} >= {
        "each key exactly once",
        "nothing open",
        "nothing left",
        "descriptors",
    }
    kinds = {"loop", "thread", "process", *([] if more else ["dask"])}
    assert kinds <= {kind for one in written["samples"] for kind in one["times"]}


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("name", CASES)
def test_overload_at_a_small_size(name: str, backend: str) -> None:
    """Each case checks itself."""
    took = run_here(name, 20, backend)
    assert set(took) == {"wall", "cpu", "peak"}


@pytest.mark.slow
def test_the_table_of_overload(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each loop, from processes of their own."""
    assert soak.main(["--overload", "--part", "0.001", "--only", "runners, each in its task"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:3] for line in lines[2:]] == [
        ["| 10", "runners, each in its task", loop] for loop in ("trio", "asyncio")
    ]
