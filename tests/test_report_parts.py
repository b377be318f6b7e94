"""What a report works out: the parts of a call's time, lanes, use of limits, words."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creche.report import _words
from creche.report._charts import HEIGHT, WIDTH, bar, chart
from creche.report._lanes import pack
from creche.report._phases import Phases, phases_of, total
from creche.report._use import Use, most_in_each, steps_of, uses
from reporting import Events, of_everything

TIMES = st.floats(0, 100, allow_nan=False)
SPANS = st.lists(st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair))), max_size=30)


def test_phases(tmp_path: Path) -> None:
    """Each second of a call is in one of them, whatever became of it."""
    history = of_everything().history(tmp_path)
    parts = {call.key: phases_of(call, history) for call in history.calls}
    assert {key: tuple(round(part, 3) for part in parts[key]) for key in parts} == {
        **dict.fromkeys(
            [call.key for call in history.calls if "evil" in call.key or "<" in call.key],
            (0, 0.3, 0.5, 0),
        ),
        "load[1]": (0, 0, 2, 0),
        "load[2]": (0, 0, 3, 0),
        "load[10]": (0, 2, 1.5, 0),
        "parse": (3.4, 0, 2.5, 0),
        "part[1]": (0, 0.4, 1, 0),
        "gone": (0, 0.4, 0.4, 0),
        "dropped": (0, 2.8, 0, 0),
        "(1, 2)": (0, 0.7, 3, 1),
        "store": (1, 0, 1.5, 0),
    }
    for call in history.calls:
        assert math.isclose(sum(parts[call.key]), (call.finished or 0) - call.submitted)
    assert [round(part, 3) for part in total(list(parts.values()))] == [4.4, 6.9, 15.9, 1.0]


def test_phases_of_what_has_not_ended(tmp_path: Path) -> None:
    """They go up to the end of the history."""
    events = Events()
    events.start()
    events.call("runs", 0, 1, None)
    events.call("waits", 0, None, None)
    events.call("waits for it", 0, None, None, after=["runs"])
    events.call("last", 0, 4, 4)
    history = events.history(tmp_path)
    parts = [phases_of(call, history) for call in history.calls]
    assert parts == [Phases(0, 1, 3, 0), Phases(0, 4, 0, 0), Phases(4, 0, 0, 0), Phases(0, 4, 0, 0)]


def test_a_clock_that_went_back(tmp_path: Path) -> None:
    """Nothing is less than nothing."""
    history = of_everything().history(tmp_path)
    call = history.calls[0]
    call.finished = -3
    assert phases_of(call, history) == (0, 0, 0, 0)


@given(SPANS)
def test_lanes(spans: list[tuple[float, float]]) -> None:
    """On a lane nothing overlaps, and there are as few lanes as can be."""
    lanes = pack(spans)
    for lane in set(lanes):
        mine = sorted(span for span, its in zip(spans, lanes, strict=True) if its == lane)
        assert all(one[1] <= other[0] for one, other in pairwise(mine))
    at_once = max((sum(b <= begin < e or b == begin for b, e in spans) for begin, _ in spans), default=0)
    assert max(lanes, default=-1) + 1 <= at_once


def test_lanes_from_the_top() -> None:
    """One that has become free is used again, the upper one first."""
    assert pack([(0, 1), (0, 2), (1, 3), (2, 3), (0, 5)]) == [0, 1, 0, 1, 2]


@given(SPANS)
def test_steps(spans: list[tuple[float, float]]) -> None:
    """They say at each time how many spans there are."""
    steps = steps_of(spans)
    assert [time for time, _ in steps] == sorted({time for time, _ in steps})
    for time, number in steps:
        assert number == sum(begin <= time < end for begin, end in spans)
    assert not steps or steps[-1][1] == 0


def test_the_most_in_each_part() -> None:
    """Also of what is shorter than a part; the end of a time is not in it."""
    steps = steps_of([(0, 2), (1, 2), (3, 3.1), (3.01, 3.02)])
    assert most_in_each(steps, 0, 4, 4) == [1, 2, 0, 2]
    assert most_in_each(steps, 0, 4, 2) == [2, 2]
    assert most_in_each(steps, 0, 0, 2) == [0, 0]
    assert most_in_each([(-1.0, 2), (1.0, 1)], 0, 2, 2) == [2, 1]


def test_the_use_of_limits(tmp_path: Path) -> None:
    """Of the runner, of its limits, of those that only calls know; not between attempts."""
    events = Events()
    events.start(max_workers=2, limits={"idle": 1, "a": 1})
    events.call("x", 0, 0, 4, limits=["a"], tries=[(0, 1), (3, 4)])
    events.call("y", 0, 1, 2, limits=["a", "mine"])
    events.call("z", 0, 2, None)
    events.add("call_submitted", 5, key="t", place="loop", state="PENDING")
    history = events.history(tmp_path)
    history.calls[1].admitted = 0.5
    told = {use.name: use for use in uses(history.runs[0], history.calls, history)}
    assert list(told) == [None, "idle", "a", "mine"]
    assert told[None].steps == [(0, 1), (0.5, 2), (1, 1), (3, 2), (4, 1), (5, 0)]
    assert (told[None].size, told[None].most, round(told[None].full, 3)) == (2, 2, 0.3)
    assert (told["a"].size, told["a"].most, round(told["a"].mean, 3)) == (1, 2, 0.7)
    assert told["mine"] == Use("mine", None, 1, 1.5 / 5, 0, 0, 5, [(0.5, 1), (2, 0)])
    assert (told["idle"].most, told["idle"].full, told["idle"].steps) == (0, 0, [])


def test_the_use_in_a_run_of_no_time(tmp_path: Path) -> None:
    """Nothing is divided by nothing."""
    events = Events()
    events.start()
    events.call("x", 0, 0, 0)
    events.close(0)
    history = events.history(tmp_path)
    assert uses(history.runs[0], history.calls, history) == [Use(None, None, 0, 0, 0, 0, 0, [])]


def test_charts() -> None:
    """A limit is drawn where it is near what was held."""
    use = Use(None, 2, 1, 0.5, 0, 0, 2, [(0, 1), (1, 0)])
    drawn = chart(use)
    assert drawn == (f"M0 {HEIGHT}H0V30H300V59H{WIDTH}V{HEIGHT}Z", 1, 2)
    assert chart(use._replace(size=100))[1:] == (None, 1)
    assert chart(use._replace(size=None))[1:] == (None, 1)
    assert chart(use._replace(most=0, steps=[], size=0))[1:] == (None, 1)


def test_bars() -> None:
    """Parts beside each other, over the whole width, or nothing of nothing."""
    assert bar([1, 0, 3]) == [(0, 150), (150, 0), (150, 450)]
    assert bar([0, 0]) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 s"),
        (1e-7, "0 s"),
        (0.000012, "0.012 ms"),
        (0.25, "250 ms"),
        (0.9996, "1.00 s"),
        (12.345, "12.35 s"),
        (75.2, "1 min 15 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_seconds(number: float, words: str) -> None:
    """In the unit that fits."""
    assert _words.seconds(number) == words


def test_other_words() -> None:
    """Shares, numbers, moments, and texts that are too long."""
    assert [_words.share(1, 3), _words.share(1, 0)] == ["33 %", "0 %"]
    assert [_words.count(1, "call"), _words.count(2000, "call")] == ["1 call", "2,000 calls"]
    assert _words.moment(1e9) == "2001-09-09 01:46:40 UTC"
    assert _words.moment(1e300) == _words.moment(math.nan) == "at an unknown time"
    assert [_words.cut("abc", 3), _words.cut("abcd", 3)] == ["abc", "abc…"]
    assert _words.error_line({"type": "E", "message": "a\n b"}) == "E: a b"
    assert _words.error_line({"type": "E", "message": ""}) == "E"


@given(st.lists(st.text()))
def test_ranks(keys: list[str]) -> None:
    """Each place is taken once, whatever the keys are."""
    assert sorted(_words.ranks(keys)) == list(range(len(keys)))


def test_numbers_in_keys_count_as_numbers() -> None:
    """So that ten comes after two, in a text of any length."""
    keys = ["b[10]", "b[2]", "B[007]", "a", f"b[{'9' * 10_000}]", ""]
    assert _words.ranks(keys) == [4, 2, 3, 1, 5, 0]
