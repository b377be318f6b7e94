"""Calls that run in a place of their own: what becomes of them, and of the place."""

from __future__ import annotations

import functools
import logging
from typing import Any

import anyio
import pytest
from outcome import Error

from calls import forever, give, settle_down
from creche import CallCancelled, CallCrashed, ConcurrentTaskRunner, State, StopCall
from elsewhere import Elsewhere

pytestmark = pytest.mark.anyio


def double(n: int) -> int:
    return 2 * n


def fail_plainly() -> None:
    raise ValueError("b")


async def async_double(n: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * n


@pytest.fixture
def place() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def test_what_becomes_of_a_call(runner: ConcurrentTaskRunner, place: Elsewhere) -> None:
    """A value, plain or async; what its code raised; what has become of its place."""
    async with runner.start():
        plain = await runner.submit("plain", double, 2, place=place)
        slot = runner.submit_nowait("async", async_double, 3, place=place)
        assert await plain == 4
        assert await slot == 6
        keyword = functools.partial(int, base=2)
        assert await runner.submit_nowait(None, keyword, "11", place=place) == 3
        failed = await runner.wait(await runner.submit("failed", fail_plainly, place=place))
        lost = await runner.submit("lost", double, 1, place=place, place_options={"crash": True})
        broken = await runner.submit("broken", double, 1, place=place, place_options={"break": True})
        await runner.until_idle()
    assert isinstance(failed, Error)
    assert runner.slots["failed"].state is State.FAILED
    assert isinstance(failed.error, ValueError)
    assert lost.state is broken.state is State.CRASHED
    with pytest.raises(CallCrashed, match="'lost' crashed.*killed") as caught:
        lost.result()
    assert (caught.value.kind, caught.value.exit_code) == ("worker-died", -9)
    with pytest.raises(OSError, match="the line is dead"):
        broken.result()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"raises": ExceptionGroup("in a nursery", [OSError()])}, ExceptionGroup),
        ({"gives": Error(SystemExit(3))}, SystemExit),
        ({"gives": Error(KeyboardInterrupt())}, KeyboardInterrupt),
        ({"gives": 4}, TypeError),
        ({"gives": None}, TypeError),
    ],
)
async def test_other_faults_of_a_place(
    runner: ConcurrentTaskRunner, place: Elsewhere, options: dict[str, Any], kind: type[BaseException]
) -> None:
    """They are the end of that call and of nothing else."""
    async with runner.start():
        slot = await runner.submit("lost", double, 1, place=place, place_options=options)
        other = await runner.submit("other", give, 1)
        await runner.wait(slot)
        assert await other == 1
        assert await (await runner.submit("next", double, 1, place=place)) == 2
    assert slot.state is State.CRASHED
    with pytest.raises(kind) as caught:
        slot.result()
    if kind is TypeError:
        assert "'elsewhere' must give an outcome.Value" in str(caught.value)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_fault_that_comes_with_a_cancellation(
    runner: ConcurrentTaskRunner, *, cancelled: bool
) -> None:
    """The fault counts: the call is CRASHED, and a cancellation from outside goes on outwards."""

    async def mess() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(forever)
            try:
                await anyio.sleep_forever()
            finally:
                raise OSError("while it was stopped")

    place = Elsewhere()
    place.instead = mess
    with anyio.CancelScope() as scope:
        async with runner.start():
            slot = runner.submit_nowait("k", double, 1, place=place)
            await settle_down()
            if cancelled:
                scope.cancel()
            else:
                runner.cancel("k")
    assert scope.cancelled_caught is cancelled
    assert slot.state is State.CRASHED
    assert isinstance(slot.outcome, Error)
    assert "while it was stopped" in repr(slot.outcome.error)


async def test_what_ends_a_program_out_of_the_place_itself(
    runner: ConcurrentTaskRunner, place: Elsewhere
) -> None:
    """It is raised on the loop, and ends the run as it does out of any call."""
    with pytest.raises(SystemExit):
        async with runner.start():
            runner.submit_nowait("other", forever)
            runner.submit_nowait("k", double, 1, place=place, place_options={"raises": SystemExit(1)})
    assert runner.slots["k"].state is State.CRASHED
    assert runner.slots["other"].origin == "closed"
    assert place.log[-1] == "closed"


async def test_a_crash_ends_nothing_else(runner: ConcurrentTaskRunner, place: Elsewhere) -> None:
    """Neither a call beside it nor the run."""
    async with runner.start():
        beside = runner.submit_nowait("beside", double, 1, place=place)
        lost = runner.submit_nowait("lost", double, 1, place=place, place_options={"crash": True})
        assert await beside == 2
        await runner.wait(lost)
        assert await runner.submit_nowait("after", double, 2, place=place) == 4
    assert place.log.count("open") == 1


async def test_a_crash_with_on_error_cancel(place: Elsewhere) -> None:
    """It is a failure like any other, and comes out in the group."""
    runner = ConcurrentTaskRunner(on_error="cancel")
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            runner.submit_nowait("other", forever)
            runner.submit_nowait("lost", double, 1, place=place, place_options={"crash": True})
    (error,) = caught.value.exceptions
    assert isinstance(error, CallCrashed)
    assert error.__notes__ == ["in call 'lost'"]
    assert runner.slots["other"].origin == "closed"


# Cancelling ------------------------------------------------------------------------------------------


async def test_cancelled_by_its_key(runner: ConcurrentTaskRunner, place: Elsewhere) -> None:
    """The work is stopped; a value that comes all the same counts."""
    async with runner.start():
        runner.submit_nowait("k", double, 1, place=place, place_options={"takes": 1000})
        runner.submit_nowait("late", double, 1, place=place, place_options={"takes": 1000, "late": 7})
        await settle_down()
        runner.cancel("k", reason="not needed")
        runner.cancel("late")
        assert not runner.slots["k"].done, "it waits until the work is stopped"
        await runner.wait("k")
        assert await runner.result("late") == 7
    slot = runner.slots["k"]
    assert (slot.state, slot.origin, slot.reason) == (State.CANCELLED, "cancel", "not needed")
    assert place.log.count("stop k") == 1


async def test_a_timeout(runner: ConcurrentTaskRunner, place: Elsewhere) -> None:
    """The call has FAILED, and its work is stopped; a call without one runs as long as it likes."""
    async with runner.start():
        late = runner.submit_nowait(
            "late", double, 1, place=place, place_options={"takes": 1000}, timeout=0.1
        )
        beats = runner.submit_nowait(
            "beats", double, 1, place=place, place_options={"takes": 1000, "late": 7}, timeout=0.1
        )
        quick = runner.submit_nowait("quick", double, 1, place=place, timeout=1000)
        assert await quick == 2
        await runner.wait(late)
        assert await beats == 7
    assert late.state is State.FAILED
    with pytest.raises(TimeoutError, match="'late' has not ended within its timeout of 0.1"):
        late.result()
    assert "stop late" in place.log


async def test_pending_calls_are_cancelled(runner: ConcurrentTaskRunner) -> None:
    """They never reach their place."""
    place = Elsewhere(capacity=1)
    async with runner.start():
        runner.submit_nowait("a", double, 1, place=place, place_options={"takes": 0.2})
        for key in "bc":
            runner.submit_nowait(key, double, 1, place=place)
        await settle_down()
        runner.cancel("b")
    assert runner.slots["b"].origin == "cancel"
    assert place.log == ["open", "run a", "run c", "closed"]


async def test_cancelled_while_the_place_opens(runner: ConcurrentTaskRunner, place: Elsewhere) -> None:
    """The call ends at once, and another one has the place when it is open."""
    place.opens_after = 0.2
    async with runner.start():
        runner.submit_nowait("a", double, 1, place=place)
        slot = runner.submit_nowait("b", double, 1, place=place)
        await settle_down()
        runner.cancel("a")
        await runner.wait("a")
        assert place.log == ["open"]
        assert await slot == 2
    assert runner.slots["a"].origin == "cancel"
    assert place.log == ["open", "run b", "closed"]


async def test_a_stop_that_nobody_asked_for(runner: ConcurrentTaskRunner, place: Elsewhere) -> None:
    """What a place gives as a stop of the call is contained, as a stray cancellation is."""
    async with runner.start():
        slot = runner.submit_nowait("k", double, 1, place=place, place_options={"raises": StopCall()})
        assert await runner.submit_nowait("other", give, 1) == 1
        await runner.wait(slot)
    assert (slot.state, slot.origin) == (State.CANCELLED, "foreign")
    with pytest.raises(CallCancelled):
        slot.result()


# The place -------------------------------------------------------------------------------------------


async def test_it_is_opened_once_when_it_is_needed(runner: ConcurrentTaskRunner) -> None:
    """At the first call; equal places are one, and closed after the last call."""
    place, equal, other = Elsewhere(), Elsewhere(), Elsewhere("other")
    async with runner.start():
        await runner.submit_nowait("on the loop", give)
        assert place.log == []
        for n in range(3):
            runner.submit_nowait(n, double, n, place=place)
            runner.submit_nowait(f"{n}, too", double, n, place=equal)
        await runner.submit_nowait("o", double, 1, place=other)
        await runner.until_idle()
        assert "closed" not in place.log
        runner.submit_nowait("last", double, 1, place=place)
    assert place.log[0] == "open"
    assert sorted(place.log[1:-1]) == sorted(
        [*(f"run {n}" for n in range(3)), *(f"run {n}, too" for n in range(3)), "run last"]
    )
    assert place.log[-1] == "closed"
    assert equal.log == []
    assert other.log == ["open", "run o", "closed"]
    assert place.host is not None
    assert place.host.runner_name == "concurrent"


async def test_what_it_is_told(
    runner: ConcurrentTaskRunner, place: Elsewhere, anyio_backend_name: str
) -> None:
    """Of the run; and once that is over, it asks in vain, and harms nobody."""
    async with runner.start():
        await runner.submit_nowait("a", double, 1, place=place)
        host = place.host
        assert host is not None
        assert host.loop == anyio_backend_name
        assert not host.has_waiting
        host.set_capacity(1)
        for n in range(2):
            runner.submit_nowait(n, double, n, place=place)
        await settle_down()
        assert host.has_waiting
    assert not host.has_waiting
    host.set_capacity(3)
    assert (host.runner_name, host.loop) == ("concurrent", anyio_backend_name)


async def test_a_second_run_opens_it_anew(runner: ConcurrentTaskRunner, place: Elsewhere) -> None:
    """One place object serves many runs, also at the same time."""
    async with runner.start():
        await runner.submit_nowait("a", double, 1, place=place)
    async with runner.start(), runner.duplicate().start() as other:
        await runner.submit_nowait("a", double, 1, place=place)
        await other.submit_nowait("a", double, 1, place=place)
    assert place.log.count("open") == place.log.count("closed") == 3


async def test_capacity() -> None:
    """Never exceeded; the place may change it at any time, also from no limit to one."""
    runner = ConcurrentTaskRunner()
    place = Elsewhere(capacity=2)
    async with runner.start():
        options = {"takes": 1}

        def submit(count: int) -> None:
            for _ in range(count):
                runner.submit_nowait(None, double, 1, place=place, place_options=options)

        submit(6)
        await settle_down()
        assert place.running == 2
        assert place.host is not None
        place.host.set_capacity(4)
        await settle_down()
        assert place.running == 4
        place.host.set_capacity(1)
        submit(3)
        await runner.until_idle()
        assert place.most == 4
        place.most = 0
        submit(3)
        await settle_down()
        assert place.running == 1
        place.host.set_capacity(None)
        submit(5)
        await settle_down()
        assert place.running == 8
    assert runner.statistics().completed == 17


async def test_a_place_that_learns_its_capacity_when_it_opens(runner: ConcurrentTaskRunner) -> None:
    """It may have none before."""

    class Learning(Elsewhere):
        def open(self, host: Any) -> Any:
            host.set_capacity(2)
            return super().open(host)

    place = Learning()
    async with runner.start():
        await runner.submit_nowait("first", double, 1, place=place)
        slots = [runner.submit_nowait(n, double, n, place=place) for n in range(5)]
    assert [slot.result() for slot in slots] == [0, 2, 4, 6, 8]
    assert place.most == 2


async def test_fails_to_open(
    runner: ConcurrentTaskRunner, place: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    """Its calls are CRASHED with that error, now and later; all others go on."""
    error = place.fails_to_open = OSError("nobody there")
    place.opens_after = 0.1
    with caplog.at_level(logging.ERROR):
        async with runner.start():
            slots = [runner.submit_nowait(n, double, n, place=place) for n in range(3)]
            assert await runner.submit_nowait("other", give, 1) == 1
            await runner.until_idle()
            for n in range(3, 30):
                slots.append(runner.submit_nowait(n, double, n, place=place))
                await runner.wait(n)
            lengths = set()
            for slot in slots:
                assert slot.state is State.CRASHED
                assert isinstance(slot.outcome, Error)
                assert slot.outcome.error is error
                length, traceback = 0, error.__traceback__
                while traceback is not None:
                    length, traceback = length + 1, traceback.tb_next
                lengths.add(length)
    assert len(lengths) == 1, "the traceback does not grow with each call"
    assert place.log == ["open", "closed"]
    assert "closed too early" not in caplog.text


async def test_fails_to_close(
    runner: ConcurrentTaskRunner, place: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged, and nothing is raised: the calls have what they have."""
    place.fails_to_close = OSError("the door is stuck")
    async with runner.start():
        slot = runner.submit_nowait("a", double, 1, place=place)
    assert slot.result() == 2
    (record,) = caplog.records
    assert record.message == "place 'elsewhere' of runner 'concurrent' failed to close"
    assert record.exc_info is not None
    assert record.exc_info[1] is place.fails_to_close


async def test_a_capacity_that_is_none() -> None:
    """Less than one would stop all its calls for ever."""
    place = Elsewhere()
    async with ConcurrentTaskRunner().start() as runner:
        await runner.submit_nowait("a", give, 1, place=place)
        assert place.host is not None
        with pytest.raises(ValueError, match="capacity of a place must be at least 1"):
            place.host.set_capacity(0)
        with pytest.raises(TypeError, match="capacity of a place"):
            place.host.set_capacity("2")  # type: ignore[arg-type]  # wrong on purpose
