"""The critical path of a run: which calls are on it, and what their time was spent on."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from creche.instruments import History
from creche.report._critical import CriticalPaths, Kind, seconds_by_kind
from reporting import Events


def path_of(history: History, run: int = 0) -> list[tuple[str | None, str, float, float]]:
    links = CriticalPaths(history).of(history.runs[run])
    for one, following in pairwise(links):
        assert one.end == following.begin
    return [
        (
            None if link.call is None else link.call.key,
            link.kind.name,
            round(link.begin, 3),
            round(link.end, 3),
        )
        for link in links
    ]


def test_a_chain_of_dependencies(tmp_path: Path) -> None:
    """Of two that a call comes after it is the one that ended last; waiting is told from running."""
    events = Events()
    events.start()
    events.call("a", 0.5, 1, 2)
    events.call("b", 0.5, 1, 3)
    events.call("c", 0.6, 4, 5, after=["a", "b"])
    events.call("other", 0, 0, 4.5)
    events.close(6)
    assert path_of(events.history(tmp_path)) == [
        (None, "OUTSIDE", 0, 0.5),
        ("b", "QUEUED", 0.5, 1),
        ("b", "RUNNING", 1, 3),
        ("c", "QUEUED", 3, 4),
        ("c", "RUNNING", 4, 5),
    ]


def test_a_dependency_that_had_ended_before(tmp_path: Path) -> None:
    """Nothing was waited for: what came before is the body that submitted the call."""
    events = Events()
    events.start()
    events.call("a", 0, 0, 1)
    events.call("b", 2, 2, 3, after=["a"])
    events.close(3)
    assert path_of(events.history(tmp_path)) == [(None, "OUTSIDE", 0, 2), ("b", "RUNNING", 2, 3)]


def test_a_dependency_that_never_ran(tmp_path: Path) -> None:
    """One that was cancelled held its follower up as well, and one that has not ended is passed over."""
    events = Events()
    events.start()
    events.call("a", 0, None, 2, state="CANCELLED")
    events.call("open", 0, None, None)
    events.call("b", 0, 2, 3, after=["a", "open"])
    assert path_of(events.history(tmp_path)) == [("a", "QUEUED", 0, 2), ("b", "RUNNING", 2, 3)]


def test_calls_inside_calls(tmp_path: Path) -> None:
    """The time of a parent is that of the child that ended last, and its own between."""
    events = Events()
    events.start()
    inside: dict[str, Any] = {"parent": {"run": 1, "key": "p"}}
    events.call("p", 0, 0, 10)
    events.call("q", 1, 1, 3, **inside)
    events.call("r", 1, 2, 4, **inside)
    events.call("s", 5, 5, 9, **inside)
    events.call("never", 5, None, 9, **inside, state="CANCELLED")
    events.call("late", 9, 9, 12, **inside)
    events.close(12)
    history = events.history(tmp_path)
    assert path_of(history) == [
        ("p", "RUNNING", 0, 1),
        ("r", "QUEUED", 1, 2),
        ("r", "RUNNING", 2, 4),
        ("p", "RUNNING", 4, 5),
        ("s", "RUNNING", 5, 9),
        ("p", "RUNNING", 9, 9),
        ("late", "RUNNING", 9, 12),
    ]
    kinds = seconds_by_kind(CriticalPaths(history).of(history.runs[0]))
    assert {kind: round(seconds, 3) for kind, seconds in kinds.items()} == {
        Kind.RUNNING: 11,
        Kind.QUEUED: 1,
        Kind.RETRY: 0,
        Kind.OUTSIDE: 0,
    }


def test_a_child_in_a_run_of_its_own(tmp_path: Path) -> None:
    """The path goes up into the run that it is nested in."""
    events = Events()
    events.start()
    events.call("p", 0, 1, 5)
    events.start(2, run=2)
    events.call("c", 2, 3, 4, run=2, parent={"run": 1, "key": "p"})
    events.close(4, run=2)
    events.close(5)
    history = events.history(tmp_path)
    assert path_of(history) == [
        ("p", "QUEUED", 0, 1),
        ("p", "RUNNING", 1, 2),
        ("c", "QUEUED", 2, 3),
        ("c", "RUNNING", 3, 4),
        ("p", "RUNNING", 4, 5),
    ]
    assert path_of(history, run=1) == path_of(history)[:4]


def test_attempts(tmp_path: Path) -> None:
    """The time between them is none of running; also while another one is to come."""
    events = Events()
    events.start()
    events.call("a", 0, 0, 9, tries=[(0, 1), (2, 4), (6, 8)], state="CANCELLED")
    history = events.history(tmp_path)
    running = ("a", "RUNNING", 0, 1), ("a", "RETRY", 1, 2), ("a", "RUNNING", 2, 4), ("a", "RETRY", 4, 6)
    assert path_of(history) == [*running, ("a", "RUNNING", 6, 9)]
    history.calls[0].attempts[-1].ended = 8
    assert path_of(history) == [*running, ("a", "RUNNING", 6, 8), ("a", "RETRY", 8, 9)]


def test_a_child_between_attempts(tmp_path: Path) -> None:
    """Only what is of the time that is looked at counts."""
    events = Events()
    events.start()
    events.call("p", 0, 0, 9, tries=[(0, 3), (5, 9)])
    events.call("c", 1, 1, 2, parent={"run": 1, "key": "p"})
    events.call("d", 6, 6, 7, parent={"run": 1, "key": "p"})
    assert path_of(events.history(tmp_path)) == [
        ("p", "RUNNING", 0, 1),
        ("c", "RUNNING", 1, 2),
        ("p", "RUNNING", 2, 3),
        ("p", "RETRY", 3, 5),
        ("p", "RUNNING", 5, 6),
        ("d", "RUNNING", 6, 7),
        ("p", "RUNNING", 7, 9),
    ]


def test_a_log_that_was_cut(tmp_path: Path) -> None:
    """What was running then is the end of the path."""
    events = Events()
    events.start()
    events.call("a", 0, 0, None)
    events.call("b", 0, 0, 2)
    assert path_of(events.history(tmp_path)) == [("a", "RUNNING", 0, 2)]


def test_a_run_without_a_path(tmp_path: Path) -> None:
    """Where nothing was started, nothing took time."""
    events = Events()
    events.start()
    events.call("a", 0, None, 1, state="CANCELLED")
    events.close(1)
    assert path_of(events.history(tmp_path)) == []


def test_in_no_time_at_all(tmp_path: Path) -> None:
    """Thousands of calls that begin and end at once, on a clock that stands: each is looked at once."""
    events = Events()
    events.start()
    events.call("p", 0, 0, 0)
    for number in range(5000):
        events.call(number_key := f"c{number}", 0, 0, 0, parent={"run": 1, "key": "p"})
        events.call(f"{number_key} after", 0, 0, 0, after=[number_key], parent={"run": 1, "key": "p"})
    history = events.history(tmp_path)
    path = CriticalPaths(history).of(history.runs[0])
    assert {link.kind for link in path} == {Kind.RUNNING}
    assert sum(seconds_by_kind(path).values()) == 0
