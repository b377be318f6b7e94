"""Ctrl-C, for real: a signal that hits the body, a call, or the exit of a run."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import anyio
import pytest
import trio

from calls import fail, forever
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State
from creche._backends import by_name
from creche._backends._threads import ThreadCall
from loops import both, ctrl_c, run_asyncio, run_trio


@both
def test_in_the_body(run: Callable[[Any], None]) -> None:
    """It comes out bare, and the calls are cancelled as from outside."""
    runner = ConcurrentTaskRunner()

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait(1, forever)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            ctrl_c()
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert (runner.slots[1].state, runner.slots[1].origin) == (State.CANCELLED, "outer")


@both
def test_in_a_call(run: Callable[[Any], None]) -> None:
    """It comes out bare, and every slot is final."""
    runner = ConcurrentTaskRunner()

    async def press() -> None:
        ctrl_c()
        await anyio.sleep_forever()

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait(1, forever)
            runner.submit_nowait(2, press)
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert all(slot.done for slot in runner.slots.values())


@both
def test_while_start_waits_at_its_end(run: Callable[[Any], None]) -> None:
    """It is not lost: the calls are cancelled, and it comes out."""
    runner = ConcurrentTaskRunner()

    async def main() -> None:
        async def press_later() -> None:
            await anyio.wait_all_tasks_blocked()
            ctrl_c()

        async with anyio.create_task_group() as group, runner.start():
            runner.submit_nowait(1, forever)
            group.start_soon(press_later)

    with pytest.raises(BaseException) as caught:
        run(main)
    flat: list[BaseException] = [caught.value]
    while isinstance(flat[0], BaseExceptionGroup):
        flat = list(flat[0].exceptions)
    assert [type(error) for error in flat] == [KeyboardInterrupt]
    assert (runner.slots[1].state, runner.slots[1].origin) == (State.CANCELLED, "outer")


def test_while_start_waits_at_its_end_on_trio_comes_out_bare() -> None:
    """Trio delivers it to the main task, which is the host: bare, and once."""
    runner = ConcurrentTaskRunner()

    async def main() -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(ctrl_c)
        async with runner.start():
            runner.submit_nowait(1, forever)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert runner.slots[1].done


def test_out_of_a_callback_of_asyncio() -> None:
    """A KeyboardInterrupt that leaves the loop itself still finds every slot final at the end."""
    runner = ConcurrentTaskRunner(max_workers=2)

    def interrupt() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with runner.start():
            for n in range(5):
                runner.submit_nowait(n, forever)
            asyncio.get_running_loop().call_later(0.01, interrupt)
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert all(slot.state is State.CANCELLED for slot in runner.slots.values())


@both
def test_together_with_a_call_that_crashes(run: Callable[[Any], None]) -> None:
    """Two of them are one."""
    runner = ConcurrentTaskRunner()

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait(1, fail, KeyboardInterrupt())
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_clause_11_settling_cannot_be_torn_on_trio() -> None:
    """Ctrl-C inside `settle` waits until it is through."""
    runner = ConcurrentTaskRunner()
    woken: list[bool] = []

    async def main() -> None:
        async with runner.start():
            slot = runner.submit_nowait(1, anyio.sleep, 0)
            assert slot.enroll(ctrl_c)  # runs inside settle, before the next waiter is woken
            assert slot.enroll(lambda: woken.append(slot.done))
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert woken == [True]
    assert runner.slots[1].state is State.COMPLETED


def test_clause_11_parking_cannot_be_torn_on_trio() -> None:
    """Ctrl-C just after a waiter has enrolled leaves no waker behind that would wake a running task."""

    class Place:
        """Where a task parks, while somebody presses the keys."""

        wakers: ClassVar[list[Callable[[], object]]] = []

        def enroll(self, wake: Callable[[], object]) -> bool:
            self.wakers.append(wake)
            ctrl_c()
            return True

        def withdraw(self, wake: Callable[[], object]) -> None:
            self.wakers.remove(wake)

    with pytest.raises(KeyboardInterrupt):
        trio.run(by_name("trio").park, Place())
    assert Place.wakers == []


@pytest.mark.parametrize("run", [run_trio, run_asyncio])
def test_a_done_callback_that_exits(run: Callable[[Any], None]) -> None:
    """What it raises that is no `Exception` comes out of `start()`, not out of the loop."""
    runner = ConcurrentTaskRunner()
    came: list[BaseException] = []

    def leave(slot: object) -> None:
        raise SystemExit(3)

    async def main() -> None:
        try:
            async with runner.start():
                runner.submit_nowait(1, anyio.sleep, 0).add_done_callback(leave)
                await anyio.sleep_forever()
        except SystemExit as exc:
            came.append(exc)

    try:
        run(main)
    except SystemExit:
        came.clear()
    assert [exc.args for exc in came] == [(3,)]


def test_a_loop_that_is_neither() -> None:
    """Outside trio and asyncio `start()` says what to do."""
    entering = ConcurrentTaskRunner().start().__aenter__()
    with pytest.raises(RuntimeError, match=r"trio\.run or asyncio\.run"):
        entering.send(None)


def test_in_a_callback_of_asyncio() -> None:
    """A callback is no task: it says so."""
    errors: list[str] = []

    def callback() -> None:
        try:
            ConcurrentTaskRunner().start().__aenter__().send(None)
        except RuntimeError as exc:
            errors.append(str(exc))

    async def main() -> None:
        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert "no task of it" in errors[0]


def test_one_runner_on_one_loop_after_another() -> None:
    """The loop is found out at each start; old slots stay readable under any loop."""
    runner = ConcurrentTaskRunner()
    old: list[Any] = []

    async def main() -> None:
        for slot in old:
            assert await slot == 7
            assert (await slot.wait(0)) is True
        async with runner.start():
            old.append(runner.submit_nowait("a", _seven))

    for run in (run_trio, run_asyncio, run_trio):
        run(main)
    assert [slot.result() for slot in old] == [7, 7, 7]


async def _seven() -> int:
    return 7


def test_ctrl_c_while_a_thread_is_waited_for_on_trio() -> None:
    """It is not left behind: Ctrl-C comes out when the thread has ended, as with trio's own."""
    ended: list[str] = []

    def work() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        threading.Event().wait(0.2)
        ended.append("thread")

    async def main() -> None:
        async with SequentialTaskRunner().start() as runner:
            await runner.submit("k", work)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert ended == ["thread"]


def test_ctrl_c_and_a_thread_that_may_be_left_to_itself_on_trio() -> None:
    """It comes out at once when the guard of the thread is no shield."""
    backend = by_name("trio")
    ended: list[str] = []
    go_on = threading.Event()

    def work() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        go_on.wait(10)
        ended.append("thread")

    async def main() -> None:
        with pytest.raises(KeyboardInterrupt):
            await backend.run_in_thread(work, "name", backend.open_scope())
        assert ended == []
        go_on.set()

    trio.run(main)


def test_a_thread_that_may_be_left_to_itself() -> None:
    """Once its guard is no shield any more, `Task.cancel` does not wait for it."""
    backend = by_name("asyncio")
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)

    async def main() -> None:
        guard = backend.open_scope(shield=True)
        task = asyncio.ensure_future(backend.run_in_thread(work, "name", guard))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        guard.shield = False
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    asyncio.run(main())


def test_a_thread_call_is_called_once_or_never() -> None:
    """Dropped before it has begun it does nothing; and who asks too late is told at once."""
    called: list[str] = []
    dropped = ThreadCall(lambda: called.append("dropped"))
    assert not dropped.has_begun()
    assert dropped() is None
    call = ThreadCall(lambda: called.append("called"))
    call()
    assert call.has_begun()
    call.tell_when_ended(lambda: called.append("told"))
    assert called == ["called", "told"]
