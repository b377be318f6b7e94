"""Where the loop does not say what it usually does, calls are carried out all the same, more slowly.

What it is for: the hot path asks anyio, asyncio and trio for things that are not public. What is done
without each of them is tried here, in a process of its own where it is asked for at the import.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import anyio
import pytest

from calls import give, settle_down
from creche import CallCancelled, ConcurrentTaskRunner, State

PROGRAM = """
import contextvars, sys
import anyio, anyio.lowlevel
{before}
from creche import ConcurrentTaskRunner, State

VAR = contextvars.ContextVar("VAR", default=None)

async def give(value):
    await anyio.lowlevel.checkpoint()
    return value

async def fail():
    await anyio.lowlevel.checkpoint()
    raise ValueError("b")

async def change():
    VAR.set("changed")

async def look():
    return VAR.get()

async def nest(runner):
    return await runner.map(give, range(3))

async def use(workers):
    async with ConcurrentTaskRunner(workers).start() as runner:
        for n in range(100):
            runner.submit_nowait(n, give, n)
        for n in range(100):
            assert await runner.result(n) == n
        bad = runner.submit_nowait("bad", fail)
        long = runner.submit_nowait("long", anyio.sleep_forever)
        late = runner.submit_nowait("late", anyio.sleep, 3600, timeout=0.01)
        await anyio.wait_all_tasks_blocked()
        runner.cancel("long")
        await runner.wait("late")
        await runner.wait(bad)
        await runner.wait(long)
        assert bad.state is State.FAILED
        assert long.origin == "cancel"
        assert late.state is State.FAILED
        await runner.submit_nowait("change", change)
        assert await runner.submit_nowait("look", look) is None
        assert await runner.map(give, range(100)) == list(range(100))
        assert await runner.submit_nowait("nest", nest, runner) == [0, 1, 2]
    with anyio.move_on_after(0.2) as scope:
        async with ConcurrentTaskRunner(workers).start() as runner:
            for n in range(40):
                runner.submit_nowait(n, anyio.sleep_forever)
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert all(slot.origin in ("outer", "closed") for slot in runner.slots.values())

async def main():
    for workers in (None, 1, 3):
        await use(workers)

anyio.run(main, backend={backend!r})
print("done")
"""

NO_STATES = """
import anyio._backends._asyncio
import weakref
class Book(dict): pass
weakref.WeakKeyDictionary, real = Book, weakref.WeakKeyDictionary
import creche._backends._inside as ours
weakref.WeakKeyDictionary = real
assert not ours.KNOWN
"""

NO_STATUS = """
import builtins
real = hasattr
builtins.hasattr = lambda of, name: name != "_cancel_status" and real(of, name)
import creche._backends._trio as ours
builtins.hasattr = real
assert ours._watcher()()
"""

LACKING = {
    "anyio's states of tasks": ("asyncio", NO_STATES),
    "counting references": ("asyncio", "del sys.getrefcount"),
    "trio's status of a task": ("trio", NO_STATUS),
}


@pytest.mark.parametrize("name", LACKING)
def test_without(name: str) -> None:
    """The same values, states, contexts and cancellations."""
    backend, before = LACKING[name]
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(before=before, backend=backend)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("done\n", "", 0)


class TaskOfMine(asyncio.Task[Any]):
    """Remembers that it was there."""

    made = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        TaskOfMine.made += 1


def factory_of_mine(loop: Any, coroutine: Any, **options: Any) -> Any:
    """A task factory."""
    return TaskOfMine(coroutine, loop=loop, **options)


FACTORIES: list[Any] = [factory_of_mine]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)


@pytest.mark.parametrize("workers", [None, 1, 3])
@pytest.mark.parametrize("factory", FACTORIES)
def test_with_a_task_factory(factory: Any, workers: int | None) -> None:
    """Its tasks carry the calls, also where they take the first step at once."""
    TaskOfMine.made = 0
    order: list[str] = []

    async def at_once() -> str:
        order.append("call")
        return "value"

    async def fail_at_once() -> None:
        raise ValueError("at once")

    async def submit_more(runner: ConcurrentTaskRunner, depth: int) -> int:
        if depth:
            return 1 + await runner.submit_nowait(None, submit_more, runner, depth - 1)
        return 0

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        async with ConcurrentTaskRunner(workers).start() as runner:
            assert await runner.submit_nowait("first", at_once) == "value"
            slots = [runner.submit_nowait(n, give, n) for n in range(50)]
            assert [await slot for slot in slots] == list(range(50))
            bad = runner.submit_nowait("bad", fail_at_once)
            await runner.wait(bad)
            assert bad.state is State.FAILED
            long = runner.submit_nowait("long", anyio.sleep_forever)
            pending = runner.submit_nowait("pending", at_once)
            await settle_down()
            runner.cancel(long)
            with pytest.raises(CallCancelled):
                await long
            assert await pending == "value"
            assert await runner.map(give, range(50)) == list(range(50))
            assert await runner.submit_nowait("nested", submit_more, runner, 10) == 10
            assert len(runner) == 0
        assert all(slot.done for slot in runner.slots.values())

    asyncio.run(main())
    assert (TaskOfMine.made > 0) is (factory is factory_of_mine)


@pytest.mark.parametrize("how", ["scope", "task"])
def test_a_schedule_point_that_is_shielded(how: str) -> None:
    """A cancellation that comes meanwhile is neither raised there nor lost."""
    from creche._backends._asyncio import BACKEND  # noqa: PLC0415 - of the inside only

    through: list[str] = []

    async def pass_by(scope: anyio.CancelScope) -> None:
        with scope:
            await BACKEND.shielded_checkpoint()
            through.append("shielded")
            await BACKEND.checkpoint()
            through.append("open")

    async def main() -> None:
        scope = anyio.CancelScope()
        task = asyncio.ensure_future(pass_by(scope))
        await asyncio.sleep(0)
        if how == "scope":
            scope.cancel()
            await task
            assert scope.cancelled_caught
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert through == ["shielded"]
