"""Event files for tests of reports: written line by line, as the schema has it."""

from __future__ import annotations

import heapq
import json
import random
from pathlib import Path
from typing import Any

from creche.instruments import History, read_history

HOSTILE = "</script><img src=x onerror=alert(1)><!--"
ERROR = {"type": "ValueError", "message": "no", "traceback": "Traceback\n  here\nValueError: no\n"}
LOST = {"type": "CallCrashed", "message": "", "traceback": ""}


class Events:
    """An event file in the making; times are in seconds, of the clock of the run."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = [{"event": "log", "schema": 1, "creche": "0", "wall": 1e9}]

    def add(self, event: str, time: float, run: int = 1, **more: Any) -> None:
        self.lines.append({"event": event, "run": run, "time": time, **more})

    def start(self, time: float = 0.0, run: int = 1, **more: Any) -> None:
        usual = {"wall": 1e9 + time, "name": "runner", "max_workers": None, "limits": {}, "loop": "trio"}
        self.add("runner_started", time, run, **{**usual, **more})

    def close(self, time: float, run: int = 1) -> None:
        usual = {"wall": 1e9 + time, "name": "runner", "max_workers": None, "limits": {}, "loop": "trio"}
        self.add("runner_closed", time, run, **usual)

    def call(
        self,
        key: Any,
        *times: float | None,
        run: int = 1,
        state: str = "COMPLETED",
        place: str = "loop",
        tries: list[tuple[float, float]] | None = None,
        ends: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """A call: when it was submitted, started, has finished; `None` where it was not, or not yet.

        With `tries`, these are the attempts, and the last one ends with the call.
        """
        submitted, started, finished = times
        about: dict[str, Any] = {"key": key, "place": place, "run": run}
        self.add("call_submitted", submitted or 0.0, state="PENDING", **about, **more)
        tries = tries or ([] if started is None else [(started, finished or 0.0)])
        for number, (began, ended) in enumerate(tries, 1):
            if number == 1:
                self.add("call_admitted", began, state="RUNNING", **about)
            self.add("call_started", began, state="RUNNING", attempt=number, **about)
            if number < len(tries):
                delay = tries[number][0] - ended
                self.add("call_retrying", ended, state="RUNNING", delay=delay, error=ERROR, **about)
        if finished is not None:
            self.add("call_finished", finished, state=state, **about, **(ends or {}))

    def write(self, path: Path) -> Path:
        """In the order of time, as a log has it; of what is at once, as it was added."""
        first, *others = self.lines
        others.sort(key=lambda line: line["time"])
        path.write_text("".join(f"{json.dumps(line)}\n" for line in (first, *others)))
        return path

    def replayed(self) -> History:
        """Without a file, which is quicker."""
        history = History()
        for line in sorted(self.lines[1:], key=lambda line: line["time"]):
            history.add(line)
        return history

    def history(self, folder: Path) -> History:
        return read_history(self.write(folder / "events.jsonl"))


def of_everything() -> Events:
    """All that a report shows, small."""
    events = Events()
    events.start(max_workers=4, limits={"api <b>": 2, "rate": None})
    events.call(
        "load[1]", 0.0, 0.0, 2.0, limits=["api <b>"], tags=["nightly & <i>"], ends={"value": "41"}
    )
    events.call("load[2]", 0.0, 0.0, 3.0, limits=["api <b>"], args=["'<u>'"])
    events.call("load[10]", 0.0, 2.0, 3.5, limits=["api <b>", "rate"], place="thread")
    events.call("parse", 0.1, 3.5, 6.0, after=["load[1]", "load[10]"], place="process <b>")
    inside: dict[str, Any] = {"parent": {"run": 1, "key": "parse"}}
    events.call("part[1]", 3.6, 4.0, 5.0, **inside)
    events.call(HOSTILE, 0.2, 0.5, 1.0, state="FAILED", ends={"error": {**ERROR, "message": HOSTILE}})
    events.call("\u202eevil\u2028\ud800", 0.2, 0.5, 1.0, state="FAILED", ends={"error": ERROR})
    events.call(
        "gone",
        0.2,
        0.6,
        1.0,
        state="CRASHED",
        ends={"error": LOST},
    )
    events.call(
        "dropped", 0.2, None, 3.0, state="CANCELLED", ends={"origin": "cancel", "reason": "<s>no"}
    )
    events.call({"repr": "(1, 2)", "type": "tuple"}, 0.3, 1.0, 5.0, tries=[(1.0, 2.0), (3.0, 5.0)])
    events.call("store", 5.0, 6.0, 7.5, after=["parse"])
    events.close(8.0)
    return events


def of_many(calls: int, seed: int = 1) -> Events:
    """As many calls as asked for, on a hundred places, each hundredth with dependencies."""
    draw = random.Random(seed)
    events = Events()
    events.start(max_workers=100, limits={"api": 20})
    free = [(0.0, lane) for lane in range(100)]
    for number in range(calls):
        started, lane = free[0]
        ended = round(started + draw.expovariate(2.0), 6)
        heapq.heapreplace(free, (ended, lane))
        more: dict[str, Any] = {"limits": ["api"]} if number % 7 == 0 else {}
        if number % 100 == 99:
            more["after"] = [f"step[{number - 100}]"] if number > 100 else []
        bad = number % 97 == 5
        events.call(
            f"step[{number}]",
            max(0.0, started - 0.5),
            started,
            ended,
            place=("loop", "thread", "process")[lane % 3],
            state="FAILED" if bad else "COMPLETED",
            ends={"error": {**ERROR, "message": f"no {number % 300}"}} if bad else {},
            **more,
        )
    events.close(max(free)[0])
    return events
