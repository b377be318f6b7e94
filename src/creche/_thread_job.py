"""A plain function on its way through a thread, and who has it: the loop, or a thread.

What it is for: the loop may withdraw a job, or leave it to its thread, at the very moment that the
thread begins or ends it. Exactly one of them gets it, without a lock.

What it does not know: threads, loops, queues.

Invariant: who has a job is decided by its tokens, a list that both may pop from: ``[END, fn]`` while it
is queued, ``[END]`` while a thread carries it out, ``[]`` once it has ended or was given up. Whoever
pops the function begins or withdraws it; whoever pops `END` ends or abandons it. A pop is one step with
the GIL, and holds the list's lock without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, final

from ._backend import Scope

FN = 1
"""The place of the function among the tokens."""

END: Any = object()
"""The other token."""

_NOWHERE = Context()


@final
class Server:
    """One thread, as the loop sees it.

    Attributes:
        guard: a scope around the task that waits for the thread, once it does; a shield, unless the
            thread was abandoned.
        is_alone: whether it was; on the loop only.
        is_coming: whether it was started and has not said that it has arrived; on the loop only.
        handed: the job that the thread begins with.
        bell: held but for the moment between a ring and its being heard; an idle thread waits for it.
    """

    __slots__ = ("bell", "guard", "handed", "is_alone", "is_coming")

    def __init__(self) -> None:
        self.guard: Scope | None = None
        self.bell = threading.Lock()
        self.bell.acquire()
        self.is_alone = False
        self.is_coming = True
        self.handed: Job | None = None


class Job:
    """A plain function to be called in a thread. A subclass may add what it is for.

    Attributes:
        tokens: see above.
        args: its arguments; gone when it has begun.
        context: what it is called in: its own copy, which nobody else enters; gone when it has begun.
        name: of the thread while it carries this out.
        value: what it returned, once it has ended and `error` is `None`.
        error: what it raised, whatever that is; its traceback begins in the function.
        server: which thread carries it out.
        has_ended: whether its function has returned or raised, also to nobody.
        heir: the job that its thread has gone on with, of those that were put ahead.
    """

    __slots__ = (
        "__weakref__",
        "args",
        "context",
        "error",
        "has_ended",
        "heir",
        "name",
        "server",
        "tokens",
        "value",
    )

    def __init__(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        context: Context,
        name: str,
    ) -> None:
        self.tokens = [END, fn]
        self.args = args
        self.context = context
        self.name = name
        self.value: Any = None
        self.error: BaseException | None = None
        self.server: Server | None = None
        self.has_ended = False
        self.heir: Job | None = None

    @property
    def is_queued(self) -> bool:
        """Whether no thread has begun with it yet, nor anybody withdrawn it."""
        return len(self.tokens) > FN

    def withdraw(self) -> bool:
        """On the loop: whether it was queued still, and will not be begun any more."""
        try:
            self.tokens.pop(FN)
        except IndexError:
            return False
        del self.tokens[:]
        self.args, self.context = (), _NOWHERE
        return True

    def abandon(self) -> bool:
        """On the loop: whether a thread carries it out, and will find at its end that nobody waits."""
        try:
            self.tokens.pop()
        except IndexError:
            return False
        return True


def carry_out(job: Job, fn: Callable[..., Any], leave_loop: Callable[[Context], object]) -> None:
    """In the thread that has begun a job: call its function.

    Args:
        job: the job.
        fn: its function, which was among its tokens.
        leave_loop: makes a context that of a thread.
    """
    context, args = job.context, job.args
    job.context, job.args = _NOWHERE, ()
    try:
        leave_loop(context)
        job.value = context.run(fn, *args)
    except BaseException as exc:  # noqa: BLE001 - handed over, whatever it is
        traceback = exc.__traceback__
        job.error = exc.with_traceback(traceback and traceback.tb_next)
        del traceback
    finally:
        job.has_ended = True
        # A frame of the function's was called by this one, and keeps it with what it holds.
        del job, fn, context, args
