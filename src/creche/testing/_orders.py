"""Orders of tasks: lists of decisions that are drawn, written down, replayed and told in words.

What it is for: where several tasks can run, the order in which they do is a list of decisions: which
of those that are left goes next, 0 for the one that could run first; or, once one has been chosen, that
the others wait for the next pass of the loop. All zeros is the order of a plain queue. To let tasks
change places is not enough: one is then never more than a step behind the others. One that is put off
again and again is as slow as a server that answers late.

What it does not know: the loops, and who draws.

Invariant: the same decisions give the same order, whatever drew them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final


@final
class Drawn:
    """An order of tasks, which is written down as it is drawn."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self._draw = draw
        self.decisions: list[int] = []
        self.passes = 0  # of the loop, in a run that has ended
        # Each decision that is not the usual one: its number from 1, and who went before whom.
        self.told: list[tuple[int, str]] = []

    def order(self, names: Sequence[str]) -> Sequence[int]:
        """As `Chance` has it."""
        left = list(range(len(names)))
        chosen: list[int] = []
        while left and (chosen or len(left) > 1):
            which = self._draw(len(left) + bool(chosen))
            self.decisions.append(which)
            if which:
                passed = ", ".join(names[n] for n in left[:which])
                is_last = which == len(left)
                words = f"not yet {passed}" if is_last else f"{names[left[which]]} before {passed}"
                self.told.append((len(self.decisions), words))
                if is_last:
                    return chosen
            chosen.append(left.pop(which))
        return chosen or left


def replayed(decisions: Sequence[int]) -> Drawn:
    """These decisions, then the usual order."""
    ahead = iter(decisions)
    return Drawn(lambda count: min(next(ahead, 0), count - 1))


def trim(decisions: Sequence[int]) -> list[int]:
    """Without the zeros at the end, which say nothing."""
    kept = list(decisions)
    while kept and not kept[-1]:
        kept.pop()
    return kept


def write(decisions: Sequence[int]) -> str:
    """As `read` reads them."""
    return ".".join(map(str, trim(decisions)))


def read(replay: str) -> list[int]:
    """The decisions.

    Raises:
        TypeError: it is no string.
        ValueError: it is no list of numbers.
    """
    if not isinstance(replay, str):
        msg = f"replay must be a string such as '0.2.1', as an ExploreError says it, not {replay!r}"
        raise TypeError(msg)
    words = replay.split(".") if replay else []
    if not all(one.isascii() and one.isdigit() for one in words):
        msg = f"an order to replay is written as '0.2.1', as an ExploreError says it, not {replay!r}"
        raise ValueError(msg)
    return [int(one) for one in words]
