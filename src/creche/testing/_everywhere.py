"""`cancel_everywhere`: a function is cancelled at each point at which it can be, one run for each.

What it is for: the strike, the look at what is left, and the report. The walk to the point is in
`_walk`; which points are tried, `_choosing` says.

What it does not know: the loops; and what is right: beyond the general manners (end, let the
cancellation through, leave nothing behind, let go of locks) that is for an invariant of the user's to
say.

Invariant: each run begins on a loop of its own, in virtual time at 0, with its tasks in the same order.
"""

from __future__ import annotations

import gc
import inspect
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

from creche._capture import leaves
from creche._checks import check_choice

from ._choosing import choose
from ._clock import PASSES, HungError, VirtualTime
from ._findings import KINDS, CancelError, CancelReport, Finding, FindingKind, PointReport
from ._inputs import begun, check_everywhere, check_no_loop
from ._leaks import still_left, tasks, told
from ._locks import Locks, watched
from ._naming import written
from ._outcomes import is_for_others, is_outcome
from ._present import Thing, kill, present, processes
from ._stages import BackendName, Stage, stage_named
from ._walk import Point, Walk
from ._where import comes_of
from ._where import told as told_error

How = Literal["scope", "fail_after", "task", "native", "ctrl_c"]
_HOW = ("scope", "fail_after", "task", "native", "ctrl_c")

# Of the real clock; what is left and not ending costs that much at each point.
_GRACE = 0.2
# What is done when the function has ended, as findings name it.
_HOLDS, _CLOSES = "the invariant", "what setup closes"


def cancel_everywhere(
    fn: Callable[..., Awaitable[Any]],
    *,
    backend: BackendName = "trio",
    how: How | BaseException = "scope",
    setup: Callable[[], Any] | None = None,
    invariant: Callable[..., Any] | None = None,
    within: float | None = None,
    allow: Collection[FindingKind] = (),
    max_points: int | None = None,
    places: Collection[str] = (),
    only: int | None = None,
    check: bool = True,
) -> CancelReport:
    """Run an async function once for each point at which it can be cancelled, and cancel it there.

    Not from inside an event loop: each run has a loop of its own, in virtual time. The points are
    those of all tasks that the function starts, in the order in which they are reached: each wait, and
    each moment in which what was waited for has come and a cancellation comes after it. At each is
    looked whether the function ends, lets the cancellation through, and leaves nothing behind: tasks,
    threads, processes, descriptors, sockets, locks of trio's, anyio's and asyncio's, slots of
    creche's. A process that is left is killed.

    Some limits tell what hangs from what takes long. Undisturbed, the run may take 200,000 passes of the
    loop. Once it is cancelled, its tasks may take 5,000 steps until it ends, or ten times as many as in
    the whole run undisturbed, if that is more; and as many again while the invariant is asked. In
    virtual seconds only `within` limits it.

    Args:
        fn: the function; it gets what `setup` made, if there is that.
        backend: `"trio"` or `"asyncio"`.
        how: `"scope"`: a cancel scope around the function is cancelled (on asyncio one of anyio's).
            `"fail_after"`: its deadline passes. `"task"`: the task that stands at the point is
            cancelled, and no other: the way to find wake-ups that get lost and locks that the others
            wait for; what the function makes of that, short of hanging, is its own affair. `"native"`:
            `Task.cancel` of the task that runs the function, on asyncio only. `"ctrl_c"`: what Ctrl-C
            does to a program. An exception: what is awaited at the point raises it; points that cannot
            raise one are left out.
        setup: makes what the function works on, before each run, on its loop; plain or async. An async
            generator function yields it, as a fixture of pytest does, and closes it when the invariant
            was asked; what is left is looked at after that.
        invariant: called after each run, on its loop, with what `setup` made; plain or async. It does
            not hold if it returns False, raises, or does not end.
        within: virtual seconds that it may take to end once it is cancelled; `None` for any number.
        allow: kinds of findings that are no failure here; see `Finding`.
        max_points: try so many at most, spread evenly; `None` for all of them.
        places: try only points in these files or lines, a list: as a report shows them, in full, or
            patterns as `"*pipeline.py"` or `"*pipeline.py:31"`.
        only: try only the point of this number.
        check: raise if something is wrong; else only report.

    Returns:
        the report.

    Raises:
        CancelError: something is wrong, and `check` is true.
        HungError: the function does not end, undisturbed.
        BaseException: what the function raises, undisturbed; at a point only Ctrl-C, skips and expected
            failures of pytest's and what hypothesis ends an example with.
        RuntimeError: an event loop is running here.
        TypeError: `fn` is no async function, or it, `setup` or `invariant` cannot be called so; `setup`
            is a generator function that is not async; `how` is a `StopIteration` or a `GeneratorExit`,
            which no `await` can raise; or an option is of another type.
        ValueError: an option is none of those; `"native"` on trio; or there is no point of that number,
            or none at one of the places.
    """
    check_no_loop("cancel_everywhere")
    stage = stage_named(backend)
    within = check_everywhere(fn, how, setup, invariant, within, allow, places, max_points, only)
    if not isinstance(how, BaseException):
        check_choice("how", how, _HOW)
    if isinstance(how, (StopIteration, GeneratorExit)):
        msg = f"how={how!r} is what Python ends generators and coroutines with; no await can raise it"
        raise TypeError(msg)
    if how == "native" and backend == "trio":
        msg = "how='native' is Task.cancel of asyncio; use backend='asyncio', or how='scope'"
        raise ValueError(msg)
    for kind in allow:
        check_choice("allow", kind, KINDS)
    with watched() as locks:
        errand = _Errand(stage, fn, how, setup, invariant, within, frozenset(allow), locks)
        undisturbed, walk = errand.run(0, None)
        points = list(enumerate(walk.points, 1))
        chosen = choose(points, max_points, places, only)
        reports = [undisturbed] if only is None else []
        reports += [errand.run(number, point)[0] for number, point in chosen]
    report = CancelReport(errand.title, len(points), tuple(reports))
    if check and report.failures:
        raise CancelError(report)
    return report


class _Errand:
    """What is asked for; runs it once a point."""

    def __init__(
        self,
        stage: Stage,
        fn: Callable[..., Awaitable[Any]],
        how: How | BaseException,
        setup: Callable[[], Any] | None,
        invariant: Callable[..., Any] | None,
        within: float | None,
        allow: frozenset[FindingKind],
        locks: Locks,
    ) -> None:
        self._stage = stage
        self._fn = fn
        self._how: How | BaseException = how
        self._setup = setup
        self._invariant = invariant
        self._within = within
        self._allow = allow
        self._locks = locks
        self._steps = 0  # of the run that was not disturbed
        said = written(how) if isinstance(how, BaseException) else f'"{how}"'
        words = f'cancel_everywhere({written(fn)}, backend="{stage.name}", how={said}'
        self.title = f"{words})"
        # Without these it would be another run.
        options = {"setup": setup, "invariant": invariant, "within": within}
        given = [f"{name}={written(one)}" for name, one in options.items() if one is not None]
        allowed = [f"allow={sorted(allow)}"] * bool(allow)
        self._again = ", ".join([words, *given, *allowed])

    def run(self, number: int, target: Point | None) -> tuple[PointReport, Walk]:
        """Once, disturbed at this point; and the points on the way."""
        one = _Once(self._stage, self._how, target, self._locks, self._steps)
        with warnings.catch_warnings():
            # What is left open is told of; that it is closed when the errors are let go need not be.
            warnings.simplefilter("ignore", ResourceWarning)
            one.go(self._fn, self._setup, self._invariant)
            found = [finding for finding in one.findings if finding.kind not in self._allow]
            is_slow = self._within is not None and one.seconds > self._within
            if number and is_slow and "slow" not in self._allow:
                found.append(Finding("slow", f"it took {one.seconds:g} seconds to end"))
            error, one.error = one.error, None
            self._steps = self._steps or one.walk.steps
            if target is None and error is not None:
                raise error
            del error
            if any(finding.kind == "left" for finding in one.findings):
                gc.collect()  # here, where nothing is said of it: errors and frames hold each other
        return (
            PointReport(
                number=number,
                place=target.place if target else None,
                callers=target.lines[1:] if target else (),
                moment="woken" if target and target.late else "waiting",
                task=target.task if target else "",
                hits=tuple(sorted(one.walk.hits)),
                reached=target is None or one.walk.struck is not None,
                ended=one.ended,
                seconds=one.seconds,
                findings=tuple(found),
                again=f"{self._again}, only={number})" if number else f"{self._again})",
            ),
            one.walk,
        )


class _Once:
    """One run."""

    def __init__(
        self, stage: Stage, how: How | BaseException, target: Point | None, locks: Locks, steps: int
    ) -> None:
        self.findings: list[Finding] = []
        self.error: BaseException | None = None
        self.ended = False
        self._doing = ""  # when it has ended
        self._passed: BaseException | None = None  # a cancellation, out of the invariant
        self.seconds = 0.0
        self._stage = stage
        self._how = how
        self._target = target
        self._locks = locks
        self._scope: Any = None
        self._main: Any = None
        self._is_aimed = True
        self._time: VirtualTime | None = None
        self.walk = Walk(stage, target, self._strike, how=how, most=steps)

    def go(
        self,
        fn: Callable[..., Awaitable[Any]],
        setup: Callable[[], Any] | None,
        invariant: Callable[..., Any] | None,
    ) -> None:
        """Run it, and look."""

        async def main(time: VirtualTime) -> None:
            # Disturbed it has as many to get there, and as many to end, however few steps they have.
            time.most = PASSES if self._target is None else 2 * PASSES
            before = present() | tasks(self._stage)
            made = () if setup is None else (setup(),)
            if made and isinstance(made[0], AsyncGenerator):
                await self._perform_around(made[0], fn, invariant, time)
                await self._look_for(before)
                return
            args = tuple([await _maybe_async(one) for one in made])
            before |= present() | tasks(self._stage)
            await self._perform(fn, args, time)
            await self._look_for(before)
            if invariant is not None:
                self._doing = _HOLDS
                await self._hold(invariant, args)

        children = processes()
        try:
            self._stage.run(main, self.walk)
        except HungError as exc:
            if self._target is None and not self.ended:
                raise
            kind: FindingKind = "invariant" if self._doing == _HOLDS else "hung"
            self.findings.append(Finding(kind, f"{self._doing}: {exc}" if self._doing else f"{exc}"))
        except BaseException as exc:
            if self._target is None:
                raise
            self._find_loud(exc)
        finally:
            if isinstance(self._how, BaseException):
                # The same one in each run: nothing of this one stays with it, open files least of all.
                self._how.__traceback__ = self._how.__context__ = None
            self._locks.forget()
            for process in processes() - children:
                kill(cast("int", process.ident))

    async def _perform_around(
        self,
        around: AsyncGenerator[Any, Any],
        fn: Callable[..., Awaitable[Any]],
        invariant: Callable[..., Any] | None,
        time: VirtualTime,
    ) -> None:
        """Within what `setup` has opened, and closes: the function, and what is to hold then."""
        try:
            async with asynccontextmanager(lambda: around)() as made:
                await self._perform(fn, (made,), time)
                if invariant is not None:
                    self._doing = _HOLDS
                    await self._hold(invariant, (made,), is_around=True)
                self._doing = _CLOSES
        except BaseException as exc:
            if time.hung or not self.ended or is_outcome(exc):
                raise
            if exc is self._passed:
                self.findings.append(Finding("invariant", told_error(exc)))
            else:
                self._find_raised(exc, _CLOSES)

    async def _look_for(self, before: set[Thing]) -> None:
        self._tell("left", told(await still_left(before, _GRACE)))
        self.walk.let_go()
        self._tell("held", await self._locks.still_held())

    async def _perform(
        self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], time: VirtualTime
    ) -> None:
        stage = self._stage
        self._main, self._time, self._scope = stage.current(), time, stage.open_scope()
        try:
            with self._scope:
                self.walk.begin(time, self._scope)
                try:
                    await begun("cancel_everywhere", fn, args)
                except BaseException as exc:
                    self.error = exc
                    raise
                finally:
                    self.walk.end()
        except BaseException as exc:  # it is kept, and judged
            if time.hung or is_outcome(exc):  # it is being closed; or that is for who runs the test
                raise
        self.ended = not time.hung  # else it was given up in the very step that has ended it
        late = await stage.calm_down()
        if self.walk.struck is not None:
            self.seconds = time.now - self.walk.struck
            self._judge(late=late)

    def _judge(self, *, late: bool) -> None:
        """Whether what came out is what may come out of a function that was cancelled."""
        how, error = self._how, self.error
        if not self._is_aimed:  # at one task of its: what it makes of that is its own affair
            return
        for name, place in self.walk.swallowers:
            said = f"task {name!r} was cancelled at {place}, and returned as if it had not been"
            self.findings.append(Finding("swallowed", said))
        if error is None:
            if self.walk.reached and not late and not isinstance(how, BaseException):
                self.findings.append(
                    Finding("swallowed", "it was cancelled, and returned as if it had not been")
                )
            return
        self._find_raised(error)

    def _find_raised(self, error: BaseException, where: str = "") -> None:
        how = self._how
        for one in leaves(error):
            if isinstance(one, self._stage.cancelled) or (
                how == "ctrl_c" and isinstance(one, KeyboardInterrupt)
            ):
                continue
            if isinstance(how, BaseException) and comes_of(one, how):
                continue
            said = f"{where}: {told_error(one)}" if where else told_error(one)
            self.findings.append(Finding("raised", said))

    def _find_loud(self, error: BaseException) -> None:
        """It has ended the loop, which was left in disorder, or in which a task exits."""
        if error is self._how:
            return
        if is_for_others(error):
            raise error
        self.findings.append(Finding("raised", told_error(error)))

    def _tell(self, kind: FindingKind, lines: list[str]) -> None:
        self.findings += [Finding(kind, line) for line in lines]

    async def _hold(
        self, invariant: Callable[..., Any], args: tuple[Any, ...], *, is_around: bool = False
    ) -> None:
        try:
            held = await _maybe_async(invariant(*args))
        except BaseException as exc:  # it is told
            if (self._time is not None and self._time.hung) or is_for_others(exc):
                raise
            if is_around and any(isinstance(one, self._stage.cancelled) for one in leaves(exc)):
                self._passed = exc
                raise  # perhaps what setup has opened is cancelled, and that goes out through it
            self.findings.append(Finding("invariant", told_error(exc)))
        else:
            if held is False:
                self.findings.append(Finding("invariant", "it does not hold"))

    def _strike(self, task: Any, late: bool) -> None:  # noqa: ANN401, FBT001 - a task
        how, stage = self._how, self._stage
        self._is_aimed = how != "task" or task is self._main
        if isinstance(how, BaseException):
            stage.inject(task, how, late=late)
        elif how in ("native", "ctrl_c"):
            stage.interrupt(self._main)
        elif not self._is_aimed:
            stage.cancel_task(task)
        elif how == "fail_after":
            self._scope.deadline = self._time.now if self._time else 0
        else:
            self._scope.cancel()


async def _maybe_async(given: Any) -> Any:  # noqa: ANN401 - what a function of the user's gave
    return await given if inspect.isawaitable(given) else given
