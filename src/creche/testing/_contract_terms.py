"""What a runner says of itself to the contract, and how a clause of the contract is run.

What it is for: the clauses are in several files, by subject, and share this.

What it does not know: what the clauses ask.

Invariant: no clause is left out in silence. Each has a reason, and pytest prints it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from creche._adaptable import AdaptableTaskRunner
from creche._call import is_async_callable

from ._contract_calls import tick, tick_async
from ._contract_signs import Signs
from ._contract_watch import run_watched
from .plugin import SKIPPED

Make = Callable[..., AdaptableTaskRunner]

LONG = pytest.mark.parametrize("long", [tick, tick_async], ids=["plain", "async"])

_NOT_ASYNC = "they cannot be called there"


def clause(fn: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of an async function that runs its own loop, that of the fixture `anyio_backend`.

    So it does whatever plugin would run async tests, and somebody can look on who is not on the loop.
    """

    @functools.wraps(fn)
    def run(self: Terms, anyio_backend: Any, **given: Any) -> None:
        __tracebackhide__ = True
        let_go = given["signs"].end_all if "signs" in given else lambda: None
        run_watched(partial(fn, self, **given), self.patience, anyio_backend, let_go)

    signature = inspect.signature(fn)
    backend = inspect.Parameter("anyio_backend", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    me, *others = signature.parameters.values()
    run.__signature__ = signature.replace(parameters=[me, backend, *others])  # type: ignore[attr-defined]  # pytest reads it; the stubs do not know it
    return run


class Terms:
    """What a runner says of itself; see `RunnerContract`, of which this is the lowest part."""

    workers: int = 2
    calls: int = 100
    patience: float = 20.0
    runs_async: bool = True
    contains_exit: bool = False
    skips: Mapping[str, str] = MappingProxyType({})

    def __init_subclass__(cls) -> None:
        """Look at what is to be skipped.

        Raises:
            TypeError: there is no such clause, no reason is given, or a clause was overwritten with what
                is no test.
        """
        super().__init_subclass__()
        if not isinstance(cls.skips, Mapping):
            msg = f"{cls.__name__}.skips must map names of clauses to reasons, not {cls.skips!r}"
            raise TypeError(msg)
        for name, reason in cls.skips.items():
            if not (isinstance(name, str) and name.startswith("test_") and hasattr(cls, name)):
                msg = f"{cls.__name__}.skips: the contract has no clause {name!r}"
                raise TypeError(msg)
            if not (isinstance(reason, str) and reason.strip()):
                msg = f"{cls.__name__}.skips: say why clause {name!r} is skipped"
                raise TypeError(msg)
        for name in dir(cls):
            if name.startswith("test_") and not callable(getattr(cls, name)):
                msg = f"{cls.__name__}.{name} is no test; put the clause into skips, with a reason"
                raise TypeError(msg)

    @pytest.fixture(autouse=True)
    def _clause(self, request: pytest.FixtureRequest) -> None:
        """Skip the clause, if it is one of those, and have that printed."""
        self._item = request.node
        name = getattr(request.node, "originalname", "")
        reason = self.skips.get(name)
        if reason is not None:
            self._skip(name, reason)
        if not self.runs_async:
            self._print("async functions", _NOT_ASYNC)
            # Of the contract's own parameters: those of other fixtures are nobody's business here.
            asked = inspect.signature(request.node.obj).parameters
            params = getattr(getattr(request.node, "callspec", None), "params", {})
            if any(is_async_callable(params[one]) for one in ("fn", "long") if one in asked):
                pytest.skip(_NOT_ASYNC)

    @pytest.fixture
    def signs(self, tmp_path: Path) -> Iterator[Signs]:
        """How the calls of the clause say that they run."""
        signs = Signs(tmp_path)
        yield signs
        signs.end_all()

    def _check_workers(self, runner: AdaptableTaskRunner, seen: int = 0) -> None:
        """Say so if more calls run than are to, as a slot tells, or as many as have been `seen` to."""
        at_once = max(seen, runner.statistics().running)
        assert at_once <= self.workers, f"too many at once: {at_once} for {self.workers} workers"

    def _skip(self, what: str, reason: str) -> None:
        self._print(what, reason)
        pytest.skip(reason)

    def _print(self, what: str, reason: str) -> None:
        self._item.user_properties.append((SKIPPED, f"{type(self).__name__}.{what}: {reason}"))
