"""The points of a run at which it can be cancelled, and the way to one of them.

What it is for: `Walk` looks at each step of each task of the function, whoever started the task. In
the first run it only takes note. In each later one it counts steps up to one that it noted, and
strikes there.

There are two kinds of points. A task *waits*, and a cancellation ends the wait. Or it is *woken*: what
it waited for has come, and then the cancellation does; it is seen at the next cancel point, by which
time the task may have been handed something: a lock, an item, a turn. On trio the second kind matters
where the step that follows asks for cancellation before it waits again (as `trio.Lock.acquire` does,
and the second half of `checkpoint()`), which trio counts. On asyncio it matters wherever a task waited
for a future.

What it does not know: what striking means.

Invariant: at most one strike a run.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple, final

from ._clock import VirtualTime
from ._stages import Stage
from ._where import Place, awaiting, innermost, is_authors, is_own, lines

# Some tenths of a second: what hangs while something else ticks costs that much at each point.
# Virtual seconds cost nothing, and are not limited: a day is nothing for a function that sleeps for one.
_TOO_MANY = 5_000
# As many as this for each step of the whole run, undisturbed: what cleans up may have much to do.
_TIMES = 10

_NATIVELY = ("native", "ctrl_c")


class Point(NamedTuple):
    """Where a run can be disturbed."""

    step: int
    late: bool
    lines: tuple[Place, ...]
    task: str

    @property
    def place(self) -> Place | None:
        """The innermost of its lines; `None` before the task has begun."""
        return self.lines[0] if self.lines else None


@final
class Walk:
    """One run, step by step."""

    def __init__(
        self,
        stage: Stage,
        target: Point | None,
        strike: Callable[[Any, bool], None],
        *,
        how: object,
        most: int = 0,
    ) -> None:
        self.points: list[Point] = []
        self.struck: float | None = None
        self.reached = False
        self.hits: set[Place] = set()
        self.swallowers: list[tuple[str, Place]] = []
        self.steps = 0
        self._stage = stage
        self._target = target
        self._strike = strike
        self._errors = isinstance(how, BaseException)
        self._alone = how == "task"
        self._natively = how in _NATIVELY  # until that has come, which it does once
        self._time: VirtualTime | None = None
        self._main: Any = None
        self._scope: Any = None
        # The tasks that the cancellation has come to, and where, if what runs there is the author's own.
        self._cancelled: dict[Any, Place | None] = {}
        # What was not closed is to be seen there also where the error, in whose traceback it would stay,
        # is let go: a child's on asyncio, or that of a call.
        self._unwound: set[FrameType] = set()
        self._step = -1
        self._late: Point | None = None
        self._asked = 0
        self._since = 0
        self._most = max(_TOO_MANY, _TIMES * most)

    def begin(self, time: VirtualTime, scope: Any) -> None:  # noqa: ANN401 - a scope
        """The running task is about to call the function."""
        self._time = time
        self._main = self._stage.current()
        self._scope = scope
        self._look(self._main, ())

    def end(self) -> None:
        """The function has ended, in the midst of a step."""
        if self.struck is None:
            self._take_late(self._main)
        self._main = None
        self._since = 0  # what is asked afterwards has its own measure

    def let_go(self) -> None:
        """What is left was looked at; what only its functions and their errors still have may go."""
        self._unwound.clear()
        self._cancelled.clear()

    def before_step(self, task: Any) -> None:  # noqa: ANN401 - a task
        """Count it, and strike if it is the one."""
        if self._time is None:
            return
        self.steps += 1
        if self.struck is not None:
            self._spend(self._time)
            if self._main is not None and self._stage.is_hit(task):
                self._note_hit(task)
        elif self._main is not None:
            self._look(task, lines(self._stage.coro_of(task)))

    def after_step(self, task: Any) -> None:  # noqa: ANN401 - a task
        """Take note of where it could have been cancelled in it, and of where it stands now."""
        if self.struck is not None:
            self._note_end(task)
        if self._main is None or self.struck is not None:
            return
        self._take_late(task)
        if self._stage.waits(task) and self._can_strike(task, late=False):
            at = lines(self._stage.coro_of(task))
            here = Point(self._step, late=False, lines=at, task=self._stage.name_of(task))
            self.points.append(here)
            self._try(here, task)

    def _take_late(self, task: Any) -> None:  # noqa: ANN401 - a task
        if self._late is not None and (not self._step or self._stage.is_late(task, self._asked)):
            self.points.append(self._late)

    def _look(self, task: Any, at: tuple[Place, ...]) -> None:  # noqa: ANN401 - a task
        self._step += 1
        self._asked = self._stage.cancel_points(task)
        self._late = None
        if self._can_strike(task, late=True):
            self._late = Point(self._step, late=True, lines=at, task=self._stage.name_of(task))
            self._try(self._late, task)

    def _can_strike(self, task: Any, *, late: bool) -> bool:  # noqa: ANN401 - a task
        if self._errors:
            return bool(self._step or not late) and self._stage.takes(task, late=late)
        return not self._alone or self._stage.is_its_own(task)

    def _try(self, here: Point, task: Any) -> None:  # noqa: ANN401 - a task
        target = self._target
        if target is None or self._time is None:
            return
        # With threads it may have come another way: then the point is another one, and is left alone.
        if (here.step, here.late, here.place) == (target.step, target.late, target.place):
            self.struck = self._time.now
            self._strike(task, here.late)
            if here.late and here.step and self._stage.is_hit(task):  # in this very step
                self._note_hit(task)

    def _note_hit(self, task: Any) -> None:  # noqa: ANN401 - a task
        # Not only the first time: a cancellation by a scope stays, and it is the next one that ends what
        # a `finally` block waits for.
        coro = self._stage.coro_of(task)
        self.hits.update(lines(coro))
        self._unwound.update(one for one in awaiting(coro) if is_own(one.f_code.co_filename))
        waiting = self._main if self._natively else None
        if task is self._main:
            is_ours = self._stage.is_reached(task, self._scope, natively=self._natively)
            self.reached = self.reached or is_ours
            self._natively = False
        else:
            is_ours = self._stage.is_handed_on(task, self._scope, self._cancelled.keys(), waiting)
        if is_ours:
            self._cancelled.setdefault(task, innermost(coro) if is_authors(coro) else None)

    def _note_end(self, task: Any) -> None:  # noqa: ANN401 - a task
        """A step has ended; if the task has returned, what was to end it did not."""
        place = self._cancelled.get(task)
        if place is not None and self._stage.has_returned(task):
            self.swallowers.append((self._stage.name_of(task), place))

    def _spend(self, time: VirtualTime) -> None:
        """What was struck has only so many steps to end, and so has what is asked then."""
        self._since += 1
        if self._since > self._most:
            time.give_up(f"it goes on and on, {self._most:,} steps and {time.now:g} seconds so far:")
