"""`creche trace`: what is in a trace, and that it keeps to the rules of its format."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import anyio
import pytest

from calls import forever, give, settle_down
from creche import ConcurrentTaskRunner, State
from creche.cli._app import main
from creche.instruments import (
    Attempt,
    CallEvent,
    CallRecord,
    EventLog,
    History,
    RunnerEvent,
    read_history,
)
from creche.instruments import _trace as tracing
from creche.instruments._trace import trace_of
from traces import check_trace

START = {
    "event": "runner_started",
    "run": 1,
    "time": 0.0,
    "wall": 5.5,
    "name": "concurrent",
    "max_workers": 2,
    "limits": {},
    "loop": "trio",
}


def history_of(*calls: CallRecord, ended: float = 10.0) -> History:
    history = History()
    history.add(START)
    history.add(START | {"run": 2, "max_workers": None})
    history.calls += calls
    history.ended = ended
    return history


def call(
    key: str,
    submitted: float,
    *attempts: Attempt,
    finished: float | None = None,
    run: int = 1,
    **more: Any,
) -> CallRecord:
    given: dict[str, Any] = {"state": State.COMPLETED, **more}
    return CallRecord(
        run, key, "str", "loop", submitted, attempts=[*attempts], finished=finished, **given
    )


def events_of(trace: Any, phase: str) -> list[dict[str, Any]]:
    return [event for event in trace["traceEvents"] if event["ph"] == phase]


def ends_of_arrows(trace: Any) -> list[tuple[str, str, str]]:
    """The kind of each arrow, and the names of the slices at its ends."""

    def at(event: dict[str, Any]) -> str:
        (name,) = (
            one["name"] + (" waits" if "waiting" in one["cat"] else "")
            for one in events_of(trace, "X")
            if (one["pid"], one["tid"]) == (event["pid"], event["tid"])
            and one["ts"] <= event["ts"] < one["ts"] + one["dur"]
        )
        return str(name)

    starts, ends = events_of(trace, "s"), events_of(trace, "f")
    return [(one["name"], at(one), at(other)) for one, other in zip(starts, ends, strict=True)]


@pytest.mark.anyio
async def test_the_trace_of_a_run(tmp_path: Path) -> None:
    """Waiting apart from running, in lanes; arrows for what came before and for who submitted it."""

    async def parent(runner: ConcurrentTaskRunner) -> None:
        await anyio.sleep(0.1)
        await runner.submit("child", anyio.sleep, 0.2)

    async def fail_later() -> None:
        await anyio.sleep(0.1)
        raise ValueError("no\nb")

    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        runner = ConcurrentTaskRunner(2, instruments=[log])
        async with runner.start():
            runner.submit_nowait("parent", parent, runner)
            runner.submit_nowait("a", anyio.sleep, 0.1)
            runner.submit_nowait("b", fail_later, after=["a"])
            runner.submit_nowait("c", give, after=["b"])
            runner.submit_nowait("d", forever)
            await settle_down()
            await anyio.sleep(0.6)
            runner.cancel("d", "not needed")
    trace = json.loads(json.dumps(trace_of(read_history(path))))
    check_trace(trace)
    arrows = ends_of_arrows(trace)
    assert ("dependency", "b", "c waits") in arrows
    assert sorted((kind, source, end.removesuffix(" waits")) for kind, source, end in arrows) == [
        ("dependency", "a", "b"),
        ("dependency", "b", "c"),
        ("parent", "parent", "child"),
    ]
    found = {(one["name"], one["cat"]): one for one in events_of(trace, "X")}
    assert found["b", "running"]["args"]["error"] == "ValueError: no\nb"
    assert "Traceback" in found["b", "running"]["args"]["traceback"]
    assert found["c", "waiting"]["args"]["origin"] == "upstream"
    assert found["d", "running"]["args"]["reason"] == "not needed"
    (name,) = (one for one in events_of(trace, "M") if one["name"] == "process_name")
    assert name["args"]["name"].endswith("max_workers=2")
    most = max(one["args"]["running"] for one in events_of(trace, "C"))
    assert most == 2


def test_retries_are_slices_of_their_own() -> None:
    """Each attempt, and each wait for the next one; also one that is cut short."""
    error = {"type": "ValueError", "message": "x", "traceback": "Traceback: x"}
    again = call(
        "again", 0.0, Attempt(1, 1.0, 2.0, error, 0.5), Attempt(2, 2.5, 3.0), finished=3.0, tags=["t"]
    )
    cut = call("cut", 1.0, Attempt(1, 1.0, 2.0, error, 9.0), finished=2.25, state=State.CANCELLED)
    at_once = call("at once", 1.0, Attempt(1, 1.0, 2.0, error, 9.0), finished=2.0)
    trace = trace_of(history_of(again, cut, at_once))
    check_trace(trace)
    slices = sorted(events_of(trace, "X"), key=lambda one: one["cat"])
    assert [(one["name"], one["cat"], one["ts"], one["dur"]) for one in slices] == [
        ("again", "running", 1_000_000, 1_000_000),
        ("again", "running", 2_500_000, 500_000),
        ("cut", "running", 1_000_000, 1_000_000),
        ("at once", "running", 1_000_000, 1_000_000),
        ("again", "waiting", 0, 1_000_000),
        ("cut", "waiting to retry", 2_000_000, 250_000),
        ("again", "waiting to retry", 2_000_000, 500_000),
    ]
    assert [one["args"].get("attempt") for one in slices] == [1, 2, 1, 1, None, None, None]
    names = [one["args"]["name"] for one in events_of(trace, "M") if one["name"] == "thread_name"]
    assert names == ["loop 1", "loop 2", "loop 3", "waiting 1", "waiting 2"]


def test_what_was_not_finished() -> None:
    """After a kill: it goes on until the end of what is known."""
    trace = trace_of(history_of(call("a", 0.0, Attempt(1, 1.0)), call("b", 2.0, state=State.PENDING)))
    check_trace(trace)
    ends = {one["name"]: one["ts"] + one["dur"] for one in events_of(trace, "X") if one["ts"]}
    assert ends == {"a": 10_000_000, "b": 10_000_000}
    assert all(one["args"]["finished"] is False for one in events_of(trace, "X"))


def test_arrows_that_cannot_be_drawn() -> None:
    """What has no slice has no arrow; what was cancelled with its cause has one to its end."""
    gone = call("gone", 0.0, Attempt(1, 1.0, 2.0), finished=2.0)
    parent = call("parent", 0.0, Attempt(1, 5.0, 6.0), finished=6.0, run=2)
    nowhere = call("nowhere", 3.0, Attempt(1, 3.5, 4.0), finished=4.0, parent=parent)
    before = call("before", 0.5, Attempt(1, 0.75, 0.9), finished=0.9, after=[parent])
    dropped = call("dropped", 0.0, finished=6.0, after=[parent, gone], state=State.CANCELLED)
    instant = call("instant", 5.5, Attempt(1, 5.5, 5.5), finished=5.5, after=[dropped], parent=parent)
    trace = trace_of(history_of(parent, nowhere, before, dropped, instant))
    check_trace(trace)
    assert ends_of_arrows(trace) == [
        ("dependency", "parent", "dropped waits"),
        ("dependency", "dropped waits", "instant"),
        ("parent", "parent", "instant"),
    ]


def test_more_wait_than_anybody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a bound to lanes for waiting; how many were left out is said, and they are counted."""
    monkeypatch.setattr(tracing, "MOST_WAITING", 3)
    waiting = [call(f"w{n}", 0.0, finished=1.0 + n, state=State.CANCELLED) for n in range(5)]
    child = call("child", 0.5, Attempt(1, 8.0, 9.0), finished=9.0, after=[waiting[4]])
    trace = trace_of(history_of(*waiting, child))
    check_trace(trace)
    assert trace["otherData"]["waiting slices left out"] == 3
    assert max(one["args"]["pending"] for one in events_of(trace, "C")) == 6
    assert events_of(trace, "s") == []


@pytest.mark.parametrize("seed", range(20))
def test_any_history_makes_a_valid_trace(seed: int) -> None:
    """Whatever the times are, with many that are the same."""
    draw = random.Random(seed)
    calls: list[CallRecord] = []

    def later(when: float) -> float:
        return when + draw.choice([0.0, 0.0, 1e-7, 4e-7, 1e-6, 0.1, draw.random()])

    for n in range(100):
        when = submitted = later(draw.choice([0.0, 0.5, draw.random()]))
        attempts: list[Attempt] = []
        for number in range(1, draw.choice([1, 2, 2, 2, 4])):
            if attempts:
                attempts[-1].delay = 0.1
            started = later(when)
            when = later(started)
            attempts.append(Attempt(number, started, when))
        finished = draw.choice([None, later(when), when])
        if attempts and draw.random() < 0.2:
            attempts[-1].ended = None
        calls.append(
            call(
                f"k{n}",
                submitted,
                *attempts,
                finished=finished,
                run=draw.choice([1, 2]),
                after=draw.sample(calls, min(len(calls), draw.choice([0, 1, 3]))),
                parent=draw.choice([None, *calls[-3:]]),
            )
        )
    ended = max(*(later(one.finished or 0.0) for one in calls), 4.0)
    check_trace(trace_of(history_of(*calls, ended=ended)))


def test_odd_keys_are_valid_json() -> None:
    """Half a character is escaped, and a slice has a name always."""
    odd = call("\ud800\n\x1b", 0.0, Attempt(1, 1.0, 2.0), finished=2.0)
    none = call("", 0.0, Attempt(1, 1.0, 2.0), finished=2.0)
    trace = trace_of(history_of(odd, none))
    check_trace(trace)
    text = json.dumps(trace)
    assert "\\ud800" not in text.replace("\\\\ud800", "")
    assert "(no name)" in text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It writes the file, and says where it is looked at; an empty history is a trace, too."""
    events, output = tmp_path / "events.jsonl", tmp_path / "trace.json"
    EventLog(events).close()
    assert main(["trace", str(events), "-o", str(output)]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"{output}: 0 calls of 0 runs; open it at ui.perfetto.dev\n")
    check_trace(json.loads(output.read_text("ascii")))
    for more, words in ((1, "1 call"), (2, "2 calls")):
        with EventLog(events) as log:
            log.runner_started(RunnerEvent("r", 0.0, run=1))
            for n in range(200 + more):
                log.call_submitted(CallEvent(n, 0.0, State.PENDING, run=1, call=n))
            log.runner_closed(RunnerEvent("r", 1.0, run=1))
        assert main(["trace", str(events), "-o", str(output)]) == 0
        err = capsys.readouterr().err
        assert err.startswith(f"of {words} the waiting is not shown: more than 200")
        assert err.endswith(f"{200 + more} calls of 1 run; open it at ui.perfetto.dev\n")
        check_trace(json.loads(output.read_text("ascii")))


def test_bad_input_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence and 2; nothing is overwritten that should not be."""
    events, rubbish = tmp_path / "events.jsonl", tmp_path / "rubbish"
    EventLog(events).close()
    rubbish.write_text("rubbish\n")
    before = events.read_text("ascii")
    for file, output, sentence in (
        (events, tmp_path, "is a directory"),
        (events, tmp_path / "none" / "x", "no such file or directory"),
        (events, "/dev/full", "no space left on device"),
        (events, events, "it would overwrite what is read"),
        (rubbish, tmp_path / "new", "rubbish, line 1: no JSON"),
        (tmp_path / "none", tmp_path / "new", "no such file or directory"),
    ):
        assert main(["trace", str(file), "--output", str(output)]) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1
    assert main(["trace", str(events)]) == 2
    assert "requires an argument" in capsys.readouterr().err
    assert (events.read_text("ascii"), (tmp_path / "new").exists()) == (before, False)
