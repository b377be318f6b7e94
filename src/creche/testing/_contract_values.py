"""The clauses of the contract on what comes of a call: its value, its failure, the end of its process.

What it does not know: keys, queues, cancellation.
"""

from __future__ import annotations

import traceback
from asyncio import CancelledError
from collections import Counter
from functools import partial
from typing import Any

import anyio
import pytest
from outcome import Error, Value

from creche._errors import CallCrashed
from creche._retry import Retry
from creche._states import State

from ._contract_calls import (
    VARIABLE,
    TwoArgumentsError,
    fail,
    fail_async,
    fail_at_first,
    fail_at_first_async,
    fail_deep,
    give,
    give_async,
    give_lock,
    note,
    odd_error,
    read_variable,
    read_variable_async,
)
from ._contract_signs import Signs
from ._contract_terms import Make, Terms, clause


class ValueClauses(Terms):
    """What comes of a call."""

    @clause
    async def test_values(self, make: Make) -> None:
        """Each key has its value, also one that is false, of a plain call and an async one."""
        fns = (give, give_async) if self.runs_async else (give,)
        values: list[Any] = [None, 0, False, "", [], {"a": (1, 2)}, "x" * 100_000]
        async with make().start() as runner:
            for number, value in enumerate(values):
                for fn in fns:
                    runner.submit_nowait((fn.__name__, number), fn, value)
            for number, value in enumerate(values):
                for fn in fns:
                    assert await runner.wait((fn.__name__, number)) == Value(value)
                    slot = runner.slots[fn.__name__, number]
                    assert slot.state is State.COMPLETED
                    assert await slot == value

    @clause
    async def test_closures_and_partials(self, make: Make) -> None:
        """What is called need not be a function of a module."""
        three = 3
        async with make().start() as runner, anyio.create_task_group():
            runner.submit_nowait("lambda", lambda x: x + three, 1)
            runner.submit_nowait("partial", partial(pow, 2, exp=5))
            runner.submit_nowait("method", "a-b".split, "-")
            assert [one.unwrap() for one in await runner.wait_all()] == [4, 32, ["a", "b"]]

    @pytest.mark.parametrize("fn", [read_variable, read_variable_async])
    @clause
    async def test_context_variables(self, make: Make, fn: Any) -> None:
        """A call sees a copy of the submitter's."""
        VARIABLE.set("kept")
        async with make().start() as runner:
            for key in range(2):
                assert await runner.submit_nowait(key, fn) == "kept"
        assert VARIABLE.get() == "kept"

    @pytest.mark.parametrize("fn", [fail, fail_async])
    @clause
    async def test_failures(self, make: Make, fn: Any) -> None:
        """The exception is the call's: its class, message, attributes and notes, for each reader."""
        async with make().start() as runner:
            runner.submit_nowait("value", fn, odd_error)
            runner.submit_nowait("key", fn, partial(KeyError, "lost"))
            for _ in range(2):
                outcome = await runner.wait("value")
                assert isinstance(outcome, Error)
                error: Any = outcome.error
                assert type(error) is ValueError
                assert error.args == ("wrong", 3)
                assert getattr(error, "hint", None) == "try again"
                assert "seen at night" in getattr(error, "__notes__", ())
            with pytest.raises(KeyError, match="lost"):
                await runner.result("key")
            assert {slot.state for slot in runner.slots.values()} == {State.FAILED}

    @clause
    async def test_where_it_failed(self, make: Make) -> None:
        """What Python prints of the exception says in which function, and because of what."""
        async with make().start() as runner:
            runner.submit_nowait("deep", fail_deep)
            outcome = await runner.wait("deep")
            assert isinstance(outcome, Error)
            printed = "".join(traceback.format_exception(outcome.error))
            assert "in fail_deep" in printed
            assert "KeyError: 'the inner one'" in printed

    @clause
    async def test_a_failure_that_is_hard_to_send(self, make: Make) -> None:
        """It is told of all the same, and nothing else breaks."""
        async with make().start() as runner:
            runner.submit_nowait("hard", fail, partial(TwoArgumentsError, "two", 2))
            outcome = await runner.wait("hard")
            assert isinstance(outcome, Error)
            assert "two" in str(outcome.error)
            assert await runner.submit_nowait("next", give, 1) == 1
            assert runner.slots["hard"].state is State.FAILED

    @clause
    async def test_what_cannot_be_sent(self, make: Make) -> None:
        """An argument or a value that cannot be pickled: it arrives, or costs its own call alone."""
        async with make().start() as runner:
            beside = runner.submit_nowait("beside", give, 1)
            for key, fn, args in (("argument", give, [give_lock()]), ("value", give_lock, [])):
                runner.submit_nowait(key, fn, *args)
                outcome = await runner.wait(key)
                state = runner.slots[key].state
                assert state in (State.COMPLETED, State.FAILED, State.CRASHED)
                assert isinstance(outcome, Value) == (state is State.COMPLETED)
            assert await beside == 1
            assert await runner.submit_nowait("next", give, 1) == 1

    @pytest.mark.parametrize("error", [StopIteration, CancelledError, GeneratorExit])
    @clause
    async def test_exceptions_with_a_meaning_elsewhere(
        self, make: Make, error: type[BaseException]
    ) -> None:
        """They end their call, and hurt no transport."""
        if not (issubclass(error, Exception) or self.contains_exit):
            self._skip(f"{error.__name__} out of a call", "it ends the runner, as SystemExit does")
        async with make().start() as runner:
            runner.submit_nowait("odd", fail, error)
            assert isinstance(await runner.wait("odd"), Error)
            assert await runner.submit_nowait("next", give, 1) == 1
            assert runner.slots["odd"].state in (State.FAILED, State.CANCELLED, State.CRASHED)

    @pytest.mark.parametrize(
        "error", [partial(SystemExit, 3), KeyboardInterrupt], ids=["SystemExit", "KeyboardInterrupt"]
    )
    @clause
    async def test_exit(self, make: Make, error: Any) -> None:
        """Out of a call: it is CRASHED; where the call shares the process, the run ends."""
        runner = make()
        if not self.contains_exit:
            with pytest.raises(type(error())):
                async with runner.start():
                    runner.submit_nowait("exit", fail, error)
                    outcome = await runner.wait("exit")
                    assert isinstance(outcome, Error), "what ends a program was swallowed"
                    await anyio.sleep_forever()
        else:
            async with runner.start():
                runner.submit_nowait("exit", fail, error)
                outcome = await runner.wait("exit")
                assert isinstance(outcome, Error)
                assert isinstance(outcome.error, CallCrashed)
                assert outcome.error.kind == "exit"
                assert await runner.submit_nowait("next", give, 1) == 1
        assert runner.slots["exit"].state is State.CRASHED

    @clause
    async def test_many(self, make: Make, signs: Signs) -> None:
        """Each is carried out exactly once, and as many as there are."""
        log = signs.path("log")
        keys = [f"call {number}" for number in range(self.calls)]
        async with make().start() as runner:
            for key in keys:
                runner.submit_nowait(key, note, log, key)
            assert [one.unwrap() for one in await runner.wait_all(keys)] == keys
            assert runner.statistics().completed == len(keys)
        assert Counter(signs.lines("log")) == Counter(keys)

    @pytest.mark.parametrize("fn", [fail_at_first, fail_at_first_async])
    @clause
    async def test_retries(self, make: Make, fn: Any, signs: Signs) -> None:
        """A call that fails is tried again, where it runs; the last failure is what it ends with."""
        policy = Retry(2, delay=0.01, on=OSError)
        async with make().start() as runner:
            slot = runner.submit_nowait("k", fn, signs.path("k"), 2, retry=policy)
            assert await slot == 3
            assert (slot.state, slot.attempt) == (State.COMPLETED, 3)
            lost = runner.submit_nowait("l", fn, signs.path("l"), 9, retry=policy)
            with pytest.raises(ConnectionError, match="attempt 3") as caught:
                await lost
            assert "in attempt 3 of 3 of call 'l'" in caught.value.__notes__
            other = runner.submit_nowait("o", fail, ValueError, retry=policy)
            with pytest.raises(ValueError, match="^$"):
                await other
            assert other.attempt == 1
