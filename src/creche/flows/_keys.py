"""The keys that one run of a flow gives out.

What it is for: a key names its task, and what tells it apart: a number, or what its `key=` makes of the
arguments. What a task submits, or a subflow, has what submits it before it; what a later attempt of the
task submits has the number of that, too, since the calls of the earlier ones have their keys still.

What it does not know: calls; when a key is free again.

Invariant: no key is given out twice. Numbers are counted apart for each task that submits, and for the
body of the flow, since which of two that run side by side comes first is chance: so keys are the same
from run to run, as long as each of them submits in the same order.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any, final

from creche._errors import KeyTaken
from creche._slot import Slot

from ._bodies import IN_TASK


@final
class Keys:
    """Those of one run of a flow; from any thread."""

    def __init__(self, prefix: str, slots: Mapping[Hashable, Slot[Any]]) -> None:
        """Begin to count.

        Args:
            prefix: of a subflow, what stands before its keys.
            slots: the calls that are there, to say what became of one.
        """
        self._prefix = prefix
        self._slots = slots
        self._numbers: defaultdict[str, int] = defaultdict(int)
        self._parts: set[str] = set()
        self._lock = threading.Lock()

    def prefix_for(self, name: str) -> str:
        """What stands before the keys of a subflow that is called here.

        Args:
            name: of the subflow.

        Returns:
            the first time its name, later with a number; behind the key of the task that calls it, if
            one does, else behind the prefix of this flow.
        """
        title = f"{self._before()}{name}"
        with self._lock:
            number = self._numbers[f"{title}/"]
            self._numbers[f"{title}/"] += 1
        return f"{title}[{number}]/" if number else f"{title}/"

    def give(self, name: str, part: str | None) -> str:
        """The key of a task that is submitted here.

        Args:
            name: of the task.
            part: the readable part; `None` for a number.

        Returns:
            the key; behind that of the task that submits it, if one does.

        Raises:
            KeyTaken: another call has the same key.
        """
        title = f"{self._before()}{name}"
        with self._lock:
            if part is None:
                while True:
                    key = f"{title}[{self._numbers[title]}]"
                    self._numbers[title] += 1
                    if key not in self._parts:
                        return key
            key = f"{title}[{part}]"
            if key in self._parts:
                raise self._taken(
                    key,
                    f"another call of task {name!r} has it; have its key= tell the two apart, or leave "
                    f"key= out to number them",
                )
            if part.isdecimal() and int(part) < self._numbers[title]:
                raise self._taken(
                    key,
                    f"it is the number of another call of task {name!r}, which was submitted without "
                    f"key=; give one of the two another name=, or both a key=, or neither",
                )
            self._parts.add(key)
            return key

    def take_back(self, key: str) -> None:
        """There is no call under that key after all."""
        self._parts.discard(key)

    def _before(self) -> str:
        task = IN_TASK.get()
        if not task:
            return self._prefix
        slot = self._slots.get(task)
        attempt = 1 if slot is None else slot.attempt
        return f"{task}/" if attempt == 1 else f"{task}#{attempt}/"

    def _taken(self, key: str, cure: str) -> KeyTaken:
        there = self._slots.get(key)
        return KeyTaken(key, "no longer kept" if there is None else there.state.name, cure=cure)
