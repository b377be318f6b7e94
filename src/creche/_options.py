"""The settings of a runner as one frozen record.

What it is for: an option is spelled, explained and checked once, here; runners hand the record on.

What it does not know: what the settings do.

Invariant: what `read_options` gives is valid.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from ._checks import check_choice, check_count, check_instrument, check_timeout
from ._limits import Limit, Limiter, read_limits
from ._place import Place
from ._rates import Rate, read_rate

OnError = Literal["collect", "cancel"]
OnCollision = Literal["raise", "join", "replace"]
ON_COLLISION = get_args(OnCollision)

NO_LIMITS: Mapping[str, Any] = MappingProxyType({})


class Options(NamedTuple):
    """How a runner behaves; equal options, equal behaviour. Made by `read_options`.

    Attributes:
        max_workers: how many calls run at once; `None` for no limit.
        max_pending: how many calls may wait for a place; `None` for no limit.
        on_error: `"collect"`: a call that fails stops nobody; `"cancel"`: the first failure cancels
            the rest, and the run raises an `ExceptionGroup`.
        ageing: after how many seconds of waiting a call gains one point of priority; `None`: never.
        grace: how many seconds running calls get when the run is cancelled from outside.
        limits: the named limits.
        rate: how many calls start in a time; `None` for no limit.
        retain: whether the outcome of a settled call can still be looked up by its key.
        instruments: who is told about what happens.
        place: where calls run that do not say: `None` for the loop, or a thread for plain ones;
            `"thread"` for threads; or a place.
        needs: the names of the limits that every call needs.
        abandon_on_cancel: whether a call that is cancelled leaves its thread to itself.
    """

    max_workers: int | None
    max_pending: int | None
    on_error: OnError
    ageing: float | None
    grace: float
    limits: tuple[tuple[str, Limit], ...]
    rate: Rate | None
    retain: bool
    instruments: tuple[Any, ...]
    place: Place | Literal["thread"] | None = None
    needs: tuple[str, ...] = ()
    abandon_on_cancel: bool = False


def read_options(
    *,
    max_workers: int | None,
    max_pending: int | None = None,
    on_error: OnError,
    retain: bool,
    ageing: float | None = None,
    grace: float | None = 0,
    limits: Mapping[str, Any] = NO_LIMITS,
    rate: Rate | float | None = None,
    instruments: Iterable[object],
    place: Place | Literal["thread"] | None = None,
    needs: tuple[str, ...] = (),
    abandon_on_cancel: bool = False,
) -> Options:
    """Check the options of a runner.

    Args:
        max_workers: how many calls run at once; `None` for no limit.
        max_pending: how many calls may wait for a place; `None` for no limit.
        on_error: what a call that fails means for the others.
        retain: whether settled calls stay on the board.
        ageing: after how many seconds of waiting a call gains one point of priority; `None`: never.
        grace: how many seconds running calls get when the run is cancelled from outside; `None`: no
            limit.
        limits: each name with a number, a limiter object, a `Rate` or a `Limit`.
        rate: a `Rate`, or a number of starts in a second; `None` for no limit.
        instruments: who is told about what happens.
        place: where calls run that do not say, checked already.
        needs: the names of the limits that every call needs, checked already.
        abandon_on_cancel: whether a call that is cancelled leaves its thread to itself.

    Returns:
        the options, valid.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option has a value that is not allowed.
    """
    if max_workers is not None:
        check_count("max_workers", max_workers, cure="None means no limit")
    if max_pending is not None:
        cure = "0 lets a submit wait until its call starts, None means no limit"
        check_count("max_pending", max_pending, cure=cure, least=0)
    check_choice("on_error", on_error, ("collect", "cancel"))
    if not isinstance(retain, bool):
        msg = f"retain must be True or False, not {retain!r}"
        raise TypeError(msg)
    if not isinstance(abandon_on_cancel, bool):
        msg = f"abandon_on_cancel must be True or False, not {abandon_on_cancel!r}"
        raise TypeError(msg)
    if not isinstance(instruments, Iterable):
        msg = f"instruments must be a sequence of instruments, not {instruments!r}"
        raise TypeError(msg)
    listeners = tuple(instruments)
    for one in listeners:
        check_instrument(one)
    patience = check_timeout(grace, "grace")
    seconds = check_timeout(ageing, "ageing")
    if seconds == 0:
        msg = "ageing must be more than 0 seconds, not 0; None turns it off"
        raise ValueError(msg)
    return Options(
        max_workers=max_workers,
        max_pending=max_pending,
        on_error=on_error,
        ageing=seconds,
        grace=math.inf if patience is None else patience,
        limits=tuple(read_limits(limits).items()),
        rate=read_rate(rate),
        retain=retain,
        instruments=listeners,
        place=place,
        needs=needs,
        abandon_on_cancel=abandon_on_cancel,
    )


def check_picklable(options: Options) -> None:
    """Refuse to pickle what would not be the same afterwards, or cannot be pickled at all.

    Args:
        options: the settings of a runner.

    Raises:
        TypeError: a limit is a limiter object, or an instrument refuses; with its name.
    """
    for name, limit in options.limits:
        if isinstance(limit.size, Limiter):
            msg = (
                f"limit {name!r} is a limiter object, and a pickle of that is another limiter; give the "
                f"runner a number, or make the runner where it is used"
            )
            raise TypeError(msg)
    # Who pickles us is not known here: what one of the two can do is let through.
    loaded = [sys.modules[name] for name in ("pickle", "cloudpickle") if name in sys.modules]
    picklers: list[Callable[[object], object]] = [module.dumps for module in loaded]
    for instrument in options.instruments:
        refusals = [_refusal(dumps, instrument) for dumps in picklers]
        if refusals and all(refusals):
            msg = (
                f"instrument {instrument!r} of the runner cannot be pickled ({refusals[-1]}); give it a "
                f"__getstate__, or pickle the runner without it"
            )
            raise TypeError(msg) from refusals[-1]


def _refusal(dumps: Callable[[object], object], instrument: object) -> Exception | None:
    """Why this pickler does not take an instrument; `None` if it does."""
    try:
        dumps(instrument)
    except Exception as exc:  # noqa: BLE001 - its state is the user's, and may raise anything
        return exc
    return None
