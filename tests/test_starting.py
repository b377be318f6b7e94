"""Starting and leaving a runner: once at a time, in one task, inside out."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio
import pytest
import trio

from calls import give
from creche import (
    BaseTaskRunner,
    ConcurrentTaskRunner,
    SequentialTaskRunner,
    TaskConcurrencyType,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def runner() -> ConcurrentTaskRunner:
    return ConcurrentTaskRunner()


async def test_left_in_another_task(runner: ConcurrentTaskRunner) -> None:
    """It is refused with a clear error, and the right task can still leave."""
    opened = runner.start()
    await opened.__aenter__()
    errors: list[Exception] = []

    async def leave() -> None:
        try:
            await opened.__aexit__(None, None, None)
        except RuntimeError as exc:
            errors.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
    assert "must be left in the task that entered it" in str(errors[0])
    slot = runner.submit_nowait(1, give, 1)
    await opened.__aexit__(None, None, None)
    assert slot.result() == 1


async def test_left_out_of_order(runner: ConcurrentTaskRunner) -> None:
    """Two runners of one task are left inside out; the wrong order is refused, and mended."""
    inner = ConcurrentTaskRunner()
    outer_start, inner_start = runner.start(), inner.start()
    await outer_start.__aenter__()
    await inner_start.__aenter__()
    with pytest.raises(RuntimeError, match="leave that one first"):
        await outer_start.__aexit__(None, None, None)
    await inner_start.__aexit__(None, None, None)
    await outer_start.__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match="left before"):
        await outer_start.__aexit__(None, None, None)


@pytest.mark.trio
async def test_left_before_a_nursery_inside() -> None:
    """On trio a nursery that is still open inside is seen, and nothing is corrupted."""
    runner = ConcurrentTaskRunner()
    opened = runner.start()
    await opened.__aenter__()
    async with trio.open_nursery():
        with pytest.raises(RuntimeError, match="nursery"):
            await opened.__aexit__(None, None, None)
    await opened.__aexit__(None, None, None)


@pytest.mark.parametrize("outer_is_sequential", [True, False])
async def test_two_runners_nested(outer_is_sequential: bool) -> None:
    """Either way round, each keeps its own calls; the inner one ends first."""
    kinds: list[Any] = [SequentialTaskRunner(), ConcurrentTaskRunner()]
    outer, inner = kinds if outer_is_sequential else reversed(kinds)

    async def inside(n: int) -> int:
        async with inner.duplicate().start() as own:
            return int(await own.result((await own.submit(n, give, n)).key))

    async with outer.start():
        async with inner.start():
            await inner.submit("a", give, 1)
            await outer.submit("b", inside, 2)
            assert (await inner.result("a"), await outer.result("b")) == (1, 2)
        assert not inner.is_started
        assert outer.is_started


async def test_a_second_start_while_started(runner: ConcurrentTaskRunner) -> None:
    """It is refused, and the first run goes on."""
    async with runner.start():
        with pytest.raises(RuntimeError, match="started already"):
            runner.start()
        assert await runner.submit_nowait(1, give, 1) == 1


async def test_a_runner_starts_again_empty(runner: ConcurrentTaskRunner) -> None:
    """Slots stay readable after a run, until the next one begins with none."""
    for value in (1, 2):
        async with runner.start():
            assert dict(runner.slots) == {}
            runner.submit_nowait("a", give, value)
        assert runner.slots["a"].result() == value


class _Failing(BaseTaskRunner):
    """A runner of somebody's own, which cannot be started the first time."""

    def __init__(self) -> None:
        self.attempts = 0
        self.closed = 0

    @property
    def concurrency_type(self) -> TaskConcurrencyType:
        return TaskConcurrencyType.PARALLEL

    async def submit(self, key: Any, call: Any) -> None:
        await call()

    async def wait(self, key: Any, timeout: float | None = None) -> None:
        return None

    async def _start(self, exit_stack: Any) -> None:
        self.attempts += 1
        exit_stack.callback(self._close)
        if self.attempts == 1:
            raise OSError("no room")

    def _close(self) -> None:
        self.closed += 1


async def test_a_start_that_fails_leaves_the_runner_startable() -> None:
    """The error is bare, what was opened is closed, and the next start works."""
    runner = _Failing()
    with pytest.raises(OSError, match="no room"):
        async with runner.start():
            raise AssertionError
    assert (runner.is_started, runner.closed) == (False, 1)
    async with runner.start() as started:
        assert started is runner
        assert runner.is_started
    assert (runner.is_started, runner.closed) == (False, 2)
    assert (runner.name, str(runner)) == ("_failing", "_Failing")


async def test_a_start_whose_reason_is_hidden() -> None:
    """What was opened before must not make a failed start look like a good one."""

    class Hiding(_Failing):
        async def _start(self, exit_stack: AsyncExitStack) -> None:
            exit_stack.enter_context(suppress(LookupError))
            raise LookupError

    runner = Hiding()
    with pytest.raises(RuntimeError, match="hid the reason") as caught:
        await runner.start().__aenter__()
    assert isinstance(caught.value.__cause__, LookupError)
    assert not runner.is_started


async def test_a_start_is_good_for_one_entry() -> None:
    """A second `async with` over one `start()` says what to do."""
    starting = ConcurrentTaskRunner().start()
    async with starting:
        pass
    with pytest.raises(RuntimeError, match=r"call start\(\) again"):
        await starting.__aenter__()


async def test_a_runner_of_ones_own_shows_itself() -> None:
    """What `BaseTaskRunner` gives: a repr with the state, a string, equality by settings."""
    runner = _Failing()
    assert repr(runner) == "<creche._Failing not started>"
    assert str(runner) == "_Failing"
    assert runner == _Failing()
    assert runner != ConcurrentTaskRunner()
    assert runner != "concurrent"
