"""`task`: a function that can be submitted to the flow that it is called in.

What it does not know: loops, runners. It asks the present flow run.

Invariant: outside a flow, and inside another task, a task is just its function.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, cast, final, overload

from creche._call import is_async_callable, name_of
from creche._slot import Slot

from ._arguments import with_values
from ._flow_run import CURRENT, IN_TASK, FlowRun

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")


@final
class Task(Generic[P, R, V]):
    """A function as a task; see `task`.

    Attributes:
        fn: the function itself.
        name: what its keys begin with.
    """

    def __init__(self, fn: Callable[P, R], *, name: str | None = None) -> None:
        self.fn = fn
        self.name: str = name_of(fn) if name is None else name
        self._is_async = is_async_callable(fn)
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task as the function that it is.

        In a sync flow it runs through the flow's runner, and the value comes back when it has ended;
        an async one too. In an async flow an async task gives a coroutine to await; cancelled, it
        cancels the call. A plain task there runs at once, in line, and blocks the loop as any plain
        function does: prefer `submit`. Elsewhere it is just the function.

        Slots among the arguments arrive as their values.

        Raises:
            NotSettled: on an event loop, one of the arguments is a slot that has not ended: await it.
            RunnerClosed: the flow has ended, or is ending.
            BaseException: what the function raised, or the call of a slot among the arguments.
        """
        flow_run = CURRENT.get()
        if flow_run is None or IN_TASK.get():
            return self.fn(*args, **kwargs)
        if not flow_run.on_loop:
            arguments = with_values((args, kwargs))
            return cast("R", flow_run.submit(self.name, self.fn, arguments).result())
        if self._is_async:
            return cast("R", self._call_async(flow_run, args, kwargs))
        return cast("R", flow_run.run_inline(self.name, self.fn, (args, kwargs)))

    def submit(self, *args: Any, **kwargs: Any) -> Slot[V]:  # noqa: ANN401 - values, or slots of them
        """Submit the task to the flow's runner, and go on.

        It is not async, in an async flow neither. Under a sequential runner in a sync flow the slot is
        final when this returns. A slot among the arguments, also inside lists, tuples and dicts,
        is a dependency: the task starts when it has completed, and is cancelled (`upstream`) when
        it has ended otherwise; until then it occupies no place.

        Args:
            *args: the function's arguments, or slots of them.
            **kwargs: likewise.

        Returns:
            the slot; ``slot.result()`` in a sync flow, ``await slot`` in an async one.

        Raises:
            RuntimeError: there is no flow here.
            RunnerClosed: the flow has ended, or is ending.
        """
        return self._flow_run("submit").submit(self.name, self.fn, (args, kwargs))

    def map(self, *iterables: Iterable[Any] | Slot[Any]) -> list[Slot[V]]:
        """Submit the task once for each item of one iterable, or of several side by side.

        Args:
            *iterables: one for each positional argument, of equal length; or slots of them, which are
                waited for in a sync flow, and must have settled in an async one.

        Returns:
            the slots, in the order of the items.

        Raises:
            RuntimeError: there is no flow here.
            NotSettled: on an event loop, one of the slots has not ended: await it.
            TypeError: nothing to map over.
            ValueError: the iterables are of different lengths.
            RunnerClosed: the flow has ended, or is ending.
        """
        flow_run = self._flow_run("map")
        if not iterables:
            msg = f"task {self.name!r}: map needs an iterable for each argument; got none"
            raise TypeError(msg)
        columns: list[list[Any]] = []
        for given in iterables:
            value = given.result() if isinstance(given, Slot) else given
            if not isinstance(value, Iterable):
                msg = f"task {self.name!r}: map needs iterables, not {value!r}; use submit for one call"
                raise TypeError(msg)
            columns.append(list(value))
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            found = ", ".join(str(len(column)) for column in columns)
            msg = f"task {self.name!r}: map needs iterables of equal length, not of {found} items"
            raise ValueError(msg)
        return [flow_run.submit(self.name, self.fn, (row, {})) for row in zip(*columns, strict=True)]

    def with_options(self, *, name: str | None = None) -> Task[P, R, V]:
        """Make the same task with other options.

        Args:
            name: what its keys begin with.

        Returns:
            a new task.
        """
        return Task(self.fn, name=self.name if name is None else name)

    def __get__(self, instance: object, owner: type | None = None) -> Task[..., R, V]:
        """A task in a class is a method."""
        if instance is None:
            return self
        return Task(cast("Any", self.fn).__get__(instance, owner), name=self.name)

    def __repr__(self) -> str:
        return f"<creche.Task {self.name!r}>"

    async def _call_async(
        self,
        flow_run: FlowRun,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        return await flow_run.call(flow_run.submit(self.name, self.fn, (args, kwargs)))

    def _flow_run(self, verb: str) -> FlowRun:
        flow_run = CURRENT.get()
        if flow_run is None:
            msg = (
                f"task {self.name!r}: {verb} needs a flow to submit to; call it inside a function "
                f"decorated with @flow, or call the task itself, which just runs it"
            )
            raise RuntimeError(msg)
        return flow_run


@overload
def task(fn: Callable[P, Coroutine[Any, Any, V]]) -> Task[P, Coroutine[Any, Any, V], V]: ...
@overload
def task(fn: Callable[P, V]) -> Task[P, V, V]: ...
@overload
def task(*, name: str | None = ...) -> _Decorator: ...
def task(fn: Callable[..., Any] | None = None, *, name: str | None = None) -> Any:
    """Make a function a task: ``@task``, or ``@task(name=...)``.

    Args:
        fn: a function, async or plain.
        name: what its keys begin with; by default the function's name.

    Returns:
        a `Task`; or, with options only, a decorator.

    Raises:
        TypeError: it is not a function, or an async generator function.
    """
    if fn is None:
        return functools.partial(task, name=name)
    check_function(fn, "task")
    check_name(name, "task")
    return Task(fn, name=name)


class _Decorator:
    """What ``task(name=...)`` gives, for type checkers."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, V]]
    ) -> Task[P, Coroutine[Any, Any, V], V]: ...
    @overload
    def __call__(self, fn: Callable[P, V]) -> Task[P, V, V]: ...
    def __call__(self, fn: Callable[..., Any]) -> Any: ...


def check_function(fn: object, what: str) -> None:
    """Refuse to decorate what can be neither a task nor a flow.

    Args:
        fn: what was decorated.
        what: ``task`` or ``flow``.

    Raises:
        TypeError: it is not callable, or an async generator function.
    """
    if not callable(fn) or isinstance(fn, type):
        msg = f"@{what} decorates a function, not {fn!r}"
        raise TypeError(msg)
    if inspect.isasyncgenfunction(fn):
        msg = (
            f"@{what} {name_of(fn)!r} is an async generator function, which yields many values where "
            f"a {what} has one; collect them in an async function and return a list"
        )
        raise TypeError(msg)


def check_name(name: object, what: str) -> None:
    """Refuse a name that is none.

    Args:
        name: what was passed as `name`.
        what: ``task`` or ``flow``.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty.
    """
    if name is not None and not isinstance(name, str):
        msg = f"the name of a {what} must be a string, not {name!r}"
        raise TypeError(msg)
    if name == "":
        msg = f"the name of a {what} must not be empty; leave it out to use the function's"
        raise ValueError(msg)
