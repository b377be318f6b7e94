"""`timeout=` on a call: it counts from the call's start, and what beats it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from calls import error_of, forever, give, nested, nested_and_failing, settle_down, swallow
from creche import CallCancelled, ConcurrentTaskRunner, SequentialTaskRunner, State

pytestmark = pytest.mark.anyio

each_runner = pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])


@each_runner
@pytest.mark.parametrize("call", [forever, nested])
async def test_a_call_that_takes_too_long_has_failed(
    kind: Callable[[], Any], call: Callable[..., Any]
) -> None:
    """With a `TimeoutError` that names key and seconds; others are not touched."""
    runner = kind()
    async with runner.start():
        slot = await runner.submit("k", call, timeout=0.01)
        other = runner.submit_nowait("other", give, 1)
        error = error_of(await runner.wait("k"))
        assert await other == 1
    assert type(error) is TimeoutError
    assert str(error) == "call 'k' has not ended within its timeout of 0.01 seconds"
    assert (slot.state, slot.origin) == (State.FAILED, None)


async def test_it_counts_from_the_start_of_the_call() -> None:
    """Waiting for a place is not counted."""
    runner = ConcurrentTaskRunner(1)
    async with runner.start():
        runner.submit_nowait("long", anyio.sleep, 0.2)
        slot = runner.submit_nowait("k", anyio.sleep, 0.01, timeout=0.15)
    assert slot.state is State.COMPLETED


@each_runner
async def test_a_value_beats_it(kind: Callable[[], Any]) -> None:
    """A call that returns although its time has passed is COMPLETED."""
    async with kind().start() as runner:
        slot = await runner.submit("k", swallow, 4, timeout=0.01)
        assert await slot == 4


async def test_an_error_beats_it() -> None:
    """What a call raises instead is what it has failed with."""
    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", nested_and_failing, timeout=0.01)
        error = error_of(await runner.wait(slot))
    assert isinstance(error, ExceptionGroup)


async def test_a_cancel_of_the_key_beats_it() -> None:
    """Whichever comes first; the other one changes nothing."""

    async def unwind_slowly() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)

    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", unwind_slowly, timeout=0.02)
        await settle_down()
        runner.cancel("k", "not needed")
        with pytest.raises(CallCancelled, match="not needed"):
            await slot


async def test_the_outer_deadline_wins() -> None:
    """Then the call is cancelled, by `outer`, whether its own time has passed or not."""
    runner = ConcurrentTaskRunner()
    with anyio.move_on_after(0.02) as scope:
        async with runner.start():
            runner.submit_nowait("k", forever, timeout=0.02)
            runner.submit_nowait("l", forever, timeout=10)
    assert scope.cancelled_caught
    assert runner.slots["l"].origin == "outer"
    slot = runner.slots["k"]
    assert slot.origin == "outer" or isinstance(slot.outcome.error, TimeoutError)  # type: ignore  # it has failed, or was cancelled


async def test_it_is_a_failure_like_any_other() -> None:
    """With `on_error="cancel"` it ends the run."""
    runner = ConcurrentTaskRunner(on_error="cancel")
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            runner.submit_nowait("k", forever, timeout=0.01)
            runner.submit_nowait("other", forever)
    assert [type(error) for error in caught.value.exceptions] == [TimeoutError]
    assert runner.slots["other"].origin == "closed"


@pytest.mark.usefixtures("real_time")
async def test_a_plain_function_ends_as_it_ends() -> None:
    """A thread cannot be stopped: it is waited for, and its value counts."""
    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", threading.Event().wait, 0.1, timeout=0.01)
        assert await slot is False


async def test_no_limit() -> None:
    """`None` and infinity; 0 lets a call run to its first checkpoint."""
    async with ConcurrentTaskRunner().start() as runner:
        for timeout in (None, float("inf")):
            assert await runner.submit_nowait(None, give, 1, timeout=timeout) == 1
        with pytest.raises(TimeoutError):
            await runner.submit_nowait("k", anyio.sleep, 1, timeout=0)


@each_runner
@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("timeout", -1, ValueError),
        ("timeout", float("nan"), ValueError),
        ("timeout", "1", TypeError),
        ("priority", "high", TypeError),
        ("priority", True, TypeError),
        ("priority", float("nan"), ValueError),
    ],
)
async def test_bad_input(
    kind: Callable[[], Any], option: str, value: Any, error: type[Exception]
) -> None:
    """The message names the option; the key is free afterwards."""
    async with kind().start() as runner:
        for submit in (runner.submit_nowait, runner.submit):
            with pytest.raises(error, match=option):
                await submit("k", give, **{option: value})
        assert "k" not in runner
        assert await (await runner.submit("k", give, 1)) == 1
