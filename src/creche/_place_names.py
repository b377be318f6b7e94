"""The places that have names, and where their code is.

What it is for: `place="process"` means the same everywhere, and loads what processes need only then.

What it does not know: what is in there.

Invariant: whatever a named place needs is imported by naming it, and not before.
"""

from __future__ import annotations

import importlib

from ._place import Place
from ._thread_loops import ThreadLoops

_CODE = {
    "process": ("creche.places", "ProcessPlace"),
    "dask": ("creche.places", "DaskPlace"),
}


def place_named(name: str) -> Place:
    """Make a place with the settings that it has by default.

    Args:
        name: one of those that there are.

    Returns:
        the place.

    Raises:
        ImportError: what it needs is not installed; the message says how to.
    """
    if name == "thread":
        return ThreadLoops()
    module, attribute = _CODE[name]
    place: Place = getattr(importlib.import_module(module), attribute)()
    return place
