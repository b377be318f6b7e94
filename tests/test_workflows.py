"""Published workflows, and synthetic ones of their shapes, on 1, 16 and 4,096 workers.

Each task runs exactly once, never before a parent has ended, never beside more than may run at once; no
worker is idle while a task could run; the makespan lies within Graham's bounds, and is the sum with one
worker. In virtual time, in which nothing but the tasks takes time: a microsecond of a task is 2**-20
seconds of the loop, so that every moment is a float without rounding, and the comparisons are exact.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creche import ConcurrentTaskRunner, State
from workflows import SHAPES, Graph, each_instance, make_graph, read_instance

pytestmark = pytest.mark.anyio

MICROSECOND = 2.0**-20

on_each_size = pytest.mark.parametrize("workers", [1, 16, 4096])


class Watch:
    """What the tasks of a run see."""

    def __init__(self, graph: Graph, workers: int, *, virtual: bool) -> None:
        self.graph = graph
        self.workers = workers
        self.virtual = virtual
        # On uvloop, which has only the real clock, they take next to no time.
        self.microsecond = MICROSECOND if virtual else MICROSECOND / 1e6
        self.begun: Counter[str] = Counter()
        self.ends: dict[str, float] = {}
        self.running = self.most = 0
        self.start = self.free_since = anyio.current_time()

    async def __call__(self, key: str) -> None:
        """One task; it starts as soon as its parents have ended and a worker is free."""
        ready = max([self.ends[parent] for parent in self.graph.parents[key]], default=self.start)
        assert not self.virtual or anyio.current_time() == max(ready, self.free_since)
        self.begun[key] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await anyio.sleep(self.graph.runtimes[key] * self.microsecond)
        self.ends[key] = anyio.current_time()
        if self.running == self.workers:
            self.free_since = self.ends[key]
        self.running -= 1

    @property
    def makespan(self) -> float:
        """In microseconds of the tasks."""
        return (max(self.ends.values()) - self.start) / self.microsecond


async def replay(
    graph: Graph, workers: int, *, virtual: bool, order: Iterable[str] | None = None
) -> None:
    """Replay a graph, and see that everything holds; with an order, under keys that were reserved."""
    watch = Watch(graph, workers, virtual=virtual)
    runner = ConcurrentTaskRunner(max_workers=workers)
    async with runner.start():
        if order is not None:
            for key in graph.runtimes:
                runner.reserve(key)
        for key in graph.runtimes if order is None else order:
            runner.submit_nowait(key, watch, key, after=graph.parents[key])
    assert {slot.state for slot in runner.slots.values()} == {State.COMPLETED}
    assert watch.begun == dict.fromkeys(graph.runtimes, 1)
    assert watch.most <= workers
    if virtual:
        lower, upper = graph.bounds(workers)
        assert lower <= watch.makespan <= upper
        if workers == 1:
            assert watch.makespan == graph.total


@each_instance
@on_each_size
async def test_a_published_workflow(path: Path, workers: int, virtual_time: bool) -> None:
    """As it was executed once."""
    await replay(read_instance(path), workers, virtual=virtual_time)


@pytest.mark.parametrize("shape", SHAPES)
@on_each_size
async def test_a_synthetic_workflow(shape: str, workers: int, virtual_time: bool) -> None:
    """In the same shapes, and in others."""
    await replay(make_graph(shape, 80), workers, virtual=virtual_time)


@pytest.mark.parametrize("shape", SHAPES)
async def test_submitted_in_any_order(shape: str, virtual_time: bool) -> None:
    """A task may be submitted before its parents, whose keys are reserved."""
    graph = make_graph(shape, 60)
    order = list(graph.runtimes)
    random.Random(shape).shuffle(order)
    await replay(graph, 16, virtual=virtual_time, order=order)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph without a circle; runtimes are few, so that many tasks end together, or take no time."""
    size = draw(st.integers(1, 20))
    keys = [str(n) for n in range(size)]
    parents = {
        key: draw(st.lists(st.sampled_from(keys[:n]), unique=True, max_size=6)) if n else []
        for n, key in enumerate(keys)
    }
    runtimes = draw(st.lists(st.sampled_from([0, 1, 2, 1000]), min_size=size, max_size=size))
    return Graph(dict(zip(keys, runtimes, strict=True)), parents)


@st.composite
def submissions(draw: st.DrawFn) -> tuple[Graph, list[str] | None]:
    """Any graph, and an order to submit its tasks in; `None` for its own."""
    graph = draw(graphs())
    return graph, draw(st.none() | st.permutations(list(graph.runtimes)))


@given(submission=submissions(), workers=st.integers(1, 5))
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_any_workflow(
    submission: tuple[Graph, list[str] | None], workers: int, virtual_time: bool
) -> None:
    """Whatever the graph, in order or with reserved keys in any order."""
    graph, order = submission  # drawn before there is a loop, whose tasks would keep what a draw raises
    await replay(graph, workers, virtual=virtual_time, order=order)


@pytest.mark.slow
async def test_ten_thousand_tasks(virtual_time: bool) -> None:
    """As large as large ones that are published."""
    await replay(make_graph("random", 10_000), 16, virtual=virtual_time)
