"""Random programs against a runner whose calls run elsewhere, in real time.

What it does not know: what bodies do there. A call says by its outcome what it did, and the model knows
what it was asked.
"""

from __future__ import annotations

import os
import time
from typing import Any

import anyio
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition

from creche import CallCrashed, KeyTaken, NotSettled, RunnerClosed, State, UnknownKey
from creche.testing.stateful import AsyncRuleBasedStateMachine, initialize, invariant, rule
from modelling import Died, same

ASKED = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["a", "b", "c", None]),
        "kind": st.sampled_from(["value", "value", "fail", "long", "exit", "die"]),
    },
    optional={
        "timeout": st.just(0.05),
        "after": st.integers(0, 3),
        "collision": st.sampled_from(["join", "replace"]),
        "priority": st.integers(0, 1),
    },
)


def work(kind: str, number: int) -> int:
    """Where it runs."""
    if kind == "fail":
        raise Died(number)
    if kind == "exit":
        raise SystemExit(number)
    if kind == "die":
        os._exit(3)
    if kind == "long":
        time.sleep(0.2)
    return number


class PlaceMachine(AsyncRuleBasedStateMachine):
    """Keys to what was asked of them: kind, number, after, whether a cancel or a timeout was asked."""

    real_time = True
    kinds = ("value", "fail", "long", "exit", "die")
    make: Any

    @initialize(workers=st.integers(1, 2))
    async def begin(self, workers: int) -> None:
        self.runner = await self.enter_async_context(type(self).make(workers).start())
        self.asked: dict[Any, dict[str, Any]] = {}
        self.board: dict[Any, Any] = {}
        self.final: dict[Any, Any] = {}
        self.drained = False
        # Which rules may come is told by what was asked for, and never by what has ended by then: the
        # same beginning must offer the same rules, and real time ends calls when it likes.
        self.submitted = 0

    def open_slots(self) -> list[Any]:
        return [slot for slot in self.asked if not slot.done]

    @rule(wishes=st.lists(ASKED, min_size=1, max_size=3))
    def submit(self, wishes: list[dict[str, Any]]) -> None:
        for one in wishes:
            self.submit_one(**one)

    def submit_one(
        self,
        key: Any,
        kind: str,
        timeout: float | None = None,
        after: int | None = None,
        collision: Any = "raise",
        priority: int = 0,
    ) -> None:
        self.submitted += 1
        kind = kind if kind in self.kinds else "fail"
        there = self.board.get(key)
        slots = list(self.asked)
        upstream = [slots[-1 - after % len(slots)]] if after is not None and slots else []
        number = len(slots)
        try:
            slot = self.runner.submit_nowait(
                key,
                work,
                kind,
                number,
                timeout=timeout,
                after=upstream,
                priority=priority,
                on_collision=collision,
            )
        except KeyTaken:
            assert there is not None
            assert collision == "raise"
        except RunnerClosed:
            assert self.drained
        else:
            if there is not None and collision == "join":
                assert slot is there
                return
            assert not self.drained
            assert there is None or collision == "replace"
            if there is not None and there in self.open_slots():
                self.asked[there]["cancel"] = True
            if there is not None:
                self.asked[there]["cancel"] |= not there.done or there.origin == "cancel"
            self.board[slot.key] = slot
            self.asked[slot] = {
                "kind": kind,
                "number": number,
                "after": upstream,
                "timeout": timeout,
                "cancel": False,
            }

    @precondition(lambda self: self.submitted > 0)
    @rule(n=st.integers(0, 5))
    def cancel(self, n: int) -> None:
        slots = list(self.board.values())
        if slots:
            slot = slots[n % len(slots)]
            was_done = slot.done
            assert self.runner.cancel(slot) is not was_done
            self.asked[slot]["cancel"] |= not was_done

    @precondition(lambda self: self.submitted > 3)
    @rule()
    def cancel_all(self) -> None:
        for slot in self.runner.cancel_all():
            self.asked[slot]["cancel"] = True

    @precondition(lambda self: self.submitted > 0)
    @rule(key=st.sampled_from("abc"), timeout=st.sampled_from([0, 0.02]))
    async def wait(self, key: str, timeout: float) -> None:
        if key not in self.board:
            with pytest.raises(UnknownKey):
                await self.runner.wait(key, timeout)
            return
        was_done = self.board[key].done
        outcome = await self.runner.wait(key, timeout)
        assert outcome is not None or not was_done
        assert outcome is None or same(outcome, self.board[key].outcome)

    @rule()
    async def rest(self) -> None:
        await anyio.sleep(0.01)

    @precondition(lambda self: self.submitted > 0)
    @rule()
    async def until_idle(self) -> None:
        with anyio.fail_after(60):
            await self.runner.until_idle()
        assert not self.open_slots()

    @precondition(lambda self: self.submitted > 0)
    @rule(key=st.sampled_from("abc"))
    def forget(self, key: str) -> None:
        if key not in self.board:
            with pytest.raises(UnknownKey):
                self.runner.forget(key)
            return
        try:
            self.runner.forget(key)
        except NotSettled:
            assert not self.board[key].done
        else:
            del self.board[key]

    @precondition(lambda self: self.submitted > 5 and not self.drained)
    @rule(timeout=st.sampled_from([0, 0.05, None]))
    async def drain(self, timeout: float | None) -> None:
        was_open = [slot.key for slot in self.open_slots()]
        self.drained = True
        with anyio.fail_after(60):
            left = await self.runner.drain(timeout)
        assert set(left) <= set(was_open)
        assert timeout is not None or left == []
        assert not self.open_slots()

    @invariant()
    def holds(self) -> None:
        assert dict(self.runner.slots) == self.board
        for slot, asked in self.asked.items():
            if slot.done:
                self.judge(slot, asked)

    def judge(self, slot: Any, asked: dict[str, Any]) -> None:
        """One that has ended: as it was asked, and for good."""
        told = f"{slot} {slot.outcome} of {asked}"
        first = self.final.setdefault(slot, (slot.state, slot.outcome))
        assert first[0] is slot.state, told
        assert same(first[1], slot.outcome), told
        blocked = any(one.done and one.state is not State.COMPLETED for one in asked["after"])
        if slot.state is State.COMPLETED:
            assert asked["kind"] in ("value", "long"), told
            assert slot.outcome.value == asked["number"], told
        elif slot.state is State.CANCELLED:
            allowed = {"cancel"} if asked["cancel"] else set()
            allowed |= {"upstream"} if blocked else set()
            allowed |= {"closed", "upstream"} if self.drained else set()
            assert slot.origin in allowed, told
        elif slot.state is State.FAILED:
            error = slot.outcome.error
            if isinstance(error, Died):
                assert asked["kind"] == "fail", told
                assert error.args == (asked["number"],), told
            else:
                assert isinstance(error, TimeoutError), told
                assert asked["timeout"] is not None, told
        else:
            assert isinstance(slot.outcome.error, CallCrashed | SystemExit), told
            assert asked["kind"] in ("exit", "die"), told
        assert not blocked or slot.state is State.CANCELLED, told

    async def teardown(self) -> None:  # type: ignore[override]  # async, as this machine allows
        if hasattr(self, "drained"):
            self.drained = True
            with anyio.fail_after(60):
                await self.runner.drain(10)
            self.holds()
