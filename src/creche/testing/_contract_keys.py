"""The clauses of the contract on keys and order: which call runs, when, and under which name it is read.

What it does not know: what comes of a call; how one is stopped.
"""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import anyio.to_thread
import pytest
from outcome import Value

from creche._errors import CallCancelled, KeyTaken, UnknownKey
from creche._states import State

from ._contract_calls import fail, far_len, give, give_async, give_in_turn, note, tick
from ._contract_signs import Signs
from ._contract_terms import Make, Terms, clause


class KeyClauses(Terms):
    """Keys and order."""

    @clause
    async def test_waiting(self, make: Make, signs: Signs) -> None:
        """With a time limit; for what is not there; a settled slot beats a limit of 0."""
        async with make().start() as runner:
            runner.submit_nowait("long", signs.call(tick, "long"))
            assert await runner.wait("long", timeout=0.05) is None
            with pytest.raises(UnknownKey):
                await runner.wait("nobody")
            runner.cancel("long")
            runner.submit_nowait("short", give, 1)
            await runner.wait("short")
            assert await runner.wait("short", timeout=0) == Value(1)

    @clause
    async def test_keys(self, make: Make) -> None:
        """A taken one is refused, or joined."""
        async with make().start() as runner:
            slot = runner.submit_nowait("a", give, 1)
            with pytest.raises(KeyTaken):
                runner.submit_nowait("a", give, 2)
            assert runner.submit_nowait("a", give, 3, on_collision="join") is slot
            assert await slot == 1

    @clause
    async def test_replacing(self, make: Make, signs: Signs) -> None:
        """Under a taken key, if that is asked for: the old call is cancelled, the new one runs."""
        async with make().start() as runner:
            old = runner.submit_nowait("a", signs.call(tick, "old"))
            await signs.ticks("old")
            new = runner.submit_nowait("a", give, "new", on_collision="replace")
            assert new is not old
            assert await runner.wait("a") == Value("new")
            assert runner.slots["a"] is new
            assert old.state is State.CANCELLED

    @clause
    async def test_workers(self, make: Make, signs: Signs) -> None:
        """As many calls run beside each other as there are workers, and no more."""
        names = [f"call {number}" for number in range(self.workers + 1)]
        async with make().start() as runner:
            for name in names:
                runner.submit_nowait(name, signs.call(tick, name))
            await signs.ticks(*names[:-1])
            await signs.ticks(names[0], more=5)
            self._check_workers(runner, sum(signs.count(name) > 0 for name in names))
            signs.end(*names)
            assert [one.unwrap() for one in await runner.wait_all(names)] == ["ended"] * len(names)

    @clause
    async def test_priorities(self, make: Make, signs: Signs) -> None:
        """What has a higher one runs first, of what waits."""
        blockers = [f"blocker {number}" for number in range(self.workers)]
        log = signs.path("log")
        async with make().start() as runner:
            for name in blockers:
                runner.submit_nowait(name, signs.call(tick, name))
            await signs.ticks(*blockers)
            for priority in (1, 3, 2):
                runner.submit_nowait(priority, note, log, str(priority), priority=priority)
            signs.end(blockers[0])  # so they have one place, and come one after the other
            await runner.wait_all([1, 2, 3])
            signs.end(*blockers)
        assert signs.lines("log") == ["3", "2", "1"]

    @clause
    async def test_dependencies(self, make: Make) -> None:
        """A call runs after those that it is to run after, or not at all, or however they end."""
        async with make().start() as runner:
            runner.submit_nowait("first", give, 1)
            runner.submit_nowait("fails", fail, ValueError)
            runner.submit_nowait("second", give, 2, after=["first"])
            runner.submit_nowait("never", give, 3, after=["fails"])
            runner.submit_nowait("anyway", give, 4, after=["fails"], after_any_end=True)
            assert await runner.result("second") == 2
            with pytest.raises(CallCancelled, match="upstream"):
                await runner.result("never")
            assert await runner.wait("anyway") == Value(4)

    @clause
    async def test_mapping(self, make: Make, signs: Signs) -> None:
        """In the order of the arguments, not of the ends; ended by the first failure."""
        # With one worker nothing runs beside the first call, so it waits for nothing.
        slow = partial(give_in_turn, signs.path("turn"), self.patience / 2 if self.workers > 1 else 0.0)
        async with make().start() as runner:
            assert await runner.map(slow, range(4)) == [0, 1, 2, 3]
            with pytest.raises(TypeError):
                await runner.map(far_len, ["a", 3, "b"])
            for fn in (give, give_async) if self.runs_async else (give,):
                assert await runner.map(fn, range(3)) == [0, 1, 2]

    @clause
    async def test_as_completed_and_groups(self, make: Make, signs: Signs) -> None:
        """Many at once, and the first that succeeds."""
        async with make().start() as runner:
            for n in range(5):
                runner.submit_nowait(n, give, n)
            async with runner.as_completed() as slots:
                assert sorted([slot.result() async for slot in slots]) == list(range(5))
            assert await runner.race(partial(give, 1), signs.call(tick, "loser")) == 1

    @clause
    async def test_again(self, make: Make) -> None:
        """It can be started again, copied and pickled; a run begins empty."""
        runner = make()
        for one in (runner, runner, runner.duplicate(), pickle.loads(pickle.dumps(runner))):
            assert one == runner
            async with one.start():
                assert len(one) == 0
                assert await one.submit_nowait("a", give, 1) == 1

    @clause
    async def test_from_threads(self, make: Make) -> None:
        """Threads without a loop submit, wait and map."""
        async with make().start() as runner:
            calls = runner.from_thread

            def work() -> list[Any]:
                calls.submit("a", give, 1)
                return [calls.result("a"), calls.map(give, [1, 2])]

            assert await anyio.to_thread.run_sync(work) == [1, [1, 2]]

    @clause
    async def test_as_an_executor(self, make: Make) -> None:
        """Futures of the standard library's, for libraries that know nothing else."""
        async with make().start() as runner:

            def work() -> list[Any]:
                with runner.as_executor() as executor:
                    failed = executor.submit(fail, ValueError)
                    return [*executor.map(give, range(3)), type(failed.exception())]

            assert await anyio.to_thread.run_sync(work) == [0, 1, 2, ValueError]
