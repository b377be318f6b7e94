"""A graph of calls, of what would run and of what did; and its folding.

What it is for: both kinds come to one form, which is drawn in several ways.

What it does not know: how it is drawn; who ran the calls.

Invariant: whatever a node comes after, or was submitted by, stands before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from creche._spelling import kind_of
from creche.flows._dry_run import Box, DryCall
from creche.instruments import CallRecord, History

from ._causes import Causes, submitter
from ._replaying import replay

# Of calls; with more of them the critical path is not looked for, which would take seconds.
_MOST_FOR_PATH = 5_000

# How often nodes are told apart by what is around them, if that still tells.
_MOST_ROUNDS = 10


@dataclass(eq=False)
class Group:
    """What is drawn as a box: a call of a flow, or a run.

    Attributes:
        label: what stands on it.
        outer: the one that it is in.
    """

    label: str
    outer: Group | None = None


@dataclass(eq=False)
class Node:
    """A call, or several that are the same in all that is drawn.

    Attributes:
        label: its key; of several, their name and number.
        name: what those of one name have in common.
        group: the box that it is in.
        state: of a call that ran, in small letters; else empty.
        after: what it comes after.
        parents: whose body submitted it.
        is_critical: whether it is on the critical path.
        is_each: whether it stands for one call for each item of something.
        count: how many calls it is.
    """

    label: str
    name: str
    group: Group | None
    state: str = ""
    after: list[Node] = field(default_factory=list)
    parents: list[Node] = field(default_factory=list)
    is_critical: bool = False
    is_each: bool = False
    count: int = 1

    @property
    def text(self) -> str:
        """What stands in it."""
        if self.is_each:
            return f"{self.name} for each"
        return self.label if self.count == 1 else f"{self.name} \N{MULTIPLICATION SIGN}{self.count}"


def from_dry_run(calls: Sequence[DryCall], boxes: Sequence[Box]) -> tuple[list[Node], list[Group]]:
    """What would run.

    Args:
        calls: in the order of their submissions.
        boxes: the outer ones first.

    Returns:
        the nodes, and the boxes.
    """
    groups: dict[Box, Group] = {}
    for box in boxes:
        groups[box] = Group(box.name, None if box.outer is None else groups[box.outer])
    nodes: dict[DryCall, Node] = {}
    for call in calls:
        after = [nodes[one] for one in call.after]
        nodes[call] = Node(str(call.key), call.name, groups[call.box], after=after, is_each=call.is_each)
    return list(nodes.values()), list(groups.values())


def from_history(history: History) -> tuple[list[Node], list[Group]]:
    """What did run.

    Args:
        history: of an event file.

    Returns:
        the nodes, and the boxes: one for each run, if there are several.
    """
    groups: dict[int, Group] = {}
    if len(history.runs) > 1:
        groups = {run.number: Group(f"run {run.number}: {run.name}") for run in history.runs}
    critical = _critical(history)
    nodes: dict[CallRecord, Node] = {}
    for call in history.calls:
        nodes[call] = Node(
            call.key,
            kind_of(call.key) or call.key,
            groups.get(call.run),
            call.state.name.lower(),
            [nodes[one] for one in call.after if one in nodes],
            [nodes[one] for one in (submitter(call),) if one in nodes],
            call in critical,
        )
    return list(nodes.values()), list(groups.values())


def fold(nodes: Sequence[Node]) -> list[Node]:
    """Make one of nodes that are alike: in name, box and state, in what is before and behind them.

    Args:
        nodes: all.

    Returns:
        other nodes, with the same dependencies.
    """
    kinds = _kinds(nodes)
    found: dict[int, Node] = {}
    for node in nodes:
        kind = kinds[node]
        if kind in found:
            found[kind].count += 1
            found[kind].is_critical |= node.is_critical
        else:
            found[kind] = replace(node, after=[], parents=[])
    for node in nodes:
        folded = found[kinds[node]]
        folded.after = list(dict.fromkeys([*folded.after, *(found[kinds[one]] for one in node.after)]))
        parents = [found[kinds[one]] for one in node.parents]
        folded.parents = list(dict.fromkeys([*folded.parents, *parents]))
    return list(found.values())


def _kinds(nodes: Sequence[Node]) -> dict[Node, int]:
    """A number for each node, the same for those that are alike."""
    before = {node: [*node.after, *node.parents] for node in nodes}
    behind: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        for one in before[node]:
            behind[one].append(node)

    def number(
        order: Iterable[Node], around: Callable[[Node, dict[Node, int]], object]
    ) -> dict[Node, int]:
        numbers: dict[object, int] = {}
        kinds: dict[Node, int] = {}
        for node in order:
            own = (node.name, node.group, node.state, node.is_each)
            kinds[node] = numbers.setdefault((own, around(node, kinds)), len(numbers))
        return kinds

    # What is above a node tells apart, in one go, since that is numbered before it; and what is below.
    above = number(nodes, lambda node, kinds: frozenset(kinds[one] for one in before[node]))
    below = number(nodes[::-1], lambda node, kinds: frozenset(kinds[one] for one in behind[node]))
    kinds = number(nodes, lambda node, _: (above[node], below[node]))
    for _ in range(_MOST_ROUNDS):
        finer = number(
            nodes,
            partial(_around, kinds, before, behind),
        )
        if len(set(finer.values())) == len(set(kinds.values())):
            break
        kinds = finer
    return kinds


def _around(
    kinds: Mapping[Node, int],
    before: Mapping[Node, list[Node]],
    behind: Mapping[Node, list[Node]],
    node: Node,
    _: object,
) -> object:
    """Of which kinds a node and its neighbours are."""
    return (
        kinds[node],
        frozenset(kinds[one] for one in before[node]),
        frozenset(kinds[one] for one in behind[node]),
    )


def _critical(history: History) -> set[CallRecord]:
    if len(history.calls) > _MOST_FOR_PATH:
        return set()
    return {
        node.call
        for session in Causes(history).sessions
        for node in replay(session, [None for _ in session.runs], None).path
    }
