"""Where a lock was made: a line that somebody wrote, not one that a decorator has generated."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import attrs
import pytest

from creche.testing import cancel_everywhere


@dataclass
class Plain:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@attrs.define
class Attrs:
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)


async def keeps(made: Any) -> None:
    await made.lock.acquire()


def held(fn: Any, **options: Any) -> str:
    report = cancel_everywhere(fn, backend="asyncio", check=False, **options)
    return next(found.text for found in report.points[0].findings if found.kind == "held")


@pytest.mark.parametrize("kind", [Plain, Attrs])
def test_a_lock_of_a_generated_class(kind: Any) -> None:
    """The line that makes the whole of it is named."""

    async def fn() -> None:
        await keeps(kind())  # here

    line = fn.__code__.co_firstlineno + 1
    where = f"tests/test_testing_made.py:{line} in {fn.__qualname__}"
    assert held(fn) == f"asyncio.Lock made at {where} is still held"


def test_a_lock_of_a_generated_class_that_the_kit_makes() -> None:
    """There is no better line, and it is told all the same."""
    assert held(keeps, setup=Plain).startswith("asyncio.Lock made at <string>:")
