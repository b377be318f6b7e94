"""Grace by a Ctrl-C that hits a call or a callback: there it is what it is anywhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
import trio

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State
from creche.instruments import CallEvent, Instrument
from loops import both, ctrl_c

pytestmark = pytest.mark.anyio


async def work(seconds: float = 1) -> str:
    """Take some time."""
    await anyio.sleep(seconds)
    return "stored"


def ends(runner: Any) -> dict[Any, Any]:
    """How each call has ended: its value, or the origin of its cancellation."""
    return {
        key: slot.result() if slot.state is State.COMPLETED else slot.origin or slot.state
        for key, slot in runner.slots.items()
    }


def interrupt(slot: object = None) -> None:
    """What Ctrl-C does to code that it hits."""
    raise KeyboardInterrupt


class Interrupted(Instrument):
    """An instrument that Ctrl-C hits."""

    def call_finished(self, event: CallEvent) -> None:
        """A call has ended."""
        interrupt()


@pytest.mark.parametrize("where", ["body", "exit"])
async def test_a_call_is_hit(where: str) -> None:
    """It has crashed; the others have their time, and are cut by `outer` when that is over."""
    runner = ConcurrentTaskRunner(3, grace=1000)
    begin = anyio.current_time()
    with pytest.raises(KeyboardInterrupt):
        async with runner.start():
            runner.submit_nowait("quick", work, 0.01)
            runner.submit_nowait("hit", fail, KeyboardInterrupt())
            runner.submit_nowait("stores", work, 0.02)
            runner.submit_nowait("next", give)
            if where == "body":
                await anyio.sleep_forever()
    assert ends(runner) == {
        "quick": "stored",
        "hit": State.CRASHED,
        "stores": "stored",
        "next": "closed",
    }
    assert anyio.current_time() - begin < 100
    assert runner.slots["next"].reason == ("the runner was closing: call 'hit' raised KeyboardInterrupt")


async def test_its_time_is_counted() -> None:
    """What does not end is cut, by `outer`."""
    runner = ConcurrentTaskRunner(grace=0.05)
    with pytest.raises(KeyboardInterrupt):
        async with runner.start():
            runner.submit_nowait("slow", forever)
            runner.submit_nowait("hit", fail, KeyboardInterrupt())
    assert ends(runner) == {"slow": "outer", "hit": State.CRASHED}
    assert runner.slots["slow"].reason == "call 'hit' raised KeyboardInterrupt"


@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_without_grace(kind: Any) -> None:
    """The origin of the others says what it was all the same."""
    runner = kind()

    async def submit() -> None:
        await runner.submit("hit", fail, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        async with runner.start(), anyio.create_task_group() as group:
            group.start_soon(runner.submit, "slow", forever)
            await settle_down()
            group.start_soon(submit)
    assert ends(runner) == {"slow": "outer", "hit": State.CRASHED}


@pytest.mark.parametrize("how", ["callback", "instrument"])
async def test_a_callback_is_hit(how: str) -> None:
    """As a call; the call that it was told of has its value."""
    instruments = [Interrupted()] if how == "instrument" else []
    runner = ConcurrentTaskRunner(grace=1000, instruments=instruments)
    with pytest.raises(KeyboardInterrupt):
        async with runner.start():
            told = runner.submit_nowait("told", work, 0.01)
            if how == "callback":
                told.add_done_callback(interrupt)
            # An instrument is hit a second time when this one ends, and then nobody is left to be cut.
            runner.submit_nowait("stores", work, 0.02)
    assert ends(runner) == {"told": "stored", "stores": "stored"}


async def test_whoever_reads_it_is_not_hit_once_more() -> None:
    """A call that reads the one that was hit raises the same; so does the body."""
    runner = ConcurrentTaskRunner(grace=1000)

    async def read() -> Any:
        return await runner.result("hit")

    with pytest.raises(KeyboardInterrupt):
        async with runner.start():
            runner.submit_nowait("hit", fail, KeyboardInterrupt())
            runner.submit_nowait("reads", read)
            runner.submit_nowait("stores", work, 0.05)
            with anyio.CancelScope(shield=True):
                await read()
    assert ends(runner) == {"hit": State.CRASHED, "reads": State.CRASHED, "stores": "stored"}


@pytest.mark.parametrize("where", ["call", "body"])
@pytest.mark.parametrize("first", ["call", "scope"])
async def test_a_second_one(first: str, where: str) -> None:
    """It ends the time of the others, and both come out as one; also one after a cancellation."""
    runner = ConcurrentTaskRunner(grace=1000)
    begin = anyio.current_time()

    async def hit_later() -> None:
        await anyio.sleep(0.05)
        interrupt()

    async def clean_up() -> None:
        with anyio.CancelScope(shield=True):
            await hit_later()

    with pytest.raises(KeyboardInterrupt):
        with anyio.CancelScope() as scope:
            async with runner.start():
                runner.submit_nowait("slow", forever)
                if first == "call":
                    runner.submit_nowait("hit", fail, KeyboardInterrupt())
                if where == "call":
                    runner.submit_nowait("later", hit_later)
                try:
                    await settle_down()
                    if first == "scope":
                        scope.cancel()
                    await anyio.sleep_forever()
                finally:
                    if where == "body":
                        await clean_up()
        await anyio.lowlevel.checkpoint()
    assert runner.slots["slow"].origin == "outer"
    assert anyio.current_time() - begin < 100


async def test_in_the_body_before_the_cancellation_was_seen() -> None:
    """A scope is cancelled and the keys are pressed at once: that is one after a cancellation, too."""
    runner = ConcurrentTaskRunner(grace=1000)
    begin = anyio.current_time()
    with pytest.raises(KeyboardInterrupt), anyio.CancelScope() as scope:
        async with runner.start():
            runner.submit_nowait("slow", forever)
            await settle_down()
            scope.cancel()
            interrupt()
    assert ends(runner) == {"slow": "outer"}
    assert anyio.current_time() - begin < 100


async def test_something_else_at_the_same_time() -> None:
    """`SystemExit` beside it is no Ctrl-C: nobody gets time, and both come out."""

    async def both_at_once() -> None:
        raise BaseExceptionGroup("", [KeyboardInterrupt(), SystemExit()])

    runner = ConcurrentTaskRunner(grace=1000)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with runner.start():
            runner.submit_nowait("slow", forever)
            runner.submit_nowait("hit", both_at_once)
    assert [type(leaf) for leaf in caught.value.exceptions] == [KeyboardInterrupt, SystemExit]
    assert ends(runner) == {"slow": "closed", "hit": State.CRASHED}


@pytest.mark.parametrize("where", ["body", "exit"])
def test_for_real_on_trio(where: str) -> None:
    """Trio raises it where the keys found the program: in a call that runs."""
    runner = ConcurrentTaskRunner(2, grace=30)

    async def press() -> None:
        await settle_down()
        ctrl_c()

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait("stores", work, 0.05)
            runner.submit_nowait("pressed", press)
            runner.submit_nowait("next", give)
            if where == "body":
                await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert ends(runner) == {"stores": "stored", "pressed": State.CRASHED, "next": "closed"}


@both
def test_for_real_in_a_task_of_the_body(run: Callable[[Any], None]) -> None:
    """The block of the runner raises a group on trio, and is cancelled on asyncio: one Ctrl-C."""
    runner = ConcurrentTaskRunner(grace=30)

    async def press() -> None:
        await settle_down()
        ctrl_c()

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait("stores", work, 0.05)
            async with anyio.create_task_group() as group:
                group.start_soon(press)
                group.start_soon(partial(anyio.sleep, 1000))

    with pytest.raises(BaseException) as caught:
        run(main)
    only = caught.value
    while isinstance(only, BaseExceptionGroup):
        (only,) = only.exceptions
    assert type(only) is KeyboardInterrupt
    assert ends(runner) == {"stores": "stored"}
