"""Replay a workflow on a `ConcurrentTaskRunner`: each task sleeps as long as it took, after its parents.

    python docs/examples/wf_replay.py instance.json --workers 1 16 4096
    python docs/examples/wf_replay.py --shape montage --tasks 1000 --backend asyncio

In virtual time, where hours of sleep cost nothing, unless `--scale` asks for real time. Beside the
makespan that was reached stand Graham's bounds, computed from the data. The exit status is 1 when
something was broken that the runner promises, and 2 when there is nothing to replay.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, Self

import anyio
from wf_clock import TICK, run_on
from wf_graph import NotAWorkflow, Task, Workflow, read_workflow
from wf_shapes import SHAPES, make_document

from creche import ConcurrentTaskRunner, State
from creche.instruments import CallEvent, Instrument

SHOWN = 10  # of what was broken
CALM = 2.0  # seconds between two lines of progress


class Progress(Instrument):
    """How far a replay is, on standard error: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, what: str, tasks: int, *, quiet: bool) -> None:
        self._what, self._tasks, self._quiet = what, tasks, quiet
        self._done = 0
        self._begun = self._said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty() and find_spec("rich"):
            console = import_module("rich.console").Console(stderr=True)
            self._bar = import_module("rich.progress").Progress(console=console, transient=True)
            self._bar.add_task(self._what, total=self._tasks)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._say("ended")

    def call_finished(self, event: CallEvent) -> None:
        """One task more, unless it was cancelled."""
        self._done += event.state is State.COMPLETED
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])
        elif time.monotonic() - self._said >= CALM:
            self._said = time.monotonic()
            self._say("have ended")

    def _say(self, how: str) -> None:
        if not self._quiet:
            seconds = time.monotonic() - self._begun
            line = f"{self._what}: {self._done} of {self._tasks} tasks {how}, {seconds:.1f} s"
            print(line, file=sys.stderr, flush=True)


class Pace(NamedTuple):
    """How long a tick of the workflow takes on the clock of the loop, and whether that one jumps."""

    tick: float
    virtual: bool


class Watch:
    """What the tasks themselves see of the run. It asks the runner nothing."""

    def __init__(self, workers: int, pace: Pace) -> None:
        self.most = 0
        self.broken: list[str] = []
        self._workers = workers
        self._pace = pace
        self._begun: Counter[str] = Counter()
        self._ended: dict[str, float] = {}
        self._running = 0
        self._start = anyio.current_time()

    async def carry_out(self, task: Task) -> None:
        """The body of every call."""
        self._begun[task.key] += 1
        early = [parent for parent in task.parents if parent not in self._ended]
        if early:
            self.broken.append(f"task {task.key!r} started before its parent {early[0]!r} had ended")
        self._running += 1
        self.most = max(self.most, self._running)
        await anyio.sleep(task.ticks * self._pace.tick)
        self._running -= 1
        self._ended[task.key] = anyio.current_time()

    def judge(self, workflow: Workflow) -> None:
        """After the run: whether each ran once, not too many at once, and all within the bounds."""
        for task in workflow.tasks:
            times = self._begun[task.key]
            if times != 1:
                how = f"was run {times} times" if times else "was never run"
                self.broken.append(f"task {task.key!r} {how}")
        if self.most > self._workers:
            self.broken.append(f"{self.most} tasks ran at once, and no more than {self._workers} may")
        makespan, (lower, upper) = self.makespan, workflow.bounds(self._workers)
        # In real time everything takes a little time; in virtual time nothing but the tasks does.
        if self._pace.virtual and makespan is not None and not lower <= makespan <= upper:
            reached, least, most = (workflow.seconds(ticks) for ticks in (makespan, lower, upper))
            self.broken.append(
                f"the makespan is {reached} s; it must lie between {least} s and {most} s"
            )

    @property
    def makespan(self) -> Fraction | None:
        """Until the last task had ended, in ticks, exact in virtual time; `None` if ticks take none."""
        if not self._pace.tick or not self._ended:
            return None
        return (Fraction(max(self._ended.values())) - Fraction(self._start)) / Fraction(self._pace.tick)


async def replay(workflow: Workflow, workers: int, pace: Pace, progress: Progress) -> Watch:
    """Submit every task after its parents, and let the runner do the rest."""
    watch = Watch(workers, pace)
    runner = ConcurrentTaskRunner(max_workers=workers, instruments=[progress])
    # A virtual clock gets there only when everything waits, for what will not come.
    limit = 2 * workflow.total * TICK + 1 if pace.virtual else inf
    with anyio.move_on_after(limit) as patience:
        async with runner.start():
            for task in workflow.tasks:
                runner.submit_nowait(task.key, watch.carry_out, task, after=task.parents)
    if patience.cancelled_caught:
        watch.broken.append("the run came to a halt before its end")
    for key, slot in runner.slots.items():
        if slot.state is not State.COMPLETED:
            watch.broken.append(f"call {key!r} is {slot.state.name}, not COMPLETED")
    watch.judge(workflow)
    return watch


def replay_all(workflow: Workflow, options: argparse.Namespace) -> int:
    """Replay with each number of workers, and print a row for each; the exit status."""
    virtual = options.scale is None
    pace = Pace(TICK if virtual else options.scale * 10.0**-workflow.digits, virtual)
    tasks, total = len(workflow.tasks), workflow.seconds(workflow.total)
    edges = sum(len(task.parents) for task in workflow.tasks)
    time_is = "in virtual time" if virtual else f"in real time, {options.scale:g} s for a second"
    print(f"{workflow.name}: {tasks} tasks, {edges} dependencies; on {options.backend}, {time_is}")
    print(f"critical path {workflow.seconds(workflow.critical_path)} s, sum of runtimes {total} s\n")
    width = max(12, len(total) + 2)
    titles = (f"{title:>{width}}" for title in ("makespan", "lower bound", "upper bound"))
    print(" workers   tasks  at once", *titles, flush=True)
    is_broken = False
    for workers in options.workers:
        crew = "1 worker" if workers == 1 else f"{workers} workers"
        with Progress(crew, tasks, quiet=options.quiet) as progress:
            carry_out = partial(replay, workflow, workers, pace, progress)
            watch = run_on(options.backend, carry_out, virtual=virtual)
        times = [watch.makespan, *workflow.bounds(workers)]
        cells = ("-" if ticks is None else workflow.seconds(ticks) for ticks in times)
        row = (f"{workers:8}", f"{tasks:7}", f"{watch.most:8}", *(f"{cell:>{width}}" for cell in cells))
        print(*row, flush=True)
        for line in watch.broken[:SHOWN]:
            complain(f"broken, with {crew}: {line}")
        if len(watch.broken) > SHOWN:
            complain(f"and {len(watch.broken) - SHOWN} more")
        is_broken = is_broken or bool(watch.broken)
    return int(is_broken)


def complain(sentence: str) -> None:
    """On standard error."""
    print(f"wf_replay: {sentence}", file=sys.stderr, flush=True)


def read_file(path: Path) -> Workflow:
    """Read a workflow; whatever is wrong with the file is one sentence."""
    try:
        return read_workflow(json.loads(path.read_bytes()), path.stem)
    except OSError as exc:
        raise NotAWorkflow(exc.strerror or str(exc)) from exc
    except NotAWorkflow:
        raise
    except RecursionError as exc:
        raise NotAWorkflow("it is nested too deeply") from exc
    except ValueError as exc:
        raise NotAWorkflow(f"it is not JSON: {exc}") from exc


def positive(text: str) -> int:
    """A number of workers or tasks."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def not_negative(text: str) -> float:
    """A scale."""
    number = float(text)
    if not 0 <= number < inf:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return number


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="wf_replay", description="Replay a workflow on a runner.")
    parser.add_argument("instance", type=Path, nargs="?", help="a WfFormat document, as JSON")
    parser.add_argument("--shape", choices=SHAPES, help="a synthetic workflow instead")
    parser.add_argument("--tasks", type=positive, help="how many tasks the shape has (100)")
    parser.add_argument("--seed", type=int, help="what its runtimes come from (0)")
    parser.add_argument(
        "--workers", type=positive, nargs="+", default=[1, 16, 4096], metavar="N", help="(1 16 4096)"
    )
    parser.add_argument("--backend", choices=("trio", "asyncio", "uvloop"), default="trio")
    parser.add_argument(
        "--scale",
        type=not_negative,
        help="real time, so many seconds for one of the workflow's; the bounds are shown, not checked. "
        "uvloop has only real time: 0 is its default, which is as fast as it goes",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    options = parser.parse_args(arguments)
    if (options.instance is None) == (options.shape is None):
        parser.error("name a file, or a --shape, and not both")
    if options.shape is None and (options.tasks, options.seed) != (None, None):
        parser.error("--tasks and --seed belong to a --shape")
    if options.backend == "uvloop":
        if not find_spec("uvloop"):
            parser.error("uvloop is not installed")
        options.scale = options.scale or 0.0
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    options = read_options(arguments)
    try:
        if options.shape is None:
            workflow = read_file(options.instance)
        else:
            document = make_document(options.shape, options.tasks or 100, options.seed or 0)
            workflow = read_workflow(document, options.shape)
    except NotAWorkflow as exc:
        complain(f"cannot replay {options.instance}: {exc}")
        return 2
    if workflow.unmeasured:
        complain(f"{workflow.unmeasured} tasks have no runtime in the document, and take none here")
    try:
        return replay_all(workflow, options)
    except KeyboardInterrupt:
        complain("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
