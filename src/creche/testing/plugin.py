"""The pytest plugin: fixtures whose names begin with ``creche_``, and nothing for those who use none.

What it is for: pytest finds it by an entry point of the name of this module. Beside anyio's plugin and
pytest-trio it does not run async tests: those do.

What it does not know: what the fixtures give; it is imported when one is asked for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

SKIPPED = "creche: skipped clause"
"""The name of the property of a test that says so; it comes with the report, with xdist, too."""


def _testing(name: str) -> Any:  # noqa: ANN401 - whatever is public there
    return getattr(importlib.import_module("creche.testing"), name)


@pytest.fixture
def creche_leaks() -> Iterator[None]:
    """No thread, process, descriptor or socket more after the test than before."""
    with _testing("leaks")():
        yield


# The two that hold no state are the same for all tests, as `@given` of hypothesis's asks for.
@pytest.fixture(scope="session", params=["trio", "asyncio"])
def creche_backend(request: pytest.FixtureRequest) -> str:
    """`"trio"`, then `"asyncio"`: for the option `backend` of what `creche.testing` has."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def creche_run(creche_backend: str) -> Callable[..., Any]:
    """`creche.testing.run_virtual`, on trio and on asyncio."""

    def run(fn: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401 - as it comes
        return _testing("run_virtual")(fn, *args, backend=creche_backend)

    return run


@pytest.fixture
def creche_clock() -> Any:  # noqa: ANN401 - loaded late
    """A `VirtualClock`. Pytest-trio runs a test that asks for it in virtual time."""
    return _testing("VirtualClock")()


_CONTRACT = tuple(
    f"creche.testing.{name}"
    for name in ("contract", "_contract_keys", "_contract_stops", "_contract_terms", "_contract_values")
)


def pytest_configure() -> None:
    """Have pytest explain the asserts of the contract, too."""
    pytest.register_assert_rewrite(*(name for name in _CONTRACT if name not in sys.modules))


def pytest_terminal_summary(terminalreporter: Any) -> None:  # noqa: ANN401 - pytest's
    """Print the clauses of the contract that were skipped, with their reasons."""
    skipped = {
        text: None
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == SKIPPED
    }
    if skipped:
        terminalreporter.section("clauses of the runner contract that were skipped")
        for line in skipped:
            terminalreporter.line(line)
