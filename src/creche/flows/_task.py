"""`task`: a function that can be submitted to the flow that it is called in.

What it does not know: loops, runners. It asks the present flow run.

Invariant: outside a flow, and inside another task, a task is just its function.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast, final, overload

from creche._arguments import with_values
from creche._call import is_async_callable
from creche._place import Place, PlaceOptions
from creche._retry import Retry, RetryOn
from creche._slot import Slot

from ._bodies import IN_TASK, Arguments
from ._flow_run import CURRENT, FlowRun, Order
from ._foreign import refuse_arguments, refuse_options
from ._hooks import Hook, HookCaller
from ._mapping import rows_of
from ._naming import KeyMaker
from ._options import TaskOptions, TaskWays, check_function, read_task, unbound

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")


@final
class Task(Generic[P, R, V]):
    """A function as a task; see `task`.

    Attributes:
        fn: the function itself.
        name: what its keys begin with.
        place: where it runs; `None` for where the tasks of the flow do.
        place_options: for that place.
        tags: words for people to find its calls by.
    """

    def __init__(self, fn: Callable[P, R], options: TaskOptions) -> None:
        """Make it; the options are checked.

        Args:
            fn: a function, a class method or a static method.
            options: as they were given.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: an option has a value that is not allowed.
        """
        self.fn: Callable[..., Any] = unbound(fn)
        self._source = fn
        self._given = options
        self._ways: TaskWays = read_task(self.fn, options)
        self.name: str = self._ways.name
        self.place: str | Place | None = self._ways.wishes.get("place")
        self.place_options: PlaceOptions | None = self._ways.wishes.get("place_options")
        self.tags: tuple[str, ...] = self._ways.wishes.get("tags", ())
        self._is_async = is_async_callable(self.fn)
        # What the function is bound to, which `key=` is given, too.
        self._bound: tuple[Any, ...] = ()
        functools.update_wrapper(self, self.fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task as the function that it is.

        In a sync flow it runs through the flow's runner, and the value comes back when it has ended;
        an async one too. In an async flow an async task gives a coroutine to await; cancelled, it
        cancels the call. A plain task there runs at once, in line, and blocks the loop as any plain
        function does, without regard to its timeout, limits and place: prefer `submit`. Elsewhere it is
        just the function.

        Slots among the arguments arrive as their values.

        Raises:
            NotSettled: on an event loop, one of the arguments is a slot that has not ended: await it.
            RunnerClosed: the flow has ended, or is ending.
            KeyTaken: another call has the same key; see `key` of `task`.
            BaseException: what the function raised, or the call of a slot among the arguments.
        """
        flow_run = CURRENT.get()
        if flow_run is None or IN_TASK.get():
            return cast("R", self.fn(*args, **kwargs))
        if not flow_run.on_loop:
            arguments = with_values((args, kwargs))
            return cast("R", self._submit(flow_run, arguments).result())
        if self._is_async:
            return cast("R", self._call_async(flow_run, args, kwargs))
        arguments = (args, kwargs)
        return cast("R", flow_run.run_inline(self._order(arguments), arguments).result())

    def submit(self, *args: Any, **kwargs: Any) -> Slot[V]:  # noqa: ANN401 - values, or slots of them
        """Submit the task to the flow's runner, and go on.

        It is not async, in an async flow neither. Under a sequential runner in a sync flow the slot is
        final when this returns. A slot among the arguments, also inside lists, tuples, dicts and
        dataclasses, is a dependency: the task starts when it has completed, and is cancelled
        (`upstream`) when it has ended otherwise, unless it stands in `allow_failure`; until then it
        occupies no place.

        Args:
            *args: the function's arguments, or slots of them.
            **kwargs: likewise.

        Returns:
            the slot; ``slot.result()`` in a sync flow, ``await slot`` in an async one.

        Raises:
            RuntimeError: there is no flow here.
            RunnerClosed: the flow has ended, or is ending.
            KeyTaken: another call has the same key; see `key` of `task`.
            ValueError: the flow's runner has none of the limits that the task needs.
        """
        return self._submit(self._flow_run("submit"), (args, kwargs))

    def map(self, *args: Any, **kwargs: Any) -> list[Slot[V]]:  # noqa: ANN401 - as above
        """Submit the task once for each item of an iterable, or of several side by side.

        Args:
            *args: for each positional argument an iterable; a slot of one, which is waited for in a
                sync flow, and must have settled in an async one; or `unmapped`, for what is the same in
                each call.
            **kwargs: likewise. All iterables are of equal length.

        Returns:
            the slots, in the order of the items.

        Raises:
            RuntimeError: there is no flow here.
            NotSettled: on an event loop, one of the slots has not ended: await it.
            TypeError: nothing to map over.
            ValueError: the iterables are of different lengths.
            RunnerClosed: the flow has ended, or is ending.
            KeyTaken: another call has the same key; see `key` of `task`.
        """
        flow_run = self._flow_run("map")
        refuse_arguments(f"task {self.name!r}", self.fn, kwargs)
        return [self._submit(flow_run, row) for row in rows_of(f"task {self.name!r}", args, kwargs)]

    def with_options(self, **options: Unpack[TaskOptions]) -> Task[P, R, V]:
        """Make the same task with other options; what is left out stays as it is.

        Args:
            **options: those of `task`. ``timeout=math.inf``, ``retries=0``, ``priority=0`` and an empty
                list of limits, tags or hooks take one off.

        Returns:
            a new task.

        Raises:
            TypeError: an option is of the wrong type, or there is none of that name.
            ValueError: an option has a value that is not allowed.
        """
        given: dict[str, Any] = dict(self._given)
        if isinstance(options.get("retries"), Retry):  # which has a delay of its own, and exceptions
            given |= {"retry_delay": None, "retry_on": None}
        given.update((option, one) for option, one in options.items() if one is not None)
        made = cast("Task[P, R, V]", task(self._source, **given))
        made.fn, made._bound = self.fn, self._bound  # noqa: SLF001 - of this class
        return made

    def __get__(self, instance: object, owner: type | None = None) -> Task[..., R, V]:
        """A task in a class is a method."""
        source = cast("Any", self._source)
        of_class = isinstance(source, classmethod)
        if self._bound or isinstance(source, staticmethod) or (instance is None and not of_class):
            return self
        bound: Task[..., R, V] = copy.copy(self)
        bound.fn = source.__get__(instance, owner)
        bound._bound = (owner if of_class else instance,)
        return bound

    def __repr__(self) -> str:
        return f"<creche.Task {self.name!r}>"

    def _order(self, arguments: Arguments) -> Order:
        ways = self._ways
        if arguments[1]:
            refuse_arguments(f"task {self.name!r}", self.fn, arguments[1])
        part = None
        if ways.namer is not None:
            part = ways.namer.part((*self._bound, *arguments[0]), arguments[1])
        when_done = self._tell if ways.hooks else None
        return Order(self.name, self.fn, part, ways.wishes, when_done)

    def _submit(self, flow_run: FlowRun, arguments: Arguments) -> Slot[V]:
        return flow_run.submit(self._order(arguments), arguments)

    async def _call_async(
        self,
        flow_run: FlowRun,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401 - whatever the task gives
        return await flow_run.call(self._submit(flow_run, (args, kwargs)))

    def _tell(self, slot: Slot[Any], hooks: HookCaller) -> None:
        hooks.tell(self._ways.hooks, self, slot, slot.state)

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
def task(
    fn: Callable[P, Coroutine[Any, Any, V]], **options: Unpack[TaskOptions]
) -> Task[P, Coroutine[Any, Any, V], V]: ...
@overload
def task(fn: Callable[P, V], **options: Unpack[TaskOptions]) -> Task[P, V, V]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> _Decorator: ...
def task(  # noqa: PLR0913 - all that there are
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    key: KeyMaker | None = None,
    retries: int | Retry | None = None,
    retry_delay: float | None = None,
    retry_on: RetryOn | None = None,
    timeout: float | None = None,
    limits: Iterable[str] | None = None,
    priority: float | None = None,
    place: str | Place | None = None,
    place_options: PlaceOptions | None = None,
    tags: Iterable[str] | None = None,
    on_completed: Sequence[Hook] | None = None,
    on_failed: Sequence[Hook] | None = None,
    on_cancelled: Sequence[Hook] | None = None,
    on_crashed: Sequence[Hook] | None = None,
    **foreign: object,
) -> Any:
    """Make a function a task: ``@task``, or ``@task(name=...)``.

    Args:
        fn: a function, async or plain; a method, class method or static method, too.
        name: what its keys begin with; by default the function's name.
        key: what else is in its keys: a template of the arguments, ``"{path.name}"``, or a function that
            is called with them. Keys are ``parse['ast.py']`` then instead of ``parse[3]``; a template of
            one field stands for its value, bare if that is a number. Two calls of a flow must not have
            the same.
        retries: how many more attempts a call has that fails, or a whole policy, a `Retry`. While it
            waits for the next one it occupies no place, and a cancellation ends it at once.
        retry_delay: seconds between two attempts, each time the same; by default delays grow, and are
            random, as those of `Retry`.
        retry_on: which exceptions are worth another attempt: a type, a tuple of types, or a function
            that is given the exception; by default every `Exception`.
        timeout: how many seconds a call may run, and each attempt of it; then it is cancelled, and fails
            with a `TimeoutError`.
        limits: the names of the limits of the flow's runner that a call needs.
        priority: of those that wait for a place, calls with a higher one get it first; 0 by default.
        place: where it runs, when it runs through the runner of the flow: `None` for where the others
            do; `"loop"`, `"thread"`, `"process"`, `"dask"`, or a `Place`.
        place_options: for that place.
        tags: words for people to find its calls by; events carry them.
        **foreign: there are no others; the error says what those of other engines are called here.
        on_completed: functions that are called with the task, the slot and its `State` when a call has
            completed: on the loop, in order, without blocking it. One that raises is logged, and not
            called again in this run of the flow.
        on_failed: the same, when a call has raised or its timeout has passed.
        on_cancelled: the same, when it was cancelled, also since another one did not complete.
        on_crashed: the same, when it was lost, or raised ``SystemExit`` or the like.

    Returns:
        a `Task`; or, with options only, a decorator.

    Raises:
        TypeError: it is not a function, or a generator function; or an option is of the wrong type.
        ValueError: an option has a value that is not allowed: an empty name, a template that asks for
            what is no argument, a negative timeout or number of retries, a place that there is not.
    """
    options: TaskOptions = {
        "name": name,
        "key": key,
        "retries": retries,
        "retry_delay": retry_delay,
        "retry_on": retry_on,
        "timeout": timeout,
        "limits": limits,
        "priority": priority,
        "place": place,
        "place_options": place_options,
        "tags": tags,
        "on_completed": on_completed,
        "on_failed": on_failed,
        "on_cancelled": on_cancelled,
        "on_crashed": on_crashed,
    }
    refuse_options("task", foreign, options)
    if fn is None:
        return functools.partial(task, **options)
    check_function(unbound(fn), "task")
    return Task(fn, options)


class _Decorator:
    """What ``task(name=...)`` gives, for type checkers."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, V]]
    ) -> Task[P, Coroutine[Any, Any, V], V]: ...
    @overload
    def __call__(self, fn: Callable[P, V]) -> Task[P, V, V]: ...
    def __call__(self, fn: Callable[..., Any]) -> Any: ...
