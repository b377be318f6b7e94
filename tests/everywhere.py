"""The kit turned on creche: what a function is tried on, and what must hold whatever hits it where.

What it is for: `Trial` is one function with the scene that it plays in. Before each run the scene is
set anew: a runner is open whose places others have taken, or none. After it the runner must do as if
nothing had happened, be left as always, and be good for another start.

What it does not know: the functions; they are in the files beside this one.

Invariant: what is checked is the contract, from outside: outcomes, events, numbers, and calls that need
all the room that there is.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import trio
from outcome import Error, Value

from creche import (
    CallCancelled,
    CallCrashed,
    ConcurrentTaskRunner,
    DaskTaskRunner,
    ProcessTaskRunner,
    RunnerClosed,
    SequentialTaskRunner,
    State,
    ThreadTaskRunner,
)
from creche._base import _OPEN
from creche._capture import leaves
from creche._carrier import CARRIED
from creche._live import LIVE
from creche.testing import CancelReport, cancel_everywhere

Kind = Literal["scope", "fail_after", "native", "ctrl_c", "task", "error"]
KINDS: tuple[Kind, ...] = ("scope", "fail_after", "native", "ctrl_c", "task", "error")

# They are aimed at the function; the others at whichever task stands at the point.
AIMED = ("scope", "fail_after", "native", "ctrl_c")

# Half of the kinds with somebody who listens: a run that nobody listens to takes shorter ways.
HEARD = ("fail_after", "native", "error")

# How many points have been tried, by loop and kind.
HELD: Counter[tuple[str, Kind]] = Counter()

SIZE = 2
ROOM = 2


class TroubleError(OSError):
    """What is raised at a point, or by a call of a program's own."""


class Ledger:
    """An instrument: which calls were submitted, and how often each was told to have ended."""

    def __init__(self) -> None:
        self.submitted: set[tuple[int, int]] = set()
        self.finished: Counter[tuple[int, int]] = Counter()
        self.opened = 0
        self.closed = 0

    def runner_started(self, _: Any) -> None:
        self.opened += 1

    def call_submitted(self, event: Any) -> None:
        self.submitted.add((event.run, event.call))

    def call_finished(self, event: Any) -> None:
        assert event.state not in (State.PENDING, State.RUNNING)
        self.finished[event.run, event.call] += 1

    def runner_closed(self, _: Any) -> None:
        self.closed += 1


class Scene:
    """What one run plays in, and a book that is kept of it."""

    def __init__(self, backend: str, kind: Kind) -> None:
        self.backend = backend
        self.kind = kind
        self.runner: Any = None
        self.begun: Counter[Hashable] = Counter()
        self.ended: Counter[Hashable] = Counter()
        self.got: list[Any] = []
        self.theirs: list[Any] = []
        self.limiter: Any = None
        self._noted: list[tuple[Any, Ledger | None]] = []

    def options(self) -> dict[str, Any]:
        """For a runner: one that listens, or nobody."""
        return {"instruments": [Ledger()] if self.kind in HEARD else []}

    def note(self, runner: Any) -> Any:
        """One of the runners of this run."""
        ledger = next((one for one in runner._options.instruments if isinstance(one, Ledger)), None)
        self._noted.append((runner, ledger))
        return runner

    def make(self, kind: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """A runner, noted."""
        return self.note(kind(*args, **options, **self.options()))

    async def work(self, key: Hashable, seconds: float = 1) -> Hashable:
        """A call that takes some time."""
        self.begun[key] += 1
        await anyio.sleep(seconds)
        self.ended[key] += 1
        return key

    async def fail(self, seconds: float = 1) -> None:
        """One that fails."""
        await anyio.sleep(seconds)
        raise TroubleError("a call")

    # What must hold ---------------------------------------------------------------------------------

    async def goes_on(self, *, spares: bool) -> None:
        """While it is open: what others have submitted has ended well, and all room is there."""
        runner = self.runner
        if runner is None:
            return
        with anyio.fail_after(1_000):
            await runner.until_idle()
        if spares and self.kind in AIMED:
            for slot in self.theirs:
                assert slot.state is State.COMPLETED, slot
        try:
            await self.fill(runner, "again")
        except RunnerClosed:
            assert not spares or self.kind not in AIMED

    async def fill(self, runner: Any, name: str) -> None:
        """As many calls as there is room for run at once; then one with each of its limits."""
        if isinstance(runner, SequentialTaskRunner):
            slot = await runner.submit((name, "one"), self.work, (name, "one"))
            assert slot.result() == (name, "one")
            return
        number = runner.max_workers or 5
        if isinstance(runner, (ProcessTaskRunner, DaskTaskRunner)):  # they cannot meet at all
            assert await runner.map(abs, range(4)) == [0, 1, 2, 3]
            return
        if isinstance(runner, ThreadTaskRunner):  # whose calls do not meet on this loop
            barrier = threading.Barrier(number, timeout=10)
            assert sorted(await runner.map(lambda _: barrier.wait(), range(number))) == [*range(number)]
            return
        inside = 0
        full, go_on = anyio.Event(), anyio.Event()

        async def meet() -> None:
            nonlocal inside
            inside += 1
            if inside == number:
                full.set()
            await go_on.wait()

        async with runner.group() as group:
            for n in range(number):
                await group.submit((name, n), meet)
            with anyio.fail_after(1_000):
                await full.wait()
            numbers = runner.statistics()
            assert (numbers.running, numbers.pending) == (number, 0), numbers
            go_on.set()
        limits = [name for name, _ in runner._options.limits]
        async with runner.group() as group:
            for limit in limits:
                await group.submit((name, limit), self.work, (name, limit), limits=[limit])
        for key in [*((name, n) for n in range(number)), *((name, limit) for limit in limits)]:
            assert runner.pop(key).state is State.COMPLETED, key

    async def check_closed(self, came: BaseException | None) -> None:
        """All is final, as its state says, once; nothing is kept; another start is as the first."""
        if self.runner is not None and self.kind in AIMED:
            assert came is None or self._is_crash(came), came
        for runner, ledger in self._noted:
            self._check_slots(runner, ledger)
        assert not _OPEN
        assert not CARRIED
        if self.limiter is not None:
            assert self.limiter.borrowed_tokens == 0
        for runner, ledger in self._noted:
            async with runner.start():
                await self.fill(runner, "another start")
            assert len(runner.slots) <= 1
            self._check_told(ledger)

    def _is_crash(self, came: BaseException) -> bool:
        """Ctrl-C in a call comes out of the runner; that of a sequential one runs in our own task."""
        return self.kind == "ctrl_c" and all(isinstance(one, KeyboardInterrupt) for one in leaves(came))

    def _check_slots(self, runner: Any, ledger: Ledger | None) -> None:
        assert not runner.is_started
        assert runner._run not in LIVE
        numbers = runner.statistics()
        assert (numbers.pending, numbers.running, numbers.reserved) == (0, 0, 0), numbers
        assert (numbers.carriers, numbers.carriers_idle) == (0, 0), numbers
        for key, slot in runner.slots.items():
            assert slot.done, slot
            outcome = slot.outcome
            if slot.state is State.COMPLETED:
                assert isinstance(outcome, Value), slot
                if slot.result() == key and key in self.begun:
                    assert self.ended[key] == 1, slot
                continue
            assert isinstance(outcome, Error), slot
            error = outcome.error
            its_own = isinstance(error, CallCancelled) and error.key == key
            assert its_own == (slot.state is State.CANCELLED), (slot, error)
            if slot.state is State.FAILED:  # perhaps by what became of another call
                wanted = (TroubleError, TimeoutError, RunnerClosed, CallCancelled)
                assert all(isinstance(one, wanted) for one in leaves(error)), (slot, error)
            elif slot.state is State.CRASHED:
                hit = self.kind in ("ctrl_c", "error", "task")  # perhaps its place, or a task of it
                assert hit or isinstance(error, CallCrashed), (slot, error)
        assert max(self.begun.values(), default=0) <= 1, self.begun
        self._check_told(ledger)

    def _check_told(self, ledger: Ledger | None) -> None:
        if ledger is not None:
            assert set(ledger.finished) == ledger.submitted
            assert set(ledger.finished.values()) <= {1}
            assert ledger.opened == ledger.closed


# The scenes -----------------------------------------------------------------------------------------


def nothing(_: Scene) -> None:
    """The function opens what it needs."""


def plain(scene: Scene) -> None:
    """A runner without limits, on which two calls of others go on."""
    scene.runner = scene.make(ConcurrentTaskRunner)


def narrow(scene: Scene) -> None:
    """One with two places, which others have taken, with limits and little room to wait."""
    limiter = trio.CapacityLimiter(1) if scene.backend == "trio" else anyio.CapacityLimiter(1)
    scene.limiter = limiter
    scene.runner = scene.make(
        ConcurrentTaskRunner, SIZE, max_pending=ROOM, limits={"db": 1, "shared": limiter}
    )


def sequential(scene: Scene) -> None:
    """One whose calls run in the task of who submits them."""
    scene.runner = scene.make(SequentialTaskRunner)


@dataclass(frozen=True)
class Trial:
    """One function that is tried, and what it stands for.

    Attributes:
        fn: given the scene.
        covers: the functions of creche's that it waits in.
        scene: sets it.
        spares: whether calls of others go on whatever becomes of it.
        then: what else must hold after each run.
        allow: findings that are none here.
        backends: on which it is tried.
    """

    fn: Callable[[Scene], Awaitable[Any]]
    covers: tuple[str, ...]
    scene: Callable[[Scene], None] = plain
    spares: bool = True
    then: Callable[[Scene], None] | None = None
    allow: tuple[Any, ...] = ()
    backends: tuple[Any, ...] = ("trio", "asyncio")

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.fn.__name__}-{self.scene.__name__}"

    def run(self, backend: Any, kind: Kind, most: int | None) -> CancelReport:
        """Try it at so many points, or at all of them."""

        async def around() -> AsyncGenerator[Scene, None]:
            scene = Scene(backend, kind)
            for kept in (_OPEN, CARRIED, LIVE):
                kept.clear()  # by a run that had to be given up, and is told of
            self.scene(scene)
            came: BaseException | None = None
            if scene.runner is None:
                yield scene
            else:
                try:
                    async with scene.runner.start() as runner:
                        if not isinstance(runner, SequentialTaskRunner):
                            scene.theirs = [
                                runner.submit_nowait(("theirs", n), scene.work, ("theirs", n), n)
                                for n in (1, 3)
                            ]
                        yield scene
                except GeneratorExit:
                    raise
                except BaseException as exc:
                    came = exc
            await scene.check_closed(came)
            if came is not None:
                raise came

        async def holds(scene: Scene) -> None:
            await scene.goes_on(spares=self.spares)
            if self.then is not None:
                self.then(scene)

        return cancel_everywhere(
            self.fn,
            backend=backend,
            how=TroubleError("at a point") if kind == "error" else kind,
            setup=around,
            invariant=holds,
            within=100,
            allow=self.allow,
            max_points=most,
            check=False,
        )


def kinds_on(backend: str) -> tuple[Kind, ...]:
    """What the kit can do there."""
    return tuple(kind for kind in KINDS if kind != "native" or backend == "asyncio")
