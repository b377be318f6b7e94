"""The capture rule: what came out of a call, and what of it has to travel on.

What it is for: one pure function that reads an exception the way the contract says. It is applied
after the call's own cancel scope has closed, so that a cancellation which is still there came from
outside that scope.

What it does not know: loops, scopes, slots. Whether an enclosing scope is cancelled is an argument.

Invariant: every exception is read as exactly one of four things, and a group is always split, never
judged by its type. A nursery inside a call raises ``BaseExceptionGroup([Cancelled, ...])``, which
``except Cancelled`` misses; trio keeps the Cancelled in such groups, asyncio's task groups drop them.

The four, in the order in which they are asked for:

1.  Something is left beside cancellation, and it is not all `Exception`: ``KeyboardInterrupt``,
    ``SystemExit``, ``GeneratorExit``, a user's own. The call CRASHED, and the host of the runner is
    the one to raise it. From a child task it would leave asyncio's loop at once, and half the run
    behind.
2.  Something else is left: the call FAILED with that.
3.  Only cancellation is left, and an enclosing scope is cancelled: CANCELLED by ``outer``. To swallow
    it here would be the worst fault of all: a deadline that stops nothing.
4.  Only cancellation is left and nobody around is cancelled: a stray one, ``foreign``. It is contained;
    let out, it would take down siblings that it has nothing to do with.

The cancellation part of 1 to 3 travels on if an enclosing scope is cancelled, and only then. What
`check_cancelled` raises is cancellation, too, and never travels on: whoever is to stop sees a real one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, final

from ._errors import StopCall
from ._far._groups import leaves as leaves
from ._far._groups import split as split
from ._states import Origin, State


@final
class Verdict(NamedTuple):
    """How a call that raised has ended.

    Attributes:
        state: FAILED, CANCELLED or CRASHED.
        error: for FAILED and CRASHED, what the slot keeps.
        origin: for CANCELLED, where from.
        onward: the cancellation that has to be raised again, in the task that it was raised in.
    """

    state: State
    error: BaseException | None
    origin: Origin | None
    onward: BaseException | None


def classify(
    exc: BaseException,
    cancelled: type[BaseException],
    *,
    enclosing_cancelled: bool,
) -> Verdict:
    """Read what came out of a call whose own scope has closed.

    Args:
        exc: what the call raised.
        cancelled: the loop's own exception for cancellation.
        enclosing_cancelled: whether a scope around the call's own is cancelled now.

    Returns:
        how the call ended.
    """
    cancellation: BaseException | None = None
    rest = split(exc, StopCall)[1]
    if rest is not None:
        cancellation, rest = split(rest, cancelled)
    onward = cancellation if enclosing_cancelled else None
    if rest is None:
        origin: Origin = "outer" if enclosing_cancelled else "foreign"
        return Verdict(State.CANCELLED, None, origin, onward)
    if any(not isinstance(leaf, Exception) for leaf in leaves(rest)):
        return Verdict(State.CRASHED, rest, None, onward)
    return Verdict(State.FAILED, rest, None, onward)


def fatal_part(exc: BaseException) -> BaseException:
    """What the host raises for a crashed call: bare if it is one thing, else a group.

    Several ``KeyboardInterrupt`` are one thing: the user pressed the keys, however many tasks
    were hit.

    Args:
        exc: an exception or a group, of which some leaf is no `Exception`.

    Returns:
        the single leaf that is no `Exception`, or a group of those leaves.
    """
    found: list[BaseException] = []
    for leaf in leaves(exc):
        seen = any(leaf is other or (type(leaf) is type(other) is KeyboardInterrupt) for other in found)
        if not isinstance(leaf, Exception) and not seen:
            found.append(leaf)
    if len(found) == 1:
        return found[0]
    return BaseExceptionGroup("calls of a runner crashed", found)


_OWN = str(Path(__file__).parent)
_OWN_FILES: dict[str, bool] = {}


def note_once(error: BaseException, note: str) -> None:
    """Add a note to an exception that does not have it; one that cannot be written to goes without.

    Args:
        error: any.
        note: a sentence, for people.
    """
    with suppress(Exception):
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def strip_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of creche's own at the head of a traceback.

    Args:
        traceback: as caught.

    Returns:
        the traceback from the first frame that is not ours; the whole of it if all are.
    """
    own = traceback
    while own is not None:
        file = own.tb_frame.f_code.co_filename
        is_own = _OWN_FILES.get(file)
        if is_own is None:
            is_own = _OWN_FILES[file] = Path(file).is_relative_to(_OWN)
        if not is_own:
            return own
        own = own.tb_next
    return traceback
