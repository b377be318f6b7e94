"""What users test their own concurrent code with: leaks, cancellations everywhere, virtual time, orders.

`leaks` compares before and after. `cancel_everywhere` runs a function once for each point at which it
can be cancelled. `run_virtual` runs one in virtual time. `explore` runs one under many orders of its
tasks. `ScriptedRunner` is a runner whose calls end as a script says. `creche.testing.contract` has the
tests that every runner passes; with the pytest plugin it is the only one that needs pytest.
`creche.testing.stateful` has state machines for hypothesis, and is the only one that needs it.

A name is loaded when it is first asked for: the plugin is imported by every pytest there is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._asyncio_loop import VirtualTimeLoop as VirtualTimeLoop
    from ._clock import HungError as HungError
    from ._everywhere import cancel_everywhere as cancel_everywhere
    from ._explore import ExploreError as ExploreError
    from ._explore import ExploreReport as ExploreReport
    from ._explore import explore as explore
    from ._findings import CancelError as CancelError
    from ._findings import CancelReport as CancelReport
    from ._findings import Finding as Finding
    from ._findings import PointReport as PointReport
    from ._leaks import LeakError as LeakError
    from ._leaks import leaks as leaks
    from ._placed import PlaceTaskRunner as PlaceTaskRunner
    from ._schedules import schedules as schedules
    from ._scripted import Asked as Asked
    from ._scripted import ScriptedRunner as ScriptedRunner
    from ._scripted import Step as Step
    from ._scripted import crashes as crashes
    from ._scripted import fails as fails
    from ._scripted import never as never
    from ._scripted import returns as returns
    from ._trio_clock import VirtualClock as VirtualClock
    from ._virtual import run_virtual as run_virtual
    from ._virtual import virtual_time as virtual_time

__all__ = [
    "Asked",
    "CancelError",
    "CancelReport",
    "ExploreError",
    "ExploreReport",
    "Finding",
    "HungError",
    "LeakError",
    "PlaceTaskRunner",
    "PointReport",
    "ScriptedRunner",
    "Step",
    "VirtualClock",
    "VirtualTimeLoop",
    "cancel_everywhere",
    "crashes",
    "explore",
    "fails",
    "leaks",
    "never",
    "returns",
    "run_virtual",
    "schedules",
    "virtual_time",
]

# Where they are.
_FROM: dict[str, tuple[str, ...]] = {
    "_clock": ("HungError",),
    "_everywhere": ("cancel_everywhere",),
    "_explore": (
        "ExploreError",
        "ExploreReport",
        "explore",
    ),
    "_findings": (
        "CancelError",
        "CancelReport",
        "Finding",
        "PointReport",
    ),
    "_leaks": (
        "LeakError",
        "leaks",
    ),
    "_asyncio_loop": ("VirtualTimeLoop",),
    "_placed": ("PlaceTaskRunner",),
    "_schedules": ("schedules",),
    "_scripted": (
        "Asked",
        "ScriptedRunner",
        "Step",
        "crashes",
        "fails",
        "never",
        "returns",
    ),
    "_trio_clock": ("VirtualClock",),
    "_virtual": (
        "run_virtual",
        "virtual_time",
    ),
}
_HOME = {name: module for module, names in _FROM.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is public
    """Load what a public name stands for when it is first asked for."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    value.__module__ = __name__
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
