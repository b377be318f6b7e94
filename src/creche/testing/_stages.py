"""Which stage: by name, or where we are."""

from __future__ import annotations

from typing import Any, Literal

from creche._backends import detect
from creche._checks import check_choice

from ._on_asyncio import ASYNCIO, AsyncioStage
from ._on_trio import TRIO, TrioStage

BackendName = Literal["trio", "asyncio"]
Stage = TrioStage | AsyncioStage

_STAGES: dict[str, Any] = {"trio": TRIO, "asyncio": ASYNCIO}


def stage_named(backend: str) -> Stage:
    """The stage of that name.

    Raises:
        ValueError: there is none.
    """
    check_choice("backend", backend, tuple(_STAGES))
    stage: Stage = _STAGES[backend]
    return stage


def stage_here() -> Stage:
    """The stage of the loop that runs here."""
    return stage_named(detect().name)
