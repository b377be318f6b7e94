"""Whoever waits for a slot, at the slot itself: woken once, each of them, and left behind never.

What it does not know: tasks. A waiter here is a function, which is what a slot knows of one.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from calls import Gate, fail, forever, settle_down
from creche import ConcurrentTaskRunner, Slot, State

pytestmark = pytest.mark.anyio


class Waiters:
    """Functions that count how often they are called, and note what they find then."""

    def __init__(self, slot: Slot[Any], names: str) -> None:
        self.woken: Counter[str] = Counter()
        self.found: list[tuple[State, bool]] = []
        self.wakers = {name: functools.partial(self._wake, slot, name) for name in names}

    def _wake(self, slot: Slot[Any], name: str) -> None:
        self.woken[name] += 1
        self.found.append((slot.state, slot.done))


def complete(_: ConcurrentTaskRunner, gate: Gate) -> None:
    gate.open.set()


def cancel(runner: ConcurrentTaskRunner, _: Gate) -> None:
    runner.cancel("k")


ENDS = pytest.mark.parametrize(
    ("end", "state"),
    [(complete, State.COMPLETED), (cancel, State.CANCELLED)],
    ids=["value", "cancelled"],
)


@ENDS
@pytest.mark.parametrize("number", [1, 2, 3])
async def test_each_is_woken_once(
    number: int, end: Callable[[ConcurrentTaskRunner, Gate], None], state: State
) -> None:
    """However many there are, however the call ends; and each finds the slot settled."""
    runner, gate = ConcurrentTaskRunner(), Gate()
    names = "abc"[:number]
    async with runner.start():
        slot = runner.submit_nowait("k", gate)
        waiters = Waiters(slot, names)
        for waker in waiters.wakers.values():
            assert slot.enroll(waker)
        await settle_down()
        assert slot.is_awaited
        end(runner, gate)
    assert waiters.woken == Counter(names)
    assert waiters.found == [(state, True)] * number
    assert not slot.is_awaited


@ENDS
@pytest.mark.parametrize("leaving", ["a", "b", "c", "ab", "bc", "abc"])
async def test_who_withdraws_is_left_out_alone(
    leaving: str, end: Callable[[ConcurrentTaskRunner, Gate], None], state: State
) -> None:
    """The others are woken, and nothing of the one that has left stays in the slot."""
    runner, gate = ConcurrentTaskRunner(), Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate)
        waiters = Waiters(slot, "abc")
        for waker in waiters.wakers.values():
            slot.enroll(waker)
        for name in leaving:
            slot.withdraw(waiters.wakers[name])
        slot.withdraw(settle_down)  # never enrolled
        assert slot.is_awaited == (leaving != "abc")
        await settle_down()
        end(runner, gate)
    assert waiters.woken == Counter(set("abc") - set(leaving))
    assert slot.state is state


async def test_the_only_one_withdraws() -> None:
    """A slot with one waiter has none then; and a stranger's withdrawal costs it nothing."""
    runner, gate = ConcurrentTaskRunner(), Gate()
    async with runner.start():
        slot = runner.submit_nowait("k", gate)
        waiters = Waiters(slot, "ab")
        slot.enroll(waiters.wakers["a"])
        slot.withdraw(waiters.wakers["b"])
        assert slot.is_awaited
        slot.withdraw(waiters.wakers["a"])
        assert not slot.is_awaited
        slot.enroll(waiters.wakers["b"])
        gate.open.set()
    assert waiters.woken == Counter("b")


async def test_who_comes_too_late_is_told_so_and_not_kept() -> None:
    """A settled slot takes nobody in: whoever asks goes on at once."""
    runner = ConcurrentTaskRunner()
    async with runner.start():
        slots = [runner.submit_nowait("a", fail), runner.submit_nowait("b", forever)]
        runner.cancel("b")
        await runner.wait_all(slots)
        for slot in slots:
            waiters = Waiters(slot, "ab")
            assert not any(slot.enroll(waker) for waker in waiters.wakers.values())
            assert not slot.is_awaited
            assert waiters.woken == Counter()
        slots[0].mark_read()


async def test_each_callback_is_called_once() -> None:
    """In the order in which they were added; those that come too late at once."""
    runner, gate = ConcurrentTaskRunner(), Gate()
    heard: list[str] = []

    def note(name: str, _: Slot[Any]) -> None:
        heard.append(name)

    async with runner.start():
        slot = runner.submit_nowait("k", gate)
        for name in "abc":
            slot.add_done_callback(functools.partial(note, name))
        await settle_down()
        assert heard == []
        gate.open.set()
        await slot
        slot.add_done_callback(functools.partial(note, "late"))
        assert heard == ["a", "b", "c", "late"]
    assert heard == ["a", "b", "c", "late"]
