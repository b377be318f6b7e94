"""What every call of a run does right now, as a text tree.

What it is for: `runner.dump()`, and SIGUSR1 to the command: somebody wonders why nothing goes on.

What it does not know: how a loop keeps its tasks; that is the backend's.

Invariant: it only looks, and it comes: on the loop, between two steps of it, if the loop has a moment;
else from where it is asked for, with what can be read there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ._carrier import CARRIED
from ._hosting import Run
from ._latch import Latch
from ._live import LIVE
from ._printable import printable
from ._slot import Slot
from ._spelling import spell
from ._stacks import frames_of, inner_frames, tell_frames
from ._states import State

PATIENCE = 1.0
"""How many seconds a loop has to answer."""

_DEEPEST = 20

_MOST_RUNNING, _MOST_WAITING = 1000, 100
"""How many calls are shown; the rest is counted. A million lines that say "pending" help nobody."""


Kin = Callable[[Any], Sequence[Any]]
"""Gives the tasks below a task."""


class Node(NamedTuple):
    """A line, and what belongs below it."""

    text: str
    below: list[Node]


def dump_run(run: Run) -> str:
    """What every call of a run does; from any thread, and from a handler of a signal.

    Args:
        run: the run.

    Returns:
        the tree, with its ends of lines.
    """
    if not run.home.is_elsewhere:
        return _render(_run_node(run))
    came: list[Node] = []
    latch = Latch()

    def look() -> None:
        try:
            came.append(_run_node(run))
        finally:
            latch.set()

    _ = run.home.hand_over(look) and latch.wait(PATIENCE)
    # Else, or if it has raised: what a thread can see of another one may be gone the next moment.
    where = f", whose loop has not answered for {PATIENCE:g} s"
    return _render(came[0] if came else _run_node(run, where))


def dump_all() -> str:
    """The same of every run that is open in this process."""
    runs = list(LIVE)
    return "".join(map(dump_run, runs)) or "no runner is open\n"


def running_calls() -> list[tuple[Hashable, float | None]]:
    """The calls of all open runs that have begun, the longest first; from any thread.

    Returns:
        each key, with how many seconds it has run, if that is known.
    """
    found: list[tuple[Hashable, float | None]] = []
    for run in list(LIVE):
        waiting = {*run.waiting_for_thread(), *list(run.performer.retrier.waiting)}
        found += [
            (slot.key, _age(run, slot))
            for slot in run.board.open_slots()
            if slot.state is State.RUNNING and slot not in waiting
        ]
    return sorted(found, key=lambda one: -(one[1] or 0.0))


def _age(run: Run, slot: Slot[Any]) -> float | None:
    began = getattr(slot.work, "began", None)
    return None if began is None else max(0.0, run.clock() - began)


def _run_node(run: Run, where: str = "") -> Node:
    numbers = run.statistics()
    most = "" if numbers.max_workers is None else f", max_workers {numbers.max_workers}"
    ended = numbers.completed + numbers.failed + numbers.cancelled + numbers.crashed
    reserved = f", {numbers.reserved} reserved" if numbers.reserved else ""
    text = (
        f"runner {run.name!r}, run {run.board.number} on {run.backend.name}{most}{where}: "
        f"{numbers.running} running, {numbers.pending} pending{reserved}, {ended} ended"
    )
    halted = run.halting.halted
    below = [] if halted is None else [Node(f"it is ending: {halted.reason}", [])]
    waiting, kin = run.waiting_for_thread(), run.backend.kin()
    left = {True: _MOST_RUNNING, False: _MOST_WAITING}
    for slot in run.board.open_slots():
        is_running = slot.state is State.RUNNING
        left[is_running] -= 1
        if left[is_running] >= 0:
            below.append(_slot_node(run, slot, has_thread=slot not in waiting, kin=kin))
    below += [
        Node(f"and {-more:,} more that are {'running' if is_running else 'pending'}", [])
        for is_running, more in left.items()
        if more < 0
    ]
    return Node(text, below)


def _slot_node(run: Run, slot: Slot[Any], *, has_thread: bool, kin: Kin) -> Node:
    parts = [f"{spell(slot.key)} {slot.state.name}"]
    if slot.reserved:
        parts.append("reserved")
    elif slot.state is State.PENDING:
        parts += _why_pending(run, slot)
    elif slot.carrying is not None:
        age = _age(run, slot)
        if age is not None:
            parts.append(f"{age:.1f} s")
        if slot.attempt > 1:
            parts.append(f"attempt {slot.attempt}")
        if not has_thread:
            return Node(", ".join([*parts, "waits for a thread"]), [])
        return Node(", ".join([*parts, *_where(run, slot)]), _doing(run, slot, kin))
    return Node(", ".join(parts), [])


def _why_pending(run: Run, slot: Slot[Any]) -> list[str]:
    call = slot.pending_call
    if call is None:
        return []
    if call.after:
        return [f"after {_keys(call.after)}"]
    full = [gate.name for gate in call.wishes.gates if len(gate.holders) >= gate.size]
    if full:
        return [f"waits for limit {', '.join(map(repr, full))}"]
    places = run.queue.places
    return ["waits for a place"] if places is not None and not places.has_free else []


def _where(run: Run, slot: Slot[Any]) -> list[str]:
    carrier: Any = slot.carrying
    said = [] if carrier.place == "loop" else [f"place {carrier.place!r}"]
    detail = run.seats.whereabouts(slot)
    if detail is not None:
        said.append(detail)
    if carrier.waits_for:
        said.append(f"waits for {_keys(carrier.waits_for)}")
    elif carrier.is_returning:
        said.append("waits for its place to come back")
    if carrier.request is not None:
        said.append(f"being cancelled: {carrier.request[1]}")
    return said


def _doing(run: Run, slot: Slot[Any], kin: Kin) -> list[Node]:
    carrier: Any = slot.carrying
    found = []
    name = f"creche {spell(slot.key)}"
    threads = [thread for thread in threading.enumerate() if thread.name == name]
    # Of runs that go on at the same time two calls may have the same key.
    for thread in threads:
        lines = tell_frames(inner_frames(thread.ident or 0))
        found.append(Node(f"thread {thread.ident}", [Node(line, []) for line in lines]))
    if found or carrier.place not in ("loop", "thread") or run.seats.whereabouts(slot) is not None:
        return found
    with suppress(Exception):  # what a loop knows of a task that is gone, or runs elsewhere
        found = _task_nodes(run, carrier.task, 0, kin)
    return found


def _task_nodes(run: Run, task: Any, depth: int, kin: Kin) -> list[Node]:  # noqa: ANN401 - the loop's
    backend = run.backend
    frames = frames_of(backend.coroutine_of(task), run.home.thread)
    nodes = [Node(line, []) for line in tell_frames(frames)]
    if depth < _DEEPEST:
        for child in kin(task):
            # A carrier's call has a line of its own, in its own run.
            if child not in CARRIED:
                below = _task_nodes(run, child, depth + 1, kin)
                if below:
                    nodes.append(Node(f"task {backend.name_of(child)!r}", below))
    return nodes


def _keys(slots: Iterable[Slot[Any]]) -> str:
    return ", ".join(spell(slot.key) for slot in slots)


def _render(node: Node) -> str:
    lines = [printable(node.text)]

    def add(nodes: list[Node], before: str) -> None:
        for number, one in enumerate(nodes):
            is_last = number == len(nodes) - 1
            lines.append(f"{before}{'└─ ' if is_last else '├─ '}{printable(one.text)}")
            add(one.below, before + ("   " if is_last else "│  "))

    add(node.below, "")
    return "\n".join(lines) + "\n"
