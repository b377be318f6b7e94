"""What asyncio's half of the backend takes from anyio, quickly or by the book.

What it is for: the two ways to a nursery, a scope and the checkpoints: by anyio's insides, see
`_inside`, and by what anyio documents. Which is used is decided once.

What it does not know: slots, runners, trio.

Invariant: a way is used whole or not at all. Both mean the same to whoever uses them, but for a child
that `Task.cancel` ends before its first step: anyio's group is cancelled by it.
"""

from __future__ import annotations

import asyncio
import importlib
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import anyio
import anyio.lowlevel

from creche._backend import KeptScope, Nursery, OpenScope, perhaps

from ._inside import (
    INSIDE,
    Scope,
    checkpoint,
    checkpoint_if_cancelled,
    fits,
    is_cancelled,
    is_cut,
    keep_scope,
    shielded_checkpoint,
    watcher,
)
from ._kept import KeptByTheBook
from ._nursery import BareNursery, Unbegun

T = TypeVar("T")

try:
    # What trio brings along, and may not for ever; without it anyio asks the loop itself.
    _LIBRARY: Any = importlib.import_module("sniffio").thread_local
except ImportError:  # pragma: no cover - trio requires it so far
    _LIBRARY = None


def with_anyio(fn: Callable[[], T]) -> T:
    """Call a function of anyio's, also in a callback of the loop, where sniffio knows of no library."""
    if _LIBRARY is None:
        return fn()
    before, _LIBRARY.name = _LIBRARY.name, "asyncio"
    try:
        return fn()
    finally:
        _LIBRARY.name = before


def _open_group(when_unbegun: Unbegun | None = None) -> AbstractAsyncContextManager[Any, bool | None]:
    del when_unbegun  # it is not told
    return anyio.create_task_group()


def _start_in_group(
    nursery: Nursery,
    context: Context,
    fn: Callable[[Any], Awaitable[Any]],
    arg: object,
    name: str,
) -> None:
    with_anyio(partial(context.copy().run, partial(nursery.start_soon, fn, arg, name=name)))


async def _checkpoint_if_cancelled() -> None:
    # A pending `Task.cancel` shows only when the task is suspended, and anyio does not look for it.
    task: Any = asyncio.current_task()
    if task.cancelling():
        await checkpoint()
    else:
        await anyio.lowlevel.checkpoint_if_cancelled()


def _has_cancelled(nursery: Nursery) -> bool:
    return bool(nursery.cancel_scope.cancel_called)  # of scopes around it nothing public tells


def _is_cut() -> bool:
    return anyio.current_effective_deadline() == -math.inf


def _is_cut_from(nursery: Nursery) -> bool:
    return is_cancelled(nursery.cancel_scope)


def _start_soon(
    nursery: BareNursery,
    context: Context,
    fn: Callable[[Any], Awaitable[Any]],
    arg: object,
    name: str,
) -> None:
    nursery.start(context.copy(), fn, arg, name)


# What is offered ------------------------------------------------------------------------------------


class Primitives(NamedTuple):
    """Those fields of `Backend` that are filled from here; see there.

    Attributes:
        open_nursery: may be given a function that is told, where it is possible, of each child that
            `Task.cancel` has ended before its first step.
    """

    open_nursery: Callable[..., AbstractAsyncContextManager[Any, bool | None]]
    start_soon: Callable[[Any, Context, Callable[[Any], Awaitable[Any]], object, str], None]
    open_scope: OpenScope
    keep_scope: Callable[[Any], KeptScope]
    is_cut: Callable[[], bool]
    is_cut_from: Callable[[Nursery], bool]
    watcher: Callable[[], Callable[[], bool]]
    checkpoint_if_cancelled: Callable[[], Awaitable[None]]
    shielded_checkpoint: Callable[[], Awaitable[None]]


QUICK = Primitives(
    open_nursery=BareNursery,
    start_soon=_start_soon,
    open_scope=cast("OpenScope", Scope),
    keep_scope=keep_scope,
    is_cut=is_cut,
    is_cut_from=_is_cut_from,
    watcher=watcher,
    checkpoint_if_cancelled=checkpoint_if_cancelled,
    shielded_checkpoint=shielded_checkpoint,
)
PUBLIC = Primitives(
    open_nursery=_open_group,
    start_soon=_start_in_group,
    open_scope=anyio.CancelScope,
    keep_scope=lambda _: KeptByTheBook(anyio.CancelScope()),
    is_cut=_is_cut,
    is_cut_from=_has_cancelled,
    watcher=lambda: perhaps,
    checkpoint_if_cancelled=_checkpoint_if_cancelled,
    shielded_checkpoint=anyio.lowlevel.cancel_shielded_checkpoint,
)


def choose(inside: Any) -> Primitives:  # noqa: ANN401 - a module of anyio's
    """What to use, given how anyio looks inside.

    Args:
        inside: the module that holds it.

    Returns:
        the quick ones, if they work there.
    """
    return QUICK if fits(inside) else PUBLIC


CHOSEN = choose(INSIDE)
