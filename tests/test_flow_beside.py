"""The loop beside a plain body: what can be told of it from outside."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from creche import ConcurrentTaskRunner
from creche._backends import by_name
from creche.flows._beside import _Beside, is_ending


def test_whether_a_body_is_being_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the frames of its thread: a signal that comes then finds no body to interrupt."""
    seen: list[bool] = []

    def look(*_: object) -> None:
        seen.append(is_ending(sys._getframe()))

    look()
    beside: Any = _Beside("one", ConcurrentTaskRunner(), by_name("trio"), lambda _: None)  # type: ignore  # its own parts, made by hand
    monkeypatch.setattr(beside, "_thread", type("T", (), {"ident": 1, "join": look})())
    beside._opened.set()
    beside._ended.set()
    beside.end()
    assert seen == [False, True]
