"""The contract of a task runner, for those who use one and for those who write one.

What it is for: `BaseTaskRunner` is the interface of Prefect 2.8's task runners: `start`, `submit`,
`wait`, `_start`, `duplicate`, `name`, `concurrency_type`. It owns one thing itself: that a runner is
started once at a time, by one task, and is in order again whatever goes wrong.

What it does not know: how calls are run, nurseries, slots.

Invariant: `is_started` is true from the moment `_start` has succeeded until the exit has begun to
return, and never after a start that failed.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack
from enum import Enum
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final

from outcome import Outcome

from ._backend import Backend
from ._backends import detect
from ._ki import protected

R = TypeVar("R", bound="BaseTaskRunner")


class TaskConcurrencyType(Enum):
    """How the calls of a runner run beside each other; values equal names."""

    SEQUENTIAL = "SEQUENTIAL"
    CONCURRENT = "CONCURRENT"
    PARALLEL = "PARALLEL"


class BaseTaskRunner(abc.ABC):
    """Something that runs calls under keys; subclass it to write a runner of your own.

    A subclass says its `concurrency_type`, and how to `submit` and to `wait`. What it needs while it is
    started it opens in `_start`. Two runners of the same class with equal settings are equal. A pickle
    carries the settings and nothing of a run.
    """

    # What a run needs, set by a subclass's _start; never pickled, never compared.
    _RUNTIME = ("_started_by", "_run")

    _started_by: _Started[Any] | None = None

    @property
    @abc.abstractmethod
    def concurrency_type(self) -> TaskConcurrencyType:
        """How the calls run beside each other."""

    @property
    def name(self) -> str:
        """What people call this kind of runner; its class in lower case, without ``taskrunner``."""
        return type(self).__name__.lower().replace("taskrunner", "")

    @property
    def is_started(self) -> bool:
        """Whether the runner is between the entry and the exit of ``async with runner.start()``."""
        return self._started_by is not None and self._started_by.is_open

    @abc.abstractmethod
    async def submit(self, key: Hashable, call: Callable[..., Awaitable[Any]]) -> Any:  # noqa: ANN401 - a runner may hand back a handle of its own kind
        """Check a call in under a key.

        Args:
            key: the name of the call, unique among those of this run.
            call: an async callable.

        Returns:
            a handle, if the runner has such a thing.
        """

    @abc.abstractmethod
    async def wait(
        self,
        key: Hashable,
        timeout: float | None = None,
    ) -> Outcome[Any] | None:
        """Wait for the outcome of a call; never raise for the call.

        Args:
            key: the key of the call.
            timeout: seconds to wait at most.

        Returns:
            the outcome; `None` when the time passed first.
        """

    def start(self) -> _Started[Self]:
        """Open the runner: ``async with runner.start():``.

        Entering is not a checkpoint. Leaving waits for every call, or cancels them if the block
        raised. The loop (trio, or asyncio, uvloop included) is found out at each entry.

        Returns:
            an async context manager, good for one entry; it gives the runner.

        Raises:
            RuntimeError: the runner is started already.
        """
        self._check_not_started()
        return _Started(self)

    async def _start(self, exit_stack: AsyncExitStack) -> None:  # noqa: B027 - may be left as it is
        """Open what the runner needs while it is started; for subclasses to override.

        Args:
            exit_stack: closed at the exit; whatever is entered here is closed last in, first out,
                also when this method itself fails.
        """

    def duplicate(self) -> Self:
        """Make a runner with the same settings, that is not started.

        Returns:
            an equal runner that shares nothing with this one but the objects in its settings.
        """
        copy = object.__new__(type(self))
        copy.__setstate__(self._settings())
        return copy

    def _settings(self) -> dict[str, Any]:
        """What makes two runners equal, and what a pickle carries."""
        return {name: value for name, value in vars(self).items() if name not in self._RUNTIME}

    def __copy__(self) -> Self:
        return self.duplicate()

    def __getstate__(self) -> dict[str, Any]:
        return self._settings()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._settings() == other._settings()

    def __hash__(self) -> int:
        # Settings may change while a runner is in a dict; its class does not.
        return hash(type(self))

    def __repr__(self) -> str:
        state = "started" if self.is_started else "not started"
        return f"<creche.{type(self).__name__} {state}>"

    def __str__(self) -> str:
        return type(self).__name__

    def _check_exit(self) -> None:  # noqa: B027 - may be left as it is
        """Refuse to be left while something that was opened inside is still open."""

    def _check_not_started(self) -> None:
        if self._started_by is not None:
            msg = (
                f"runner {self.name!r} is started already; leave its 'async with' block first, or "
                f"start a runner.duplicate()"
            )
            raise RuntimeError(msg)


# Which runners each task has open, innermost last. By the task's identity: two runners that are left
# in the wrong order would otherwise corrupt the loop's own books.
_OPEN: dict[int, list[_Started[Any]]] = {}


@final
class _Started(Generic[R]):
    """What `start()` hands back; a class, since a generator breaks when cancelled before its yield."""

    def __init__(self, runner: R) -> None:
        self._runner = runner
        self._backend: Backend | None = None
        self._task: object = None
        self._stack = AsyncExitStack()
        self.is_open: bool = False

    @protected
    async def __aenter__(self) -> R:
        """Open the runner. Not a checkpoint, unless its own `_start` is one.

        Raises:
            RuntimeError: the runner is started already, this was entered before, or no event loop
                is running here.
        """
        runner = self._runner
        runner._check_not_started()  # noqa: SLF001 - one module, one contract
        if self._backend is not None:
            msg = "this start() was entered before; call start() again for another run"
            raise RuntimeError(msg)
        self._backend = detect()
        self._task = self._backend.current_task()
        runner._started_by = self  # noqa: SLF001 - a runner's own opening
        try:
            await self._stack.__aenter__()
            await runner._start(self._stack)  # noqa: SLF001 - a runner's own opening
        except BaseException as exc:
            runner._started_by = None  # noqa: SLF001 - a runner's own opening
            if not await self._stack.__aexit__(type(exc), exc, exc.__traceback__):
                raise
            msg = f"runner {runner.name!r} failed to start, and what it had opened hid the reason"
            raise RuntimeError(msg) from exc
        _OPEN.setdefault(id(self._task), []).append(self)
        self.is_open = True
        return runner

    @protected
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:  # for type checkers: not `bool`, which would say that it swallows exceptions
        """Leave the runner: every call has ended when this returns or raises.

        Raises:
            RuntimeError: the runner was opened in another task, or one opened inside it is still open;
                nothing has happened, and the right exit is still possible.
        """
        self._check_exit()
        mine = _OPEN[id(self._task)]
        try:
            return bool(await self._stack.__aexit__(kind, exc, traceback))
        finally:
            # From its end, where it is: many runners may be open here, one inside the other.
            del mine[next(at for at in reversed(range(len(mine))) if mine[at] is self)]
            if not mine:
                del _OPEN[id(self._task)]
            self._task = None
            self.is_open = False
            self._runner._started_by = None  # noqa: SLF001 - a runner's own opening

    def _check_exit(self) -> None:
        name = self._runner.name
        if not self.is_open or self._backend is None:
            msg = f"runner {name!r} was not entered, or was left before"
            raise RuntimeError(msg)
        if self._backend.current_task() is not self._task:
            msg = (
                f"runner {name!r} must be left in the task that entered it; open and close it in "
                f"one 'async with' block (contextlib.aclosing helps where a generator holds it)"
            )
            raise RuntimeError(msg)
        innermost = _OPEN[id(self._task)][-1]
        if innermost is not self:
            msg = (
                f"runner {name!r} is being left while runner {innermost._runner.name!r}, which was "  # noqa: SLF001 - a runner's own opening
                f"opened inside it, is still open; leave that one first"
            )
            raise RuntimeError(msg)
        self._runner._check_exit()  # noqa: SLF001 - a runner's own opening
