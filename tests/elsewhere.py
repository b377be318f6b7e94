"""A place for tests: it is in this very process, and does what the work asks it for.

What it does not know: runners. It is written as somebody else would write one, against `creche.places`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
from outcome import Error, Value

from creche import CallCrashed, ConcurrentTaskRunner
from creche._place import Host, OpenPlace, Place, Work


class Elsewhere(Place):
    """Keeps books of what is done with it."""

    def __init__(self, name: str = "elsewhere", capacity: int | None = None) -> None:
        self.name = name
        self.capacity = capacity
        self.log: list[str] = []
        self.fails_to_open: BaseException | None = None
        self.fails_to_close: Exception | None = None
        self.opens_after = 0.0
        self.instead: Callable[[], Awaitable[None]] | None = None
        self.host: Host | None = None
        self.running = 0
        self.most = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Elsewhere) and (self.name, self.capacity) == (
            other.name,
            other.capacity,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(type(self)(self.name, self.capacity))}

    def __hash__(self) -> int:
        return hash(self.name)

    @asynccontextmanager
    async def open(self, host: Host) -> AsyncIterator[OpenPlace]:
        """Open it, or not."""
        self.host = host
        self.log.append("open")
        try:
            await anyio.sleep(self.opens_after)
            if self.fails_to_open is not None:
                raise self.fails_to_open
            yield OpenElsewhere(self)
            if self.fails_to_close is not None:
                raise self.fails_to_close
        finally:
            assert self.running == 0, "a place outlasts its work"
            self.log.append("closed")


class OpenElsewhere(OpenPlace):
    """That, while it is open."""

    def __init__(self, place: Elsewhere) -> None:
        self._place = place

    async def run(self, work: Work) -> Value[Any] | Error:
        """Do the work on the loop; the options say how the place itself behaves."""
        place = self._place
        place.running += 1
        place.most = max(place.most, place.running)
        place.log.append(f"run {work.key}")
        try:
            if work.options.get("crash"):
                raise CallCrashed(work.key, "worker-died", "its worker was killed", -9)
            if work.options.get("break"):
                raise OSError("the line is dead")
            if "raises" in work.options:
                raise work.options["raises"]
            if "gives" in work.options:
                return cast("Value[Any]", work.options["gives"])
            if place.instead is not None:
                await place.instead()
            await anyio.sleep(work.options.get("takes", 0.01))
            try:
                value = work.fn(*work.args)
                return Value(await value if work.is_async else value)
            except Exception as exc:
                return Error(exc)
        except anyio.get_cancelled_exc_class():
            place.log.append(f"stop {work.key}")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            if "late" in work.options:
                return Value(work.options["late"])
            raise
        finally:
            place.running -= 1


def owner(place: Elsewhere, **options: Any) -> ConcurrentTaskRunner:
    """A runner all of whose calls go to a place."""
    runner = ConcurrentTaskRunner(place.capacity, **options)
    runner._options = runner._options._replace(place=place)
    return runner


def ran(place: Elsewhere) -> list[str]:
    """What was handed to a place."""
    return [line.removeprefix("run ") for line in place.log if line.startswith("run ")]
