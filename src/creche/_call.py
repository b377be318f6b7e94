"""A call as it waits to be carried out: a callable, its arguments, and the context to run in.

What it is for: telling async callables from plain ones, and refusing, where the mistake is made,
what can be neither.

What it does not know: keys, slots, where the call will run.

Invariant: `read_call` neither calls the callable nor awaits anything.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import FunctionType
from typing import Any, NamedTuple, final

from ._events import Place
from ._ki import await_openly

_COROUTINE = inspect.CO_COROUTINE
_ASYNC_GENERATOR = inspect.CO_ASYNC_GENERATOR


class Wishes(NamedTuple):
    """What a submitter wishes of one call.

    Attributes:
        timeout: how many seconds it may run; `None` for no limit.
        priority: calls with a higher one get a place first.
        gates: the named limits that it needs.
        contained: its failure is dealt with by whoever submitted it, and does not end the run.
    """

    timeout: float | None = None
    priority: float = 0
    gates: tuple[Any, ...] = ()
    contained: bool = False


NO_WISHES = Wishes()

UNTAKEN: Any = False
"""Of the places of a call: it was not taken from the queue yet."""


@final
class Call:
    """What was submitted: `fn(*args)`, in a copy of the submitter's context variables.

    Attributes:
        wishes: of the submitter.
        queued: whether it waits in the queue.
        places: of which one is taken for it, as it is to be carried out; `None` if none are counted, and
            `UNTAKEN` while it is not.
        after: while it is held: what has not ended yet of that which it is to run after.
    """

    __slots__ = ("after", "args", "context", "fn", "is_async", "places", "queued", "wishes")

    def __init__(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        is_async: bool,
        context: Context | None = None,
    ) -> None:
        self.fn: Callable[..., Any] = fn
        self.args: tuple[Any, ...] = args
        # Nobody enters it: whoever carries the call out does so in a copy.
        self.context: Context = copy_context() if context is None else context
        self.is_async: bool = is_async
        self.queued: bool = False
        self.after: tuple[Any, ...] = ()
        self.places: Any = UNTAKEN
        self.wishes: Wishes = NO_WISHES

    @property
    def place(self) -> Place:
        """Where the body is to run."""
        return "loop" if self.is_async else "thread"


@types.coroutine
def run_in_context(
    context: Context,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
) -> Generator[Any, Any, Any]:
    """Await what a function gives in the present task, every step of it in a context of its own.

    A task of one's own would be begun in that context; the task of somebody else cannot be moved to
    another, and must find its own unchanged.

    Args:
        context: to call the function in, and to make each step in.
        fn: gives an awaitable.
        args: its arguments.

    Returns:
        what came of the awaitable.
    """
    coroutine = await_openly(fn, args)
    step, sent = coroutine.send, None
    while True:
        try:
            message = context.run(step, sent)
        except StopIteration as stop:
            return stop.value
        finally:
            sent = None  # an exception that was passed on holds this frame
        try:
            step, sent = coroutine.send, (yield message)
        except BaseException as exc:  # noqa: BLE001 - passed on to the call
            step, sent = coroutine.throw, exc


def is_same_context(one: Context, other: Context) -> bool:
    """Whether code sees the same in both, and cannot tell them apart.

    Args:
        one: a context.
        other: another one.

    Returns:
        False also for objects that are equal and not the same: what `==` says is somebody's code.
    """
    if len(one) != len(other):
        return False
    for var in other:  # noqa: SIM110 - a generator expression costs as much as all the rest
        if one.get(var, one) is not other[var]:
            return False
    return True


def itself(given: Any) -> Any:  # noqa: ANN401 - whatever it is
    """What it is given: a function for a call that has been called already, and is still to be awaited.

    Args:
        given: what a plain call has given.

    Returns:
        the same.
    """
    return given


def close_unbegun(given: object) -> None:
    """Close a coroutine that nobody will begin any more, so that nothing warns; anything else is left.

    Args:
        given: what a plain call has given.
    """
    if inspect.iscoroutine(given) and inspect.getcoroutinestate(given) == inspect.CORO_CREATED:
        given.close()


def read_call(fn: object, args: tuple[object, ...], context: Context | None = None) -> Call:
    """Check what somebody submitted, and copy the context of whoever did.

    Args:
        fn: what was passed as the call.
        args: its positional arguments.
        context: of whoever did, if it has been copied already.

    Returns:
        the call, ready to be carried out.

    Raises:
        TypeError: `fn` is a coroutine object (it is closed), an async generator, or not callable.
    """
    if type(fn) is FunctionType:  # the usual case, without inspect's walk through wrappers
        flags = fn.__code__.co_flags
        if flags & _COROUTINE:
            return Call(fn, args, is_async=True, context=context)
        if not flags & _ASYNC_GENERATOR:
            return Call(fn, args, is_async=is_async_callable(fn), context=context)
    if inspect.iscoroutine(fn) or inspect.isawaitable(fn):
        raise _an_awaitable(fn)
    if not callable(fn):
        msg = f"the call must be callable, not {type(fn).__name__} {fn!r}; pass the function itself"
        raise TypeError(msg)
    if _is_async_generator(fn):
        msg = (
            f"{name_of(fn)!r} is an async generator function, which yields many values where a call "
            f"has one; wrap it in an async function that consumes it and returns the result"
        )
        raise TypeError(msg)
    return Call(fn, args, is_async=is_async_callable(fn), context=context)


def is_async_callable(fn: object) -> bool:
    """Whether calling `fn` gives a coroutine, seen through partials, methods and ``__call__``.

    Args:
        fn: any callable.

    Returns:
        False also for a plain callable that happens to return an awaitable: nobody can know before
        it is called.
    """
    fn = _unwrap(fn)
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(type(fn), "__call__", None),  # noqa: B004 - its kind is asked for, not its presence
    )


def name_of(fn: object) -> str:
    """What people call a callable: its ``__name__``, seen through partials; else its type's name.

    Args:
        fn: any callable.

    Returns:
        the name.
    """
    fn = _unwrap(fn)
    name = getattr(fn, "__name__", None)
    return name if isinstance(name, str) else type(fn).__name__


def _unwrap(fn: object) -> object:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def _is_async_generator(fn: object) -> bool:
    fn = _unwrap(fn)
    return inspect.isasyncgenfunction(fn) or inspect.isasyncgenfunction(
        getattr(type(fn), "__call__", None),  # noqa: B004 - its kind is asked for, not its presence
    )


def _an_awaitable(given: object) -> TypeError:
    """The error for ``submit(key, fetch(url))``; a coroutine is closed, so that nothing warns."""
    name = getattr(given, "__name__", type(given).__name__)
    if isinstance(given, Coroutine):
        given.close()
    return TypeError(
        f"the call must be a function, not the awaitable that calling it gives: write "
        f"submit(key, {name}, ...) instead of submit(key, {name}(...))",
    )
