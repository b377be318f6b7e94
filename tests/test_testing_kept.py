"""`cancel_everywhere` finds what is left held of what outlives a run, in the run that has left it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import pytest

from creche.testing import CancelReport, cancel_everywhere

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


def held(report: CancelReport) -> list[int]:
    """The points at which something is."""
    return [point.number for point in report.failures for one in point.findings if one.kind == "held"]


@both
@pytest.mark.parametrize("careful", [False, True])
def test_a_lock_for_each_key(careful: bool, backend: Any) -> None:
    """The first run makes it; the one that is cancelled while it has it, and keeps it, is told of."""
    limits: dict[str, Any] = {}

    async def fn() -> None:
        limit = limits.setdefault("key", anyio.Semaphore(9))
        await limit.acquire()
        try:
            await anyio.sleep(1)
        except BaseException:
            if careful:
                limit.release()
            raise
        limit.release()

    report = cancel_everywhere(fn, backend=backend, check=False)
    if careful:
        assert report.failures == ()
        return
    waiting = [point.number for point in report.failures]
    assert held(report) == waiting
    assert waiting
    assert "Semaphore made at tests/test_testing_kept.py" in str(report)
    assert limits["key"].value == 9 - len(waiting)


@both
def test_what_others_keep(backend: Any) -> None:
    """Only the run that has left it held is told of: the next one finds it so."""
    kept: list[Any] = []

    async def fn() -> None:
        kept.append(anyio.Lock())
        if len(kept) == 2:
            kept[-1].acquire_nowait()
        await anyio.sleep(1)

    assert held(cancel_everywhere(fn, backend=backend, check=False)) == [1]


@both
def test_what_nobody_keeps(backend: Any) -> None:
    """Those of earlier runs are gone."""
    living: list[weakref.ref[Any]] = []

    async def fn() -> None:
        gc.collect()
        assert [one() for one in living] == [None] * len(living)
        lock = anyio.Lock()
        living.append(weakref.ref(lock))
        async with lock:
            await anyio.sleep(1)

    assert cancel_everywhere(fn, backend=backend).failures == ()
    assert len(living) > 2
