"""Simulations of what is decided by more than places: rates, priorities, ageing, nested calls, retries.

Forests of calls that only sleep, for times of which no two are the same, are run in virtual time and
replayed with the run's own numbers: the makespan has to come out, and not only about so.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from creche import ConcurrentTaskRunner, Limit, Rate, Retry
from creche.afterwards._simulate import Simulation, simulate
from recording import events, in_time, record, started, written

# Of the time measured: times in the file are rounded to a millionth of a second.
ROUNDING = 1e-5
POLICY = Retry(3, delay=0.37, jitter="none")


class Plan(NamedTuple):
    """Of one call: what it is submitted with, how often it fails, its sleeps, and what it submits."""

    wishes: dict[str, Any]
    fails: int
    sleeps: list[float]
    below: list[Plan]


class Forest:
    """Calls of random lengths, and a runner's options, with as much of each rule as is asked for."""

    def __init__(self, seed: int, rules: str) -> None:
        self._draw = random.Random(seed)
        self._rules = rules.split()
        self._failed: Counter[str] = Counter()
        depth = 2 if "nested" in self._rules else 0
        self._plans = [self._plan(depth) for _ in range(4 if depth else 16)]
        self.options: dict[str, Any] = {"max_workers": self._draw.choice([1, 2, 3, 5])}
        if "rate" in self._rules:
            self.options["rate"] = Rate(self._draw.choice([1, 2, 3]), 1.7, self._draw.choice([1, 3]))
        if "ageing" in self._rules:
            self.options["ageing"] = self._draw.uniform(0.5, 3)
        if "limits" in self._rules:
            rate = Rate(self._draw.choice([1, 2, 5]), 2.3, self._draw.choice([1, 2]))
            self.options["limits"] = {"db": 2, "api": rate, "both": Limit(2, rate)}

    def _plan(self, depth: int) -> Plan:
        draw, wishes, fails = self._draw, dict[str, Any](), 0
        if "priorities" in self._rules:
            wishes["priority"] = draw.choice([0, 0, -1, 1, 2.5])
        if depth:  # without limits: what it waits for may need them
            below = [self._plan(depth - 1) for _ in range(draw.choice([1, 2, 3]))]
            return Plan(wishes, 0, [draw.uniform(0.1, 3), draw.uniform(0.1, 3)], below)
        if "limits" in self._rules:
            wishes["limits"] = draw.choice([[], ["db"], ["api"], ["both"], ["db", "api"]])
        if "retries" in self._rules:
            fails, wishes["retry"] = draw.choice([0, 0, 1, 2]), POLICY
        return Plan(wishes, fails, [draw.uniform(0.1, 3)], [])

    def _submit(self, runner: ConcurrentTaskRunner, key: str, plan: Plan) -> Any:
        return runner.submit_nowait(key, self._follow, runner, key, plan, **plan.wishes)

    async def _follow(self, runner: ConcurrentTaskRunner, key: str, plan: Plan) -> None:
        await anyio.sleep(plan.sleeps[0])
        self._failed[key] += 1
        if self._failed[key] <= plan.fails:
            raise LookupError
        slots = [self._submit(runner, f"{key}.{n}", one) for n, one in enumerate(plan.below)]
        for slot in slots:
            await slot
        for seconds in plan.sleeps[1:]:
            await anyio.sleep(seconds)

    async def body(self, runner: ConcurrentTaskRunner) -> None:
        """Submits them, some together and some later."""
        for number, plan in enumerate(self._plans):
            self._submit(runner, str(number), plan)
            if number % 3 == 2:
                await anyio.sleep(0.31)


def replayed(path: Path, seed: int, rules: str, loop: str = "trio") -> Simulation:
    """A forest, run and replayed as it was."""
    forest = Forest(seed, rules)
    return simulate(record(path, forest.body, loop, **forest.options), [], {})


RULES = [
    "rate",
    "limits",
    "rate limits",
    "priorities",
    "priorities ageing",
    "rate limits priorities ageing",
    "retries",
    "retries rate",
    "retries limits priorities ageing",
    "nested",
    "nested limits",
    "nested rate",
    "nested priorities ageing",
    "nested rate limits priorities ageing",
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rules", RULES)
def test_the_run_as_it_was(rules: str, seed: int, tmp_path: Path) -> None:
    """What the runner has decided by these rules, it decides again, whichever loop it was on."""
    found = replayed(tmp_path / "log", seed, rules, ["trio", "asyncio"][seed])
    assert found.own.seconds == pytest.approx(found.measured, rel=ROUNDING)
    assert found.notes == ()


@pytest.mark.parametrize("rules", ["nested retries", "nested retries rate limits priorities"])
def test_nested_calls_and_retries(rules: str, tmp_path: Path) -> None:
    """A call that was waiting while attempts came back: when it lent its place is inferred."""
    for seed in range(2):
        found = replayed(tmp_path / f"log{seed}", seed, rules)
        assert found.own.seconds == pytest.approx(found.measured, rel=0.05), seed


@pytest.mark.parametrize("rules", ["rate limits priorities ageing", "retries rate"])
def test_another_number_of_workers(rules: str, tmp_path: Path) -> None:
    """Is foretold with the same rules, to what it is when it is run with that number."""
    forest = Forest(0, rules)
    forest.options["max_workers"] = 2
    (row,) = simulate(record(tmp_path / "two", forest.body, **forest.options), [4], {}).rows
    other = Forest(0, rules)
    other.options["max_workers"] = 4
    four = simulate(record(tmp_path / "four", other.body, **other.options), [], {})
    assert row.seconds == pytest.approx(four.measured, rel=ROUNDING)


def test_the_same_result_always(tmp_path: Path) -> None:
    """Of what is due at one time, what was first in the file is first."""

    async def body(runner: ConcurrentTaskRunner) -> None:
        async def outer(n: int) -> None:
            await anyio.sleep(1)
            slots = [runner.submit_nowait((n, m), anyio.sleep, 1 + m % 2) for m in range(3)]
            for slot in slots:
                await slot
            await anyio.sleep(1 + n % 3)

        for n in range(8):
            runner.submit_nowait(n, outer, n)

    history = record(tmp_path / "log", body, max_workers=3)
    found = [simulate(history, [2, 4], {}) for _ in range(4)]
    assert found[0].own.seconds == found[0].measured
    assert all(one.own == found[0].own for one in found)


async def ten(runner: ConcurrentTaskRunner) -> None:
    """Of half a second each."""
    for n in range(10):
        runner.submit_nowait(n, anyio.sleep, 0.5, limits=["api"] if n % 2 else [])


API = {"api": Rate(1, per=4)}


def test_a_rate_is_no_matter_of_workers(tmp_path: Path) -> None:
    """It holds with any number of them; the critical path knows none, and the answer says what it is."""
    history = record(tmp_path / "log", ten, max_workers=2, rate=Rate(1, per=3), limits={"api": 9})
    found = simulate(history, [20], {})
    assert found.measured == found.own.seconds == found.free.seconds == 27.5
    assert found.rows[0].seconds == 27.5
    assert found.critical.seconds == 0.5
    assert "the limits and the rates are what holds it up" in found.verdict
    history = record(tmp_path / "other", ten, max_workers=2, limits=API)
    assert "the limits and the rates are" in simulate(history, [20], {}).verdict


def test_a_limit_of_another_size_keeps_its_rate(tmp_path: Path) -> None:
    """A size is what is asked for, and not another rate."""
    history = record(tmp_path / "log", ten, max_workers=9, limits={"api": Limit(1, Rate(1, per=4))})
    found = simulate(history, [20], {"api": 3})
    assert found.own.seconds == found.base.seconds == found.rows[0].seconds == 16.5


def test_priorities_without_an_end(tmp_path: Path) -> None:
    """They are in the file as the largest number, and come before all others."""

    async def body(runner: ConcurrentTaskRunner) -> None:
        runner.submit_nowait("first", anyio.sleep, 1)
        runner.submit_nowait("last", anyio.sleep, 9, priority=-float("inf"))
        runner.submit_nowait("usual", anyio.sleep, 3, priority=10**400)
        runner.submit_nowait("next", anyio.sleep, 5, priority=float("inf"))

    history = record(tmp_path / "log", body, max_workers=1)
    assert [call.priority for call in history.calls] == [0, -float("inf"), float("inf"), float("inf")]
    assert simulate(history, [], {}).own.seconds == 18


def test_a_limit_of_which_nothing_is_known(tmp_path: Path) -> None:
    """As in a file without rates: it is said, and a size may be asked for."""
    calls = in_time(*(events(f"{n}", 0.0, 2.0 * n, 2.0 * n + 1, limits=["api"]) for n in range(3)))
    history = written(tmp_path / "log", started(limits={"api": None}), *calls)
    found = simulate(history, [9], {})
    assert found.own.seconds == 1
    assert any("limit 'api' has no size in the file, nor a rate" in note for note in found.notes)
    assert any("compare the rows with each other" in note for note in found.notes)
    sized = simulate(history, [9], {"api": 1})
    assert sized.rows[0].seconds == 3
    assert not any("rate" in note for note in sized.notes)


def test_a_limit_that_had_no_token_yet(tmp_path: Path) -> None:
    """A limiter object may have none when the run begins: it is taken to have one."""
    calls = in_time(*(events(f"{n}", 0.0, float(n), n + 1.0, limits=["db"]) for n in range(3)))
    history = written(tmp_path / "log", started(limits={"db": 0}), *calls)
    assert simulate(history, [9], {}).own.seconds == 3


def test_without_a_number_of_workers(tmp_path: Path) -> None:
    """There is nothing to ask but the limits and rates, and they are what it takes."""
    found = simulate(record(tmp_path / "log", ten, rate=2, limits=API), [1], {})
    assert found.own.seconds == found.measured == 17
    assert "There was no limit of workers" in found.verdict
