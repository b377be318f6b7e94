"""Waiting until a run has nothing to do, and emptying it.

What it is for: a service that goes on wants to know when nothing is pending or running; one that is to
stop takes no more calls, lets those that it has end, and says which it had to cut.

What it does not know: how calls are carried out.

Invariant: once a drain has begun, the intake stays closed, whatever becomes of the drain.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

from ._hosting import Run
from ._lending import callers_here
from ._slot import Slot
from ._spelling import spell
from ._together import until_all_done


async def until_idle(run: Run) -> None:
    """Wait until nothing is pending or running; reservations do not count.

    Args:
        run: the run, which may go on taking calls meanwhile.

    Raises:
        RuntimeError: it is a call of the run that asks.
    """
    _refuse_calls(run, "until_idle")
    await run.home.pass_by()
    await until_all_done(run.home, partial(_open_calls, run))


async def drain(run: Run, seconds: float | None) -> list[Hashable]:
    """Take no more calls, wait for those that there are, then cancel the rest.

    Args:
        run: the run.
        seconds: how long to wait; `None` for no limit.

    Returns:
        the keys of what was cut, in the order of claiming; reserved ones too.

    Raises:
        RuntimeError: it is a call of the run that asks.
    """
    _refuse_calls(run, "drain")
    run.intake.close()
    backend = run.backend
    order = run.board.open_slots()
    cut = {slot for slot in order if slot.reserved}
    for slot in order:
        if slot in cut:
            run.cancel(slot, "closed", "the runner was drained before a call was submitted under it")
    if seconds is None:
        await until_idle(run)
    elif seconds > 0:
        with backend.open_scope(deadline=backend.current_time() + seconds):
            await until_idle(run)
    late = _open_calls(run)
    cut.update(late)
    for slot in late:
        run.cancel(slot, "closed", f"the runner was drained, and it had not ended in {seconds} seconds")
    await until_idle(run)
    return [slot.key for slot in order if slot in cut]


def _open_calls(run: Run) -> list[Slot[Any]]:
    return [slot for slot in run.board.open_slots() if not slot.reserved]


def _refuse_calls(run: Run, what: str) -> None:
    """Refuse what would wait for itself, and what comes from another thread, before anything is done."""
    for carrier in callers_here(run.home.here()):
        if carrier.lender is run.carriers:
            key = next(slot.key for slot in run.board.open_slots() if slot.carrying is carrier)
            msg = (
                f"call {spell(key)} cannot await {what} of its own runner, which would wait for the "
                f"call; do it outside, in the block of the runner"
            )
            raise RuntimeError(msg)
