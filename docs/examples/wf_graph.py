"""Reading a workflow in WfFormat: its tasks with their runtimes, parents first, and Graham's bounds.

WfFormat is that of the WfCommons project, in which executions of scientific workflows are published.
From 1.5 on a document has a specification (who runs after whom) and an execution (how long each took);
before, both stood in one list, called `jobs` until 1.2, and parents were referred to by name.

What it does not know: how a workflow is run, files, and what else is in a document.

Invariant: times are whole ticks. A runtime is written as a decimal, so that in ticks of so many digits
all are integers, and every sum of them is exact, as an integer and as a float.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

# Up to here a float counts without a gap; with room for a few ticks more.
MOST_TICKS = 2**52

SHOWN = 10  # of a circle


class NotAWorkflow(ValueError):  # noqa: N818 - it says what the document is not
    """What was read cannot be replayed; its text is the sentence that says why."""


class Task(NamedTuple):
    """One task: its name, its runtime, and what it runs after."""

    key: str
    ticks: int
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Workflow:
    """A workflow that was read.

    Attributes:
        name: what it is called.
        tasks: its tasks, none before one of its parents.
        digits: a tick is a second divided by ten so many times.
        unmeasured: how many tasks have no runtime in the document; they take none.
    """

    name: str
    tasks: Sequence[Task]
    digits: int
    unmeasured: int

    @cached_property
    def total(self) -> int:
        """The sum of the runtimes, in ticks."""
        return sum(task.ticks for task in self.tasks)

    @cached_property
    def critical_path(self) -> int:
        """How long the longest way through the graph takes, in ticks."""
        ends: dict[str, int] = {}
        for task in self.tasks:
            ends[task.key] = task.ticks + max((ends[parent] for parent in task.parents), default=0)
        return max(ends.values())

    def bounds(self, workers: int) -> tuple[Fraction, Fraction]:
        """Between these lies every schedule in which no worker is idle without need (Graham, 1969)."""
        shared, longest = Fraction(self.total, workers), self.critical_path
        return max(shared, Fraction(longest)), shared + longest * Fraction(workers - 1, workers)

    def seconds(self, ticks: Fraction | int) -> str:
        """For people; with all the digits that the document has."""
        fraction = Fraction(ticks) / Fraction(10) ** self.digits
        return f"{Decimal(fraction.numerator) / fraction.denominator:.{max(3, self.digits)}f}"


def read_workflow(document: object, name: str) -> Workflow:
    """Read a document; a name is for when it has none."""
    records, executions = _find_lists(document)
    keys = _name(records)
    meant = _Names(records, keys)
    runtimes = {
        key: runtime
        for record in (*records, *executions)
        if (key := meant.by(record)) and (runtime := _runtime(record, key)) is not None
    }
    if not runtimes:
        raise NotAWorkflow("it says of no task how long it took; runtimeInSeconds is missing")
    parents: dict[str, dict[str, None]] = {key: {} for key in keys}
    for key, record in zip(keys, records, strict=True):
        for parent in _references(record, "parents"):
            parents[key][meant.by_reference(parent, key, "parent")] = None
        for child in _references(record, "children"):
            parents[meant.by_reference(child, key, "child")][key] = None
    exact = {key: Fraction(repr(runtime)) for key, runtime in runtimes.items()}
    total = sum(exact.values(), Fraction(0))
    digits = max(0, *(-int(Decimal(repr(one)).as_tuple().exponent) for one in runtimes.values()))
    while total * Fraction(10) ** digits > MOST_TICKS:  # a long run, in much detail: coarser
        digits -= 1
    tasks = [
        Task(key, round(exact.get(key, 0) * Fraction(10) ** digits), tuple(parents[key]))
        for key in _parents_first(parents)
    ]
    assert isinstance(document, dict)
    return Workflow(str(document.get("name") or name), tasks, digits, len(keys) - len(runtimes))


def _find_lists(document: object) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records of the tasks, and those of their executions if they are apart."""
    workflow = document.get("workflow") if isinstance(document, dict) else None
    if not isinstance(workflow, dict):
        raise NotAWorkflow("it has no 'workflow', which every WfFormat document has")
    specification, execution = workflow.get("specification"), workflow.get("execution")
    if isinstance(specification, dict):
        records = specification.get("tasks")
        executions = execution.get("tasks", []) if isinstance(execution, dict) else []
    else:
        records, executions = workflow.get("tasks", workflow.get("jobs")), []
    for one in (records, executions):
        if not isinstance(one, list) or not all(isinstance(record, dict) for record in one):
            raise NotAWorkflow("it has no list of tasks where WfFormat has one")
    if not records:
        raise NotAWorkflow("it has no tasks")
    return records, executions


def _word(record: dict[str, Any], field: str) -> str | None:
    """An id or a name, if there is one."""
    word = record.get(field)
    return word if isinstance(word, str) and word else None


def _name(records: list[dict[str, Any]]) -> list[str]:
    """A key for each task: its id, or, where those are missing or not unique, its name."""
    twice = ""
    for field in ("id", "name"):
        counts = Counter(_word(record, field) for record in records)
        if None not in counts:
            if len(counts) == len(records):
                return [key for key in counts if key is not None]
            most, times = counts.most_common(1)[0]
            twice = twice or f"{times} tasks have the {field} {most!r}"
    raise NotAWorkflow(twice or "it has a task without an id and a name")


class _Names:
    """Which task is meant by an id or a name."""

    def __init__(self, records: list[dict[str, Any]], keys: list[str]) -> None:
        names = Counter(_word(record, "name") for record in records)
        self._keys: dict[str, str] = {}
        for key, record in zip(keys, records, strict=True):
            name = _word(record, "name")
            if name is not None and names[name] == 1:
                self._keys[name] = key
        self._keys.update(zip(keys, keys, strict=True))

    def by(self, record: dict[str, Any]) -> str | None:
        """By the record of the task, or of its execution; `None` for one of no task that is known."""
        found = (self._keys.get(_word(record, field) or "") for field in ("id", "name"))
        return next((key for key in found if key is not None), None)

    def by_reference(self, reference: str, by: str, role: str) -> str:
        """By what another task says."""
        if reference not in self._keys:
            raise NotAWorkflow(f"task {by!r} has an unknown {role}, {reference!r}")
        return self._keys[reference]


def _references(record: dict[str, Any], role: str) -> list[str]:
    references = record.get(role) or []
    if not isinstance(references, list) or not all(isinstance(one, str) for one in references):
        raise NotAWorkflow(f"the {role} of task {record.get('id', record.get('name'))!r} are not names")
    return references


def _runtime(record: dict[str, Any], key: str) -> float | None:
    runtime = record.get("runtimeInSeconds", record.get("runtime"))
    if runtime is None:
        return None
    if (
        isinstance(runtime, bool)
        or not isinstance(runtime, int | float)
        or not 0 <= runtime < MOST_TICKS
    ):
        raise NotAWorkflow(f"the runtime of task {key!r} must be a number of seconds, not {runtime!r}")
    return runtime


def _parents_first(parents: dict[str, dict[str, None]]) -> Iterator[str]:
    """The tasks in an order in which they can be run; otherwise the tasks of a circle are named."""
    children: dict[str, list[str]] = {key: [] for key in parents}
    for key, before in parents.items():
        for parent in before:
            children[parent].append(key)
    missing = {key: len(before) for key, before in parents.items()}
    ready = deque(key for key, count in missing.items() if not count)
    while ready:
        key = ready.popleft()
        del missing[key]
        yield key
        for child in children[key]:
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    if missing:
        one, way = next(iter(missing)), dict[str, None]()
        while one not in way:
            way[one] = None
            one = next(parent for parent in parents[one] if parent in missing)
        keys = list(way)
        circle = [*keys[keys.index(one) :], one]
        shown = " after ".join(repr(key) for key in circle[:SHOWN])
        more = "" if len(circle) <= SHOWN else f" after {len(circle) - SHOWN} more"
        raise NotAWorkflow(f"its tasks run in a circle: {shown}{more}")
