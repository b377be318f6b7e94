"""`flow`: a function whose tasks run through a runner of its own.

What it does not know: how a loop is opened beside a sync flow, what a task is.

Invariant: each call of a flow has a runner to itself, a duplicate of the flow's; so a flow may call
itself, and be called from many threads at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, final, overload

from creche._backends import NAMES, any_loop_here, by_name
from creche._call import is_async_callable, name_of
from creche._checks import check_choice
from creche._keyed import KeyedTaskRunner
from creche.runners._concurrent import ConcurrentTaskRunner

from ._beside import run_beside
from ._flow_run import CURRENT, IN_TASK, FlowRun
from ._task import check_function, check_name

P = ParamSpec("P")
R = TypeVar("R")

RunnerOrClass = KeyedTaskRunner | type[KeyedTaskRunner]
BackendName = Literal["trio", "asyncio"]


@final
class Flow(Generic[P, R]):
    """A function as a flow; see `flow`.

    Attributes:
        fn: the function itself.
        name: what people call it.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        task_runner: RunnerOrClass | None = None,
        name: str | None = None,
        backend: BackendName = "trio",
    ) -> None:
        self.fn = fn
        self.name: str = name_of(fn) if name is None else name
        self._is_async = is_async_callable(fn)
        self._backend: BackendName = backend
        self._task_runner = None if task_runner is None else read_runner(task_runner)
        functools.update_wrapper(self, fn, updated=())

    @property
    def task_runner(self) -> KeyedTaskRunner:
        """The runner whose duplicates run the tasks; may be replaced, from the next call on."""
        return flow.task_runner if self._task_runner is None else self._task_runner

    @task_runner.setter
    def task_runner(self, runner: RunnerOrClass) -> None:
        self._task_runner = read_runner(runner)

    @property
    def backend(self) -> BackendName:
        """The loop that a sync flow opens; an async flow runs on the one it is awaited on."""
        return self._backend

    @property
    def is_async(self) -> bool:
        """Whether calling the flow gives a coroutine."""
        return self._is_async

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the flow.

        A sync flow opens a loop in a helper thread; its body runs here, in the caller's thread. An
        async flow gives a coroutine, to be awaited on any loop that creche knows. Either way it ends
        when every task of it has ended. An exception of the body comes out bare, and cancels
        what is left; Ctrl-C ends a sync flow at once, without waiting for tasks in threads.

        Raises:
            RuntimeError: a sync flow is called on a running event loop, which it would block; or an
                async flow in the body of a sync one, which cannot await it.
            BaseException: what the function raised.
        """
        if self._is_async:
            outer = CURRENT.get()
            if outer is not None and not outer.on_loop and not any_loop_here():
                msg = (
                    f"flow {self.name!r} is async and is called in the sync flow {outer.name!r}, which "
                    f"cannot await it; make {outer.name!r} async too"
                )
                raise RuntimeError(msg)
            return cast("R", self._run_async(args, kwargs))
        if any_loop_here():
            msg = (
                f"flow {self.name!r} is sync, and called on a running event loop it would block it; "
                f"make it 'async def' and await it, or run it in a thread "
                f"(trio.to_thread.run_sync, anyio.to_thread.run_sync, asyncio.to_thread)"
            )
            raise RuntimeError(msg)
        runner = self.task_runner.duplicate()
        body = functools.partial(self._body, args, kwargs)
        return run_beside(self.name, runner, by_name(self._backend), body)

    def with_options(
        self,
        *,
        task_runner: RunnerOrClass | None = None,
        name: str | None = None,
        backend: BackendName | None = None,
    ) -> Flow[P, R]:
        """Make the same flow with other options; what is left out stays.

        Args:
            task_runner: a runner, or the class of one.
            name: what people call it.
            backend: `"trio"` or `"asyncio"`.

        Returns:
            a new flow.

        Raises:
            TypeError: `task_runner` is no runner of creche's, or `name` no string.
            ValueError: `backend` is neither of the two, or `name` is empty.
        """
        return flow(
            self.fn,
            task_runner=self._task_runner if task_runner is None else task_runner,
            name=self.name if name is None else name,
            backend=self._backend if backend is None else backend,
        )

    def __get__(self, instance: object, owner: type | None = None) -> Flow[..., R]:
        """A flow in a class is a method."""
        if instance is None:
            return self
        bound = Flow(
            cast("Any", self.fn).__get__(instance, owner), name=self.name, backend=self._backend
        )
        bound._task_runner = self._task_runner
        return bound

    def __repr__(self) -> str:
        return f"<creche.Flow {self.name!r}>"

    def _body(self, args: tuple[Any, ...], kwargs: dict[str, Any], flow_run: FlowRun) -> R:
        current, in_task = CURRENT.set(flow_run), IN_TASK.set(False)
        try:
            return self.fn(*args, **kwargs)
        finally:
            IN_TASK.reset(in_task)
            CURRENT.reset(current)

    async def _run_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        runner = self.task_runner.duplicate()
        async with runner.start():
            assert runner._run is not None  # noqa: SLF001 - the flow layer drives the run
            flow_run = FlowRun(self.name, runner._run, one_by_one=False)  # noqa: SLF001
            try:
                # The body runs in the caller's own context: set here, reset by the same task.
                current, in_task = CURRENT.set(flow_run), IN_TASK.set(False)
                try:
                    return await cast("Any", self.fn)(*args, **kwargs)
                finally:
                    IN_TASK.reset(in_task)
                    CURRENT.reset(current)
            finally:
                del args, kwargs


def read_runner(given: object) -> KeyedTaskRunner:
    """The runner that is meant by a runner or by the class of one.

    Args:
        given: what was passed as `task_runner`.

    Returns:
        a runner.

    Raises:
        TypeError: it is neither.
    """
    runner = given() if isinstance(given, type) and issubclass(given, KeyedTaskRunner) else given
    if not isinstance(runner, KeyedTaskRunner):
        msg = (
            f"task_runner must be a runner of creche's, or the class of one, such as "
            f"ConcurrentTaskRunner(), not {given!r}"
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
        self._task_runner = read_runner(runner)

    @overload
    def __call__(
        self,
        fn: Callable[P, R],
        *,
        task_runner: RunnerOrClass | None = ...,
        name: str | None = ...,
        backend: BackendName = ...,
    ) -> Flow[P, R]: ...
    @overload
    def __call__(
        self,
        fn: None = None,
        *,
        task_runner: RunnerOrClass | None = ...,
        name: str | None = ...,
        backend: BackendName = ...,
    ) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
    def __call__(
        self,
        fn: Callable[..., Any] | None = None,
        *,
        task_runner: RunnerOrClass | None = None,
        name: str | None = None,
        backend: BackendName = "trio",
    ) -> Any:
        """Make a function a flow: ``@flow``, or ``@flow(task_runner=...)``.

        Args:
            fn: a function, async or plain.
            task_runner: a runner, or the class of one; each call runs on a duplicate of it. By
                default the one of ``flow.task_runner``, a `ConcurrentTaskRunner`.
            name: what people call it; by default the function's name.
            backend: which loop a sync flow opens: `"trio"` or `"asyncio"`.

        Returns:
            a `Flow`; or, with options only, a decorator.

        Raises:
            TypeError: `fn` is not a function, or an async generator function; or `task_runner` is no
                runner of creche's.
            ValueError: `backend` is neither of the two, or `name` is empty.
        """
        check_choice("backend", backend, NAMES)
        check_name(name, "flow")
        if task_runner is not None:
            task_runner = read_runner(task_runner)
        if fn is None:
            return functools.partial(self, task_runner=task_runner, name=name, backend=backend)
        check_function(fn, "flow")
        return Flow(fn, task_runner=task_runner, name=name, backend=backend)


flow: FlowDecorator = FlowDecorator()
"""Makes functions flows; see `FlowDecorator.__call__`."""
