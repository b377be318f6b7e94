"""The pool of worker processes, opened and closed with a run.

What it is for: it has a nursery of its own, for what looks after the workers.

What it does not know: calls, and how workers live.

Invariant: when it has been left no worker is there; also when entering it has failed.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractAsyncContextManager
from contextvars import copy_context
from types import TracebackType
from typing import Any, final

from creche._backends import detect
from creche._errors import CallCrashed
from creche._far._pickling import Part, dump_plain
from creche._ki import protected
from creche._place import Host, Work

from ._pool import Pool, Terms
from ._process import ProcessPlace, resolve
from ._requests import pack


@final
class Opening:
    """One run's pool."""

    def __init__(self, place: ProcessPlace, host: Host) -> None:
        self._place = place
        self._host = host
        self._nursery: AbstractAsyncContextManager[Any] | None = None
        self._scope: Any = None
        self._pool: Pool | None = None
        self._initializer: Part = b""

    @protected
    async def __aenter__(self) -> Pool:
        place, backend = self._place, detect()
        self._initializer = self._pack_initializer()
        terms = Terms(
            most=place.workers,
            max_calls=place.max_calls,
            grace=place.kill_grace,
            batch=place.batch,
            variables=[((module, name), resolve(module, name)) for module, name in place.variables],
        )
        self._nursery = backend.open_nursery()
        nursery = await self._nursery.__aenter__()
        self._scope = nursery.cancel_scope
        self._pool = pool = Pool(self._host, backend, nursery, terms, self._settings)
        try:
            await pool.prewarm(max(place.prewarm, 0 if place.initializer is None else 1))
        except BaseException:
            await self._close()
            raise
        return pool

    @protected
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        assert self._pool is not None
        assert self._nursery is not None
        self._pool.crew.close()
        # What looks after a worker does not hear of it before that has ended.
        self._scope.cancel()
        await self._nursery.__aexit__(None, None, None)
        self._pool.lose_rest()

    def _pack_initializer(self) -> Part:
        initializer = self._place.initializer
        fn = _nothing if initializer is None else initializer
        work = Work("initializer", fn, (), is_async=False, context=copy_context())
        try:
            return pack(work, None, in_band=True)[0]
        except CallCrashed as crash:
            msg = f"initializer cannot be sent to a worker process: {crash.detail}"
            raise TypeError(msg) from crash.__cause__

    def _settings(self) -> list[Part]:
        """What a new worker is told."""
        settings = {
            "parent": os.getpid(),
            "path": list(sys.path),
            "argv": list(sys.argv),
            "graceful": self._place.kill_grace > 0,
            "initializer": [self._initializer],
        }
        return [dump_plain(settings)]


_nothing = bool  # called without arguments it does nothing, and it is found everywhere
