"""What `cancel_everywhere` tells: of each point what was found there, and how to go there again.

What it does not know: how it was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from ._where import Place

FindingKind = Literal["hung", "slow", "swallowed", "raised", "left", "held", "invariant"]
KINDS: tuple[FindingKind, ...] = ("hung", "slow", "swallowed", "raised", "left", "held", "invariant")

_FEW = 3  # suspects; more are none


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: `"hung"`: it does not end. `"slow"`: it took longer than `within`. `"swallowed"`: it, or a
            task of its, was cancelled, and returned as if it had not been. `"raised"`: what came out is
            another error. `"left"`: tasks, threads, processes, descriptors or sockets. `"held"`: locks,
            and slots that are not final. `"invariant"`: it does not hold.
        text: what exactly.
    """

    kind: FindingKind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@final
@dataclass(frozen=True, slots=True)
class PointReport:
    """What came of a run that was disturbed at one point.

    Attributes:
        number: which point, from 1; 0 is the run that was not disturbed.
        place: the innermost line of yours that the task stood at; `None` if it had not begun.
        callers: the lines of yours that wait for that one, the innermost first.
        moment: `"waiting"`: it waited there. `"woken"`: what it waited for there had come, and it was
            about to go on; the cancellation is a late one.
        task: what the task is called.
        hits: where its tasks were when the cancellation, or the error, came to them, and the lines that
            waited for those, in order of lines. A cancellation that stays comes more than once.
        reached: whether the run came by there; one that depends on chance may take another way.
        ended: whether the function ended.
        seconds: the virtual seconds from there to its end.
        findings: what is wrong.
        again: a line that goes there again.
    """

    number: int
    place: Place | None
    callers: tuple[Place, ...]
    moment: Literal["waiting", "woken"]
    task: str
    hits: tuple[Place, ...]
    reached: bool
    ended: bool
    seconds: float
    findings: tuple[Finding, ...]
    again: str

    def __str__(self) -> str:
        if not self.number:
            head = "undisturbed"
        elif self.place is None:
            head = f"point {self.number}: before task {self.task!r} began"
        else:
            head = f"point {self.number}: {self.moment} at {self.place}, task {self.task!r}"
        if self.callers:
            head += f"\n  awaited at {', '.join(map(str, self.callers))}"
        others = [place for place in self.hits if place != self.place and place not in self.callers]
        if others:
            head += f"\n  hit at {', '.join(map(str, others))}"
        if not self.reached:
            head += (
                "\n  not reached this time: by chance, or since an earlier run has left something behind"
            )
        lines = [
            head,
            *(f"{found}".replace("\n", "\n  ") for found in self.findings),
            f"again: {self.again}",
        ]
        return "\n  ".join(lines)


@final
@dataclass(frozen=True, slots=True)
class CancelReport:
    """What came of all the runs.

    Attributes:
        title: what was run, and how it was disturbed.
        total: how many points there are.
        points: a report of each that was meant to be tried, in order, the undisturbed run first;
            `reached` says which were.
    """

    title: str
    total: int
    points: tuple[PointReport, ...]

    @property
    def failures(self) -> tuple[PointReport, ...]:
        """Those at which something is wrong."""
        return tuple(point for point in self.points if point.findings)

    @property
    def suspects(self) -> tuple[Place, ...]:
        """The lines at which a task was hit in each run that failed; best, those where only in these.

        The lines that waited for these are among them: what a helper waits for is nobody's fault. If
        there is no such line, as with a fault that spans several: those at which a task was hit in some
        of these runs and in no other one, if they are three at most.
        """
        fine = {place for point in self.points if not point.findings for place in point.hits}
        common = self._common()
        if common:
            return tuple(sorted((common - fine) or common))
        some = {place for point in self.failures for place in point.hits} - fine
        return tuple(sorted(some)) if len(some) <= _FEW else ()

    def _common(self) -> set[Place]:
        hits = [set(point.hits) for point in self.failures if point.hits]
        return set.intersection(*hits) if hits else set()

    def __str__(self) -> str:
        points = [point for point in self.points if point.number]
        missed = sum(not point.reached for point in points)
        told = f", {missed} not reached" * bool(missed)
        tried = f"{len(points) - missed} of {self.total} points tried{told}"
        head = f"{self.title}: {tried}, {len(self.failures)} failed"
        if self.suspects:
            at = ", or ".join(map(str, self.suspects))
            where = (
                f"in each of these a task was hit at {at}"
                if self._common()
                else f"in some of these, and in no other run, a task was hit at {at}"
            )
            head += f"\n{where}"
        return "\n".join([head, *map(str, self.failures)])


class CancelError(AssertionError):
    """A function does not stand being cancelled everywhere.

    Attributes:
        report: the whole of it.
    """

    def __init__(self, report: CancelReport) -> None:
        self.report = report
        super().__init__(str(report))
