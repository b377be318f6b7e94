"""The settings of the place where calls run in worker processes.

What it is for: they are checked here, when the object is made. Each run that uses it opens a pool of its
own.

What it does not know: loops; the pool is imported when the first run opens one, and anyio with it.

Invariant: two of them are equal when their settings are.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Literal, cast, final

from creche._checks import check_count, check_installed
from creche._place import Host, OpenPlace, Place

MOST_AT_HAND = 512
"""Their tokens fill one page of a pipe, which is all that a system short of pages gives it."""


@final
class ProcessPlace(Place):
    """Calls run in worker processes of this machine, which are killed when a call is cancelled.

    A worker is started when a call needs one and none is idle, and kept for the calls that follow.
    """

    name = "process"

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        max_calls: int | None = None,
        initializer: Callable[[], object] | None = None,
        prewarm: int = 0,
        kill_grace: float = 0,
        batch: int | Literal["auto"] = "auto",
        context: Iterable[ContextVar[Any]] = (),
    ) -> None:
        """Check the settings.

        Args:
            max_workers: worker processes at once; as many as there are processors without it.
            max_calls: that a worker carries out before another one takes its place.
            initializer: called once in each worker before its first call.
            prewarm: workers that are started, and ready, when the place is open.
            kill_grace: seconds between asking a cancelled call to stop, and killing its worker.
            batch: calls that a worker has at hand at most; `"auto"` for as many as pay, by how long
                they take.
            context: context variables of modules, whose values travel with each call.

        Raises:
            TypeError: something is of the wrong kind.
            ValueError: a number is too small or too large, or a context variable cannot be found.
            ImportError: cloudpickle is not installed.
        """
        check_installed("worker processes need", ("cloudpickle",), "process")
        if max_workers is not None:
            check_count("max_workers", max_workers, cure="leave it out for one per processor")
        if max_calls is not None:
            check_count("max_calls", max_calls, cure="leave it out for no limit")
        self.max_workers: int | None = max_workers
        self.max_calls: int | None = max_calls
        self.initializer: Callable[[], object] | None = _check_initializer(initializer)
        self.prewarm: int = check_count("prewarm", prewarm, cure="0 starts none beforehand", least=0)
        if prewarm > self.workers:
            msg = f"prewarm must be at most max_workers, which is {self.workers}, not {prewarm}"
            raise ValueError(msg)
        self.kill_grace: float = _check_grace(kill_grace)
        self.batch: int | str = _check_batch(batch)
        self.variables: tuple[tuple[str, str], ...] = _find_all(context)
        self.capacity: int | None = self.workers

    @property
    def workers(self) -> int:
        """How many worker processes there are at most."""
        return self.max_workers or _processors()

    def check_options(self, options: Mapping[str, Any]) -> None:
        """There are none.

        Raises:
            ValueError: always.
        """
        msg = f"a worker process takes no place_options, so leave out {', '.join(map(repr, options))}"
        raise ValueError(msg)

    def open(self, host: Host) -> AbstractAsyncContextManager[OpenPlace]:
        """Open it for a run; part of the protocol of a place.

        Args:
            host: the run.

        Returns:
            an async context manager. Entering it raises what the initializer raises, and
            `RuntimeError` when that exits.
        """
        pool = importlib.import_module("creche.places._opening")
        return cast("AbstractAsyncContextManager[OpenPlace]", pool.Opening(self, host))

    def _settings(self) -> tuple[object, ...]:
        return (
            self.max_workers,
            self.max_calls,
            self.initializer,
            self.prewarm,
            self.kill_grace,
            self.batch,
            self.variables,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProcessPlace):
            return NotImplemented
        return self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash(self._settings())

    def __repr__(self) -> str:
        return (
            f"ProcessPlace(max_workers={self.max_workers!r}, max_calls={self.max_calls!r}, "
            f"initializer={self.initializer!r}, prewarm={self.prewarm!r}, "
            f"kill_grace={self.kill_grace!r}, batch={self.batch!r}, "
            f"context={[f'{module}.{name}' for module, name in self.variables]!r})"
        )


def _processors() -> int:
    """Those that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _check_initializer(given: Any) -> Any:  # noqa: ANN401 - a callable, or not
    if given is None:
        return None
    if not callable(given):
        msg = f"initializer must be a function without arguments, not {given!r}"
        raise TypeError(msg)
    if inspect.iscoroutinefunction(given):
        msg = f"initializer must be a plain function, not the async {given!r}: no loop runs there"
        raise TypeError(msg)
    return given


def _check_grace(given: object) -> float:
    if not isinstance(given, (int, float)) or isinstance(given, bool):
        msg = f"kill_grace must be a number of seconds, not {given!r}; 0 kills at once"
        raise TypeError(msg)
    if not 0 <= given < math.inf:
        msg = f"kill_grace must be 0 seconds or more, and an end, not {given!r}; 0 kills at once"
        raise ValueError(msg)
    return given


def _check_batch(given: object) -> int | str:
    if given == "auto":
        return "auto"
    cure = "1 sends call by call, 'auto' as many together as pay"
    number = check_count("batch", given, cure=cure)
    if number > MOST_AT_HAND:
        msg = f"batch must be at most {MOST_AT_HAND}, not {given!r}; {cure}"
        raise ValueError(msg)
    return number


def _find_all(context: object) -> tuple[tuple[str, str], ...]:
    """Module and attribute of each context variable."""
    if isinstance(context, ContextVar) or not isinstance(context, Iterable):
        msg = f"context must be an iterable of context variables, not {context!r}; write (variable,)"
        raise TypeError(msg)
    return tuple(map(_find, context))


def _find(var: object) -> tuple[str, str]:
    if not isinstance(var, ContextVar):
        msg = f"context must hold context variables, not {var!r}"
        raise TypeError(msg)
    for module in list(sys.modules):
        for name, value in list(vars(sys.modules[module]).items()):
            if value is var and module != "__main__":
                return module, name
    msg = (
        f"the context variable {var.name!r} is not to be found in a module that a worker process can "
        "import; make it a variable of a module that is not the main program"
    )
    raise ValueError(msg)


def resolve(module: str, name: str) -> ContextVar[Any]:
    """The context variable of this name.

    Args:
        module: where it is.
        name: its attribute there.
    """
    return cast("ContextVar[Any]", pkgutil.resolve_name(f"{module}:{name}"))
