"""Where calls run, beside the loop and threads: the places of creche's own, and what a place is.

What it is for: each place is a class of settings, which a runner is made of, or a call is given. What it
needs beside creche is imported when it is made or opened.

What it does not know: runners.
"""

from __future__ import annotations

from creche._place import Host as Host
from creche._place import OpenPlace as OpenPlace
from creche._place import Place as Place
from creche._place import Work as Work

from ._dask import DaskPlace as DaskPlace
from ._process import ProcessPlace as ProcessPlace

__all__ = ["DaskPlace", "Host", "OpenPlace", "Place", "ProcessPlace", "Work"]


def _publish() -> None:
    for name in __all__:
        globals()[name].__module__ = __name__


_publish()
