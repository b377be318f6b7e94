"""Which points `places` means: as a report shows them, in full, or by a pattern."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from creche.testing import cancel_everywhere


async def fn() -> None:
    await anyio.sleep(1)
    await anyio.sleep(2)


async def without_a_wait() -> None:
    pass


FIRST = fn.__code__.co_firstlineno + 1


def tried(places: list[str]) -> set[int]:
    points = cancel_everywhere(fn, places=places).points[1:]
    assert points
    return {point.place.line for point in points if point.place is not None}


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("tests/test_testing_choosing.py:{}", {FIRST}),
        ("tests/test_testing_choosing.py:{} in fn", {FIRST}),
        (__file__ + ":{}", {FIRST}),
        ("*choosing.py:{}", {FIRST}),
        ("tests/test_testing_choosing.py", {FIRST, FIRST + 1}),
        (__file__, {FIRST, FIRST + 1}),
        ("tests/*", {FIRST, FIRST + 1}),
    ],
)
def test_how_a_place_can_be_written(pattern: str, lines: set[int]) -> None:
    """So."""
    assert tried([pattern.format(FIRST)]) == lines


def test_a_path_that_looks_like_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is meant as it is, too."""
    code: Any = compile("async def odd():\n    await anyio.sleep(1)\n", "a[1].py", "exec")
    names: dict[str, Any] = {"anyio": anyio}
    exec(code, names)  # noqa: S102 - a program of this test's own
    assert len(cancel_everywhere(names["odd"], places=["a[1].py:2"]).points) == 2


def test_a_place_at_which_there_is_no_point() -> None:
    """It is named, and some of those that there are; one of several, too."""
    known = rf"points are at tests/test_testing_choosing\.py:{FIRST}, tests/test_testing_choosing\.py:"
    with pytest.raises(ValueError, match=f"no point is at 'choosing.py:1', of places; {known}"):
        cancel_everywhere(fn, places=["*choosing.py", "choosing.py:1"])
    with pytest.raises(ValueError, match="no point is in a line"):
        cancel_everywhere(without_a_wait, places=["*choosing.py"])

    lines = "\n".join(["async def long():", *["    await anyio.sleep(1)"] * 7])
    names: dict[str, Any] = {"anyio": anyio}
    exec(compile(lines, "long.py", "exec"), names)  # noqa: S102 - a program of this test's own
    with pytest.raises(ValueError, match=r"long.py:6, and 2 lines more$"):
        cancel_everywhere(names["long"], places=["short.py"])
