"""Workflows for the tests: where published ones are, how they are read, and what their data promise.

What it does not know: the example program, which reads and reckons in its own way, so that the two can
be held against each other; only the synthetic shapes come from there.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"

# They are not in the repository.
DATA = Path(os.environ.get("CRECHE_WFINSTANCES", ROOT.parent / "shared" / "data" / "wfinstances"))
INSTANCES = sorted(path for path in DATA.glob("*.json") if "schema" not in path.name)

_no_instances = pytest.mark.skip(
    f"no workflow instances in {DATA}; CRECHE_WFINSTANCES says where they are"
)

each_instance = pytest.mark.parametrize(
    "path",
    INSTANCES or [pytest.param(DATA, marks=_no_instances)],
    ids=[path.stem for path in INSTANCES] or ["none"],
)


def load_example(name: str) -> Any:
    """A module of `docs/examples`, which may import its neighbours."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))


SHAPES = list(load_example("wf_shapes").SHAPES)


class Graph(NamedTuple):
    """A workflow: its tasks, parents first, with runtimes in microseconds."""

    runtimes: dict[str, int]
    parents: Mapping[str, Sequence[str]]

    @property
    def total(self) -> int:
        """All the work."""
        return sum(self.runtimes.values())

    @property
    def critical_path(self) -> int:
        """The longest way through it."""
        ends: dict[str, int] = {}
        for key, runtime in self.runtimes.items():
            ends[key] = runtime + max([ends[parent] for parent in self.parents[key]], default=0)
        return max(ends.values())

    def bounds(self, workers: int) -> tuple[Fraction, Fraction]:
        """Graham's: of every schedule that leaves no worker idle without need."""
        return (
            max(Fraction(self.critical_path), Fraction(self.total, workers)),
            Fraction(self.total, workers) + (1 - Fraction(1, workers)) * self.critical_path,
        )


def read_graph(document: dict[str, Any]) -> Graph:
    """Read a document of WfFormat 1.5."""
    workflow = document["workflow"]
    parents = {task["id"]: task["parents"] for task in workflow["specification"]["tasks"]}
    seconds = {task["id"]: task["runtimeInSeconds"] for task in workflow["execution"]["tasks"]}
    order = TopologicalSorter(parents).static_order()
    return Graph({key: round(seconds[key] * 1e6) for key in order}, parents)


def read_instance(path: Path) -> Graph:
    """Read a published one."""
    return read_graph(json.loads(path.read_text(encoding="utf-8")))


def make_graph(shape: str, tasks: int, seed: int = 0) -> Graph:
    """Make a synthetic one."""
    return read_graph(load_example("wf_shapes").make_document(shape, tasks, seed))
