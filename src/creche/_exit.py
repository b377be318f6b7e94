"""What comes out of ``async with runner.start()`` when a run has ended.

What it is for: many things may want to come out at once: what crashed, what failed, what the body
raised, the cancellation of a scope around it all. Here is the order; the first that applies is raised:

1.  what crashed (``KeyboardInterrupt``, ``SystemExit``, ... out of a call, or Ctrl-C during the exit):
    bare if it is one thing, else in a group;
2.  with `on_error="cancel"`, the failures, in a group, together with the body's own exception if that
    is another one; unless that one is Ctrl-C or the like, which nobody would look for in a group;
3.  the body's own exception, bare;
4.  the cancellation of a scope around the run.

What it does not know: loops, carriers, how the run was closed.

Invariant: nothing is raised in place of the body's own exception unless it is more than that.
"""

from __future__ import annotations

from ._board import Board
from ._capture import fatal_part, leaves, split
from ._log import logger
from ._performing import Performer

# How many failures that nobody read are spelled out in the log.
_SPELLED_OUT = 10


def raise_what_is_due(
    performer: Performer,
    cancelled: type[BaseException],
    exc: BaseException | None,
    escaped: BaseException | None,
) -> None:
    """Raise what must replace the body's own exception; return if that one may come out.

    Args:
        performer: which knows what crashed and what failed.
        cancelled: the loop's own exception for cancellation.
        exc: what the body raised.
        escaped: what came out of the nursery.

    Raises:
        BaseException: see the head of this module.
    """
    cancellation: BaseException | None = None
    if escaped is not None:
        cancellation, escaped = split(escaped, cancelled)
    own = None if exc is None else split(exc, cancelled)[1]
    crashes = [crash for crash in (own, *performer.crashes, escaped) if crash is not None]
    if performer.crashes or escaped is not None:
        _raise_crash(crashes, exc)
    elif performer.failures and (own is None or isinstance(own, Exception)):
        raise _failures(performer, own)
    elif exc is None and cancellation is not None:
        # Nurseries wrap it; alone it says the same, and code after us may expect it bare.
        raise next(leaves(cancellation))


def log_unread(name: str, board: Board) -> None:
    """Say once which failures nobody has looked at.

    Args:
        name: of the runner.
        board: of the run.
    """
    unread = list(board.unread.failures.values())
    board.unread.failures.clear()
    if not unread:
        return
    count = len(unread) + board.unread.forgotten
    spelled = unread[:_SPELLED_OUT]
    keys = ", ".join(repr(key) for key, _ in spelled)
    more = f" and {count - len(spelled)} more" if count > len(spelled) else ""
    first = next((slot.peek_error() for _, slot in unread if slot is not None), None)
    logger.error(
        "%d failed call(s) of runner %r whose outcome nobody read: %s%s",
        count,
        name,
        keys,
        more,
        exc_info=first,
    )


def _raise_crash(crashes: list[BaseException], exc: BaseException | None) -> None:
    crash = BaseExceptionGroup("the runner crashed", crashes)
    if all(isinstance(leaf, Exception) for leaf in leaves(crash)):
        raise crash  # a fault of creche itself: hide nothing
    fatal = fatal_part(crash)
    if fatal is not exc:
        raise fatal


def _failures(performer: Performer, own: BaseException | None) -> BaseException:
    errors: list[BaseException] = []
    for slot in performer.failures:
        slot.mark_read()
        error = slot.peek_error()
        assert error is not None, slot
        note = f"in call {slot.key!r}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        if not any(error is other for other in errors):
            errors.append(error)
    if own is not None and not all(any(leaf is error for error in errors) for leaf in leaves(own)):
        errors.append(own)
    # An ExceptionGroup, unless one of them is a group of a user's that is none.
    return BaseExceptionGroup("calls of a runner failed", errors)
