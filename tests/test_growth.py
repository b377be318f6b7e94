"""Carriers of a run without a limit: few for calls that do not block, one each for those that do."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from calls import Gate, settle_down
from creche import ConcurrentTaskRunner, State
from creche._growth import BASE, Growth

STEPS = st.lists(st.sampled_from(["come", "begin", "end", "pass"]), max_size=200)


@given(STEPS, st.randoms(use_true_random=False))
def test_the_ages(steps: list[str], random: Any) -> None:
    """Against a list of every call, with the passes that have seen it running."""
    growth = Growth()
    coming = 0
    there: list[list[int]] = []  # what begin gave, passes seen
    for step in steps:
        if step == "come":
            growth.come()
            coming += 1
        elif step == "begin" and coming:
            coming -= 1
            there.append([growth.begin(), 0])
        elif step == "end" and there:
            growth.end(there.pop(random.randrange(len(there)))[0])
        elif step == "pass":
            more = growth.count_pass()
            for one in there:
                one[1] += 1
            found = sum(passes == 3 for _, passes in there)
            young = coming + sum(passes < 3 for _, passes in there)
            assert more == max(2 * found, BASE - young)
        assert growth.young == coming + sum(passes < 3 for _, passes in there)


class Watch(trio.abc.Instrument):
    """Counts what the loop does."""

    def __init__(self) -> None:
        self.tasks = self.passes = 0

    def task_spawned(self, task: Any) -> None:
        self.tasks += 1

    def before_io_wait(self, timeout: float) -> None:
        self.passes += 1


async def once(value: int = 0) -> int:
    """Let the others run once."""
    await trio.lowlevel.checkpoint()
    return value


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.mark.parametrize("n", [10, 1000, 10_000])
@pytest.mark.trio
async def test_calls_that_do_not_block_share_few_tasks(n: int, watch: Watch) -> None:
    """And few scopes."""
    opened = 0
    real = trio.CancelScope.__enter__

    def enter(scope: trio.CancelScope) -> trio.CancelScope:
        nonlocal opened
        opened += 1
        return real(scope)

    trio.lowlevel.add_instrument(watch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.CancelScope, "__enter__", enter)
        async with ConcurrentTaskRunner().start() as runner:
            for key in range(n):
                runner.submit_nowait(key, once, key)
            for key in range(n):
                assert await runner.result(key) == key
    trio.lowlevel.remove_instrument(watch)
    assert watch.tasks <= 2 * BASE
    assert opened <= 2 * BASE


@pytest.mark.parametrize("n", [16, 17, 100, 3000])
@pytest.mark.trio
async def test_calls_that_block_all_begin_soon(n: int, watch: Watch) -> None:
    """After a few passes for each doubling; when they have ended, few carriers are kept."""
    event = trio.Event()
    begun = 0

    async def block() -> None:
        nonlocal begun
        begun += 1
        await event.wait()

    async with ConcurrentTaskRunner().start() as runner:
        trio.lowlevel.add_instrument(watch)
        for _ in range(n):
            runner.submit_nowait(None, block)
        while begun < n:
            await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(watch)
        assert watch.passes <= 3 + 5 * math.log2(n)
        event.set()
        await runner.until_idle()
        await trio.testing.wait_all_tasks_blocked()
        assert runner.statistics().carriers == runner.statistics().carriers_idle <= 64


@pytest.mark.trio
async def test_calls_that_block_do_not_hold_up_others() -> None:
    """Long sleepers are not counted again and again: calls beside a hundred of them start at once."""
    async with ConcurrentTaskRunner().start() as runner:
        for _ in range(100):
            runner.submit_nowait(None, trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        assert runner.statistics().running == 100
        # The first time they are still to be seen. Later some may have to be seen once more: four
        # passes, whichever task trio lets go first.
        for passes in (6, 4):
            slots = [runner.submit_nowait(None, once) for _ in range(BASE)]
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            assert all(slot.state is not State.PENDING for slot in slots)
            await trio.testing.wait_all_tasks_blocked()
        runner.cancel_all()


@pytest.mark.trio
async def test_the_exit_waits_for_what_has_no_carrier_yet() -> None:
    """Nothing is lost between two passes; nor is a reservation given up meanwhile."""
    async with ConcurrentTaskRunner().start() as runner:
        reserved = runner.reserve("r")
        for _ in range(50):
            runner.submit_nowait(None, runner.wait, reserved)

        async def fill() -> None:
            runner.submit_nowait("r", once, 5)

        runner.submit_nowait("fill", fill)
    assert reserved.result() == 5
    assert runner.statistics().completed == 52


@pytest.mark.trio
async def test_a_cancelled_run_starts_no_more() -> None:
    """What waits for a carrier is dropped, though all that there are hold out."""
    begun = 0

    async def hold_out() -> None:
        nonlocal begun
        begun += 1
        with trio.CancelScope(shield=True):
            await trio.sleep(1)

    with trio.CancelScope() as scope:
        async with ConcurrentTaskRunner().start() as runner:
            for _ in range(200):
                runner.submit_nowait(None, hold_out)
            while not begun:
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert begun < 200
    assert runner.statistics().completed == begun
    assert runner.statistics().cancelled == 200 - begun


@pytest.mark.trio
async def test_a_kept_scope_is_renewed_when_it_was_used() -> None:
    """Cancelled, or cancelled too late to be seen: the next call in the same task is not."""
    runner = ConcurrentTaskRunner(1)

    async def too_late() -> int:
        runner.cancel("late")
        return 1

    async with runner.start():
        cut = runner.submit_nowait("cut", trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        runner.cancel(cut)
        late = runner.submit_nowait("late", too_late)
        after = runner.submit_nowait("after", once, 2)
        assert await late == 1
        assert await after == 2
        assert cut.origin == "cancel"
        assert runner.statistics().carriers == 1


@pytest.mark.trio
async def test_a_scope_that_a_call_leaves_open_ends_with_it() -> None:
    """It is an error of that call, and nothing of it reaches the next one."""
    runner = ConcurrentTaskRunner(1)

    async def leave_open() -> None:
        trio.CancelScope(deadline=-math.inf).__enter__()

    async with runner.start():
        bad = runner.submit_nowait("bad", leave_open)
        good = runner.submit_nowait("good", once, 3)
        with pytest.raises(RuntimeError, match=r"[Cc]ancel scope"):
            await bad
        assert await good == 3


@pytest.mark.anyio
@pytest.mark.parametrize("others", [BASE, 3 * BASE])
async def test_nobody_looks_for_more_to_start_while_calls_wait_for_a_limit(others: int) -> None:
    """They start when it is free; a run that looked in each pass would keep the processor busy."""
    runner = ConcurrentTaskRunner(limits={"one": 1})
    gate = Gate()
    passes: list[None] = []

    async with runner.start():
        run = runner._run
        assert run is not None
        backend = run.carriers._backend

        async def counting() -> None:
            passes.append(None)
            if len(passes) > 1000:
                await anyio.sleep_forever()  # else `settle_down` would never see the run at rest
            await backend.shielded_checkpoint()

        run.carriers._backend = backend._replace(shielded_checkpoint=counting)
        for n in range(others):
            runner.submit_nowait(n, gate)
        for name in "abc":
            runner.submit_nowait(name, gate, limits=["one"])
        await settle_down()
        assert gate.begun == others + 1
        del passes[:]
        await settle_down()
        assert passes == []
        gate.open.set()
    assert runner.statistics().completed == others + 3
