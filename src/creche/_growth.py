"""How many carriers a run without a limit starts, and when: for calls that block, and for no others.

What it is for: a task costs most of what a call costs, and a call that does not block needs none of its
own: a carrier that is free soon takes it. So a few are started at once, and more for those that were
seen still running after two passes of the scheduler, twice as many as there were of those: however many
calls block, all have begun after as many passes as that number has bits, or twice that.

What it does not know: tasks, queues, clocks; whoever lets a pass go by says so.

Invariant: every call that a carrier has is counted once: as young, or as one that blocks.
"""

from __future__ import annotations

from typing import final

# A pass of trio's scheduler with one runnable task costs as much as some calls do; with this many it
# is well filled. Measured: with 16 a call takes a twentieth longer, with 64 no less.
BASE = 32


@final
class Growth:
    """The calls that carriers have, by how long they have been seen running.

    Attributes:
        passes: how many passes were counted.
        is_watched: whether somebody counts passes now.
        young: how many calls may still turn out not to block; those on their way to a carrier, too.
    """

    __slots__ = ("_coming", "_seen", "is_watched", "passes", "young")

    def __init__(self) -> None:
        self.passes = 0
        self.is_watched = False
        self.young = 0
        self._coming = 0
        # Of those that carriers have: seen in no pass so far, in one, in two.
        self._seen = [0, 0, 0]

    def come(self) -> None:
        """A call is on its way to a carrier."""
        self._coming += 1
        self.young += 1

    def turn_off(self) -> None:
        """One that was on its way goes elsewhere, and needs no carrier."""
        self._coming -= 1
        self.young -= 1

    def begin(self) -> int:
        """A carrier begins with a call that was coming; what is to be handed to `end`."""
        self._coming -= 1
        self._seen[0] += 1
        return self.passes

    def end(self, since: int) -> None:
        """The call has ended.

        Args:
            since: what `begin` gave.
        """
        passes = self.passes - since
        if passes < len(self._seen):
            self._seen[passes] -= 1
            self.young -= 1

    def end_and_begin(self, since: int) -> int:
        """The call has ended, and its carrier begins with another that was not on its way to one.

        Args:
            since: what `begin` gave.

        Returns:
            what is to be handed to `end` next.
        """
        passes = self.passes - since
        if passes:
            seen = self._seen
            if passes < len(seen):
                seen[passes] -= 1
            else:
                self.young += 1
            seen[0] += 1
        return self.passes

    def count_pass(self) -> int:
        """A pass has gone by.

        Returns:
            how many more carriers may be started now.
        """
        # Who counts may be the first in a pass, or the last: seen three times is running for two passes.
        blocking = self._seen.pop()
        self._seen.insert(0, 0)
        self.young -= blocking
        self.passes += 1
        return max(2 * blocking, BASE - self.young)
