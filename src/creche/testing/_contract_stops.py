"""The clauses of the contract on what is stopped: by key, by time, with the runner; and what is left.

What it does not know: values, keys beside that.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from outcome import Error, Value

from creche._errors import CallCancelled, RunnerClosed
from creche._retry import Retry
from creche._states import State

from ._contract_calls import give, tick
from ._contract_signs import Signs
from ._contract_terms import LONG, Make, Terms, clause
from ._leaks import leaks


class StopClauses(Terms):
    """What is stopped."""

    @LONG
    @clause
    async def test_cancelling(self, make: Make, long: Any, signs: Signs) -> None:
        """A running call stops, a pending one never starts; the others go on; each has its outcome."""
        names = [f"running {number}" for number in range(self.workers)]
        async with make().start() as runner:
            for name in names:
                runner.submit_nowait(name, signs.call(long, name))
            pending = runner.submit_nowait("pending", signs.call(long, "pending"))
            runner.submit_nowait("later", signs.call(long, "later"))
            await signs.ticks(*names)
            self._check_workers(runner)
            runner.cancel(pending, reason="not needed")
            runner.cancel(names[0], reason="not needed")
            for key in ("pending", names[0]):
                outcome = await runner.wait(key)
                assert isinstance(outcome, Error)
                assert isinstance(outcome.error, CallCancelled)
                assert outcome.error.reason == "not needed"
                slot = runner.slots[key]
                assert (slot.state, slot.origin) == (State.CANCELLED, "cancel")
                with pytest.raises(CallCancelled, match="not needed"):
                    await slot
            signs.end(*names[1:])
            for key in names[1:]:
                assert await runner.wait(key) == Value("ended"), "another call was hurt"
            await signs.ticks("later")
            signs.end("later")
            assert await runner.wait("later") == Value("ended")
            assert not signs.count("pending"), "a call ran that was cancelled while it waited"
            assert set(runner.slots) == {*names, "pending", "later"}
        assert not signs.count("pending"), "a call ran that was cancelled while it waited"

    @LONG
    @clause
    async def test_cancelled_means_stopped(self, make: Make, long: Any, signs: Signs) -> None:
        """The work of a cancelled call is at rest when the call has ended."""
        async with make().start() as runner:
            runner.submit_nowait("stopped", signs.call(long, "stopped"))
            await signs.ticks("stopped")
            runner.cancel("stopped")
            await runner.wait("stopped")
            ticks = signs.count("stopped")
            # For as long as another such call takes to tick a few times, however busy the machine is.
            runner.submit_nowait("other", signs.call(long, "other"))
            await signs.ticks("other", more=5)
            assert signs.count("stopped") == ticks, "the call has ended, and its code goes on"
            signs.end("other")

    @LONG
    @clause
    async def test_time_limits(self, make: Make, long: Any, signs: Signs) -> None:
        """A call whose time has passed is stopped, and FAILED."""
        async with make().start() as runner:
            slot = runner.submit_nowait("late", signs.call(long, "late"), timeout=0.1)
            with pytest.raises(TimeoutError, match="'late'"):
                await slot
            assert slot.state is State.FAILED
            assert await runner.submit_nowait("in time", give, 1, timeout=self.patience) == 1

    @clause
    async def test_retries_of_time_limits(self, make: Make, signs: Signs) -> None:
        """Each attempt has its time, and is stopped when that has passed."""
        async with make().start() as runner:
            policy = Retry(1, delay=0.01)
            slot = runner.submit_nowait("k", signs.call(tick, "k"), timeout=0.1, retry=policy)
            with pytest.raises(TimeoutError, match="'k'"):
                await slot
            assert slot.attempt == 2

    @LONG
    @clause
    async def test_a_body_that_raises(self, make: Make, long: Any, signs: Signs) -> None:
        """What runs is stopped, what waits is dropped, and the exception comes out bare."""
        runner = make()
        with pytest.raises(ZeroDivisionError):
            async with runner.start():
                await self._fill(runner, long, signs)
                raise ZeroDivisionError
        assert {slot.origin for slot in runner.slots.values()} == {"closed"}
        assert not signs.count("pending")

    @LONG
    @clause
    async def test_a_scope_around_it(self, make: Make, long: Any, signs: Signs) -> None:
        """That is cancelled: what runs is stopped, and the scope swallows its own cancellation."""
        runner = make()
        with anyio.CancelScope() as scope:
            async with runner.start():
                await self._fill(runner, long, signs)
                scope.cancel()
        assert scope.cancelled_caught
        assert [slot.origin for slot in runner.slots.values()] == [
            *["outer"] * self.workers,
            "closed",
        ]
        assert not signs.count("pending")

    @clause
    async def test_draining(self, make: Make, signs: Signs) -> None:
        """No more intake, time for what runs, then the rest is cut."""
        async with make().start() as runner:
            keys = await self._fill(runner, tick, signs)
            assert await runner.drain(timeout=0.1) == keys
            with pytest.raises(RunnerClosed):
                runner.submit_nowait("late", give, 1)

    @clause
    async def test_leaving_nothing(self, make: Make, signs: Signs) -> None:
        """No task, thread, process, descriptor or socket is left by a run that was left."""
        for number in range(2):  # what the first one has made may stay: threads of a pool
            async with AsyncExitStack() as stack:
                if number:
                    await stack.enter_async_context(leaks(grace=self.patience / 4))
                runner = await stack.enter_async_context(make().start())
                assert await runner.submit_nowait("value", give, 1) == 1
                runner.submit_nowait("stopped", signs.call(tick, "stopped"))
                await signs.ticks("stopped")
                runner.cancel("stopped")
                await runner.wait("stopped")

    async def _fill(self, runner: Any, long: Any, signs: Signs) -> list[str]:
        """Have calls run, as many as can, and another one wait."""
        names = [f"running {number}" for number in range(self.workers)]
        for name in [*names, "pending"]:
            runner.submit_nowait(name, signs.call(long, name))
        await signs.ticks(*names)
        self._check_workers(runner)
        return [*names, "pending"]
