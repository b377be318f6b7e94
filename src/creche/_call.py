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
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from contextvars import Context, copy_context
from types import CoroutineType, FunctionType, MethodType
from typing import Any, NamedTuple, final

from ._ki import await_openly
from ._place import Ticket
from ._retry import Retry

_COROUTINE = inspect.CO_COROUTINE
_ASYNC_GENERATOR = inspect.CO_ASYNC_GENERATOR


class Wishes(NamedTuple):
    """What a submitter wishes of one call.

    Attributes:
        timeout: how many seconds it may run; `None` for no limit.
        priority: calls with a higher one get a place first.
        gates: the named limits that it needs.
        contained: its failure is dealt with by whoever submitted it, and does not end the run.
        ticket: to the place that it is to run in, if that is neither the loop nor a thread; it has a
            `timeout` then, if need be an endless one, since calls without one are carried out in
            ways of their own.
        retry: how it is tried again if it fails; it has a `timeout` then, too, of each attempt.
        tags: words for people to find it by.
        parent: the run and the key of the call whose code has submitted it, where that was asked for
            before it was told of: whoever admits it later is somebody else. Empty, if it was not.
        pulled: it is of a `map`, which submits a call when there is room for it.
    """

    timeout: float | None = None
    priority: float = 0
    gates: tuple[Any, ...] = ()
    contained: bool = False
    ticket: Ticket | None = None
    tags: tuple[str, ...] = ()
    retry: Retry | None = None
    parent: tuple[tuple[int, Hashable] | None, ...] = ()
    pulled: bool = False


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
        turn: as which it was taken from the queue, of those for places elsewhere; 0 if it was not.
    """

    __slots__ = ("after", "args", "context", "fn", "is_async", "places", "queued", "turn", "wishes")

    def __init__(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        is_async: bool,  # noqa: FBT001 - by their names they take as long again as the rest
        context: Context | None = None,
    ) -> None:
        self.fn: Callable[..., Any] = fn
        self.args: tuple[Any, ...] = args
        # Nobody enters it: whoever carries the call out does so in a copy.
        self.context: Context = copy_context() if context is None else context
        self.is_async: bool = is_async
        self.queued: bool = False
        self.turn: int = 0
        self.after: tuple[Any, ...] = ()
        self.places: Any = UNTAKEN
        self.wishes: Wishes = NO_WISHES

    @property
    def place(self) -> str:
        """Where the body is to run."""
        ticket = self.wishes.ticket
        if ticket is not None:
            return ticket.place
        return "loop" if self.is_async else "thread"


@types.coroutine
def run_in_context(
    context: Context,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    when_thrown: Callable[[Any, BaseException], None] | None = None,
) -> Generator[Any, Any, Any]:
    """Await what a function gives in the present task, every step of it in a context of its own.

    A task of one's own would be begun in that context; the task of somebody else cannot be moved to
    another, and must find its own unchanged.

    Args:
        context: to call the function in, and to make each step in.
        fn: gives an awaitable.
        args: its arguments.
        when_thrown: told of what is awaited, and of an exception that is about to be thrown into it.

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
            if when_thrown is not None:
                when_thrown(coroutine, exc)
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


def on_loop(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make a plain function one that runs on the loop, which it blocks meanwhile.

    Args:
        fn: plain; if it gives an awaitable, that is awaited.

    Returns:
        an async function of the same name.
    """

    @functools.wraps(fn)
    async def on_the_loop(*args: object) -> Any:  # noqa: ANN401 - what it gives
        value = fn(*args)
        return await value if inspect.isawaitable(value) else value

    return on_the_loop


def close_unbegun(given: object) -> None:
    """Close a coroutine that nobody will begin any more, so that nothing warns; anything else is left.

    Args:
        given: what a plain call has given.
    """
    if type(given) is CoroutineType and given.cr_frame is None:
        return  # it has ended: the usual case
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
    inner = fn if type(fn) is FunctionType else _function_of(fn)
    if type(inner) is FunctionType:  # the usual case, without inspect's walk through wrappers
        flags = inner.__code__.co_flags
        if flags & _COROUTINE:
            return Call(fn, args, is_async=True, context=context)  # type: ignore[arg-type]  # it is a function
        if not flags & _ASYNC_GENERATOR:
            # One without attributes of its own has not been marked as a coroutine function, either.
            is_async = bool(inner.__dict__) and is_async_callable(fn)
            return Call(fn, args, is_async=is_async, context=context)  # type: ignore[arg-type]  # as above
    if inspect.iscoroutine(fn) or inspect.isawaitable(fn):
        raise _an_awaitable(fn)
    if not callable(fn):
        msg = f"the call must be callable, not {type(fn).__name__} {fn!r}; pass the function itself"
        raise TypeError(msg)
    if is_async_generator(fn):
        msg = (
            f"{name_of(fn)!r} is an async generator function, which yields many values where a call "
            f"has one; wrap it in an async function that consumes it and returns the result"
        )
        raise TypeError(msg)
    return Call(fn, args, is_async=is_async_callable(fn), context=context)


def _function_of(fn: Any) -> object:  # noqa: ANN401 - whatever was passed
    """What a partial or a method calls in the end; itself for anything else."""
    kind = type(fn)
    while kind is functools.partial:
        fn = fn.func
        kind = type(fn)
    return fn.__func__ if kind is MethodType else fn


def is_async_callable(fn: object) -> bool:
    """Whether calling `fn` gives a coroutine, seen through partials, methods and ``__call__``.

    Args:
        fn: any callable.

    Returns:
        False also for a plain callable that happens to return an awaitable: nobody can know before
        it is called.
    """
    return _is_kind(inspect.iscoroutinefunction, fn)


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


def _is_kind(test: Callable[[object], bool], fn: object) -> bool:
    fn = _unwrap(fn)
    # Of the kind of its `__call__` it is asked, not whether it has one.
    return test(fn) or test(getattr(type(fn), "__call__", None))  # noqa: B004 - as above


def _unwrap(fn: object) -> object:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def is_async_generator(fn: object) -> bool:
    """Whether calling `fn` gives an async generator, seen through partials and ``__call__``.

    Args:
        fn: anything.
    """
    return _is_kind(inspect.isasyncgenfunction, fn)


def is_generator(fn: object) -> bool:
    """Whether calling `fn` gives a plain generator, seen through partials and ``__call__``.

    Args:
        fn: anything.
    """
    return _is_kind(inspect.isgeneratorfunction, fn)


def _an_awaitable(given: object) -> TypeError:
    """The error for ``submit(key, fetch(url))``; a coroutine is closed, so that nothing warns."""
    name = getattr(given, "__name__", type(given).__name__)
    if isinstance(given, Coroutine):
        given.close()
    return TypeError(
        f"the call must be a function, not the awaitable that calling it gives: write "
        f"submit(key, {name}, ...) instead of submit(key, {name}(...))",
    )
