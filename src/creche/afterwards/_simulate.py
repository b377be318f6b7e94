"""Would more workers have helped? A history, replayed with other numbers of workers and other limits.

What it is for: each number that is asked for gets a row, between the run as it was and the critical
path, and a sentence says what follows from them.

What it does not know: how a replay works, how rows are shown.

Invariant: the same history and numbers give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, final

from creche._limits import Limit
from creche.instruments import History, RunRecord
from creche.instruments._words import calls

from ._causes import Causes
from ._replaying import replay

# Of the time: what is less than that is no help.
_MATTERS = 0.02

# Of the time measured: what the replay may be away from it without a word.
_EXACT = 0.05


@final
class NothingToReplay(ValueError):  # noqa: N818 - it says what the history is not
    """A history that no question can be asked of."""


@final
class UnknownLimit(ValueError):  # noqa: N818 - as `UnknownKey`
    """There is no limit of that name; the text says which there are."""


class Row(NamedTuple):
    """What came out for one number of workers.

    Attributes:
        workers: the number; `None` for no limit.
        seconds: the makespan; `None` if it would never have ended.
        most: how many calls ran at once, at most.
        path: the keys of calls that each began when the one before had ended, up to the last one.
        stuck: why it never ended; else `None`.
    """

    workers: int | None
    seconds: float | None
    most: int
    path: tuple[str, ...] = ()
    stuck: str | None = None


class Simulation(NamedTuple):
    """All that came out.

    Attributes:
        calls: how many were replayed.
        measured: the makespan of the history, in seconds.
        own: the run as it was, replayed.
        base: the same with the limits asked for; the same as `own` if there are none.
        rows: one for each number of workers asked for.
        free: without a limit of workers; with the named limits, and with the rates.
        critical: without any limit or rate: the seconds of the critical path.
        verdict: a sentence.
        notes: sentences: what was assumed, and what is missing.
    """

    calls: int
    measured: float
    own: Row
    base: Row
    rows: tuple[Row, ...]
    free: Row
    critical: Row
    verdict: str
    notes: tuple[str, ...]


def simulate(history: History, workers: Iterable[int], limits: Mapping[str, int]) -> Simulation:
    """Replay a history with each of some numbers of workers.

    Args:
        history: of one run, or of several.
        workers: the numbers, 1 or more; of each run, if there are several. Without any, twice and four
            times as many as there were, or a few small ones if there was no limit.
        limits: sizes of named limits, in place of the run's own; their rates stay.

    Returns:
        the makespans, and what follows from them.

    Raises:
        NothingToReplay: no call has ended.
        UnknownLimit: no call and no run has a limit of that name.
    """
    if not any(call.attempts and call.finished is not None for call in history.calls):
        raise NothingToReplay("no call of it has finished, so there is nothing to replay")
    names = {name for run in history.runs for name in run.limits}
    names.update(name for call in history.calls for name in call.limits)
    for name in limits:
        if name not in names:
            there = ", ".join(sorted(names)) if names else "none at all"
            raise UnknownLimit(f"there is no limit {name!r} in it; there are: {there}")
    causes = Causes(history)
    rates = any(run.rates or run.rate is not None for run in history.runs)
    holds = " and ".join(["the limits"] * bool(names or not rates) + ["the rates"] * rates)
    sizes = [run.max_workers for run in history.runs if run.max_workers is not None]
    most = max(sizes, default=None)
    asked = sorted(set(workers)) or ([1, 2, 4, 8] if most is None else [2 * most, 4 * most])

    own = _row(causes, most, {}, as_it_was=True)
    base = _row(causes, most, limits, as_it_was=True) if limits else own
    rows = tuple(_row(causes, number, limits) for number in asked)
    free = _row(causes, None, limits) if sizes else base
    critical = _row(causes, None, None)
    return Simulation(
        sum(len(session.nodes) for session in causes.sessions),
        causes.measured,
        own,
        base,
        rows,
        free,
        critical,
        _verdict(base, rows, free, critical, limits, holds),
        (*causes.notes, *_notes(history, causes.measured, own, limits)),
    )


def _limits(run: RunRecord, sizes: Mapping[str, int]) -> dict[str, Limit]:
    """The limits of a run, with other sizes; their rates stay."""
    found = {
        # A limiter object may have had none when the run began.
        name: Limit(None if size is None else max(1, int(size)), run.rates.get(name))
        for name, size in run.limits.items()
        if size is not None or name in run.rates
    }
    return found | {name: Limit(size, run.rates.get(name)) for name, size in sizes.items()}


def _row(
    causes: Causes,
    number: int | None,
    limits: Mapping[str, int] | None,
    *,
    as_it_was: bool = False,
) -> Row:
    """All sessions, one after another, with so many workers, or with as many as there were."""
    replayed = [
        replay(
            session,
            [run.max_workers if as_it_was else number for run in session.runs],
            None if limits is None else [_limits(run, limits) for run in session.runs],
        )
        for session in causes.sessions
    ]
    stuck = next((one.stuck for one in replayed if one.stuck is not None), None)
    seconds = None if stuck is not None else sum(one.seconds or 0.0 for one in replayed)
    path = tuple(node.call.key for one in replayed for node in one.path)
    return Row(number, seconds, max(one.most for one in replayed), path, stuck)


def _verdict(
    own: Row, rows: Sequence[Row], free: Row, critical: Row, limits: Mapping[str, int], holds: str
) -> str:
    changed = ", ".join(f"{name}={size}" for name, size in limits.items())
    given = f" with {changed}" if changed else ""
    if own.seconds is None or free.seconds is None:
        return f"That cannot be said: the replay{given} never ends."
    if own.workers is None:
        return (
            f"There was no limit of workers, and at most {calls(own.most)} ran at once: more workers "
            f"would not have helped{given}."
        )
    assert critical.seconds is not None
    if free.seconds > own.seconds * (1 - _MATTERS):
        why = "its calls wait for each other: it cannot take less than its critical path"
        if critical.seconds < free.seconds * (1 - _MATTERS):
            why = f"{holds} are what holds it up"
        return f"No, more workers would not have helped{given}; {why}."
    more = [row for row in rows if row.workers is not None and row.workers > own.workers]
    fits = [row for row in more if row.seconds is not None]
    enough = (row for row in fits if (row.seconds or 0.0) <= free.seconds * (1 + _MATTERS))
    best = next(enough, fits[-1] if fits else free)
    assert best.seconds is not None
    given = f" and {changed}" if changed else ""
    who = "no limit of workers" if best.workers is None else f"{best.workers} workers"
    less = 1 - best.seconds / own.seconds
    if less < _MATTERS:
        return (
            f"Not with {who}{given}; without a limit of workers {free.seconds:.3f} s instead of "
            f"{own.seconds:.3f} s, with at most {calls(free.most)} at once."
        )
    end = ""
    if best.seconds <= free.seconds * (1 + _MATTERS):
        end = "; still more would not help" if best.workers is not None else ""
    return (
        f"Yes, with {who}{given} {best.seconds:.3f} s instead of {own.seconds:.3f} s, "
        f"{less:.0%} less{end}."
    )


def _notes(history: History, measured: float, own: Row, limits: Mapping[str, int]) -> Iterable[str]:
    unknown = {
        name
        for run in history.runs
        for name, size in run.limits.items()
        if size is None and name not in run.rates
    }
    for name in sorted(unknown - set(limits)):
        yield (
            f"limit {name!r} has no size in the file, nor a rate, and is taken to limit nothing; "
            f"--limit {name}=N gives it a size"
        )
    if own.seconds is None:
        yield f"the run as it was is not understood: its replay never ends, {own.stuck}"
    elif abs(own.seconds - measured) > _EXACT * measured:
        yield (
            f"the run as it was is replayed in {own.seconds:.3f} s, and took {measured:.3f} s: compare "
            f"the rows with each other"
        )
