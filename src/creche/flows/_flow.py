"""`flow`: a function whose tasks run through a runner.

What it does not know: how a flow is run (see `_running`), what a task is.

Invariant: a flow is the same for all its calls: nothing of one is kept here.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, Literal, ParamSpec, TypedDict, TypeVar, Unpack, cast, final, overload

from creche._backends import NAMES, any_loop_here, by_name, detect
from creche._call import is_async_callable
from creche._checks import check_choice
from creche._keyed import KeyedTaskRunner
from creche.runners._concurrent import ConcurrentTaskRunner

from ._course import Course
from ._dry_run import DRY_RUN
from ._flow_run import CURRENT
from ._foreign import refuse_options
from ._hooks import Hook
from ._options import FlowWays, check_function, read_flow, unbound
from ._running import in_thread, on_branch, on_branch_async, on_own_run, on_own_run_async

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

RunnerOrClass = KeyedTaskRunner | type[KeyedTaskRunner]
BackendName = Literal["trio", "asyncio"]
OnError = Literal["cancel", "collect"]
Parent = Literal["parent"]


class FlowOptions(TypedDict, total=False):
    """The options of a flow; see `FlowDecorator.__call__`."""

    task_runner: RunnerOrClass | Parent | None
    name: str | None
    timeout: float | None
    on_error: OnError | None
    backend: BackendName | None
    log_prints: bool | None
    on_completed: Sequence[Hook] | None
    on_failed: Sequence[Hook] | None
    on_cancelled: Sequence[Hook] | None
    on_crashed: Sequence[Hook] | None


@final
class Flow(Generic[P, R_co]):
    """A function as a flow; see `flow`.

    Attributes:
        fn: the function itself.
        name: what people call it.
    """

    def __init__(self, fn: Callable[P, R_co], options: FlowOptions) -> None:
        """Make it; what was given has been checked by `flow`, as far as it is no option.

        Args:
            fn: a function, a class method or a static method.
            options: as they were given; the runner is one, and no class.
        """
        self.fn: Callable[..., Any] = unbound(fn)
        self._source, self._is_bound = fn, False
        self._given = options
        self._ways: FlowWays = read_flow(self.fn, options)
        self.name: str = self._ways.name
        self._is_async = is_async_callable(self.fn)
        self._backend: BackendName = options.get("backend") or "trio"
        self._runner = cast("KeyedTaskRunner | Parent | None", options.get("task_runner"))
        functools.update_wrapper(self, self.fn, updated=())

    @property
    def task_runner(self) -> KeyedTaskRunner:
        """The runner whose duplicates run the tasks; may be replaced, from the next call on.

        Of a flow with ``task_runner="parent"`` it is the default one, for calls that are in no flow.
        """
        return self._runner if isinstance(self._runner, KeyedTaskRunner) else flow.task_runner

    @task_runner.setter
    def task_runner(self, runner: RunnerOrClass | Parent) -> None:
        self._runner = read_runner(runner)

    @property
    def backend(self) -> BackendName:
        """The loop that a sync flow opens; an async flow runs on the one it is awaited on."""
        return self._backend

    @property
    def is_async(self) -> bool:
        """Whether calling the flow gives a coroutine."""
        return self._is_async

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the flow.

        A sync flow opens a loop in a helper thread; its body runs here, in the caller's thread. An
        async flow gives a coroutine, to be awaited on any loop that creche knows. Either way it ends
        when every task of it has ended. An exception of the body comes out bare, and cancels
        what is left; Ctrl-C ends a sync flow at once, without waiting for tasks in threads.

        Raises:
            RuntimeError: a sync flow is called on a running event loop, which it would block; or an
                async flow in the body of a sync one, which cannot await it.
            FlowTimedOut: its `timeout` has passed.
            RunnerClosed: it is called in a flow that has ended, or is ending.
            BaseException: what the function raised.
        """
        dry_run = DRY_RUN.get()
        if dry_run is not None and not dry_run.has_entered(self):
            return cast("R_co", dry_run.call(self, args, kwargs))
        if self._is_async:
            outer = CURRENT.get()
            if outer is not None and not outer.on_loop and not any_loop_here():
                msg = (
                    f"flow {self.name!r} is async and is called in the sync flow {outer.name!r}, which "
                    f"cannot await it; make {outer.name!r} async too"
                )
                raise RuntimeError(msg)
            return cast("R_co", self._run_async(args, kwargs))
        if any_loop_here():
            msg = (
                f"flow {self.name!r} is sync, and called on a running event loop it would block it; "
                f"await its run_async(...), make it 'async def' and await it, or run it in a thread "
                f"(trio.to_thread.run_sync, anyio.to_thread.run_sync, asyncio.to_thread)"
            )
            raise RuntimeError(msg)
        return cast("R_co", self._run(Course(self, self._ways, CURRENT.get()), args, kwargs))

    @overload
    async def run_async(
        self: Flow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def run_async(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    async def run_async(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow where a loop is running, in a notebook, say: ``await census.run_async(path)``.

        An async flow is awaited, as by calling it. The body of a sync one runs in a worker thread, with
        its tasks on a loop of their own. When the awaiting task is cancelled, what is left of the flow
        is cancelled, and the body waited for: it hears of it where it reads a slot or submits.

        Returns:
            what the function returned; also when a cancellation came after that.

        Raises:
            FlowTimedOut: its `timeout` has passed.
            BaseException: what the function raised.
        """
        dry_run = DRY_RUN.get()
        if dry_run is not None and not dry_run.has_entered(self):
            return await dry_run.call_async(self, args, kwargs)
        if self._is_async:
            return await self._run_async(args, kwargs)
        course = Course(self, self._ways, CURRENT.get())
        body = functools.partial(self._run, course, args, kwargs)
        return await in_thread(detect(), self.name, course, body)

    def with_options(self, **options: Unpack[FlowOptions]) -> Flow[P, R_co]:
        """Make the same flow with other options; what is left out stays.

        Args:
            **options: those of `flow`. ``timeout=math.inf``, ``log_prints=False`` and an empty list of
                hooks take one off.

        Returns:
            a new flow.

        Raises:
            TypeError: an option is of the wrong type, or there is none of that name.
            ValueError: an option has a value that is not allowed.
        """
        given: dict[str, Any] = {**self._given, "task_runner": self._runner}
        given.update((option, one) for option, one in options.items() if one is not None)
        made: Flow[P, R_co] = flow(self._source, **given)
        made.fn, made._is_bound = self.fn, self._is_bound
        return made

    def __get__(self, instance: object, owner: type | None = None) -> Flow[..., R_co]:
        """A flow in a class is a method."""
        source = cast("Any", self._source)
        of_class = isinstance(source, classmethod)
        if self._is_bound or isinstance(source, staticmethod) or (instance is None and not of_class):
            return self
        bound: Flow[..., R_co] = copy.copy(self)
        bound.fn, bound._is_bound = source.__get__(instance, owner), True
        return bound

    def __repr__(self) -> str:
        return f"<creche.Flow {self.name!r}>"

    def _is_branch(self, course: Course) -> bool:
        return self._runner == "parent" and course.outer is not None

    def _own_runner(self, course: Course) -> KeyedTaskRunner:
        listeners = () if course.outer is None else course.outer.run.instruments
        ways = self._ways
        settings = {} if ways.on_error is None else {"on_error": ways.on_error}
        return duplicate_with(self.task_runner, listeners, **settings)

    def _run(self, course: Course, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the flow gives
        body = functools.partial(self.fn, *args, **kwargs)
        with course.prints():
            try:
                if self._is_branch(course):
                    value = on_branch(course, body)
                else:
                    backend = by_name(self._backend)
                    value = on_own_run(course, self.name, self._own_runner(course), backend, body)
            except BaseException as exc:
                course.failed(exc)
                raise
            return course.returned(value)

    async def _run_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the flow gives
        course = Course(self, self._ways, CURRENT.get())
        body = cast(
            "Callable[[], Coroutine[Any, Any, Any]]", functools.partial(self.fn, *args, **kwargs)
        )
        del args, kwargs
        with course.prints():
            try:
                if self._is_branch(course):
                    value = await on_branch_async(course, detect(), body)
                else:
                    value = await on_own_run_async(course, self._own_runner(course), body)
            except BaseException as exc:
                course.failed(exc)
                raise
            return course.returned(value)


def duplicate_with(
    runner: KeyedTaskRunner,
    more: Iterable[object],
    **settings: Any,  # noqa: ANN401 - of whatever kind each is
) -> KeyedTaskRunner:
    """The same runner with more instruments, and with other settings.

    Args:
        runner: not started; it is left as it is.
        more: instruments; those that it has already are told once.
        settings: instead of its own; checked by whoever has them.

    Returns:
        a duplicate, with its own instruments first.
    """
    made = runner.duplicate()
    own = made._options.instruments  # noqa: SLF001 - settings of a runner that is not started
    new = [one for one in more if not any(one is other for other in own)]
    made._options = made._options._replace(instruments=(*own, *new), **settings)  # noqa: SLF001 - as above
    return made


def read_runner(given: object) -> KeyedTaskRunner | Parent:
    """The runner that is meant by a runner or by the class of one.

    Args:
        given: what was passed as `task_runner`.

    Returns:
        a runner; or ``"parent"``, as it was passed.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(given, str) and given == "parent":
        return "parent"
    runner = given() if isinstance(given, type) and issubclass(given, KeyedTaskRunner) else given
    if not isinstance(runner, KeyedTaskRunner):
        msg = (
            f"task_runner must be a runner of creche's, or the class of one, such as "
            f"ConcurrentTaskRunner(), or 'parent', not {given!r}"
        )
        raise TypeError(msg)
    return runner


@final
class FlowDecorator:
    """`flow` itself: an object, so that the default runner of all flows can be set on it."""

    def __init__(self) -> None:
        self._task_runner: KeyedTaskRunner = ConcurrentTaskRunner()

    @property
    def task_runner(self) -> KeyedTaskRunner:
        """The runner of every flow without one of its own; set it by ``flow.task_runner = ...``."""
        return self._task_runner

    @task_runner.setter
    def task_runner(self, runner: RunnerOrClass) -> None:
        read = read_runner(runner)
        if not isinstance(read, KeyedTaskRunner):
            msg = "the default runner of all flows must be a runner, not 'parent'"
            raise TypeError(msg)
        self._task_runner = read

    @overload
    def __call__(self, fn: Callable[P, R], **options: Unpack[FlowOptions]) -> Flow[P, R]: ...
    @overload
    def __call__(
        self, fn: None = None, **options: Unpack[FlowOptions]
    ) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
    def __call__(
        self,
        fn: Callable[..., Any] | None = None,
        *,
        task_runner: RunnerOrClass | Parent | None = None,
        name: str | None = None,
        timeout: float | None = None,
        on_error: OnError | None = None,
        backend: BackendName | None = None,
        log_prints: bool | None = None,
        on_completed: Sequence[Hook] | None = None,
        on_failed: Sequence[Hook] | None = None,
        on_cancelled: Sequence[Hook] | None = None,
        on_crashed: Sequence[Hook] | None = None,
        **foreign: object,
    ) -> Any:
        """Make a function a flow: ``@flow``, or ``@flow(task_runner=...)``.

        Args:
            fn: a function, async or plain; a method, class method or static method, too.
            task_runner: a runner, or the class of one; each call runs on a duplicate of it. By
                default the one of ``flow.task_runner``, a `ConcurrentTaskRunner`. ``"parent"``: the
                tasks run through the runner of the flow that this one is called in, if there is one.
            name: what people call it; by default the function's name.
            timeout: how many seconds it may take, from when its runner is open. Then what is left of it
                is cancelled, and `FlowTimedOut` raised, which says which keys were cut. The body of an
                async flow is cancelled; that of a sync one hears of it where it reads a slot or
                submits, and plain code of it is waited for. Tasks in threads are not waited for, as
                after Ctrl-C.
            on_error: of its runner, for this flow: `"collect"`: a task that fails stops nobody;
                `"cancel"`: the first failure cancels the rest, and the flow raises an
                `ExceptionGroup`. By default as the runner has it.
            backend: which loop a sync flow opens: `"trio"`, by default, or `"asyncio"`.
            log_prints: whether ``print`` in its body and in its tasks on the loop and in threads goes
                to the logger ``creche.prints``, with the key; in other processes a print stays a print.
                By default as in the flow around it.
            **foreign: there are no others; the error says what those of other engines are called here.
            on_completed: called with this flow, a `FlowEnd` and the `State` when it has completed: in
                the thread that has called a sync flow, in the task that awaits an async one.
            on_failed: the same, when an exception has come out of it.
            on_cancelled: the same, when a cancellation has ended it.
            on_crashed: the same, when Ctrl-C, ``SystemExit`` or the like has.

        Returns:
            a `Flow`; or, with options only, a decorator.

        Raises:
            TypeError: `fn` is not a function, or a generator function; or an option is of the wrong
                type.
            ValueError: an option has a value that is not allowed, or `on_error` is given for a flow
                that is to use the runner of another.
        """
        check_choice("backend", "trio" if backend is None else backend, NAMES)
        options: FlowOptions = {
            "task_runner": None if task_runner is None else read_runner(task_runner),
            "name": name,
            "timeout": timeout,
            "on_error": on_error,
            "backend": backend,
            "log_prints": log_prints,
            "on_completed": on_completed,
            "on_failed": on_failed,
            "on_cancelled": on_cancelled,
            "on_crashed": on_crashed,
        }
        refuse_options("flow", foreign, options)
        if fn is None:
            return functools.partial(self, **options)
        check_function(unbound(fn), "flow")
        made = Flow(fn, options)
        if on_error is not None and options["task_runner"] == "parent":
            msg = (
                f"flow {made.name!r}: on_error is of a runner, and task_runner='parent' is that of the "
                f"flow around it; give it to that one"
            )
            raise ValueError(msg)
        return made


flow: FlowDecorator = FlowDecorator()
"""Makes functions flows; see `FlowDecorator.__call__`."""
