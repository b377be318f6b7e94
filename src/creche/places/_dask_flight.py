"""A call on its way to a worker and back.

What it is for: a task of the loop parks on it until it has landed; threads carry it meanwhile.

What it does not know: clients, clusters.

Invariant: it lands once, on the loop's thread, and its task wakes once.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Hashable, Mapping, Sequence
from numbers import Real
from typing import Any, final

from outcome import Error, Value

from creche._errors import CallCrashed
from creche._far._pickling import Part
from creche._parking import ParkingForOne

from . import _dask_worker as far

OPTIONS = ("resources", "workers", "allow_other_workers", "priority", "annotations")
"""The `place_options` that there are."""

_KNOWN = frozenset(OPTIONS) - {"annotations"}

Group = tuple[tuple[str, Any], ...]
"""Options, as what can be compared."""


@final
class Stopped:
    """What has landed instead of an outcome: the call was stopped, as it was asked to."""


STOPPED = Stopped()


@final
class Unfed:
    """What has landed instead of an outcome: it has not begun, as one of its inputs has been lost."""


UNFED = Unfed()


@final
class Strayed:
    """What has landed instead of an outcome: a cancellation came out of the call that nobody made."""


STRAYED = Strayed()

Landed = Value[Any] | Error | Exception | Stopped | Unfed | Strayed


@final
class Flight(ParkingForOne):
    """One call.

    Attributes:
        key: of the call.
        mark: names it on the workers: the same in each attempt to send it.
        dask_key: names it to Dask, in this attempt.
        blob: what is sent.
        options: for `client.map`.
        inputs: futures of Dask's, of other calls whose answers it takes.
        keep: told of the flight when it lands with a value, while it has its future still.
        group: the same, to be compared.
        future: of Dask's, while it is out.
        sent: whether Dask has it, or is being given it.
        dropped: whether it is not to be sent any more.
        stopping: whether it was asked to stop.
        landed: what has come of it: an outcome, an error of the place, or that it was stopped.
    """

    __slots__ = (
        "_attempts",
        "_prefix",
        "blob",
        "dask_key",
        "dropped",
        "future",
        "group",
        "inputs",
        "keep",
        "key",
        "landed",
        "mark",
        "options",
        "sent",
        "stopping",
    )

    def __init__(
        self,
        key: Hashable,
        prefix: str,
        mark: str,
        blob: bytes,
        options: dict[str, Any],
        inputs: Sequence[Any] = (),
        keep: Callable[[Flight], object] | None = None,
    ) -> None:
        super().__init__()
        self.key = key
        self.mark = mark
        self.blob = blob
        self.options = options
        self.inputs = inputs
        self.keep = keep
        # One with inputs is sent by itself: Dask may refuse it, for they may be lost by then.
        self.group = mark if inputs else repr(options) if options else ""
        self.future: Any = None
        self.sent = self.dropped = self.stopping = False
        self.landed: Landed | None = None
        self.dask_key = f"{prefix}-{mark}"
        self._prefix = prefix
        self._attempts = 1

    def again(self, most: int) -> bool:
        """Get ready for another attempt, under another name: Dask keeps what it knows of the last one.

        Args:
            most: how many attempts there may be.

        Returns:
            False when there were so many.
        """
        if self._attempts >= most:
            return False
        self._attempts += 1
        self.dask_key = f"{self._prefix}-{self.mark}-{self._attempts}"
        self.future = None
        self.sent = False
        return True

    def crash(self, kind: str, detail: str, cause: BaseException | None = None) -> CallCrashed:
        """An error of the place, for this call."""
        crashed = CallCrashed(self.key, kind, detail)
        crashed.__cause__ = cause
        return crashed

    @property
    def is_settled(self) -> bool:
        """Whether it has landed."""
        return self.landed is not None

    def land(self, what: Landed) -> None:
        """It is back; on the loop's thread. Nothing happens if it is already."""
        if self.landed is not None:
            return
        self.landed = what
        if self.keep is not None and isinstance(what, Value):
            self.keep(self)
        self.future = self.keep = None  # the cluster forgets what nobody wants any more
        self.inputs = ()
        self.blob = b""
        self._wake_up()


@final
class _Errand:
    """Unpickled, it is the call itself: so that a scheduler needs neither creche nor the user's code."""

    __slots__ = ("_parts",)

    def __init__(self, *parts: Any) -> None:  # noqa: ANN401 - whatever is pickled
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return far.carry_out, self._parts


def errand(folder: str, mark: str, parts: Sequence[Part], inputs: int = 0) -> bytes:
    """What `pickle.loads` carries out the call with, on a worker.

    Args:
        folder: where it is marked as begun.
        mark: its name there.
        parts: the packed call.
        inputs: how many answers of other calls it takes: as the `buffers` of `pickle.loads`.

    Returns:
        a pickle.
    """
    holes = [pickle.PickleBuffer(bytearray(1)) for _ in range(inputs)]
    made = _Errand(folder, mark, list(parts), *holes)
    return pickle.dumps(made, protocol=5, buffer_callback=lambda _: False)


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the `place_options` of a call, and make of them what `client.map` is given.

    Args:
        options: what was passed.

    Returns:
        arguments of `client.map`; and what is left of `annotations`, under that name.

    Raises:
        TypeError: one is of the wrong type.
        ValueError: there is no such option, or one without another one that it needs.
    """
    found = _read(options)
    if found.get("allow_other_workers") and not found.get("workers"):
        msg = "place_options['allow_other_workers'] needs 'workers' beside it: other ones than which?"
        raise ValueError(msg)
    return found


def _read(options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in OPTIONS:
            msg = f"place_options has no {name!r} on Dask; there are {', '.join(OPTIONS)}"
            raise ValueError(msg)
        if name == "annotations":
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                msg = f"place_options['annotations'] must be a dict with names as keys, not {value!r}"
                raise TypeError(msg)
            others = {key: each for key, each in value.items() if key not in _KNOWN}
            if "retries" in others:
                msg = "place_options['annotations'] must not have 'retries': the runner retries calls"
                raise ValueError(msg)
            if others:
                found["annotations"] = others
            found = {**_read({key: value[key] for key in value if key in _KNOWN}), **found}
        else:
            _CHECKS[name](name, value)
            found[name] = value
    return found


def _is_number(given: Any) -> bool:  # noqa: ANN401 - whatever was passed
    """Whether it is one that can be compared; NaN cannot."""
    return isinstance(given, Real) and not isinstance(given, bool) and given == given  # noqa: PLR0124 - NaN is the only number that does not equal itself


def _check_resources(name: str, given: object) -> None:
    if not isinstance(given, Mapping) or not all(
        isinstance(key, str) and _is_number(value) and value >= 0 for key, value in given.items()
    ):
        _refuse(name, given, "a dict of numbers of at least 0, such as {'GPU': 1}")


def _check_workers(name: str, given: object) -> None:
    if isinstance(given, str) and given:
        return
    if not isinstance(given, (list, tuple, set, frozenset)) or not all(
        isinstance(worker, str) for worker in given
    ):
        _refuse(name, given, "the address or name of a worker, or a list of them")


def _check_bool(name: str, given: object) -> None:
    if not isinstance(given, bool):
        _refuse(name, given, "True or False")


def _check_priority(name: str, given: object) -> None:
    if not _is_number(given):
        _refuse(name, given, "a number")


def _refuse(name: str, given: object, wanted: str) -> None:
    msg = f"place_options[{name!r}] must be {wanted}, not {given!r}"
    raise TypeError(msg)


_CHECKS: dict[str, Callable[[str, object], None]] = {
    "resources": _check_resources,
    "workers": _check_workers,
    "allow_other_workers": _check_bool,
    "priority": _check_priority,
}

_numbers = itertools.count()


def next_mark(run: str) -> str:
    """A name that no other call has."""
    return f"{run}-{next(_numbers)}"
