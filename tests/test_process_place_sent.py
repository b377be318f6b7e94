"""Calls that are sent to worker processes without a task: how they are stopped, in every phase."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from calls import settle_down
from creche import CallCrashed, ProcessTaskRunner, Slot, State
from creche._far._body import VALUE
from creche._far._pickling import dump_plain
from creche.places import _crew
from creche.places._ticket import Ticket
from far_calls import end_well_when_asked, nap, spin, stop_when_asked, write_and_nap, write_pid
from loops import ctrl_c, run_asyncio, run_trio
from pools import until
from processes import begun, is_alive

pytestmark = [pytest.mark.usefixtures("real_time"), pytest.mark.slow]


def seen(slot: Slot[Any]) -> tuple[State, str | None]:
    return slot.state, slot.origin


def fail() -> None:
    raise LookupError("it is not there")


class Stubborn:
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise LookupError("it does not travel")


@pytest.mark.anyio
async def test_they_have_no_tasks() -> None:
    """Nor has the loop anything to do for each of them but to read its answer."""
    async with ProcessTaskRunner(1, prewarm=1).start() as runner:
        slots = [runner.submit_nowait(number, abs, -number) for number in range(500)]
        assert slots[0].state is State.RUNNING
        await runner.until_idle()
        assert [slot.result() for slot in slots] == list(range(500))
        assert runner.statistics().carriers == 0


@pytest.mark.anyio
async def test_cancelled_in_every_phase(tmp_path: Path) -> None:
    """One that has begun is killed; those behind it, and those that wait for a worker, never begin."""
    path, others = tmp_path / "pid", tmp_path / "others"
    async with ProcessTaskRunner(1, batch=4, prewarm=1).start() as runner:
        spins = runner.submit_nowait("spins", spin, str(path))
        pid = await begun(path)
        ahead = [runner.submit_nowait(f"ahead {number}", write_pid, str(others)) for number in range(3)]
        pending = runner.submit_nowait("pending", write_pid, str(others))
        await until(lambda: "in process" in runner.dump().partition("ahead 0")[2])
        assert (runner.statistics().running, runner.statistics().pending) == (4, 1)
        for slot in (ahead[1], pending):
            runner.cancel(slot, "no more")
            assert seen(slot) == (State.CANCELLED, "cancel")
        assert is_alive(pid)
        runner.cancel("spins")
        assert spins.state is State.RUNNING
        await spins.wait(20)
        assert (seen(spins), is_alive(pid)) == ((State.CANCELLED, "cancel"), False)
        await ahead[0].wait(20)
        await ahead[2].wait(20)
        assert int(others.read_text(encoding="utf-8")) != pid
        assert runner.statistics().running == 0


@pytest.mark.anyio
async def test_cancelled_before_a_worker_is_there(tmp_path: Path) -> None:
    """At once, in the same turn or while the worker starts; it carries out what comes after."""
    path = tmp_path / "pid"
    async with ProcessTaskRunner(1, batch=8).start() as runner:
        slots = [runner.submit_nowait(number, write_pid, str(path)) for number in range(4)]
        runner.cancel(0)
        assert seen(slots[0]) == (State.CANCELLED, "cancel")
        await anyio.sleep(0.01)
        for slot in slots[1:]:
            runner.cancel(slot)
        assert {seen(slot) for slot in slots} == {(State.CANCELLED, "cancel")}
        assert await runner.result(runner.submit_nowait("after", abs, -1)) == 1
    assert not path.exists()


@pytest.mark.anyio
async def test_a_worker_that_dies_costs_one_call(tmp_path: Path) -> None:
    """Those that were sent ahead to it are carried out by another."""
    path = tmp_path / "pid"
    async with ProcessTaskRunner(1, batch=9, prewarm=1).start() as runner:
        dies = runner.submit_nowait("dies", write_and_nap, str(path))
        slots = [runner.submit_nowait(number, abs, -number) for number in range(8)]
        pid = await begun(path)
        os.kill(pid, signal.SIGKILL)
        assert [await slot for slot in slots] == list(range(8))
        with pytest.raises(CallCrashed) as crashed:
            await dies
        assert (crashed.value.kind, crashed.value.exit_code) == ("worker-died", -9)


@pytest.mark.anyio
async def test_a_scope_that_the_body_does_not_see(tmp_path: Path) -> None:
    """The worker is killed at once all the same."""
    path = tmp_path / "pid"
    with anyio.CancelScope() as scope:
        async with ProcessTaskRunner(1).start() as runner:
            slot = runner.submit_nowait("spins", spin, str(path))
            with anyio.CancelScope(shield=True):
                pid = await begun(path)
                scope.cancel()
                assert await slot.wait(10)
                assert not is_alive(pid)
            assert seen(slot) == (State.CANCELLED, "outer")
            await anyio.sleep(10)
    assert scope.cancelled_caught


@pytest.mark.parametrize("how", ["raises", "leaves", "times out"])
@pytest.mark.anyio
async def test_the_run_ends_before_its_time(tmp_path: Path, how: str) -> None:
    """What has begun is killed, and what has not never does."""
    path, others = tmp_path / "pid", tmp_path / "others"
    slots: list[Slot[Any]] = []
    pid = 0

    async def go() -> None:
        nonlocal pid
        async with ProcessTaskRunner(1, batch=3).start() as runner:
            slots.append(runner.submit_nowait("spins", spin, str(path)))
            slots.extend(runner.submit_nowait(n, write_pid, str(others)) for n in range(4))
            pid = await begun(path)
            if how == "raises":
                raise LookupError
            if how == "times out":
                await anyio.sleep(20)

    if how == "raises":
        with pytest.raises(LookupError):
            await go()
    else:
        with anyio.move_on_after(1.5) as scope:
            await go()
        assert scope.cancelled_caught
    assert not is_alive(pid)
    assert not others.exists()
    origin = "closed" if how == "raises" else "outer"
    assert seen(slots[0]) == (State.CANCELLED, origin)
    assert {slot.state for slot in slots} == {State.CANCELLED}


@pytest.mark.parametrize("run", [run_trio, run_asyncio])
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c(tmp_path: Path, run: Callable[[Any], None], presses: int) -> None:
    """It stops what has begun, and comes out when that is dead."""
    path = tmp_path / "pid"
    runner = ProcessTaskRunner(1, batch=2)
    pids: list[int] = []

    async def main() -> None:
        async with runner.start():
            runner.submit_nowait("spins", spin, str(path))
            runner.submit_nowait("ahead", abs, -1)
            pids.append(await begun(path))
            ctrl_c()
            if presses == 2:
                try:
                    await anyio.sleep(20)
                finally:
                    ctrl_c()
            await anyio.sleep(20)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert not is_alive(pids[0])
    assert {seen(slot) for slot in runner.slots.values()} == {(State.CANCELLED, "outer")}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_the_host_is_cancelled_by_asyncios_own_means(tmp_path: Path) -> None:
    """As by any scope."""
    path = tmp_path / "pid"
    slots: list[Slot[Any]] = []

    async def host() -> None:
        async with ProcessTaskRunner(1).start() as runner:
            slots.append(runner.submit_nowait("spins", spin, str(path)))

    task = asyncio.ensure_future(host())
    pid = await begun(path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(pid)
    assert seen(slots[0]) == (State.CANCELLED, "outer")


@pytest.mark.anyio
async def test_the_first_failure_stops_the_others(tmp_path: Path) -> None:
    """With `on_error="cancel"`."""
    path = tmp_path / "pid"
    with pytest.raises(ExceptionGroup) as raised:
        async with ProcessTaskRunner(2, on_error="cancel").start() as runner:
            spins = runner.submit_nowait("spins", spin, str(path))
            pid = await begun(path)
            runner.submit_nowait("fails", fail)
            await anyio.sleep(20)
    assert [type(error) for error in raised.value.exceptions] == [LookupError]
    assert seen(spins) == (State.CANCELLED, "closed")
    assert not is_alive(pid)


@pytest.mark.parametrize("fn", [stop_when_asked, end_well_when_asked])
@pytest.mark.anyio
async def test_one_that_is_asked_to_stop(tmp_path: Path, fn: Any) -> None:
    """It stops, or gives its value; its worker lives."""
    path = tmp_path / "pid"
    async with ProcessTaskRunner(1, kill_grace=20).start() as runner:
        slot = runner.submit_nowait("k", fn, str(path))
        after = runner.submit_nowait("after", os.getpid)
        pid = await begun(path)
        runner.cancel("k")
        await slot.wait(20)
        expected = State.CANCELLED if fn is stop_when_asked else State.COMPLETED
        assert slot.state is expected
        assert await after == pid


@pytest.mark.anyio
async def test_one_that_does_not_stop_when_asked(tmp_path: Path) -> None:
    """It is killed after its time."""
    path = tmp_path / "pid"
    async with ProcessTaskRunner(1, kill_grace=0.2).start() as runner:
        slot = runner.submit_nowait("k", spin, str(path))
        pid = await begun(path)
        runner.cancel("k")
        await slot.wait(20)
        assert seen(slot) == (State.CANCELLED, "cancel")
        assert not is_alive(pid)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.anyio
async def test_no_worker_can_be_started(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Each call has crashed, and says why."""

    def refuse() -> Any:
        raise OSError("no more processes")

    monkeypatch.setattr(_crew, "spawn", refuse)
    async with ProcessTaskRunner(1, batch=batch).start() as runner:
        slots = [runner.submit_nowait(number, abs, -number) for number in range(300)]
        await runner.until_idle()
        for slot in slots:
            with pytest.raises(CallCrashed, match="no more processes"):
                slot.result()


@pytest.mark.anyio
async def test_what_cannot_be_sent() -> None:
    """However many there are: each has crashed, and those between have not."""
    async with ProcessTaskRunner(1).start() as runner:
        slots: list[Slot[Any]] = [runner.submit_nowait(n, type, Stubborn()) for n in range(1500)]
        good = runner.submit_nowait("good", abs, -1)
        assert await good == 1
        for slot in slots:
            with pytest.raises(CallCrashed, match="it does not travel"):
                slot.result()


@pytest.mark.anyio
async def test_a_result_that_cannot_be_sent() -> None:
    """The call has crashed, and its worker goes on."""
    async with ProcessTaskRunner(1).start() as runner:
        with pytest.raises(CallCrashed) as crashed:
            await runner.result(runner.submit_nowait("k", lambda: (n for n in "abc")))
        assert crashed.value.kind == "serialize"
        assert await runner.result(runner.submit_nowait("after", abs, -1)) == 1


@pytest.mark.anyio
async def test_workers_that_are_replaced() -> None:
    """After so many calls; none is lost on the way."""
    async with ProcessTaskRunner(2, max_calls=3, batch=2).start() as runner:
        pids = await runner.map(lambda _: os.getpid(), range(30))
    assert len(set(pids)) >= 10
    assert max(map(pids.count, pids)) <= 3


@pytest.mark.anyio
async def test_one_that_cancels_itself_by_a_callback_of_another() -> None:
    """While answers are told of; what a callback submits is carried out."""
    async with ProcessTaskRunner(1, batch=4, prewarm=1).start() as runner:
        first = runner.submit_nowait("first", abs, -1)
        slots = [runner.submit_nowait(number, nap, 0.05) for number in range(3)]

        def go_on(_: object) -> None:
            runner.cancel_all()
            runner.submit_nowait("new", abs, -5)

        first.add_done_callback(go_on)
        await first.wait(20)
        assert await runner.result("new") == 5
        assert first.result() == 1
        assert {slot.state for slot in slots} <= {State.CANCELLED, State.COMPLETED}


@pytest.mark.anyio
async def test_where_they_are(tmp_path: Path) -> None:
    """A dump says in which process, or that they wait for one."""
    path = tmp_path / "pid"
    async with ProcessTaskRunner(1, batch=2).start() as runner:
        runner.submit_nowait("spins", spin, str(path))
        pid = await begun(path)
        assert f"'spins' RUNNING, place 'process', in process {pid}" in runner.dump()
        await settle_down()
        runner.cancel("spins")
        assert "being cancelled" in runner.dump()


def test_one_that_has_ended_is_not_cancelled() -> None:
    """It is about to be told of."""

    class Teller:
        ended_alone: list[Ticket] = []  # noqa: RUF012 - of one test

    ticket = Ticket("k", 1, [b"call"])
    ticket.pool = Teller()
    ticket.settle([dump_plain((VALUE, 3))])
    assert not ticket.cancel()
    assert ticket.pool.ended_alone == [ticket]
    assert ticket.outcome() == (True, 3)
