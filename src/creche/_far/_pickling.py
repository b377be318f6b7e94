"""Values as bytes and back: quickly for plain ones, with cloudpickle for the rest.

What it is for: a parcel is a list of bytes-like parts. The first is a pickle; the others are large
buffers of arrays, which a transport can send from where they are.

What it does not know: what a parcel holds, and how it travels.

Invariant: cloudpickle is imported when something is pickled that needs it, and not before: it costs
twice what a worker costs without it. Loading asks for it by itself.
"""

from __future__ import annotations

import copyreg
import functools
import importlib
import io
import operator
import pickle
from collections.abc import Callable, Iterable, Sequence
from mmap import mmap
from typing import Any, TypeAlias

Part: TypeAlias = bytes | bytearray | memoryview | mmap

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types whose values no pickler needs to look into. Subclasses are not among them."""

_CACHED = type(functools.lru_cache(len))

LARGE = 16_384
"""Bytes from which a buffer travels by itself; below, copying it is cheaper than handling it."""


def are_plain(values: Iterable[object]) -> bool:
    """Whether the quick pickler is right for all of these."""
    for value in values:  # noqa: SIM110 - a generator would cost more than the loop
        if type(value) not in PLAIN:
            return False
    return True


def dump_plain(value: object) -> bytes:
    """Pickle what is known to be plain, or tuples of it."""
    return pickle.dumps(value, 5)


def dump(value: object, *, in_band: bool = False) -> list[Part]:
    """Pickle anything: functions and classes of `__main__`, lambdas and closures by value.

    Args:
        value: what to pickle.
        in_band: give a single part, for a transport that wants one.

    Returns:
        the parts; those after the first may be views of memory that the value uses.
    """
    if in_band:
        return [_dumps(value, None)]
    buffers: list[Part] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < LARGE:
            return True
        buffers.append(view)
        return False

    return [_dumps(value, keep), *buffers]


def _dumps(value: object, keep: Callable[[pickle.PickleBuffer], bool] | None) -> bytes:
    file = io.BytesIO()
    _pickler()(file, 5, buffer_callback=keep).dump(value)
    return file.getvalue()


@functools.cache
def _pickler() -> Any:  # noqa: ANN401 - a class of cloudpickle's, which has no types
    cloudpickle = importlib.import_module("cloudpickle")

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc, name-defined]  # cloudpickle has no types
        """Takes cached functions of `__main__` along as well, each with an empty cache.

        An exception it takes as that itself wants to be pickled, whatever others want.
        """

        def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - as `pickle` has it
            if type(obj) is _CACHED and obj.__module__ == "__main__":
                # Of the standard library only: what is in here is not on the other side.
                return operator.call, (functools.lru_cache(**obj.cache_parameters()), obj.__wrapped__)
            if isinstance(obj, BaseException) and _is_changed(type(obj)):
                return obj.__reduce_ex__(5)
            return super().reducer_override(obj)

    return Pickler


def _is_changed(kind: type) -> bool:
    """Whether pickling exceptions of a class was changed by tblib, which distributed loads.

    It makes them again without calling their class, so that a SyntaxError says nothing any more.
    """
    reducer = copyreg.dispatch_table.get(kind)
    return getattr(reducer, "__module__", "").startswith("tblib.")


def load(parts: Sequence[Part]) -> Any:  # noqa: ANN401 - whatever was pickled
    """What `dump` was given. It may use the memory of the parts."""
    if len(parts) == 1:
        return pickle.loads(parts[0])  # noqa: S301 - a parcel of our own
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301 - as above


def why_not(value: object) -> str | None:
    """What the pickler says of something; `None` when it has nothing to say."""
    try:
        dump(value)
    except KeyboardInterrupt:  # not the value's
        raise
    except BaseException as exc:  # noqa: BLE001 - told as it is
        return f"{type(exc).__name__}: {exc}"
    return None
