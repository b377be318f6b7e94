"""Lines that hardly anything comes to: each by itself."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from calls import give
from creche import KeyTaken, State, UnknownKey
from creche._guards import ThreadGuards
from creche._lingering import Lingering
from creche._spelling import LONGEST, shorten
from creche.afterwards._causes import submitter
from creche.instruments import CallRecord
from creche.testing import _present
from creche.testing._acting import Acting


def test_errors_are_short_whatever_their_key_is() -> None:
    """Also as their `repr`."""
    for error in (KeyTaken("k" * 100_000, "PENDING", joinable=True), UnknownKey("k" * 100_000)):
        assert len(repr(error)) < 2 * LONGEST
        assert len(str(error)) < 2 * LONGEST
        assert type(error).__name__ in repr(error)
    assert len(shorten("x" * 100_000)) <= LONGEST + 50
    assert shorten("short") == "short"


def test_nothing_is_said_of_threads_that_have_ended_just_now(caplog: pytest.LogCaptureFixture) -> None:
    """Between the timer and the look."""
    Lingering("r", list)._warn()
    assert not caplog.records


class Guard:
    """What shields the wait for a thread."""

    shield = True


def test_one_of_several_calls_in_threads_is_let_go() -> None:
    """And no other."""
    guards = ThreadGuards(None, None, abandons=False, has_grace=False)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]  # neither is asked here
    one, other = Guard(), Guard()
    slots: list[Any] = [object(), object()]
    known: Any = guards._guards
    known.update({one: (slots[0], None), other: (slots[1], None)})
    assert guards.abandon(slots[0]) == slots
    assert (one.shield, other.shield, guards.abandons) == (False, True, False)


def test_a_call_that_was_submitted_by_what_an_ended_one_has_left() -> None:
    """It is of whoever had submitted that one."""
    outer = CallRecord(1, "outer", "str", "loop", 0.0)
    ended = CallRecord(1, "ended", "str", "loop", 0.0, State.COMPLETED, finished=1.0, parent=outer)
    assert submitter(CallRecord(1, "late", "str", "loop", 2.0, parent=ended)) is outer


def test_child_processes_where_the_kernel_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its files are read."""
    monkeypatch.delattr(os, "waitid")
    assert _present._has_children()


def test_a_cancellation_that_comes_while_a_machine_stands_still() -> None:
    """On asyncio: the next step sees it at its first await."""
    acting = Acting("asyncio", None, virtual=True)

    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)

    async def awaits() -> None:
        await asyncio.sleep(0)

    acting.step(cancels)
    with pytest.raises(RuntimeError, match="was cancelled"):
        acting.step(awaits)
    acting.end(give)
