"""What comes out of ``async with runner.start()`` when a run has ended.

What it is for: many things may want to come out at once: what crashed, what failed, what the body
raised, the cancellation of a scope around it all. Here is the order; the first that applies is raised:

1.  what crashed (``KeyboardInterrupt``, ``SystemExit``, ... out of a call, or Ctrl-C during the exit):
    bare if it is one thing, else in a group;
2.  with `on_error="cancel"`, the failures, in a group, together with the body's own exception if that
    is another one, and not the refusal of what it submitted after them; unless that one is Ctrl-C or
    the like, which nobody would look for in a group;
3.  the body's own exception, bare;
4.  the cancellation of a scope around the run.

What it does not know: loops, carriers, how the run was closed.

Invariant: nothing is raised in place of the body's own exception unless it is more than that.
"""

from __future__ import annotations

from collections.abc import Hashable

from ._board import Board
from ._capture import fatal_part, leaves, note_once, split
from ._errors import RunnerClosed
from ._guards import Ending
from ._log import logger
from ._performing import Performer
from ._spelling import spell, spell_some


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
    first = next((slot.peek_error() for _, slot in unread if slot is not None), None)
    logger.error(
        "%d failed call(s) of runner %r whose outcome nobody read: %s",
        count,
        name,
        spell_some([key for key, _ in unread], count),
        exc_info=first,
    )


def log_left(name: str, left: list[tuple[Hashable, Ending]]) -> None:
    """Say which calls have left threads to themselves that still run.

    Args:
        name: of the runner.
        left: the keys of those that have, each with what has its thread; empty afterwards.
    """
    keys = [key for key, what in left if not what.has_ended]
    left.clear()
    if keys:
        logger.warning(
            "runner %r is left while threads of cancelled calls still run: %s; what they do is lost, "
            "and being daemon threads they do not keep the interpreter from ending",
            name,
            ", ".join(map(spell, keys)),
        )


def _raise_crash(crashes: list[BaseException], exc: BaseException | None) -> None:
    crash = BaseExceptionGroup("the runner crashed", crashes)
    if all(isinstance(leaf, Exception) for leaf in leaves(crash)):
        raise crash  # a fault of creche itself: hide nothing
    fatal = fatal_part(crash)
    if fatal is not exc:
        raise fatal


def _is_known(leaf: BaseException, errors: list[BaseException], performer: Performer) -> bool:
    """Whether it is one of the failures, or follows from them: the body went on submitting."""
    if isinstance(leaf, RunnerClosed) and leaf._halt is not None:  # noqa: SLF001 - set for this
        return leaf._halt is performer.halted  # noqa: SLF001 - the same
    return any(leaf is error for error in errors)


def _failures(performer: Performer, own: BaseException | None) -> BaseException:
    errors: list[BaseException] = []
    for slot in performer.failures:
        slot.mark_read()
        error = slot.peek_error()
        assert error is not None, slot
        note_once(error, f"in call {spell(slot.key)}")
        if not any(error is other for other in errors):
            errors.append(error)
    if own is not None and not all(_is_known(leaf, errors, performer) for leaf in leaves(own)):
        errors.append(own)
    # An ExceptionGroup, unless one of them is a group of a user's that is none.
    return BaseExceptionGroup("calls of a runner failed", errors)
