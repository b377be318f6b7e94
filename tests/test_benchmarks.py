"""The contenders of the benchmarks, each once and small: what they give is right, and who they are.

No time is looked at: a benchmark is no test.
"""

from __future__ import annotations

import gc
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.lowlevel
import bounding
import cancel_one
import cancelling
import fresh
import growth
import holding
import instructions
import latency
import memory
import parts
import pytest
import round_trips
import submitting
import through_threads
import timing
from aims import AIMS
from ancestor import Ancestor
from bodies import PASS, Contender, Counting, Read, keys_of
from event_loops import FAMILY, LOOPS, run_on
from rounds import Experiment, carry_out
from workloads import WORKLOADS, Choice, experiments

from creche import ConcurrentTaskRunner
from examples import count_code

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parent / "benchmarks"

TABLES: dict[str, Any] = {
    "W1": submitting.CONTENDERS,
    "W3": bounding.CONTENDERS,
    "W4": through_threads.CONTENDERS,
    "W5": cancelling.CONTENDERS,
    "parts": parts.CONTENDERS,
    "W2": round_trips.CONTENDERS,
    "W5-one": cancel_one.CONTENDERS,
    "W6": holding.CONTENDERS,
}


def everyone(*workloads: str) -> pytest.MarkDecorator:
    """A case for each contender of these workloads, on each loop."""
    return pytest.mark.parametrize(
        ("loop", "name", "contender"),
        [
            pytest.param(loop, name, contender, id=f"{workload}-{loop}-{name}")
            for workload in workloads
            for loop in LOOPS
            for name, contender in TABLES[workload][FAMILY[loop]].items()
        ],
    )


@everyone("W1", "W3", "W4", "W5", "parts")
def test_each_contender_does_its_work(loop: str, name: str, contender: Contender) -> None:
    """With more calls than may run at once; what it gives is checked, and times are given."""
    sample = timing.timed(name, contender, loop, 130)
    assert sample["wall"] > 0
    assert set(sample) == {"cpu", "wall"}


@everyone("W2")
def test_each_round_trip_comes_back(loop: str, name: str, contender: round_trips.Opener) -> None:
    """With its own key."""
    keys = keys_of(latency.WARM + 5)
    sample = latency.take_trips(name, contender, loop, keys)
    assert 0 < sample["p50"] <= sample["p99"]


@everyone("W5-one")
def test_each_cancels_one_among_many(loop: str, name: str, contender: cancel_one.Opener) -> None:
    """And sees that it was cancelled; the others are gone at the end."""
    victims = latency.some_of(latency.WARM + 20, latency.WARM + 5)
    assert len(set(victims)) == len(victims)
    sample = latency.take_trips(name, lambda: contender(latency.WARM + 20), loop, victims)
    assert 0 < sample["p50"] <= sample["p99"]


@everyone("W6")
def test_each_holds_its_calls(loop: str, name: str, contender: holding.Holder) -> None:
    """It is counted before, while they wait and afterwards; it looks itself at what they gave."""
    taken: list[str] = []

    def counted_so_far() -> list[str]:
        return taken

    run_on(loop, lambda: contender(list(keys_of(130)), taken.append))
    assert counted_so_far() == ["before", "pending", "retained"]


@pytest.mark.parametrize("loop", LOOPS)
def test_at_most_100_at_once(loop: str) -> None:
    """Everybody in W3 keeps to it, and comes near it."""

    def watched(peaks: dict[str, int], name: str) -> Callable[[int], Any]:
        running: Counter[str] = Counter()

        async def call(key: int) -> int:
            running[name] += 1
            peaks[name] = max(peaks.get(name, 0), running[name])
            await anyio.lowlevel.checkpoint()
            running[name] -= 1
            return key

        return call

    peaks: dict[str, int] = {}
    names = list(bounding.CONTENDERS[FAMILY[loop]])
    for name in names:
        contender = bounding.contenders(FAMILY[loop], watched(peaks, name))[name]
        timing.timed(name, contender, loop, 500)
    assert list(peaks) == names
    assert all(peak <= bounding.AT_ONCE for peak in peaks.values())


@pytest.mark.parametrize("gave", [[1, 2], [1, 2, 2], [2, 1, 3], [1, 2, 3, 4]])
def test_a_wrong_result_ends_the_run(gave: list[int]) -> None:
    """One too few, the wrong one, another order, one too many."""

    async def wrong(n: int) -> Read:
        return lambda: gave

    with pytest.raises(RuntimeError, match="cheat has not done what was to be done 3 times"):
        timing.timed("cheat", wrong, "trio", 3)


def test_the_collector_is_off_meanwhile() -> None:
    """And on again, also after an error; on request it stays on."""
    was: list[bool] = []

    async def look(n: int) -> Read:
        was.append(gc.isenabled())
        return lambda: [] if len(was) == 1 else keys_of(n)

    with pytest.raises(RuntimeError):
        timing.timed("look", look, "trio", 1)
    timing.timed("look", look, "trio", 1)
    timing.timed("look", look, "trio", 1, collect=True)
    assert was == [False, False, True]
    assert gc.isenabled()


def test_a_round_trip_that_gets_lost_ends_the_run() -> None:
    """What comes back is the key."""
    opened = round_trips.awaited_directly(lambda key: anyio.lowlevel.checkpoint())  # type: ignore[arg-type,return-value]  # a contender that does nothing
    with pytest.raises(RuntimeError, match="came back with something else"):
        latency.take_trips("lost", opened, "trio", keys_of(latency.WARM + 1))


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (1, 1), (50, 50), (50.1, 51), (99, 99), (99.5, 100), (100, 100)]
)
def test_percentiles(percent: float, value: float) -> None:
    """By the nearest rank."""
    assert latency.percentile(list(range(1, 101)), percent) == value
    assert latency.percentile([7], percent) == 7


def test_the_counting_instrument_hears_everything() -> None:
    """Four events for each call."""
    counting = Counting()
    contender = submitting.creche(PASS["trio"], instruments=(counting,))
    timing.timed("counting", contender, "trio", 10)
    assert counting.heard == 40
    assert ConcurrentTaskRunner(instruments=[counting]) is not None  # type: ignore[list-item]  # it hears some events only


def test_the_ancestor_is_short_and_has_its_faults() -> None:
    """Eighty lines; what a call raised comes back as a value, and a value that is false never."""
    source = (BENCHMARKS / "ancestor.py").read_text(encoding="utf-8")
    assert count_code(source) <= 80

    async def fail() -> None:
        raise ValueError("wrong")

    async def main() -> list[object]:
        async with Ancestor().start() as runner:
            await runner.submit("false", anyio.lowlevel.checkpoint)
            await runner.submit("fails", fail)
            return [await runner.wait("false", timeout=0.01), await runner.wait("fails")]

    false, failed = run_on("trio", main)
    assert false is None
    assert isinstance(failed, ValueError)


# Who is measured, and how often ------------------------------------------------------------------------


def by_name(choice: Choice) -> dict[tuple[str, str], Experiment]:
    return {(one.workload, one.loop): one for one in experiments(choice)}


@pytest.fixture
def valgrind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "is_there", lambda: True)


def test_quick_is_the_same_with_less(valgrind: None) -> None:
    """Workloads, contenders and measures are the same; only instructions have to be asked for."""
    full, quick = by_name(Choice()), by_name(Choice(quick=True))
    left_out = {name for name in set(full) - set(quick) if not name[0].endswith("-instructions")}
    assert not left_out
    assert set(quick) <= set(full)
    for name, one in quick.items():
        assert list(one.takers) == list(full[name].takers)
        assert one.units == full[name].units
        assert one.rounds < full[name].rounds or one.n < full[name].n
    named = by_name(Choice(("instructions",), quick=True))
    assert {"W1-instructions", "W3-instructions"} == {name for name, _ in named}


def test_every_aim_can_be_reached() -> None:
    """Its contenders and its measure are those of an experiment on that loop."""
    full = by_name(Choice())
    for aim in AIMS:
        for loop, (peer, at_most) in aim.against.items():
            experiment = full[aim.workload, loop]
            assert aim.ours in experiment.takers
            assert peer is None or peer in experiment.takers
            assert aim.measure in experiment.units
            assert 0 < at_most < math.inf


def test_ours_is_among_the_contenders(valgrind: None) -> None:
    """And names are not used for two things."""
    made = list(experiments(Choice()))
    assert all(one.ours in one.takers for one in made)
    assert len({(one.workload, one.loop, one.n) for one in made}) == len(made)


def test_a_round_has_everyone_in_shuffled_order() -> None:
    """Once each; the first round does not count, and the same seed shuffles the same."""
    ran: list[str] = []

    def taker(name: str) -> Callable[[], dict[str, float]]:
        def take() -> dict[str, float]:
            ran.append(name)
            return {"cpu": float(len(ran))}

        return take

    experiment = Experiment("W0", "nothing", "", 1, {"cpu": "runs"}, {n: taker(n) for n in "abcde"}, 4)
    series = carry_out(experiment, random.Random(1))
    first = list(ran)
    assert len(ran) == 25
    assert [sorted(one) for one in series.rounds] == [list("abcde")] * 4
    assert series.rounds[0] == {name: {"cpu": at} for at, name in enumerate(ran[5:10], 6)}
    assert len({tuple(one) for one in series.rounds}) > 1
    ran.clear()
    carry_out(experiment, random.Random(1))
    assert ran == first


# In a process of its own -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "arguments", "measures"),
    [
        *(
            ("held", ("TaskGroup + dict", "asyncio", 2000, "rss"), {"pending_rss", "retained_rss"})
            for meter in memory.METERS
            if meter == "rss"
        ),
        ("held", ("creche, at most 100", "trio", 2000, "tracemalloc"), {"pending", "retained"}),
        ("grown", ("creche", "trio", 10, False), set(growth.UNITS)),
        ("once", ("W3", "creche map", "asyncio", 200), {"cpu", "wall"}),
    ],
)
def test_a_sample_of_a_fresh_process(what: str, arguments: tuple[Any, ...], measures: set[str]) -> None:
    """It comes back as it was taken there."""
    sample = fresh.take_fresh(what, *arguments)
    assert set(sample) == measures
    assert sample.get("pending", 100) > 50


def test_a_fresh_process_that_fails() -> None:
    """What it said is in the error."""
    with pytest.raises(RuntimeError, match="KeyError: 'nobody'"):
        fresh.take_fresh("held", "nobody", "trio", 1, "tracemalloc")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A valgrind for which a start takes a million instructions, and a call 250."""
    sizes: list[int] = []

    def pretend(arguments: list[str], before: list[str]) -> tuple[str, str]:
        assert before[0] == "valgrind"
        sizes.append(json.loads(arguments[2])[3])
        return "{}", f"==1== Events    : Ir\n==1== Collected : {1_000_000 + 250 * sizes[-1]}\n"

    monkeypatch.setattr(instructions, "run_fresh", pretend)
    return sizes


def test_instructions_are_a_slope(counted: list[int]) -> None:
    """What the start takes is not counted."""
    assert instructions.counted("W1", "creche", "trio") == {"instructions": 250}
    assert sorted(counted) == [instructions.FROM, instructions.TO]


def test_no_count_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A valgrind that says something else is not taken for none."""
    monkeypatch.setattr(instructions, "run_fresh", lambda *_: ("", "==1== out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        instructions.total("W1", "creche", "trio", 1)


def test_without_valgrind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is counted, and it is said why."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert list(WORKLOADS["instructions"](Choice())) == []
    assert "there is no valgrind on the path" in capsys.readouterr().out
