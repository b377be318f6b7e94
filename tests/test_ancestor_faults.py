"""What Prefect 2.8's task runners get wrong, fault by fault, and what happens here instead.

Read it as a list. The faults were found in its `task_runners.py`, which this library descends from.
"""

from __future__ import annotations

import pickle
import uuid
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import cloudpickle
import pytest
from outcome import Value

from calls import Gate, fail, forever, give, settle_down
from creche import (
    BaseTaskRunner,
    ConcurrentTaskRunner,
    KeyTaken,
    RunnerNotStarted,
    SequentialTaskRunner,
    State,
    TaskConcurrencyType,
    UnknownKey,
)

pytestmark = pytest.mark.anyio

KINDS = pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])


async def test_an_outer_deadline_stops_nothing() -> None:
    """There `except BaseException` swallows the cancellation; here it is settled and raised again."""
    runner = ConcurrentTaskRunner()
    with anyio.move_on_after(0.2) as scope:
        async with runner.start():
            runner.submit_nowait("k", forever)
            await runner.wait("k")
    assert scope.cancelled_caught
    assert runner.slots["k"].origin == "outer"


@KINDS
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_ctrl_c_and_system_exit_are_swallowed(kind: Any, error: Any) -> None:
    """There they become a result; here they come out of the run."""
    runner = kind()
    with pytest.raises(error):
        async with runner.start():
            await runner.submit("k", fail, error())
            await anyio.sleep_forever()
    assert runner.slots["k"].state is State.CRASHED


@KINDS
@pytest.mark.parametrize("value", [None, 0, False, "", []])
async def test_false_results_are_never_seen(kind: Any, value: Any) -> None:
    """There the waiter spins for ever on ``while not result``; here a value is a value."""
    runner = kind()
    async with runner.start():
        await runner.submit("k", give, value)
        with anyio.fail_after(1):
            assert await runner.wait("k") == Value(value)


@KINDS
async def test_a_wait_for_a_wrong_key_spins(kind: Any) -> None:
    """There it burns a core for ever; here it is refused at once, and `reserve` is for who means it."""
    runner = kind()
    async with runner.start():
        with pytest.raises(UnknownKey):
            await runner.wait("typo")
        reserved = runner.reserve("later")
        assert await runner.wait("later", timeout=0.01) is None
        await runner.submit("later", give, 1)
        assert await reserved == 1


async def test_waiters_poll() -> None:
    """There each waiter spins in the loop; here a thousand idle ones cost no turn of it."""
    runner = ConcurrentTaskRunner()
    gate = Gate()
    async with runner.start(), anyio.create_task_group() as group:
        runner.submit_nowait("k", gate)
        for _ in range(1_000):
            group.start_soon(runner.wait, "k")
        await settle_down()
        # Were one of them spinning, this would never return: it waits until every task is parked.
        with anyio.fail_after(5):
            await anyio.wait_all_tasks_blocked()
        gate.open.set()


@KINDS
async def test_a_second_submit_replaces_the_first(kind: Any) -> None:
    """There the first waiter hangs; here the key is taken, or shared if asked for."""
    runner = kind()
    async with runner.start():
        first = await runner.submit("k", give, 1)
        with pytest.raises(KeyTaken):
            await runner.submit("k", give, 2)
        assert await runner.submit("k", give, 2, on_collision="join") is first
        assert await runner.result("k") == 1


async def test_a_sequential_runner_runs_without_being_started() -> None:
    """There it does, and a wrong key is a bare KeyError; here each has its name."""
    runner = SequentialTaskRunner()
    with pytest.raises(RunnerNotStarted):
        await runner.submit("k", give)
    async with runner.start():
        with pytest.raises(UnknownKey, match="no call under key 'k'"):
            await runner.wait("k")


async def test_a_failed_start_leaves_it_started() -> None:
    """There the state is wrong, and errors come out wrapped; here bare, and startable again."""

    class Fragile(BaseTaskRunner):
        fails = True

        @property
        def concurrency_type(self) -> TaskConcurrencyType:
            return TaskConcurrencyType.CONCURRENT

        async def submit(self, key: Any, call: Any) -> None:
            raise AssertionError

        async def wait(self, key: Any, timeout: float | None = None) -> None:
            raise AssertionError

        async def _start(self, exit_stack: Any) -> None:
            if self.fails:
                raise OSError("port taken")

    runner = Fragile()
    with pytest.raises(OSError, match="port taken"):
        async with runner.start():
            raise AssertionError
    runner.fails = False
    async with runner.start():
        assert runner.is_started

    with pytest.raises(LookupError):
        async with ConcurrentTaskRunner().start():
            raise LookupError


@KINDS
async def test_results_are_kept_for_ever_and_pickled(kind: Any) -> None:
    """There events, keys and results travel with the pickle; here settings only."""
    runner = kind()
    async with runner.start():
        await runner.submit("k", give, "x" * 10_000)
        await runner.wait("k")
        assert len(pickle.dumps(runner)) < 1_000
        runner.forget("k")
        assert dict(runner.slots) == {}


def test_names_that_an_engine_relies_on() -> None:
    """These were right, and are kept: values equal names."""
    assert TaskConcurrencyType.SEQUENTIAL.value == "SEQUENTIAL"
    assert SequentialTaskRunner().concurrency_type is TaskConcurrencyType.SEQUENTIAL
    assert ConcurrentTaskRunner().concurrency_type is TaskConcurrencyType.CONCURRENT
    assert (SequentialTaskRunner().name, ConcurrentTaskRunner().name) == (
        "sequential",
        "concurrent",
    )


@KINDS
async def test_what_its_engine_does_has_a_place(kind: Any) -> None:
    """Keyword names, keys of any kind, reading often, cloudpickle after start, a run after a run."""
    runner = kind()
    for value in (1, 2):
        async with runner.duplicate().start() as own, runner.start():
            key = uuid.uuid4()
            await runner.submit(key=key, call=partial(give, value=value))
            for _ in range(3):
                outcome = await runner.wait(key, 5)
                assert outcome is not None
                assert outcome.unwrap() == value
            copy = cloudpickle.loads(cloudpickle.dumps(runner))
            assert isinstance(copy, type(runner))
            assert own.is_started
