"""Flows where a loop is running: `run_async`, of sync ones and async ones."""

from __future__ import annotations

import sys
import threading
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from creche import (
    CallCancelled,
    flow,
)
from flowing import add, forever

each_loop = pytest.mark.anyio


async def cancel_when(begun: threading.Event, scope: Any) -> None:
    await anyio.to_thread.run_sync(begun.wait, 20)
    scope.cancel()


# run_async ----------------------------------------------------------------------------------------


@each_loop
async def test_a_sync_flow_on_a_running_loop(real_time: None) -> None:
    """Its body runs in a thread, its tasks on a loop of their own; the loop here goes on."""
    here = threading.get_ident()

    @flow
    def body(n: int, *, more: int) -> tuple[int, bool]:
        return add(n, more), threading.get_ident() == here

    @flow
    def raises() -> None:
        add.submit(1, 1)
        raise LookupError("body")

    @flow
    async def already(n: int) -> int:
        return await add.submit(n, 1)

    assert await body.run_async(1, more=2) == (3, False)
    assert await already.run_async(2) == 3
    with pytest.raises(LookupError, match="body"):
        await raises.run_async()
    with pytest.raises(SystemExit):
        await flow(sys.exit, name="exits").run_async(3)


@each_loop
async def test_a_sync_flow_whose_awaiter_is_cancelled(real_time: None) -> None:
    """What is left of it is cancelled, and the body waited for."""
    heard: list[BaseException] = []
    begun = threading.Event()

    @flow
    def body() -> None:
        slot = forever.submit()
        begun.set()
        try:
            slot.result()
        except CallCancelled as exc:
            heard.append(exc)
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(cancel_when, begun, group.cancel_scope)
        await body.run_async()
    (error,) = heard
    assert "the code that awaited flow 'body' was cancelled" in str(error)


@each_loop
async def test_a_value_beats_a_late_cancel(real_time: None) -> None:
    """Of a body that returns although it was being cancelled."""
    values: list[int] = []
    begun = threading.Event()

    @flow
    def body() -> int:
        begun.set()
        threading.Event().wait(0.05)
        return 3

    async with anyio.create_task_group() as group:
        group.start_soon(cancel_when, begun, group.cancel_scope)
        values.append(await body.run_async())
    assert values == [3]
