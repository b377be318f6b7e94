"""How the example reads WfFormat: each version of it, what is tolerated, and times that add up."""

from __future__ import annotations

import copy
import random
from fractions import Fraction
from typing import Any

import pytest

from workflows import SHAPES, load_example

wf_graph = load_example("wf_graph")
make_document = load_example("wf_shapes").make_document

DOCUMENT: Any = make_document("montage", 30, 5)


def as_version(version: str) -> dict[str, Any]:
    """The same workflow, as it was written down before 1.5: one list, and parents by name."""
    specified = DOCUMENT["workflow"]["specification"]["tasks"]
    executed = DOCUMENT["workflow"]["execution"]["tasks"]
    runtime = "runtimeInSeconds" if version == "1.4" else "runtime"
    tasks = []
    for number, (task, execution) in enumerate(zip(specified, executed, strict=True)):
        tasks.append({"name": task["name"], "type": "compute", "parents": task["parents"]})
        tasks[-1][runtime] = execution["runtimeInSeconds"]
        if version != "1.0":
            tasks[-1]["id"] = f"ID{number:07}"
    return {
        "name": DOCUMENT["name"],
        "schemaVersion": version,
        "workflow": {"jobs" if version < "1.3" else "tasks": tasks},
    }


def shape_of(workflow: Any) -> list[tuple[int, list[int]]]:
    """What does not depend on what the tasks are called."""
    numbers = {task.key: n for n, task in enumerate(workflow.tasks)}
    return [(task.ticks, [numbers[parent] for parent in task.parents]) for task in workflow.tasks]


@pytest.mark.parametrize("version", ["1.0", "1.2", "1.3", "1.4"])
def test_older_versions(version: str) -> None:
    """They give the same graph."""
    workflow = wf_graph.read_workflow(as_version(version), "")
    assert shape_of(workflow) == shape_of(wf_graph.read_workflow(DOCUMENT, ""))
    assert workflow.name == DOCUMENT["name"]
    assert workflow.tasks[0].key == ("montage_00000" if version == "1.0" else "ID0000000")


def test_tasks_that_are_told_apart_by_name_only() -> None:
    """Where ids are not unique, names will do."""
    document = as_version("1.4")
    for task in document["workflow"]["tasks"]:
        task["id"] = "ID"
    assert shape_of(wf_graph.read_workflow(document, "")) == shape_of(
        wf_graph.read_workflow(DOCUMENT, "")
    )


def test_names_that_several_tasks_have() -> None:
    """They are nobody's, and ids are what counts."""
    document = copy.deepcopy(DOCUMENT)
    for task in document["workflow"]["specification"]["tasks"]:
        task["name"] = "mProject"
    assert wf_graph.read_workflow(document, "").tasks == wf_graph.read_workflow(DOCUMENT, "").tasks


def test_dependencies_that_only_one_side_knows() -> None:
    """What only the parent says holds too, and what both say counts once."""
    document = copy.deepcopy(DOCUMENT)
    for task in document["workflow"]["specification"]["tasks"]:
        del task["parents"]
    read = wf_graph.read_workflow(document, "")
    assert {task.key: set(task.parents) for task in read.tasks} == {
        task["id"]: set(task["parents"]) for task in DOCUMENT["workflow"]["specification"]["tasks"]
    }


def test_tasks_in_any_order() -> None:
    """None comes before one of its parents."""
    document = copy.deepcopy(DOCUMENT)
    random.Random(1).shuffle(document["workflow"]["specification"]["tasks"])
    seen: set[str] = set()
    for task in wf_graph.read_workflow(document, "").tasks:
        assert seen.issuperset(task.parents)
        seen.add(task.key)
    assert len(seen) == 30


def test_executions_that_are_missing_or_of_nobody() -> None:
    """A task without one takes no time, and is counted; one of no task is passed over."""
    document = copy.deepcopy(DOCUMENT)
    del document["name"]
    executed = document["workflow"]["execution"]["tasks"]
    missing = executed.pop(3)
    executed.append({"id": "nobody", "runtimeInSeconds": 5})
    workflow = wf_graph.read_workflow(document, "given")
    assert (workflow.name, workflow.unmeasured) == ("given", 1)
    assert {task.key for task in workflow.tasks if task.ticks == 0} == {missing["id"]}


def test_a_long_circle() -> None:
    """Not all of it is shown."""
    document: Any = make_document("chain", 2000, 0)
    document["workflow"]["specification"]["tasks"][0]["parents"] = ["chain_01999"]
    with pytest.raises(
        wf_graph.NotAWorkflow, match=r"'chain_00000' after 'chain_01999' .* after 1991 more"
    ):
        wf_graph.read_workflow(document, "")


def measured(*runtimes: float) -> Any:
    """Tasks that have nothing to do with each other."""
    tasks = [{"name": f"t{n}", "runtime": runtime} for n, runtime in enumerate(runtimes)]
    return wf_graph.read_workflow({"workflow": {"tasks": tasks}}, "")


@pytest.mark.parametrize(
    ("runtimes", "digits", "total"),
    [
        ((0.1, 0.2, 0.3), 1, "0.600"),
        ((1, 2, 3), 0, "6.000"),
        ((0, 0.0), 1, "0.000"),
        ((1e-7, 12.5), 7, "12.5000001"),
        ((0.30000000000000004, 0.5), 15, "0.800000000000000"),
        ((1e7 + 0.123456, 1e-9, 1e7), 8, "20000000.12345600"),
        ((1e15, 1e15, 1e15, 1e15, 0.5), 0, "4000000000000000.000"),
        ((4e15, 4e15), -1, "8000000000000000.000"),
    ],
)
def test_times_add_up(runtimes: tuple[float, ...], digits: int, total: str) -> None:
    """As many digits as there are, unless the sum is too long to be counted by them."""
    workflow = measured(*runtimes)
    assert (workflow.digits, workflow.seconds(workflow.total)) == (digits, total)
    assert all(
        float(task.ticks * 2.0**-26).is_integer() or task.ticks < 2**52 for task in workflow.tasks
    )
    assert abs(
        Fraction(workflow.total) / Fraction(10) ** digits - sum(map(Fraction, runtimes))
    ) <= Fraction(len(runtimes), 2) / Fraction(10) ** min(digits, 15)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [*range(1, 12), 100])
def test_shapes_of_every_size(shape: str, size: int) -> None:
    """Just so many tasks, parents first, and the same ones again from the same seed."""
    document = make_document(shape, size, 3)
    workflow = wf_graph.read_workflow(document, "")
    assert len(workflow.tasks) == size
    assert document == make_document(shape, size, 3)
    assert size == 1 or document != make_document(shape, size, 4)
    tasks: Any = document["workflow"]["specification"]["tasks"]
    numbers = {task["id"]: n for n, task in enumerate(tasks)}
    for task in tasks:
        assert all(numbers[parent] < numbers[task["id"]] for parent in task["parents"])
        assert all(task["id"] in tasks[numbers[child]]["parents"] for child in task["children"])
