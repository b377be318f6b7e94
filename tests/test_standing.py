"""How a run stands: what the tally counts, and the words for it. All in a time of our own."""

from __future__ import annotations

import math
from typing import Any

import pytest

from creche import State
from creche.instruments import CallEvent, RunnerEvent
from creche.instruments._tally import Going, Standing, Tally, reason_of
from creche.instruments._words import (
    Extra,
    fit,
    headline,
    plain,
    seconds_left,
    span,
    view,
    waited_for,
    width_of,
)


class Nameless:
    """Something that says nothing of itself."""

    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__


class Story:
    """A run that is told of, in a time that is set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.tally = Tally(lambda: self.now)

    def event(self, key: Any, state: State = State.PENDING, **more: Any) -> CallEvent:
        return CallEvent(key, -1.0, state, run=more.pop("run", 1), **more)

    def run(self, key: Any, *limits: str, run: int = 1) -> None:
        self.tally.submit(self.event(key, limits=limits, run=run))
        self.tally.admit(self.event(key, run=run))
        self.tally.begin(self.event(key, State.RUNNING, run=run))

    def end(self, key: Any, error: Exception | None = None, run: int = 1) -> None:
        state = State.COMPLETED if error is None else State.FAILED
        self.tally.end(self.event(key, state, error=error, run=run))

    def stand(self) -> Standing:
        return self.tally.stand(self.now)


def test_a_run_is_counted() -> None:
    """Calls by state, those that run with the longest first, limits and how full they are."""
    story = Story()
    assert story.stand().rate == 0
    assert story.tally.open(RunnerEvent("r", 0, 4, 1, {"db": 2, "rate": math.inf}, "trio")) == 1
    story.run("a", "db")
    story.now += 1
    story.run("b", "db", "rate")
    story.tally.submit(story.event("c", limits=("db",)))
    seen = story.stand()
    assert [one.key for one in seen.going] == ["a", "b"]
    assert [tuple(fill) for fill in seen.fills] == [
        ("workers", 2, 4),
        ("db", 2, 2),
        ("rate", 1, math.inf),
    ]
    story.end("a")
    story.tally.end(story.event("c", State.CANCELLED))
    story.end("b", ValueError("no\nway"))
    seen = story.stand()
    assert (seen.submitted, seen.settled, seen.going) == (3, 3, [])
    assert seen.counts == {State.COMPLETED: 1, State.CANCELLED: 1, State.FAILED: 1}
    assert [fill.held for fill in seen.fills] == [0, 0, 0]
    assert [(one.key, one.reason) for one in seen.faults] == [("b", "ValueError: no\nway")]
    assert seen.rate == 3.0
    assert seen.runs == (1,)
    assert story.tally.close(RunnerEvent("r", 0, run=1)) == 0
    assert story.stand().runs == ()


def test_the_rate_is_of_late() -> None:
    """Over the last ten seconds, or since the start."""
    story = Story()
    story.tally.open(RunnerEvent("r", 0, run=1))
    for number in range(40):
        story.run(number)
        story.now += 0.25
        story.end(number)
    assert story.stand().rate == 4
    story.now += 5
    assert story.stand().rate == pytest.approx(2, abs=0.3)
    story.now += 60
    assert story.stand().rate == 0


def test_between_attempts_nothing_is_held() -> None:
    """Neither a place nor a limit, until the next one begins."""
    story = Story()
    story.tally.open(RunnerEvent("r", 0, 4, 1, {"db": 2}, "trio"))
    story.run("a", "db")
    story.tally.retry(story.event("a", State.RUNNING, error=ValueError(), delay=3.0))
    assert [fill.held for fill in story.stand().fills] == [0, 0]
    story.tally.begin(story.event("a", State.RUNNING, attempt=2))
    assert [fill.held for fill in story.stand().fills] == [1, 1]
    story.tally.retry(story.event("a", State.RUNNING, error=ValueError(), delay=3.0))
    story.tally.end(story.event("a", State.CANCELLED))
    assert [fill.held for fill in story.stand().fills] == [0, 0]


def test_two_calls_under_one_key() -> None:
    """One makes room for the other, and is told apart from it."""
    story = Story()
    story.tally.open(RunnerEvent("r", 0, 4, 1, {"db": 2}, "trio"))
    for number in (1, 2):
        story.tally.submit(story.event("a", limits=("db",), call=number))
        story.tally.admit(story.event("a", State.RUNNING, call=number))
        story.tally.begin(story.event("a", State.RUNNING, call=number))
    story.tally.end(story.event("a", State.CANCELLED, call=1))
    seen = story.stand()
    assert ([one.key for one in seen.going], [fill.held for fill in seen.fills]) == (["a"], [1, 1])


def test_attempts() -> None:
    """A call that waits for its next attempt is not one that runs."""
    story = Story()
    story.run("a")
    story.tally.retry(story.event("a", State.RUNNING, error=ValueError(), delay=3.0))
    seen = story.stand()
    assert (seen.waiting, seen.retries, seen.going[0].is_waiting) == (1, 1, True)
    story.tally.begin(story.event("a", State.RUNNING, attempt=2))
    seen = story.stand()
    assert (seen.waiting, seen.retries, seen.going[0].attempt) == (0, 1, 2)


def test_runs_beside_each_other() -> None:
    """The same key in two runs is two calls."""
    story = Story()
    for run in (1, 2):
        story.tally.open(RunnerEvent("r", 0, run, run, {"db": 1}))
        story.run("a", "db", run=run)
    story.end("a", run=1)
    seen = story.stand()
    assert [fill.held for fill in seen.fills] == [0, 1, 0, 1]
    assert len(seen.going) == 1


def test_the_reason() -> None:
    """An exception in a line, whatever it is."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert reason_of(None) == "NoneType: None"
    assert reason_of(KeyError()) == "KeyError"
    assert reason_of(MuteError()) == "MuteError: its message cannot be shown"


# The words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (4.25, "4.2 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (200000, "2 d 7 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    """Times for people."""
    assert span(seconds) == text


def test_plain_text() -> None:
    """No control character gets through, nothing endless, and nothing raises."""
    assert plain(("a", 1)) == "('a', 1)"
    assert plain("a\x1b[31m\nb") == "a�[31m�b"
    assert plain("é" * 999) == "é" * 200
    assert plain(Nameless()) == "<Nameless>"


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"),
        ("abc", 0, ""),
    ],
)
def test_fitting(text: str, width: int, cut: str) -> None:
    """Cut to columns, not to characters."""
    assert fit(text, width) == cut
    assert width_of(cut) <= width


def test_the_headline() -> None:
    """The numbers; what is 0 is left out; the time that is left where the total is known."""
    story = Story()
    assert headline(story.stand(), Extra()) == "0 of 0 calls, 0 running, 0.0 s"
    story.tally.open(RunnerEvent("r", 0, run=1))
    for number in range(4):
        story.run(number)
    story.now += 1
    story.end(0)
    story.end(1, ValueError("x"))
    story.tally.retry(story.event(2))
    said = "2 of 4 calls, 1 running, 1 to be tried again, 1 failed, 1 retry, 2.0/s, 1.0 s"
    assert headline(story.stand(), Extra(seconds=1.0)) == said
    story.tally.retry(story.event(2))
    seen = story.stand()
    assert "2 retries" in headline(seen, Extra())
    assert headline(seen, Extra("flow f", 1.0, 10)).startswith("flow f: 2 of 10 calls, ")
    assert headline(seen, Extra("flow f", 1.0, 10)).endswith(", about 4.0 s left")
    assert headline(seen._replace(rate=1234.5), Extra()).split(", ")[-2] == "1234/s"
    assert headline(seen, Extra(total=2)).startswith("2 of 4 calls")  # there were more after all
    assert seconds_left(seen._replace(rate=0.0), 10) is None
    assert seconds_left(seen, 1) == 0
    assert "left" not in headline(seen._replace(submitted=2), Extra(total=2))


def many(going: int, faults: int) -> Standing:
    """A run in which a lot goes on."""
    story = Story()
    story.tally.open(RunnerEvent("r", 0, 8, 1, {"db": 2}))
    for number in range(going + faults):
        story.run(f"call[{number}]")
    for number in range(going, going + faults):
        story.end(f"call[{number}]", ValueError(f"no {number}"))
    return story.stand()


def test_the_view() -> None:
    """What there is, from what matters most on."""
    seen = many(2, 1)
    seen.going[1] = Going("again", 98.0, "loop", 3, is_waiting=True)
    seen.going[0] = Going("call[0]", 97.0, "thread", 2)
    assert [line.kind for line in view(seen._replace(fills=[]), Extra(), 100.0, 200, 1)] == ["head"]
    lines = view(seen, Extra(note="stopping"), 100.0, 200, 10)
    assert [tuple(line) for line in lines] == [
        ("1 of 3 calls, 2 running, 1 failed, 0.0 s", "head"),
        ("stopping", "note"),
        ("  workers 2/8, db 0/2", "fill"),
        ("  call[0] 3.0 s in thread, attempt 2", "going"),
        ("  again attempt 3 failed 2.0 s ago, to be tried again", "retry"),
        ("  call[2] FAILED ValueError: no 2", "fault"),
    ]


@pytest.mark.parametrize("height", range(1, 14))
@pytest.mark.parametrize(("going", "faults"), [(0, 0), (1, 0), (0, 9), (3, 2), (40, 40)])
def test_any_size(height: int, going: int, faults: int) -> None:
    """Never more lines than there are, never wider; the numbers are always there."""
    for width in (1, 20, 200):
        lines = view(many(going, faults), Extra(), 100.0, width, height)
        assert 1 <= len(lines) <= height
        assert all(width_of(line.text) <= width for line in lines)
        assert lines[0].kind == "head"
        kinds = [line.kind for line in lines]
        if height > 3:
            assert ("going" in kinds, "fault" in kinds) == (going > 0, faults > 0)
    shown = kinds.count("going")
    more = [line.text for line in lines if line.kind == "more"]
    assert more == ([f"  and {going - shown} more"] if more else [])
    if height == 13:
        assert bool(more) == (going > shown)


def test_what_is_waited_for() -> None:
    """The longest by name, the others by number."""
    assert waited_for([("a", 1.0)]) == "1 call: a (1.0 s)"
    calls = [(key, None if key == "b" else 2.0) for key in "abcde"]
    assert waited_for(calls) == "5 calls: a (2.0 s), b, c (2.0 s), and 2 more"
