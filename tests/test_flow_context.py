"""Context variables of whoever calls a sync flow: its runner is opened among them, on another thread."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from creche import ConcurrentTaskRunner, flow
from creche.instruments import Instrument, RunnerEvent
from flowing import ON_BOTH, add

OUTSIDE: ContextVar[str] = ContextVar("OUTSIDE", default="unset")
INSIDE: ContextVar[str] = ContextVar("INSIDE", default="unset")


class Setting(Instrument):
    """Sees what the caller has set, and sets another."""

    seen = ""

    def runner_started(self, event: RunnerEvent) -> None:
        self.seen = OUTSIDE.get()
        INSIDE.set("of the run")


@ON_BOTH
def test_what_is_seen_where(backend: Any) -> None:
    """The run sees what its caller has set, and the body what the opening of the run has; no longer."""
    instrument = Setting()
    runner = ConcurrentTaskRunner(instruments=[instrument])

    @flow(task_runner=runner, backend=backend)
    def body() -> Any:
        return OUTSIDE.get(), INSIDE.get(), add.submit(1, 2).result()

    token = OUTSIDE.set("of the caller")
    try:
        assert body() == ("of the caller", "of the run", 3)
    finally:
        OUTSIDE.reset(token)
    assert instrument.seen == "of the caller"
    assert INSIDE.get() == "unset"


@ON_BOTH
def test_a_flow_in_a_flow(backend: Any) -> None:
    """What tells where code of creche's runs is not taken along: the inner one has a loop of its own."""

    @flow(task_runner=ConcurrentTaskRunner(1), backend=backend)
    def inner() -> int:
        return sum(slot.result() for slot in [add.submit(n, n) for n in range(3)])

    @flow(task_runner=ConcurrentTaskRunner(1), backend=backend)
    def outer() -> int:
        return inner() + add.submit(1, 1).result()

    assert outer() == 8
