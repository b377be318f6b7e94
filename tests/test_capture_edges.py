"""The capture rule, where its clauses meet: groups in groups, crashes in groups, calls that swallow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from outcome import Value

from calls import Gate, error_of, fail, forever, give, nested_and_failing, settle_down, stray, swallow
from creche import CallCancelled, ConcurrentTaskRunner, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Every exception in an exception that may be a group."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error


async def nursery_in_a_nursery() -> None:
    """Wait until cancelled, two nurseries deep."""
    async with anyio.create_task_group() as group:

        async def inner() -> None:
            async with anyio.create_task_group() as deeper:
                deeper.start_soon(forever)
                deeper.start_soon(forever)

        group.start_soon(inner)
        group.start_soon(forever)


async def stray_beside(error: BaseException) -> None:
    """Raise a group of a stray cancellation and an error."""
    try:
        await stray()
    except BaseException as exc:
        raise BaseExceptionGroup("mixed", [exc, BaseExceptionGroup("deep", [error])]) from None


@pytest.mark.parametrize("outer_cancels", [False, True])
async def test_clause_2_nurseries_in_nurseries(
    runner: ConcurrentTaskRunner, outer_cancels: bool
) -> None:
    """However deep, a group of cancellations is a cancellation, by key and from outside."""
    with anyio.CancelScope() as outer:
        async with runner.start():
            slot = runner.submit_nowait(1, nursery_in_a_nursery)
            await settle_down()
            if outer_cancels:
                outer.cancel()
            else:
                runner.cancel(1)
    assert outer.cancelled_caught is outer_cancels
    assert (slot.state, slot.origin) == (State.CANCELLED, "outer" if outer_cancels else "cancel")


@pytest.mark.parametrize("shielded", [False, True])
async def test_clause_3_an_outer_shield_protects_the_run(
    runner: ConcurrentTaskRunner, shielded: bool
) -> None:
    """A cancelled scope beyond a shield is no enclosing one: the run goes on as if it were not there."""
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.CancelScope(shield=shielded):
            async with runner.start():
                slot = runner.submit_nowait(1, give, 1)
                stranger = runner.submit_nowait(2, stray)
                await stranger.wait(None)
    if shielded:
        assert slot.result() == 1
        assert stranger.origin == "foreign"
    else:
        assert {slot.origin, stranger.origin} <= {"outer", "closed"}


async def test_clause_4_many_strays_harm_nobody(runner: ConcurrentTaskRunner) -> None:
    """Neither the tasks that carried them, nor the calls after, nor the host."""
    async with runner.start():
        for n in range(20):
            slot = runner.submit_nowait(n, stray)
            assert isinstance(error_of(await runner.wait(n)), CallCancelled)
            assert slot.origin == "foreign"
            assert await runner.submit_nowait(("after", n), give, n) == n
        await anyio.lowlevel.checkpoint()


async def test_clause_4_a_native_cancel_that_the_call_swallows(
    runner: ConcurrentTaskRunner, anyio_backend_name: str
) -> None:
    """It is a value like any other, and the host is as it was."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has no native cancel")
    tasks: list[asyncio.Task[Any] | None] = []

    async def tell_and_swallow() -> Any:
        tasks.append(asyncio.current_task())
        return await swallow(7)

    host = asyncio.current_task()
    assert host is not None
    async with runner.start():
        slot = runner.submit_nowait(1, tell_and_swallow)
        await settle_down()
        assert tasks[0] is not None
        tasks[0].cancel()
        assert await slot == 7
        assert host.cancelling() == 0
        assert await runner.submit_nowait(2, give, 2) == 2


async def test_clause_4_asyncios_own_structures_inside_a_call(
    runner: ConcurrentTaskRunner, anyio_backend_name: str
) -> None:
    """Its timeouts and task groups, which cancel natively, work; a key cancels through them."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")

    async def times_out() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)

    async def child_fails() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(10))
            group.create_task(fail())

    async def waits() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(10))
            group.create_task(asyncio.sleep(10))

    async with runner.start():
        timed = runner.submit_nowait("times_out", times_out)
        failing = runner.submit_nowait("child_fails", child_fails)
        waiting = runner.submit_nowait("waits", waits)
        await settle_down()
        runner.cancel("waits")
        assert isinstance(error_of(await runner.wait("times_out")), TimeoutError)
        assert isinstance(error_of(await runner.wait("child_fails")), ExceptionGroup)
        await runner.wait("waits")
    assert [slot.state for slot in (timed, failing)] == [State.FAILED] * 2
    assert waiting.origin == "cancel"


FATAL: list[Callable[[], BaseException]] = [KeyboardInterrupt, SystemExit, GeneratorExit]


@pytest.mark.parametrize("kind", FATAL)
async def test_clause_5_a_crash_in_a_group(
    runner: ConcurrentTaskRunner, kind: Callable[[], BaseException]
) -> None:
    """A group with one in it is a crash; the host raises that one, the slot keeps the group."""
    error = kind()
    group = BaseExceptionGroup("all", [ValueError(1), BaseExceptionGroup("deep", [error])])
    with pytest.raises(type(error)) as caught:
        async with runner.start():
            slot = runner.submit_nowait(1, fail, group)
            await anyio.sleep_forever()
    assert caught.value is error
    assert slot.state is State.CRASHED
    assert list(leaves(error_of(slot.outcome)))[1] is error


async def test_clause_5_several_keyboard_interrupts_at_once_are_one(
    runner: ConcurrentTaskRunner,
) -> None:
    """Three calls and the body are hit; one comes out, and every call that was hit has crashed."""
    gate = Gate()

    async def interrupted() -> None:
        with anyio.CancelScope(shield=True):
            await gate()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with runner.start():
            for key in range(3):
                runner.submit_nowait(key, interrupted)
            await settle_down()
            gate.open.set()
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyboardInterrupt
    assert [slot.state for slot in runner.slots.values()] == [State.CRASHED] * 3


async def test_clause_5_a_crash_under_an_outer_cancellation(runner: ConcurrentTaskRunner) -> None:
    """The crash is not hidden by the cancellation that is going on."""

    async def crash_in_the_end() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        with anyio.CancelScope() as outer:
            async with runner.start():
                slot = runner.submit_nowait(1, crash_in_the_end)
                await settle_down()
                outer.cancel()
    assert caught.value.code == 3
    assert slot.state is State.CRASHED


async def test_clause_6_a_stray_beside_a_crash(runner: ConcurrentTaskRunner) -> None:
    """What is beside the cancellation decides, and it may be a crash."""
    error = SystemExit()
    with pytest.raises(SystemExit) as caught:
        async with runner.start():
            slot = runner.submit_nowait(1, stray_beside, error)
            await anyio.sleep_forever()
    assert caught.value is error
    assert slot.state is State.CRASHED


async def test_clause_6_a_mixed_group_in_a_sequential_submit() -> None:
    """The submitter's task, which carries it out, is left as it was."""
    runner = SequentialTaskRunner()

    async def cancel_soon() -> None:
        await settle_down()
        runner.cancel("k")

    async with runner.start(), anyio.create_task_group() as group:
        group.start_soon(cancel_soon)
        slot = await runner.submit("k", nested_and_failing)
        await anyio.lowlevel.checkpoint()
        assert slot.state is State.FAILED
        assert await (await runner.submit("next", give, 1)) == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_clause_7_a_call_that_swallows_is_asked_again_by_its_next_wait(
    runner: ConcurrentTaskRunner, times: int
) -> None:
    """A cancelled key stays cancelled: only a call that returns beats it."""
    swallowed = 0

    async def stubborn() -> str:
        nonlocal swallowed
        while swallowed < times:
            try:
                await anyio.sleep_forever()
            except BaseException:
                swallowed += 1
        return "done"

    async with runner.start():
        slot = runner.submit_nowait(1, stubborn)
        await settle_down()
        runner.cancel(1)
        assert await runner.wait(1) == Value("done")
    assert (slot.state, swallowed) == (State.COMPLETED, times)


async def test_clause_9_no_cancelled_is_stored_anywhere(runner: ConcurrentTaskRunner) -> None:
    """Whatever a call raised, no leaf of what its slot gives is the loop's own Cancelled."""
    with anyio.CancelScope() as outer:
        async with runner.start():
            runner.submit_nowait("stray", stray)
            runner.submit_nowait("mixed stray", stray_beside, KeyError())
            runner.submit_nowait("by key", nested_and_failing)
            runner.submit_nowait("outer", nested_and_failing)
            runner.submit_nowait("nested", nursery_in_a_nursery)
            runner.submit_nowait("plain", forever)
            await settle_down()
            runner.cancel("by key")
            await runner.wait("by key")
            outer.cancel()
    cancelled = anyio.get_cancelled_exc_class()
    states = {key: slot.state.name for key, slot in runner.slots.items()}
    assert states == {
        "stray": "CANCELLED",
        "mixed stray": "FAILED",
        "by key": "FAILED",
        "outer": "FAILED",
        "nested": "CANCELLED",
        "plain": "CANCELLED",
    }
    for slot in runner.slots.values():
        for leaf in leaves(error_of(slot.outcome)):
            assert not isinstance(leaf, cancelled), slot


async def test_clause_10_one_exception_raised_by_two_calls(runner: ConcurrentTaskRunner) -> None:
    """Reading one slot does not change what the other gives: each keeps the traceback of its time."""
    error = ValueError("shared")

    def depth(exc: BaseException) -> int:
        found, traceback = 0, exc.__traceback__
        while traceback is not None:
            found, traceback = found + 1, traceback.tb_next
        return found

    async with runner.start():
        slots = [runner.submit_nowait(n, fail, error) for n in range(2)]
        for slot in slots:
            await slot.wait(None)
        depths = [depth(error_of(slot.outcome)) for slot in slots]
        for _ in range(3):
            for slot, before in zip(slots, depths, strict=True):
                with pytest.raises(ValueError, match="shared"):
                    await slot
                assert depth(error_of(slot.outcome)) == before
    assert len(set(depths)) == 2


async def test_clause_2_a_group_without_cancellation_is_the_original_object(
    runner: ConcurrentTaskRunner,
) -> None:
    """Splitting is for what must be split: a group of a user's own class keeps class and attributes."""

    class OwnGroup(ExceptionGroup[Exception]):
        """A user's own."""

    error = OwnGroup("mine", [ValueError(1), ExceptionGroup("deep", [KeyError()])])
    async with runner.start():
        slot = runner.submit_nowait(1, fail, error)
        await runner.wait(1)
    assert error_of(slot.outcome) is error


async def test_clause_6_a_group_that_cannot_be_divided_by_its_own_means(
    runner: ConcurrentTaskRunner,
) -> None:
    """A user's class with a `derive` that fails: the parts are plain groups, and nothing is lost."""

    class Stubborn(BaseExceptionGroup[BaseException]):
        def derive(self, excs: Any) -> Any:
            raise TypeError("cannot")

    async def raise_it() -> None:
        try:
            await anyio.sleep_forever()
        except BaseException as exc:
            raise Stubborn("mixed", [exc, KeyError("k")]) from None

    with anyio.move_on_after(0.2) as scope:
        async with runner.start():
            slot = runner.submit_nowait("k", raise_it)
    assert scope.cancelled_caught
    assert slot.state is State.FAILED
    error = error_of(slot.outcome)
    assert isinstance(error, ExceptionGroup)
    assert [type(leaf) for leaf in error.exceptions] == [KeyError]


async def test_a_fault_of_our_own_is_not_hidden(
    runner: ConcurrentTaskRunner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Should creche itself fail in a carrier, `start()` raises that; and no slot is left open."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault of creche")

    async def run() -> None:
        async with runner.start():
            for name in ("perform", "keep_scope"):
                monkeypatch.setattr(runner._run.performer, name, broken)  # type: ignore  # it runs
            runner.submit_nowait("k", give)
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup, match="the runner crashed") as caught:
        await run()
    assert [type(leaf) for leaf in leaves(caught.value)] == [ZeroDivisionError]
    assert runner.slots["k"].origin == "lost"
