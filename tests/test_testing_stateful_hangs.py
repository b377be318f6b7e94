"""A state machine whose step does not end: one error, which names the step, whatever the order is."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import strategies
from hypothesis.stateful import run_state_machine_as_test

from creche.testing import HungError, _stepped_asyncio, _stepped_trio, stateful
from creche.testing.stateful import AsyncRuleBasedStateMachine, rule
from stepping import QUICK, Steps, on

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


class Hangs(AsyncRuleBasedStateMachine):
    """Its rule waits for ever, with a generator open that takes a while to close."""

    async def numbers(self) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()

    @rule()
    async def hangs(self) -> None:
        self.open = self.numbers()
        await anext(self.open)
        await anyio.sleep_forever()


@both
@pytest.mark.parametrize("at_end", [[], [0, 1], [1], [2, 2, 2, 2]])
def test_a_rule_that_hangs(backend: Any, at_end: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is closed without a second error, and the same each time."""
    monkeypatch.setattr(stateful, "_AT_END", strategies.just(at_end))
    with pytest.raises(HungError, match=r"^hangs\(\) does not end; nothing can run any more") as caught:
        run_state_machine_as_test(on(backend, Hangs), settings=QUICK)
    assert "state.hangs()" in "\n".join(caught.value.__notes__)
    del caught
    gc.collect()


@both
def test_a_step_that_goes_on_and_on(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take so many passes of the loop, and those that have ended do not count."""
    for stepped in (_stepped_asyncio, _stepped_trio):
        monkeypatch.setattr(stepped, "PASSES", 100)
    steps: Any = on(backend, Steps)()

    async def spins(times: float) -> None:
        while times > 0:
            times -= 1
            await anyio.lowlevel.checkpoint()

    for _ in range(3):
        steps.do(spins, 60)
    with pytest.raises(HungError, match=r"^do\(\) does not end; it goes on and on, "):
        steps.do(spins, float("inf"))


@both
def test_what_was_entered_hangs(backend: Any) -> None:
    """It is that which does not end, and no step."""
    steps: Any = on(backend, Steps)()
    group = steps.do(steps.open, anyio.create_task_group)
    steps.do_now(group.start_soon, anyio.sleep_forever)
    with pytest.raises(HungError, match=r"^what was entered does not end; nothing can run"):
        steps.teardown()


@both
def test_a_teardown_that_hangs(backend: Any) -> None:
    """It has a name, too."""

    class Last(Steps):
        async def teardown(self) -> None:  # type: ignore[override]  # async, as this machine allows
            await anyio.sleep_forever()

    with pytest.raises(HungError, match=r"^teardown\(\) does not end; nothing can run"):
        on(backend, Last)().teardown()


@both
def test_an_order_at_the_end_by_hand(backend: Any) -> None:
    """A program that has one can be pasted and run."""
    steps: Any = on(backend, Steps)()
    steps.order_at_end = "0.1"
    steps.do(anyio.sleep, 1)
    steps.teardown()
