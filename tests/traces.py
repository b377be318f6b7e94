"""The rules of the Trace Event Format, as far as traces of ours may use it.

What it does not know: how a trace is made.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

Event = dict[str, Any]

# What each kind of event must have, and nothing else may be in one; by its phase.
FIELDS: dict[str, set[str]] = {
    "M": {"ph", "name", "pid", "tid", "ts", "args"},
    "X": {"ph", "name", "cat", "pid", "tid", "ts", "dur", "args"},
    "C": {"ph", "name", "pid", "tid", "ts", "args"},
    "s": {"ph", "name", "cat", "id", "pid", "tid", "ts"},
    "f": {"ph", "name", "cat", "id", "pid", "tid", "ts", "bp"},
}
METADATA = {"process_name": str, "thread_name": str, "process_sort_index": int, "thread_sort_index": int}


def check_trace(trace: Any) -> None:
    """Fails where a trace breaks a rule."""
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    events: list[Event] = trace["traceEvents"]
    for event in events:
        assert set(event) == FIELDS[event["ph"]], event
        for field in ("pid", "tid", "ts"):
            assert type(event[field]) is int, event
            assert event[field] >= 0, event
        assert type(event["name"]) is str, event
        assert event["name"], event
    _check_metadata([event for event in events if event["ph"] == "M"], events)
    lanes = _check_slices([event for event in events if event["ph"] == "X"])
    _check_flows([event for event in events if event["ph"] in "sf"], lanes)
    _check_counters([event for event in events if event["ph"] == "C"])


def _check_metadata(described: list[Event], events: list[Event]) -> None:
    """Each process and each thread has one name."""
    names: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for event in described:
        (value,) = event["args"].values()
        assert type(value) is METADATA[event["name"]], event
        names[event["name"]].append((event["pid"], event["tid"]))
    assert all(len(set(spots)) == len(spots) for spots in names.values())
    used = {(event["pid"], event["tid"]) for event in events if event["ph"] in "Xsf"}
    assert used <= set(names["thread_name"])
    assert {event["pid"] for event in events} == {pid for pid, _ in names["process_name"]}
    # Some readers take the number of a thread for one of the whole system.
    threads = [tid for _, tid in names["thread_name"]]
    assert len(set(threads)) == len(threads)


def _check_slices(slices: list[Event]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """In one thread each begins after the one before has ended, or ends inside of it."""
    lanes: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in slices:
        assert type(event["dur"]) is int, event
        assert event["dur"] >= 0, event
        lanes[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for lane in lanes.values():
        is_open: list[int] = []
        for begin, end in sorted(lane, key=lambda one: (one[0], -one[1])):
            while is_open and is_open[-1] <= begin:
                is_open.pop()
            assert not is_open or end <= is_open[-1], (begin, end)
            is_open.append(end)
    return lanes


def _check_flows(flows: list[Event], lanes: dict[tuple[int, int], list[tuple[int, int]]]) -> None:
    """Each has a beginning and an end, in this order, both inside of slices."""
    by_id: defaultdict[tuple[str, str, int], dict[str, Event]] = defaultdict(dict)
    for event in flows:
        pair = by_id[event["cat"], event["name"], event["id"]]
        assert event["ph"] not in pair, event
        pair[event["ph"]] = event
        lane = lanes[event["pid"], event["tid"]]
        assert any(begin <= event["ts"] < end for begin, end in lane), event
    for pair in by_id.values():
        assert set(pair) == {"s", "f"}, pair
        assert pair["f"]["bp"] == "e"
        assert pair["s"]["ts"] <= pair["f"]["ts"], pair


def _check_counters(counters: list[Event]) -> None:
    """Numbers, none below 0, in order, and none is left at the end."""
    last: dict[tuple[int, str], Event] = {}
    for event in counters:
        assert all(type(value) is int and value >= 0 for value in event["args"].values()), event
        before = last.get((event["pid"], event["name"]))
        assert before is None or before["ts"] < event["ts"]
        last[event["pid"], event["name"]] = event
    assert all(not any(event["args"].values()) for event in last.values())
