"""A flow engine in sixty lines, on trio: tasks that take each other's results, by name.

    python docs/examples/flow_engine.py

The parameters of a task are the names of the tasks whose results it takes. A task that fails takes down
what needs its result, and nothing else. Whatever happens, Ctrl-C too, each task is reported once, with
its state and its result, or the reason why there is none.

The flow at the end is about the standard library of this Python. Unless there is a file `lines.txt` with
the number of lines that it had before, the branch that compares the two fails, and the other does not.
"""

import sysconfig
from collections import Counter
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import trio

from creche import ConcurrentTaskRunner, Slot, State


class Task(NamedTuple):
    """A function, async or plain; the tasks whose results it takes; how often to try it."""

    fn: Callable[..., Any]
    needs: tuple[str, ...]
    tries: int = 1


class Flow:
    """Tasks by their names, in any order, and the runner that carries them out."""

    def __init__(self, runner: ConcurrentTaskRunner) -> None:
        self.runner = runner
        self.tasks: dict[str, Task] = {}

    def task(self, fn: Callable[..., Any], *, tries: int = 1) -> Callable[..., Any]:
        """Declare a task, under the name of its function; a decorator."""
        self.tasks[fn.__name__] = Task(fn, tuple(signature(fn).parameters), tries)
        return fn

    async def run(self, **given: object) -> None:
        """Carry out every task; what is `given` counts as a task with nothing to do."""
        tasks = self.tasks | {name: Task(partial(given.__getitem__, name), ()) for name in given}
        try:
            async with self.runner.start() as runner:
                for name in tasks:  # all of them first: a task may need one that is declared after it
                    runner.reserve(name).add_done_callback(report)
                for name, task in tasks.items():
                    runner.submit_nowait(name, self.carry_out, name, task, after=task.needs)
        finally:
            ended = [slot.state.name for key, slot in self.runner.slots.items() if key in tasks]
            print(", ".join(f"{number} {state}" for state, number in Counter(ended).items()))

    async def carry_out(self, name: str, task: Task, number: int = 1) -> object:
        """Call a function with what it needs, and again when it fails; each try is a call of its own."""
        call = partial(task.fn, **{need: self.runner.slots[need].result() for need in task.needs})
        async with self.runner.group() as group:  # when this is cancelled, so is the call
            slot = group.submit_nowait((name, number), call, priority=1)
        if slot.state is State.FAILED and number < task.tries:
            report(slot)
            await trio.sleep(2**number / 10)
            return await self.carry_out(name, task, number + 1)
        return slot.result()


def report(slot: Slot[Any]) -> None:
    """Say how a call has ended."""
    print(f"{slot.key!s:<14} {slot.state.name:<10} {slot.reason or str(slot.outcome)[:80]}")


flow = Flow(ConcurrentTaskRunner(max_workers=4))


@flow.task
def sources(root: Path) -> list[Path]:
    """The files of a folder."""
    return sorted(root.glob("*.py"))


@flow.task
def lines(sources: list[Path]) -> int:
    """How many lines they have together."""
    return sum(path.read_bytes().count(b"\n") for path in sources)


@partial(flow.task, tries=3)
async def before(file: Path) -> int:
    """How many lines there were; somebody may be writing the file just now."""
    return int(await trio.Path(file).read_text())


@flow.task
def growth(lines: int, before: int) -> str:
    """What has changed."""
    return f"{lines - before:+}"


if __name__ == "__main__":
    try:
        trio.run(partial(flow.run, root=Path(sysconfig.get_path("stdlib")), file=Path("lines.txt")))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
