"""What cancelling creche's functions everywhere has found, each once more by itself, on every loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskStatus

from calls import fail, forever, settle_down
from creche import ConcurrentTaskRunner, Slot, flow, task
from creche.testing import PlaceTaskRunner
from elsewhere import Elsewhere
from limiting import limiter_of

pytestmark = pytest.mark.anyio


async def turns() -> None:
    """Let others run; not until all wait, which they may never do."""
    for _ in range(100):
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def limited_without_a_place(limiter: Any) -> AsyncIterator[tuple[Slot[None], anyio.Event]]:
    """A call that needs a limiter, which has come free while another one has the only place."""
    limiter.acquire_on_behalf_of_nowait("other code")
    go_on = anyio.Event()
    async with ConcurrentTaskRunner(1, limits={"gpu": limiter}).start() as runner:
        slot = runner.submit_nowait("limited", anyio.lowlevel.checkpoint, limits=["gpu"])
        await settle_down()
        runner.submit_nowait("in its place", go_on.wait)
        await settle_down()
        limiter.release_on_behalf_of("other code")
        await turns()
        yield slot, go_on


@pytest.mark.usefixtures("real_time")
async def test_a_limiter_that_is_free_while_no_place_is(
    anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once, and again when there is a place: not over and over until then."""
    limiter = limiter_of(anyio_backend_name, 1)
    asked: list[Any] = []
    acquire: Callable[[Any, Any], Awaitable[None]] = type(limiter).acquire_on_behalf_of

    async def counted(self: Any, borrower: Any) -> None:
        asked.append(borrower)
        await acquire(self, borrower)

    monkeypatch.setattr(type(limiter), "acquire_on_behalf_of", counted)
    async with limited_without_a_place(limiter) as (slot, go_on):
        assert len(asked) == 1
        assert limiter.borrowed_tokens == 0
        go_on.set()
        await slot
    assert limiter.borrowed_tokens == 0


async def test_a_limiter_that_is_taken_again_while_no_place_is(anyio_backend_name: str) -> None:
    """The call stands in its line once more when there is a place, and comes to its turn."""
    limiter = limiter_of(anyio_backend_name, 1)
    async with limited_without_a_place(limiter) as (slot, go_on):
        limiter.acquire_on_behalf_of_nowait("other code")
        go_on.set()
        await settle_down()
        assert not slot.done
        limiter.release_on_behalf_of("other code")
        await slot


class Late:
    """Makes a call settle, by a cancellation, while its waiter is being cancelled, too."""

    def __init__(self, wait: Callable[[ConcurrentTaskRunner, Slot[Any]], Awaitable[Any]]) -> None:
        self.wait = wait
        self.came: BaseException | None = None

    async def run(self) -> None:
        """The call is cut, and then a scope around its waiter is cancelled, which is woken already."""
        async with ConcurrentTaskRunner().start() as runner:
            slot = runner.submit_nowait("cut", forever)
            async with anyio.create_task_group() as group:
                group.start_soon(self._wait, runner, slot)
                await settle_down()
                slot.add_done_callback(lambda _: group.cancel_scope.cancel())
                runner.cancel("cut")
                await settle_down()

    async def _wait(self, runner: ConcurrentTaskRunner, slot: Slot[Any]) -> None:
        try:
            await self.wait(runner, slot)
        except BaseException as exc:
            self.came = exc
            raise


WAITS: dict[str, Callable[[ConcurrentTaskRunner, Slot[Any]], Awaitable[Any]]] = {
    "await slot": lambda _, slot: slot._wait_for_result(),
    "result": lambda runner, _: runner.result("cut"),
}


@pytest.mark.parametrize("name", WAITS)
async def test_a_waiter_that_is_cancelled_with_what_it_waits_for(name: str) -> None:
    """Being cancelled comes first: not a `CallCancelled`, which no scope would take for its own."""
    late = Late(WAITS[name])
    await late.run()
    assert isinstance(late.came, anyio.get_cancelled_exc_class())


async def cut_while_cancelled(fn: Callable[[ConcurrentTaskRunner], Awaitable[Any]]) -> BaseException:
    """What comes out of a wait for calls all of which are cut as it is cancelled itself."""
    came: list[BaseException] = []

    async def wait(runner: ConcurrentTaskRunner) -> None:
        try:
            await fn(runner)
        except BaseException as exc:
            came.append(exc)
            raise

    async with ConcurrentTaskRunner().start() as runner, anyio.create_task_group() as group:
        group.start_soon(wait, runner)
        await settle_down()
        for slot in list(runner.slots.values())[-1:]:
            slot.add_done_callback(lambda _: group.cancel_scope.cancel())
        runner.cancel_all()
        await settle_down()
    return came[0]


async def a_handle(runner: ConcurrentTaskRunner) -> None:
    """Of a child of a task group."""
    handle: Any = runner.as_task_group().create_task(forever())
    await handle


async def a_start(runner: ConcurrentTaskRunner) -> None:
    """Of a child that is not ready yet."""

    async def child(*, task_status: TaskStatus[None]) -> None:
        del task_status
        await forever()

    await runner.as_task_group().start(child)


@pytest.mark.parametrize(
    "fn",
    [
        lambda runner: runner.map(lambda _: forever(), [1]),
        lambda runner: runner.race(forever, forever),
        a_handle,
        a_start,
    ],
    ids=["map", "race", "handle", "start"],
)
async def test_many_that_are_cancelled_with_who_waits_for_them(fn: Any) -> None:
    """The same, of what waits for calls of its own."""
    came = await cut_while_cancelled(fn)
    assert isinstance(came, anyio.get_cancelled_exc_class())


async def test_a_native_cancellation_that_gives_way_in_a_task_group(anyio_backend_name: str) -> None:
    """As in a runner: the next await is cancelled."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has only scopes, whose cancellation stays")
    seen: list[str] = []

    async def main() -> None:
        async with ConcurrentTaskRunner().start() as runner:
            try:
                async with runner.as_task_group() as group:
                    group.start_soon(fail)
                    await forever()
            except* ValueError:
                seen.append("failed")
            await anyio.lowlevel.checkpoint()
            seen.append("was not cancelled")

    running = asyncio.create_task(main())
    while "failed" not in seen and not running.done():
        slots = [slot for slot in asyncio.all_tasks() if slot.get_name() == "creche carrier"]
        await asyncio.sleep(0)
        if slots:
            running.cancel()
            break
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "was not cancelled" not in seen


@pytest.mark.usefixtures("real_time")
async def test_a_native_cancellation_after_a_flow_in_a_thread(anyio_backend_name: str) -> None:
    """The value is given, as promised, and the next await is cancelled."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has only scopes, whose cancellation stays")
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    go_on = threading.Event()
    got: list[int] = []

    @flow
    def program() -> int:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)
        return 1

    async def main() -> None:
        got.append(await program.run_async())
        await anyio.lowlevel.checkpoint()
        got.append(2)

    running = asyncio.create_task(main())
    await begun.wait()
    running.cancel()
    loop.call_later(0.02, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert got == [1]


@pytest.mark.usefixtures("real_time")
async def test_a_native_cancellation_of_a_flow_in_a_thread(anyio_backend_name: str) -> None:
    """It comes out, and not what the body makes of the end of its runner."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has only scopes, whose cancellation stays")
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    @task
    async def waits() -> None:
        await anyio.sleep_forever()

    @flow
    def program() -> None:
        slot = waits.submit()
        loop.call_soon_threadsafe(begun.set)
        slot.result()

    running = asyncio.create_task(program.run_async())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_run_whose_place_does_not_open() -> None:
    """It is not told to have closed: nobody was told that it had begun."""
    heard: list[str] = []

    class Listener:
        def runner_started(self, _: Any) -> None:
            heard.append("started")

        def runner_closed(self, _: Any) -> None:
            heard.append("closed")

    place = Elsewhere()
    place.fails_to_open = OSError("no such host")
    runner = PlaceTaskRunner(place, instruments=[Listener()])  # type: ignore[list-item]  # it hears some events only
    with pytest.raises(OSError, match="no such host"):
        await runner.start().__aenter__()
    assert heard == []
    place.fails_to_open = None
    async with runner.start():
        pass
    assert heard == ["started", "closed"]


@pytest.mark.parametrize("when", ["before the exit", "in the exit"])
async def test_a_native_cancellation_that_gives_way_to_a_failure(
    anyio_backend_name: str, when: str
) -> None:
    """Whoever sees to the failure is cancelled at the next await, as after asyncio's own task group."""
    if anyio_backend_name == "trio":
        pytest.skip("trio has only scopes, whose cancellation stays")
    seen: list[str] = []
    before = asyncio.Event()

    async def reluctant() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            if when == "in the exit":
                before.set()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)

    async def main() -> None:
        try:
            async with ConcurrentTaskRunner(on_error="cancel").start() as runner:
                runner.submit_nowait("reluctant", reluctant)
                await settle_down()
                runner.submit_nowait("fails", fail)
                if when == "before the exit":
                    before.set()
                await forever()
        except* ValueError:
            seen.append("failed")
        seen.append("goes on")
        await anyio.lowlevel.checkpoint()
        seen.append("was not cancelled")

    running = asyncio.create_task(main())
    await before.wait()
    if when == "before the exit":
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert seen == ["failed", "goes on"]
