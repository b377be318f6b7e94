"""A place for tests that takes work without a task, and ends it when it is told to.

What it does not know: runners.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from outcome import Value

from creche import ConcurrentTaskRunner
from creche._place import Host, OpenPlace, Place, SendingPlace, Work


class Parcel:
    """Work on its way."""

    def __init__(self, post: Post, work: Work, owner: Any) -> None:
        self.post = post
        self.work = work
        self.owner = owner
        self.has_begun = self.is_to_stop = False
        self.came: tuple[bool, Any] | BaseException | None = None

    def cancel(self) -> bool:
        self.is_to_stop = True
        self.post.cancelled.append(self.work.key)
        if not self.has_begun:
            self.post.parcels.remove(self)
        return not self.has_begun

    def outcome(self) -> tuple[bool, Any] | None:
        if isinstance(self.came, BaseException):
            raise self.came
        return self.came


class Post(Place):
    """A place that carries out what it is told to, when it is told to."""

    def __init__(self, capacity: int | None = None) -> None:
        self.name = "post"
        self.capacity = capacity
        self.parcels: list[Parcel] = []
        self.run_by_task: list[Any] = []
        self.cancelled: list[Any] = []
        self.tell: Any = None
        self.refuses: BaseException | None = None
        self.closes = anyio.Event()
        self.when_sent: Callable[[], object] = lambda: None

    @asynccontextmanager
    async def open(self, host: Host) -> AsyncIterator[OpenPlace]:
        del host
        async with anyio.create_task_group() as group:
            group.start_soon(self._until_closed, group)
            yield OpenPost(self)
            group.cancel_scope.cancel()
        assert not self.parcels, "a place outlasts its work"

    async def _until_closed(self, group: Any) -> None:
        await self.closes.wait()
        group.cancel_scope.cancel()

    def keys(self) -> list[Any]:
        """Of what is on its way."""
        return [parcel.work.key for parcel in self.parcels]

    def begin(self, *keys: Any) -> None:
        """Begin with work."""
        for parcel in self.parcels:
            parcel.has_begun |= parcel.work.key in keys

    def end(self, *ends: tuple[Any, Any]) -> None:
        """Tell of work that has ended: each with its key, and what came of it; `...` for its value."""
        ended = []
        for key, came in ends:
            parcel = next(one for one in self.parcels if one.work.key == key)
            self.parcels.remove(parcel)
            parcel.has_begun = True
            work = parcel.work
            parcel.came = (True, work.fn(*work.args)) if came is ... else came
            ended.append(parcel)
        self.tell(ended)


class OpenPost(SendingPlace):
    """That, while it is open."""

    def __init__(self, place: Post) -> None:
        self._place = place

    async def run(self, work: Work) -> Value[Any]:
        self._place.run_by_task.append(work.key)
        return Value(work.fn(*work.args))

    def send(self, work: Work, owner: object, tell: Callable[[list[Any]], object]) -> Parcel:
        place = self._place
        place.tell = tell
        if place.refuses is not None:
            raise place.refuses
        parcel = Parcel(place, work, owner)
        place.parcels.append(parcel)
        place.when_sent()
        return parcel


def owner(place: Post, **options: Any) -> ConcurrentTaskRunner:
    """A runner all of whose calls go there."""
    runner = ConcurrentTaskRunner(place.capacity, **options)
    runner._options = runner._options._replace(place=place)
    return runner
