"""What would wait for ever, if one thing were forgotten: each here has a time limit of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from calls import Gate, fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, Retry, SequentialTaskRunner, State
from creche.instruments import CallEvent, Instrument
from elsewhere import Elsewhere

pytestmark = pytest.mark.anyio


@contextmanager
def soon() -> Iterator[None]:
    """What is inside has ended by itself, and was not hurried."""
    with anyio.CancelScope(deadline=anyio.current_time() + 5) as scope:
        yield
    assert not scope.cancel_called


async def fail_or_wait(number: int) -> None:
    await (fail() if number == 1 else forever())


@pytest.mark.parametrize("max_workers", [None, 2, 3])
async def test_a_map_of_which_one_fails(max_workers: int | None) -> None:
    """The others of its calls are cancelled, and have ended."""
    runner = ConcurrentTaskRunner(max_workers)
    with soon():
        async with runner.start():
            with pytest.raises(ValueError, match="b"):
                await runner.map(fail_or_wait, range(5), key=str)
            assert not any(slot.state is State.RUNNING for slot in runner.slots.values())
            assert all(slot.done for slot in runner.slots.values())


async def test_a_body_that_raises() -> None:
    """What runs is cancelled, and the exit is through."""
    runner = ConcurrentTaskRunner()

    async def run() -> None:
        async with runner.start():
            runner.submit_nowait("k", forever)
            await settle_down()
            raise LookupError

    with soon(), pytest.raises(LookupError):
        await run()
    assert runner.slots["k"].origin == "closed"


@pytest.mark.parametrize(
    ("raised", "comes_out"),
    [
        (SystemExit(3), SystemExit),
        (BaseExceptionGroup("both", [ValueError("b"), KeyboardInterrupt()]), KeyboardInterrupt),
        (BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError("b")]), KeyboardInterrupt),
    ],
    ids=["bare", "with a failure", "before a failure"],
)
async def test_a_call_that_crashes(raised: BaseException, comes_out: type[BaseException]) -> None:
    """It ends the run, and what runs beside it; also if it comes together with a failure."""
    runner = ConcurrentTaskRunner()

    async def run() -> None:
        async with runner.start():
            runner.submit_nowait("waits", forever)
            runner.submit_nowait("crashes", fail, raised)
            await anyio.sleep_forever()

    with soon(), pytest.raises(comes_out):
        await run()
    assert runner.slots["crashes"].state is State.CRASHED
    assert runner.slots["waits"].origin in {"closed", "outer"}


async def test_an_attempt_that_fails_when_it_is_cancelled() -> None:
    """It is the last one."""
    runner = ConcurrentTaskRunner()
    begun: list[int] = []

    async def clean_up_badly() -> None:
        begun.append(1)
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("b")

    with soon():
        async with runner.start():
            slot = runner.submit_nowait("k", clean_up_badly, retry=Retry(3, delay=1, jitter="none"))
            await settle_down()
            runner.cancel("k")
            await runner.wait("k")
    assert slot.state is State.FAILED
    assert begun == [1]
    slot.mark_read()


async def test_several_readers_of_the_last_slot() -> None:
    """One of them gets it, and the others are told that none will follow."""
    runner, gate = ConcurrentTaskRunner(), Gate()
    found: list[list[object]] = []

    async def read() -> None:
        found.append([slot.key async for slot in arrivals])

    with soon():
        async with runner.start():
            slot = runner.submit_nowait("k", gate)
            async with runner.as_completed([slot]) as arrivals, anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(read)
                await settle_down()
                gate.open.set()
    assert sorted(found) == [[], [], ["k"]]


@pytest.mark.parametrize("waits_for_room", [False, True])
async def test_a_group_that_is_cancelled_by_who_hears_of_a_submit(waits_for_room: bool) -> None:
    """The call that was just submitted is one of the group's by then, and is cancelled with it."""

    class Cancels(Instrument):
        def call_submitted(self, event: CallEvent) -> None:
            group.cancel("enough")

    runner = ConcurrentTaskRunner(max_pending=5 if waits_for_room else None, instruments=[Cancels()])
    with soon():
        async with runner.start():
            async with runner.group() as group:
                slot = group.submit_nowait("now", forever)
            assert (slot.state, slot.reason) == (State.CANCELLED, "enough")
            async with runner.group() as group:
                slot = await group.submit("then", forever)
            assert (slot.state, slot.reason) == (State.CANCELLED, "enough")


async def test_grace_that_a_call_uses_up() -> None:
    """When its seconds are over the call is cancelled, whatever it waits for."""
    runner = ConcurrentTaskRunner(grace=1)
    came: list[float] = []
    gate = Gate()

    async def let_go_late() -> None:
        await anyio.sleep(50)
        gate.open.set()

    async with anyio.create_task_group() as group:
        group.start_soon(let_go_late)
        began = anyio.current_time()
        with anyio.CancelScope() as scope:
            async with runner.start():
                runner.submit_nowait("k", gate)
                await settle_down()
                scope.cancel()
        came.append(anyio.current_time() - began)
        group.cancel_scope.cancel()
    assert came[0] < 5
    assert runner.slots["k"].origin == "outer"


@pytest.mark.usefixtures("real_time")
async def test_threads_are_not_held_by_what_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain call has given an awaitable, which waits on the loop: its thread is another one's."""
    monkeypatch.setattr("creche._keyed.DEFAULT_THREADS", 1)
    runner, gate = ConcurrentTaskRunner(), Gate()
    with soon():
        async with runner.start():
            begun = anyio.Event()

            async def wait() -> object:
                begun.set()
                return await gate(3)

            first = runner.submit_nowait("first", lambda: wait())  # noqa: PLW0108 - a plain call
            await begun.wait()  # else its thread would go on with the other by itself
            assert await runner.submit_nowait("second", lambda: 4) == 4
            assert first.state is State.RUNNING
            gate.open.set()
            assert await first == 3


async def test_a_place_that_takes_one_at_a_time() -> None:
    """Of a runner without a queue, calls wait in turn, and each makes room for the next."""
    runner, place = SequentialTaskRunner(), Elsewhere(capacity=1)

    async def submit(number: int) -> None:
        await runner.submit(number, give, number, place=place)

    with soon():
        async with runner.start():
            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(submit, number)
            assert sorted(slot.result() for slot in runner.slots.values()) == [0, 1, 2]
    assert place.most == 1


async def test_a_limit_that_a_call_has_for_the_second_time() -> None:
    """Between two attempts others have it; after the last one they have it again."""
    runner = ConcurrentTaskRunner(limits={"db": 1})
    gate, failures = Gate(), iter([True])

    async def flaky() -> int:
        if next(failures, False):
            await fail()
        await gate()
        return 3

    with soon():
        async with runner.start():
            slot = runner.submit_nowait(
                "flaky", flaky, limits=["db"], retry=Retry(1, delay=1, jitter="none")
            )
            await anyio.sleep(2)
            assert gate.inside == 1
            last = runner.submit_nowait("last", give, 4, limits=["db"])
            await settle_down()
            assert last.state is State.PENDING
            gate.open.set()
            assert await slot == 3
            assert await last == 4
