"""`ConcurrentTaskRunner`: how many calls run at once, and what a carrier carries over: nothing."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib
import weakref
from typing import Any

import anyio
import pytest
import trio

from calls import Gate, fail, forever, give, give_at_once, settle_down, stray
from creche import ConcurrentTaskRunner, State

pytestmark = pytest.mark.anyio

VAR: contextvars.ContextVar[Any] = contextvars.ContextVar("VAR", default="unset")


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_the_limit_is_reached_and_never_exceeded(limit: int) -> None:
    """At most so many run at once; places come free however a call ends."""
    runner = ConcurrentTaskRunner(max_workers=limit)
    gate = Gate()
    async with runner.start():
        for n in range(20):
            runner.submit_nowait(n, gate, n)
        await settle_down()
        assert gate.inside == limit
        for n in range(limit - 1):
            runner.cancel(n)
        await settle_down()
        runner.submit_nowait("bad", fail)
        runner.submit_nowait("stray", stray)
        gate.open.set()
        assert await runner.submit_nowait("last", give, 1) == 1
    assert gate.most == limit
    assert runner.statistics().running == 0


async def test_ten_thousand_calls() -> None:
    """Each is handed back once, with its own value."""
    runner = ConcurrentTaskRunner()
    async with runner.start():
        slots = [runner.submit_nowait(n, give, n) for n in range(10_000)]
        assert [await slot for slot in slots] == list(range(10_000))
    assert runner.statistics().completed == 10_000


async def test_calls_see_a_copy_of_their_submitters_context() -> None:
    """What one call sets, no other call and no submitter sees; equal objects are not mixed up."""
    runner = ConcurrentTaskRunner(max_workers=1)
    seen: list[Any] = []

    async def look() -> None:
        seen.append(VAR.get())
        VAR.set("leak")

    boxes: list[list[int]] = [[], [], []]
    async with runner.start():
        for n, box in enumerate(boxes):
            VAR.set(box)
            runner.submit_nowait(n, look)
        await runner.wait(2)
        VAR.set(boxes[0])
        await runner.result(runner.submit_nowait("idle carrier", look))
        assert VAR.get() is boxes[0]
    assert [id(box) for box in seen] == [id(box) for box in (*boxes, boxes[0])]


async def test_a_carrier_carries_nothing_over() -> None:
    """After a cancelled, a failed and a stray call the next one starts clean."""
    runner = ConcurrentTaskRunner(max_workers=1)

    async def look() -> tuple[bool, float]:
        try:
            cancelling = asyncio.current_task().cancelling()  # type: ignore[union-attr]  # there is one
        except RuntimeError:
            cancelling = 0
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught and not cancelling, anyio.current_effective_deadline()

    async with runner.start():
        for n, call in enumerate((forever, fail, stray, forever)):
            runner.submit_nowait(n, call)
            await settle_down()
            runner.cancel(n)
            await runner.wait(n)
            assert await runner.submit_nowait(None, look) == (True, float("inf"))


async def test_an_idle_carrier_holds_nothing_of_its_last_call() -> None:
    """No frame, exception or value of it is kept."""
    runner = ConcurrentTaskRunner(max_workers=1, retain=False)

    class Big:
        """Something that can be watched."""

    async def hold(fails: bool) -> Any:
        big = Big()
        refs.append(weakref.ref(big))
        await anyio.lowlevel.checkpoint()
        if fails:
            raise ValueError(big)
        return big

    refs: list[weakref.ref[Big]] = []
    async with runner.start():
        for fails in (False, True):
            await runner.submit_nowait(None, hold, fails).wait(None)
        await settle_down()
        gc.collect()
        assert [ref() for ref in refs] == [None, None]


async def test_calls_that_never_wait_do_not_hold_up_the_loop() -> None:
    """A carrier that is given call after call lets other tasks run in between."""
    runner = ConcurrentTaskRunner(max_workers=1, retain=False)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as group, runner.start():
        group.start_soon(count_turns)
        last = [runner.submit_nowait(n, give_at_once) for n in range(1_000)][-1]
        await last
        group.cancel_scope.cancel()
    assert turns > 20


@pytest.mark.trio
async def test_carriers_are_reused_on_trio() -> None:
    """Calls that come one after another are carried by one task."""
    runner = ConcurrentTaskRunner()
    tasks: set[int] = set()

    async def note() -> None:
        tasks.add(id(trio.lowlevel.current_task()))

    async with runner.start():
        for n in range(50):
            await runner.submit_nowait(n, note)
            await settle_down()
        assert runner.statistics().carriers == 1
        assert runner.statistics().carriers_idle == 1
    assert len(tasks) == 1


async def test_each_call_has_a_task_of_its_own_on_asyncio(anyio_backend_name: str) -> None:
    """A `Task.cancel` kept from one call cannot hit another."""
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    runner = ConcurrentTaskRunner(max_workers=1)
    tasks: list[asyncio.Task[Any]] = []

    async def note() -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]  # in a task there is one

    async with runner.start():
        for n in range(5):
            await runner.submit_nowait(n, note)
        second = runner.submit_nowait("second", forever)
        await settle_down()
        for task in tasks:
            task.cancel()
        await settle_down()
        assert second.state is State.RUNNING
        runner.cancel("second")
    assert len(set(tasks)) == 5


async def test_submitting_from_a_callback_of_asyncio(anyio_backend_name: str) -> None:
    """`submit_nowait` and `cancel` work in a callback, where no task is running."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has no callbacks")
    runner = ConcurrentTaskRunner()

    def submit() -> None:
        runner.submit_nowait("a", give, 1)
        runner.cancel("b")

    async with runner.start():
        runner.submit_nowait("b", forever)
        await settle_down()
        asyncio.get_running_loop().call_soon(submit)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await runner.result("a") == 1
    assert runner.slots["b"].origin == "cancel"


def test_asyncio_without_sniffio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio brings it along, and may not for ever; a call whose submitter runs in a task needs none."""
    primitives = importlib.import_module("creche._backends._primitives")
    monkeypatch.setattr(primitives, "_LIBRARY", None)
    backend = importlib.import_module("creche._backends._asyncio")
    public = backend.BACKEND._replace(**primitives.PUBLIC._asdict())
    monkeypatch.setattr(backend, "BACKEND", public)
    monkeypatch.setattr(backend, "KNOWN", False)

    async def main() -> Any:
        async with ConcurrentTaskRunner().start() as runner:
            assert await runner.submit_nowait("plain", len, "abcd") == 4
            return await runner.submit_nowait("k", give, 3)

    assert asyncio.run(main()) == 3


async def test_one_error_of_several_calls() -> None:
    """Raised by two calls, and again in the next run, it is in a group once, and notes each key."""
    runner = ConcurrentTaskRunner(on_error="cancel")
    error = KeyError("the same")

    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    for _ in range(2):
        with pytest.raises(ExceptionGroup) as caught:
            async with runner.start():
                runner.submit_nowait("b", fail_when_cancelled)
                await settle_down()
                runner.submit_nowait("a", fail, error)
        assert caught.value.exceptions == (error,)
        assert error.__notes__ == ["in call 'a'", "in call 'b'"]


async def test_a_wait_after_the_run() -> None:
    """A slot that has settled is read then, too, on whatever loop."""
    runner = ConcurrentTaskRunner()
    async with runner.start():
        slot = runner.submit_nowait("k", give)
    assert slot.home.is_cancel_due()  # as far as is known: a wait asks the loop that runs then
    assert (await runner.wait(slot)).unwrap() == await slot == 1
