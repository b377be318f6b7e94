"""Retries of calls that run elsewhere, or where they are called."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from calls import error_of, give, settle_down
from creche import CallCrashed, ConcurrentTaskRunner, ProcessTaskRunner, Retry, State
from creche._call import read_call
from creche._retry import read_retry
from creche.places import ProcessPlace
from creche.testing._contract_calls import fail_at_first
from creche.testing._contract_calls import give as give_plain
from elsewhere import Elsewhere, owner
from far_calls import die_at_first
from pools import until
from retrying import AT_ONCE, IN_THREE, SLOWLY, Attempts, Flaky, FlakyError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("hears", [True, False])
async def test_in_a_place(*, is_own: bool, hears: bool) -> None:
    """It goes there again for each attempt; what is lost there is tried again, too."""
    place, heard = Elsewhere(), Attempts()
    instruments = [heard] if hears else []
    runner: Any = owner(place, instruments=instruments)
    if not is_own:
        runner = ConcurrentTaskRunner(instruments=instruments)
    there = None if is_own else place
    flaky = Flaky(2)
    async with runner.start():
        slot = runner.submit_nowait("k", flaky.on_loop, retry=AT_ONCE, place=there)
        assert await slot == 3
        assert await runner.map(give, [1, 2], retry=1, place=there) == [1, 2]
    assert slot.attempt == 3
    started = [attempt for name, attempt in heard.of("k") if name == "started"]
    assert started == ([1, 2, 3] if hears else [])


async def test_a_place_is_free_meanwhile() -> None:
    """Of one that takes a single call at once, a call that waits has nothing."""
    place = Elsewhere(capacity=1)
    flaky = Flaky()
    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("k", flaky.on_loop, retry=SLOWLY, place=place)
        await until(lambda: flaky.errors)
        await settle_down()
        with anyio.fail_after(10):
            assert await runner.submit_nowait("other", give, 1, place=place) == 1
        runner.cancel("k")


async def test_a_place_that_does_not_open() -> None:
    """Is one for each attempt; the call is CRASHED with what it said, and a note."""

    class ClosedError(OSError):
        pass

    class Shut(Elsewhere):
        def open(self, host: Any) -> Any:
            raise ClosedError

    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", give, 1, retry=Retry(2, delay=0), place=Shut())
        error = error_of(await runner.wait(slot))
        other = runner.submit_nowait("o", give, 1, retry=Retry(2, on=ValueError), place=Shut())
        await runner.wait(other)
    assert isinstance(error, ClosedError)
    assert (slot.state, slot.attempt) == (State.CRASHED, 3)
    assert error.__notes__ == ["in attempt 3 of 3 of call 'k'"]
    assert (other.state, other.attempt) == (State.CRASHED, 1)


@pytest.mark.slow
@pytest.mark.parametrize("is_own", [True, False])
async def test_a_worker_that_dies(tmp_path: Path, *, is_own: bool) -> None:
    """`CallCrashed` is an `Exception`: retried if the policy says so, in another worker."""
    runner: Any = ProcessTaskRunner(1) if is_own else ConcurrentTaskRunner()
    place = None if is_own else ProcessPlace(1)
    async with runner.start():
        path = str(tmp_path / "tried")
        slot = runner.submit_nowait("k", die_at_first, path, retry=Retry(1, delay=0), place=place)
        assert await slot == 2
        path = str(tmp_path / "other")
        policy = Retry(1, delay=0, on=ConnectionError)
        other = runner.submit_nowait("o", die_at_first, path, retry=policy, place=place)
        assert isinstance(error_of(await runner.wait(other)), CallCrashed)
        path = str(tmp_path / "third")
        waits = runner.submit_nowait("w", fail_at_first, path, 9, retry=SLOWLY, place=place)
        await until(Path(path).exists)
        assert await runner.submit_nowait("next", give_plain, 1, place=place) == 1
        runner.cancel("w")
        await runner.wait("w")
    assert (slot.attempt, other.attempt, waits.attempt) == (2, 1, 1)
    assert (other.state, waits.state) == (State.CRASHED, State.CANCELLED)


# Where it is called --------------------------------------------------------------------------------


def perform_inline(runner: Any, key: str, fn: Any, retry: Any) -> Any:
    """Carry a plain call out here and now, as a flow does with a plain task that is called."""
    call = read_call(fn, ())
    call.wishes = call.wishes._replace(retry=read_retry(retry))
    slot = runner._run.intake.claim(key, call)
    runner._run.performer.perform_inline(slot, call)
    return slot


async def test_where_it_is_called() -> None:
    """It blocks the loop while it waits, as it does while it runs."""
    heard = Attempts()
    flaky, lost, early = Flaky(2), Flaky(), Flaky()
    async with ConcurrentTaskRunner(instruments=[heard]).start() as runner:
        began = time.monotonic()
        policy = Retry(2, delay=0.02, factor=1, jitter="none")
        slot = perform_inline(runner, "k", flaky.plain, policy)
        assert (await slot, slot.attempt) == (3, 3)
        assert time.monotonic() - began >= 0.04
        slot = perform_inline(runner, "l", lost.plain, Retry(1, delay=0))
        error = error_of(await runner.wait(slot))
        assert (error, error.__notes__) == (lost.errors[1](), ["in attempt 2 of 2 of call 'l'"])
        slot = perform_inline(runner, "e", early.plain, Retry(1, on=OSError))
        assert isinstance(error_of(await runner.wait(slot)), FlakyError)
        assert slot.attempt == 1
    assert heard.of("k") == IN_THREE


async def test_where_it_is_called_and_nobody_listens() -> None:
    """The same; and what is no `Exception` is raised right there."""
    flaky = Flaky(1)

    def leave() -> None:
        flaky.plain()
        raise SystemExit(3)

    async with ConcurrentTaskRunner().start() as runner:
        with pytest.raises(SystemExit):
            perform_inline(runner, "k", leave, Retry(1, delay=0))
        assert runner.slots["k"].state is State.CRASHED
        assert runner.slots["k"].attempt == 2
