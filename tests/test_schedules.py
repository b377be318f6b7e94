"""What creche promises holds in whatever order tasks run: two thousand of each program."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import exploring
from creche.testing import ExploreError, explore
from schedules import main

# Half of them on each loop: all on both would take a minute. `nox -s schedules` does a million.
PROGRAMS = 1000 // exploring.ORDERS


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("name", exploring.PROPERTIES)
def test_it_holds_in_whatever_order(name: str, backend: Any) -> None:
    """Each program under many orders; those of the two loops are different programs."""
    first = PROGRAMS * (backend == "asyncio")
    runs = orders = 0
    for number in range(first, first + PROGRAMS):
        found = explore(exploring.program(name, number), seeds=exploring.seeds(number), backend=backend)
        runs += found.runs
        orders += found.orders
    assert runs == PROGRAMS * exploring.ORDERS
    assert orders > runs / 5


def test_the_session_finds_what_does_not_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how to run that again, and runs it again; what holds is counted."""

    async def wrong(drawn: Any) -> None:
        work = exploring.Work(1)
        async with anyio.create_task_group() as group:
            for n in range(2):
                group.start_soon(work, n)

    monkeypatch.setitem(exploring.PROPERTIES, "wrong", wrong)
    assert main(["--property", "wrong", "--count", "100", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert "AssertionError: 2 are at work" in said
    again = next(line for line in said.splitlines() if "--again" in line).split()[-1]
    with pytest.raises(ExploreError, match="2 are at work"):
        main(["--again", again])
    capsys.readouterr()
    assert main(["--property", "keys", "--count", "100", "--jobs", "1"]) == 0
    assert "keys trio: 50 schedules" in capsys.readouterr().out
