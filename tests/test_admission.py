"""Named limits and rates in the queue, against a list that is searched from end to end each time."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import give
from creche import Limit, Rate
from creche._call import Wishes, read_call
from creche._limits import Gate
from creche._queue import Queue
from creche._rates import Bucket
from creche._slot import Slot
from queues import cancel

NAMES = ("a", "b", "c")
PERIOD = 8


class Model:
    """What the queue promises, in the most obvious way."""

    def __init__(self, workers: int | None, sizes: dict[str, int], *, rated: bool, rate: bool) -> None:
        self.workers = math.inf if workers is None else workers
        self.sizes = sizes
        self.rated = {"c"} if rated else set[str]()
        self.has_rate = rate
        self.starts: dict[str | None, list[int]] = {name: [] for name in (*NAMES, None)}
        self.waiting: list[tuple[int, int, Slot[Any], frozenset[str]]] = []
        self.running: dict[Slot[Any], frozenset[str]] = {}
        # What is kept for the first call of those that need the same: it was passed over.
        self.kept: dict[frozenset[str], set[str]] = {}

    def first_ones(self) -> list[tuple[int, int, Slot[Any], frozenset[str]]]:
        found: dict[frozenset[str], tuple[int, int, Slot[Any], frozenset[str]]] = {}
        for it in sorted(self.waiting, key=lambda it: it[:2]):
            found.setdefault(it[3], it)
        return list(found.values())

    def is_due(self, name: str | None, now: int) -> bool:
        """One start in each period, and one more after a quiet time: a burst of 2."""
        tokens, last = Fraction(2), None
        for start in self.starts[name]:
            if last is not None:
                tokens = min(Fraction(2), tokens + Fraction(start - last, PERIOD))
            tokens, last = tokens - 1, start
        if last is not None:
            tokens = min(Fraction(2), tokens + Fraction(now - last, PERIOD))
        return tokens >= 1

    def is_short(self, name: str, now: int) -> bool:
        taken = sum(name in needs for needs in self.running.values())
        return taken >= self.sizes[name] or (name in self.rated and not self.is_due(name, now))

    def next(self, now: int) -> Slot[Any] | None:
        if len(self.running) >= self.workers or (self.has_rate and not self.is_due(None, now)):
            return None
        closed: set[str] = set()
        for it in self.first_ones():
            needs = it[3]
            lacking = {name for name in needs if name in closed or self.is_short(name, now)}
            if not lacking:
                self.waiting.remove(it)
                self.running[it[2]] = needs
                self.kept.pop(needs, None)
                for name in (*needs, None):
                    self.starts[name].append(now)
                return it[2]
            kept = self.kept.setdefault(needs, set())
            kept |= lacking
            closed |= kept
        return None

    def forget_empty(self) -> None:
        """What is kept goes with the last call that it was kept for."""
        there = {it[3] for it in self.waiting}
        self.kept = {needs: kept for needs, kept in self.kept.items() if needs in there}


def slot(key: Any, gates: tuple[Gate, ...] = ()) -> Slot[Any]:
    """A pending slot, as the queue sees it."""
    call = read_call(give, ())
    call.wishes = Wishes(gates=gates)
    return Slot(key, None, call)  # type: ignore  # the queue never asks for its home


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(-1, 1), st.frozensets(st.sampled_from(NAMES))),
        st.tuples(st.just("next"), st.just(0), st.just(frozenset[str]())),
        st.tuples(st.just("end"), st.integers(0, 50), st.just(frozenset[str]())),
        st.tuples(st.just("cancel"), st.integers(0, 50), st.just(frozenset[str]())),
        st.tuples(st.just("time"), st.integers(1, 9), st.just(frozenset[str]())),
        st.tuples(st.just("resize"), st.integers(1, 3), st.sampled_from(NAMES).map(lambda n: {n})),
    ),
    max_size=80,
)


@settings(max_examples=300)
@given(
    st.sampled_from([None, 1, 3]),
    st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)),
    st.booleans(),
    st.booleans(),
    STEPS,
)
def test_the_queue(
    workers: int | None,
    sizes: tuple[int, int, int],
    rated: bool,
    rate: bool,
    steps: list[tuple[str, int, Any]],
) -> None:
    """Each step gives the same as the model; in between, whatever can start is started."""
    a_rate = Rate(1, PERIOD, burst=2)
    model = Model(workers, dict(zip(NAMES, sizes, strict=True)), rated=rated, rate=rate)
    gates = {
        name: Gate(name, Limit(size, a_rate if name in model.rated else None))
        for name, size in model.sizes.items()
    }
    queue = Queue(workers, rate=a_rate if rate else None, gates=gates)
    now = 0
    for number, (step, value, names) in enumerate(steps):
        if step == "push":
            one = slot(number, queue.find_gates(number, names))
            queue.push(one, value, now)
            model.waiting.append((-value, number, one, names))
        elif step == "time":
            now += value
        elif step == "resize":
            (name,) = names
            model.sizes[name] = value
            gates[name].resize(value)
            queue.look_at(gates[name])
        elif step == "cancel" and model.waiting:
            one = model.waiting.pop(value % len(model.waiting))[2]
            cancel(queue, one)
        elif step == "end" and model.running:
            one = list(model.running)[value % len(model.running)]
            needs = model.running.pop(one)
            queue.end(one, queue.find_gates(None, needs))
            if queue.places is not None:
                queue.places.free()
        model.forget_empty()
        while True:
            expected = model.next(now)
            came = queue.next(now)
            assert (None if came is None else came[0]) is expected
            if expected is None:
                break
        assert len(queue) == len(model.waiting)
        _check_wake(queue, model, now)
    order = [it[2] for it in sorted(model.waiting, key=lambda it: it[:2])]
    assert queue.drop_all() == order
    assert len(queue) == 0


def _check_wake(queue: Queue, model: Model, now: int) -> None:
    """If time alone lets a call start, the queue has said when, and not too late."""
    if queue.wakes_at < math.inf:
        assert queue.wakes_at > now
    if not model.waiting or len(model.running) >= model.workers:
        return
    for later in range(now, now + 2 * PERIOD):
        if any(
            not any(model.is_short(name, later) for name in it[3]) for it in model.first_ones()[:1]
        ) and (not model.has_rate or model.is_due(None, later)):
            assert queue.wakes_at <= later
            return


@given(
    st.integers(1, 7),
    st.sampled_from([1.0, 0.1, 3.0, 60.0]),
    st.integers(1, 4),
    st.lists(st.floats(0, 5), max_size=40),
)
def test_a_bucket(starts: int, per: float, burst: int, pauses: list[float]) -> None:
    """Whoever always waits until it is due never gets more than the rate and the burst allow."""
    bucket = Bucket(Rate(starts, per, burst))
    now, times = 0.0, list[float]()
    for pause in pauses:
        now = max(now + pause, bucket.due())
        bucket.take(now)
        times.append(now)
    for n, first in enumerate(times):
        for m, last in enumerate(times[n:], 1):
            assert m <= burst + (last - first) * starts / per + 1e-6


def test_a_bucket_is_exact() -> None:
    """The thousandth start is where the first says that it is: nothing adds up."""
    bucket = Bucket(Rate(10, 1.0))
    now = 0.0
    bucket.take(now)
    for n in range(1, 1001):
        now = bucket.due()
        assert now == n / 10
        bucket.take(now)


def test_starts_are_evenly_spaced() -> None:
    """With a burst of 1 no stretch of a period sees more starts than it may."""
    bucket = Bucket(Rate(3, 1.0))
    times = [0.0]
    bucket.take(0.0)
    for _ in range(30):
        times.append(bucket.due())
        bucket.take(times[-1])
    assert all(b > a for a, b in pairwise(times))
    assert all(times[n + 3] - times[n] >= 1.0 - 1e-12 for n in range(len(times) - 3))


def test_many_lanes_do_not_cost_each_other() -> None:
    """A thousand limits that are all short: what comes free is found without looking at the others."""
    gates = {f"host {n}": Gate(f"host {n}", Limit(1)) for n in range(1000)}
    queue = Queue(None, gates=gates)
    for round_ in range(2):
        for name in gates:
            queue.push(slot((name, round_), queue.find_gates(None, [name])))
    first = [queue.next() for _ in gates]
    assert [it[0].key for it in first if it is not None] == [(name, 0) for name in gates]
    assert queue.next() is None
    looks = 0
    due = Gate.due

    def counted(gate: Gate) -> float:
        nonlocal looks
        looks += 1
        return due(gate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "due", counted)
        assert first[500] is not None
        queue.end(first[500][0], queue.find_gates(None, ["host 500"]))
        came = queue.next()
    assert came is not None
    assert came[0].key == ("host 500", 1)
    assert looks < 10


def test_a_cancelled_call_takes_no_token() -> None:
    """With nothing but a rate it is passed over, and the one behind it starts."""
    queue = Queue(None, rate=Rate(1, PERIOD))
    slots = [slot(n) for n in range(2)]
    for one in slots:
        queue.push(one)
    cancel(queue, slots[0])
    came = queue.next(0)
    assert came is not None
    assert came[0] is slots[1]
