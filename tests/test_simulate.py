"""Simulations: what has been measured comes out again, and what would have been elsewise is right."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import anyio
import pytest

from creche import ConcurrentTaskRunner, Retry
from creche.afterwards._simulate import NothingToReplay, UnknownLimit, simulate
from creche.instruments import EventLog, History, read_history
from recording import (
    SHAPES,
    Body,
    events,
    fan_out,
    holds_and_waits,
    in_time,
    limited,
    nested,
    record,
    started,
    written,
)

WORKERS = [1, 2, 7, None]


def seconds(history: History, workers: int, **limits: int) -> float:
    """The makespan with so many workers."""
    (row,) = simulate(history, [workers], limits).rows
    assert row.seconds is not None
    return row.seconds


@pytest.mark.parametrize(("loop", "workers"), [*(("trio", n) for n in WORKERS), ("asyncio", 2)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_run_as_it_was(shape: str, workers: int | None, loop: str, tmp_path: Path) -> None:
    """Replayed with its own limits, a run takes as long as it took, within 5 %."""
    history = record(tmp_path / "log", SHAPES[shape], loop, max_workers=workers, limits={"db": 2})
    found = simulate(history, [], {})
    assert found.own.seconds == pytest.approx(found.measured, rel=0.05)
    assert found.critical.seconds is not None
    assert found.critical.seconds <= found.measured + 1e-6
    assert workers is None or found.own.most <= workers
    assert not any("compare the rows" in note for note in found.notes)


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    """Any dependencies, on any number of workers: both the replay and another number are exact."""
    draw = random.Random(seed)
    parents = [[other for other in range(n) if draw.random() < 2 / n] for n in range(1, 40)]
    sleeps = [draw.choice([0.25, 1, 2, 7.5]) for _ in parents]

    async def body(runner: ConcurrentTaskRunner) -> None:
        for n, (after, length) in enumerate(zip(parents, sleeps, strict=True)):
            runner.submit_nowait(n, anyio.sleep, length, after=[one for one in after if one < n])

    history = record(tmp_path / "few", body, max_workers=2)
    more = record(tmp_path / "more", body, max_workers=5)
    found = simulate(history, [5], {})
    assert found.own.seconds == pytest.approx(found.measured, rel=0.05)
    # Which of two that end at once is seen first is the loop's to choose, so not exactly.
    assert found.rows[0].seconds == pytest.approx(simulate(more, [], {}).measured, rel=0.25)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_another_number_of_workers(workers: int, tmp_path: Path) -> None:
    """What was run with three is foretold for others as it is when it is run with those."""
    history = record(tmp_path / "three", fan_out, max_workers=3)
    other = simulate(record(tmp_path / "other", fan_out, max_workers=workers), [], {}).measured
    assert seconds(history, workers) == pytest.approx(other, rel=0.05)


def test_nested_calls_lend_their_places(tmp_path: Path) -> None:
    """With one worker the sum of all own times, and no more: who waits for calls has lent its place."""
    history = record(tmp_path / "log", nested, max_workers=4)
    assert seconds(history, 1) == pytest.approx(1.5 * 26)
    assert seconds(history, 1000) == pytest.approx(4.5)


def test_limits(tmp_path: Path) -> None:
    """They hold, and may be asked for in another size."""
    history = record(tmp_path / "log", limited, limits={"db": 1})
    found = simulate(history, [20], {})
    assert found.own.seconds == found.rows[0].seconds == 12
    assert seconds(history, 20, db=2) == 7
    assert seconds(history, 20, db=6) == 3
    with pytest.raises(UnknownLimit, match="no limit 'nosuch' in it; there are: db"):
        simulate(history, [2], {"nosuch": 3})


def test_the_critical_path(tmp_path: Path) -> None:
    """The calls that each began because the one before had ended, also across waits in bodies."""

    async def body(runner: ConcurrentTaskRunner) -> None:
        async def outer() -> None:
            await anyio.sleep(1)
            await runner.submit_nowait("inner", anyio.sleep, 5)
            await anyio.sleep(1)

        runner.submit_nowait("short", anyio.sleep, 2)
        slot = runner.submit_nowait("outer", outer)
        await slot
        await anyio.sleep(3)
        await runner.submit_nowait("last", anyio.sleep, 1)

    found = simulate(record(tmp_path / "log", body, max_workers=1), [4], {})
    assert found.critical.path == ("inner", "outer", "last")
    assert found.critical.seconds == 11


def test_a_body_that_works_before_it_waits(tmp_path: Path) -> None:
    """While others wait for a place, whoever has one works with it."""

    async def body(runner: ConcurrentTaskRunner) -> None:
        async def outer() -> None:
            slot = runner.submit_nowait("inner", anyio.sleep, 2)
            await anyio.sleep(10)
            await slot

        runner.submit_nowait("outer", outer)
        runner.submit_nowait("beside", anyio.sleep, 1)

    found = simulate(record(tmp_path / "log", body, max_workers=1), [2], {})
    assert found.measured == found.own.seconds == 13


def test_map_pulls_as_there_is_room(tmp_path: Path) -> None:
    """An item of `map` waited for room, not for the call that made it."""
    calls = in_time(
        events("a", 0.0, 0.0, 4.0, pulled=True),
        events("b", 4.00002, 4.0001, 8.0, pulled=True),
        events("c", 8.00002, 8.0001, 12.0, pulled=True),
    )
    history = written(tmp_path / "log", started(max_workers=1), *calls)
    found = simulate(history, [3], {})
    assert found.own.seconds == pytest.approx(12, rel=0.01)
    assert found.rows[0].seconds == pytest.approx(4, rel=0.01)


def test_a_map_in_a_call(tmp_path: Path) -> None:
    """With more places more of its items are at work at once; whoever mapped waits for the last one."""

    async def body(runner: ConcurrentTaskRunner) -> None:
        async def maps() -> None:
            await runner.map(anyio.sleep, [4, 4, 4])

        await runner.submit_nowait("maps", maps)

    found = simulate(record(tmp_path / "log", body, max_workers=1), [3], {})
    assert found.own.seconds == pytest.approx(12, rel=0.01)
    assert found.rows[0].seconds == pytest.approx(4, rel=0.01)


def test_retries(tmp_path: Path) -> None:
    """The attempts and what is between them are replayed; a place is free between two."""
    base = {"run": 1, "key": "flaky", "place": "loop", "state": "RUNNING"}
    tries = [
        {"event": "call_submitted", "time": 0.0, **base},
        {"event": "call_admitted", "time": 0.0, **base},
        {"event": "call_started", "time": 0.0, **base},
        {"event": "call_retrying", "time": 1.0, "delay": 10.0, **base},
        {"event": "call_started", "time": 11.0, "attempt": 2, **base},
        {"event": "call_finished", "time": 13.0, **base, "state": "COMPLETED"},
    ]
    other = events("other", 0.0, 1.0, 9.0)
    last = events("last", 0.0, 13.0, 14.0, after=["flaky"])
    history = written(tmp_path / "log", started(max_workers=1), *in_time(tries, other, last))
    found = simulate(history, [2], {})
    assert found.own.seconds == found.measured == found.rows[0].seconds == 14
    assert found.critical.path == ("flaky", "last")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("workers", [1, 3])
def test_further_attempts_come_before_calls_that_wait(seed: int, workers: int, tmp_path: Path) -> None:
    """As in the run itself, so that calls of random length that are tried again are replayed exactly."""
    draw = random.Random(seed)
    failed: Counter[int] = Counter()

    async def flaky(n: int, length: float) -> None:
        await anyio.sleep(length)
        failed[n] += 1
        if failed[n] < 3:
            raise LookupError

    async def body(runner: ConcurrentTaskRunner) -> None:
        policy = Retry(3, delay=0.5, jitter="none")
        for n in range(14):
            runner.submit_nowait(n, flaky, n, draw.uniform(0.1, 2), retry=policy)

    history = record(tmp_path / "log", body, max_workers=workers)
    found = simulate(history, [], {})
    assert found.own.seconds == pytest.approx(found.measured)


def test_a_plain_call_needs_a_thread(tmp_path: Path) -> None:
    """Without a number of workers there are forty threads; one that waits for calls lends its own."""
    calls = [events(f"{n}", 0.0, 0.0, 10.0, place="thread") for n in range(50)]
    for call in calls:
        for event in call:
            event["place"] = "thread"
    inner = events("inner", 0.0, 0.0, 8.0, parent={"run": 1, "key": "0"})
    inner[0]["time"] = 0.0
    history = written(tmp_path / "log", started(), *in_time(*calls, inner))
    found = simulate(history, [], {})
    assert found.own.seconds == 20
    assert found.critical.seconds == 10


def test_a_log_that_was_cut(tmp_path: Path) -> None:
    """What had not ended counts up to the last event, what had not begun is left out; both are said."""
    calls = in_time(events("a", 0.0, 0.0, 3.0), events("b", 0.0, 0.0, 9.0), events("c", 0.0, 9.0, 9.0))
    cut = [event for event in calls if event["time"] < 9]
    history = written(tmp_path / "log", started(max_workers=2), *cut)
    found = simulate(history, [2], {})
    assert found.measured == found.own.seconds == 3
    assert found.calls == 2
    assert found.notes == (
        "the file ends before its run does, which may have been killed",
        "1 call had not ended: taken to have ended with the last event",
        "1 call never began, and is left out",
    )


def test_nothing_to_replay(tmp_path: Path) -> None:
    """A run without a call that has ended tells nothing."""
    history = written(tmp_path / "log", started(), *events("a", 0.0, 0.0, 1.0)[:3])
    with pytest.raises(NothingToReplay, match="no call of it has finished"):
        simulate(history, [2], {})


def test_runs_one_after_another(tmp_path: Path) -> None:
    """Their times are added up, and what was between them does not count."""
    first = events("a", 0.0, 0.0, 2.0)
    second = [{**event, "run": 2} for event in events("b", 0.0, 0.0, 3.0)]
    closed = {"event": "runner_closed", "run": 1, "time": 2.0}
    begins = {**started(), "run": 2, "wall": 1000.0}
    history = written(tmp_path / "log", started(), *first, closed, begins, *second)
    found = simulate(history, [1], {})
    assert found.measured == found.own.seconds == 5
    assert found.critical.path == ("a", "b")
    assert any("2 runs one after another" in note for note in found.notes)


def test_runs_beside_each_other(tmp_path: Path) -> None:
    """A call of one run may submit to the other; both get the workers that are asked for."""
    first = events("outer", 0.0, 0.0, 6.0)
    inner = [
        {**event, "run": 2}
        for event in events("inner", 1.0, 1.0, 5.0, parent={"run": 1, "key": "outer"})
    ]
    begins = {**started(), "run": 2, "time": 0.5, "wall": 0.5}
    both = in_time([begins], first, inner)
    history = written(tmp_path / "log", started(), *both)
    found = simulate(history, [1], {})
    assert found.own.seconds == found.rows[0].seconds == 6
    assert found.critical.path == ("inner", "outer")
    assert any("runs overlap" in note for note in found.notes)


def test_what_would_never_end(tmp_path: Path) -> None:
    """A call that holds a limit, and waits for another one that needs it, waits for ever."""
    history = record(tmp_path / "log", holds_and_waits, limits={"db": 2})
    found = simulate(history, [3], {"db": 1})
    assert found.rows[0].seconds is None
    assert "never end" in str(found.rows[0].stuck)
    assert found.verdict == "That cannot be said: the replay with db=1 never ends."


async def four(runner: ConcurrentTaskRunner) -> None:
    """Of equal length."""
    for n in range(4):
        runner.submit_nowait(n, anyio.sleep, 1)


VERDICTS: list[tuple[Body, int | None, list[int], dict[str, int], str]] = [
    (fan_out, 3, [6, 30], {}, "Yes, with 30 workers 9.000 s instead of"),
    (fan_out, 3, [30], {}, "less; still more would not help."),
    (fan_out, 3, [6], {}, "Yes, with 6 workers"),
    (fan_out, 3, [2], {}, "Yes, with no limit of workers 9.000 s"),
    (fan_out, 50, [60], {}, "No, more workers would not have helped; its calls wait for each other"),
    (limited, 8, [9], {}, "No, more workers would not have helped; the limits"),
    (fan_out, None, [3], {}, "no limit of workers, and at most 20 calls ran at once: more workers"),
    (nested, 17, [], {}, "Yes, with 34 workers"),
    (limited, 1, [9], {"db": 6}, "Yes, with 9 workers and db=6"),
    (four, 2, [3], {}, "Not with 3 workers; without a limit of workers 1.000 s instead of 2.000 s"),
]


@pytest.mark.parametrize(("body", "workers", "asked", "limits", "says"), VERDICTS)
def test_the_sentence(
    body: Body,
    workers: int | None,
    asked: list[int],
    limits: dict[str, int],
    says: str,
    tmp_path: Path,
) -> None:
    """It answers whether more workers would have helped, and says why not."""
    history = record(tmp_path / "log", body, max_workers=workers, limits={"db": 1})
    assert says in simulate(history, asked, limits).verdict


@pytest.mark.slow
def test_real_time(tmp_path: Path) -> None:
    """A run on the real clock, with all that a loop adds, is reproduced too.

    On a machine that stands still now and then, one of some runs is one in which it did not.
    """
    assert any(_misses(tmp_path / str(n)) < 0.05 for n in range(8))


def _misses(path: Path) -> float:
    """By how much of what was measured, that which is found misses it."""

    async def main() -> None:
        async with ConcurrentTaskRunner(max_workers=3, instruments=[log]).start() as runner:

            async def outer(n: int) -> None:
                slots = [runner.submit_nowait((n, m), anyio.sleep, 0.1) for m in range(3)]
                for slot in slots:
                    await slot
                await anyio.sleep(0.05)

            for n in range(4):
                runner.submit_nowait(n, outer, n)

    with EventLog(path) as log:
        anyio.run(main, backend="trio")
    found = simulate(read_history(path), [1000], {})
    assert found.own.seconds is not None
    assert found.measured > 0.4
    return abs(found.own.seconds / found.measured - 1)
