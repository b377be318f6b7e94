"""`ScriptedRunner`: calls end as the script says, when it says, and what was asked is on record."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from outcome import Value

from creche import CallCancelled, CallCrashed, State, TaskConcurrencyType
from creche.testing import Asked, PlaceTaskRunner, ScriptedRunner, Step, crashes, fails, never, returns

pytestmark = pytest.mark.anyio


def not_called(*args: Any) -> Any:
    """Fails the test."""
    raise AssertionError


async def test_a_script() -> None:
    """Values, failures, crashes and what never ends; nothing is called."""
    lost = CallCrashed("c", "worker-died", "gone", None)
    runner = ScriptedRunner(
        {
            "a": returns(1, after=2),
            "b": fails(ValueError("no"), after=1),
            "c": crashes(lost),
            "d": never(),
        }
    )
    assert runner.concurrency_type is TaskConcurrencyType.CONCURRENT
    async with runner.start():
        for key in "abcd":
            runner.submit_nowait(key, not_called, key)
        assert await runner.wait("a") == Value(1)
        with pytest.raises(ValueError, match="no"):
            await runner.result("b")
        with pytest.raises(CallCrashed):
            await runner.result("c")
        runner.cancel("d")
        with pytest.raises(CallCancelled):
            await runner.result("d")
        states = [slot.state for slot in runner.slots.values()]
    assert states == [State.COMPLETED, State.FAILED, State.CRASHED, State.CANCELLED]
    asked = {one.key: one for one in runner.asked}
    assert [asked[key].args for key in "abcd"] == [("a",), ("b",), ("c",), ("d",)]
    assert asked["a"].fn is not_called
    assert [asked[key].cancelled for key in "abcd"] == [False, False, False, True]
    assert all(one.ended is not None for one in runner.asked)


async def test_when(virtual_time: bool) -> None:
    """In the loop's time."""
    if not virtual_time:
        pytest.skip("it would wait")
    runner = ScriptedRunner({"a": returns(after=3600), "b": returns(after=60)}, max_workers=1)
    async with runner.start():
        begin = anyio.current_time()
        await runner.map(not_called, [1, 2], key=lambda n: "ab"[n - 1])
        a, b = runner.asked
        assert (a.started - begin, a.ended, b.started) == (0, begin + 3600, a.ended)
        assert b.ended == begin + 3660


async def test_a_call_that_is_run_again() -> None:
    """Each time the next step of its list, and from then on the last."""
    runner = ScriptedRunner({"a": [fails(OSError()), returns(1)]})
    ends: list[Any] = []
    for _ in range(3):
        async with runner.start():
            runner.submit_nowait("a", not_called)
            ends.append(type(await runner.wait("a")).__name__)
    assert ends == ["Error", "Value", "Value"]


async def test_a_function_for_a_script() -> None:
    """It is asked for each call; it sees the arguments, results of other calls among them."""

    def script(asked: Asked) -> Step:
        return returns(sum(asked.args))

    async with ScriptedRunner(script).start() as runner:
        first = runner.submit_nowait("a", not_called, 1, 2)
        assert await runner.submit_nowait("b", not_called, first, 4, after=[first]) == 7


async def test_what_is_not_in_the_script() -> None:
    """It crashes, and says the key; or it is done `otherwise`."""
    async with ScriptedRunner({}).start() as runner:
        runner.submit_nowait("a", not_called)
        with pytest.raises(LookupError, match="no step for call 'a'"):
            await runner.result("a")
    async with ScriptedRunner({}, otherwise=returns(5)).start() as runner:
        assert await runner.submit_nowait("a", not_called) == 5


def test_bad_options() -> None:
    """A script that is none, a place that is none."""
    wrong: Any = 3
    with pytest.raises(TypeError, match="script"):
        ScriptedRunner(wrong)
    with pytest.raises(TypeError, match="Place"):
        PlaceTaskRunner(wrong)
    with pytest.raises(ValueError, match="max_workers"):
        ScriptedRunner({}, 0)
