"""`retry=` wherever a call can be submitted."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from calls import give, settle_down
from creche import ConcurrentTaskRunner, Retry, SequentialTaskRunner, State, ThreadTaskRunner
from creche.instruments import EventLog, read_history
from retrying import AT_ONCE, Flaky, FlakyError

pytestmark = pytest.mark.anyio

RUNNERS: list[Callable[..., Any]] = [
    SequentialTaskRunner,
    ConcurrentTaskRunner,
    lambda: ConcurrentTaskRunner(1),
]
each_runner = pytest.mark.parametrize("make", RUNNERS, ids=["sequential", "unbounded", "bounded"])


@pytest.mark.parametrize("kind", ["plain", "on_loop"])
@pytest.mark.usefixtures("real_time")
async def test_mapping(kind: str) -> None:
    """Each call of a `map` has its attempts; with and without a limit, from threads, too."""
    call = operator.methodcaller(kind)
    every: list[dict[str, Any]] = [
        {},
        {"max_workers": 2},
        {"max_workers": 1, "max_pending": 1},
        {"retain": False},
    ]
    for options in every:
        calls = [Flaky(2) for _ in range(5)]
        async with ConcurrentTaskRunner(**options).start() as runner:
            values = await runner.map(call, calls, retry=AT_ONCE)
            assert values == [3] * 5
            in_thread = partial(runner.from_thread.map, call, [Flaky(1) for _ in range(3)], retry=1)
            found = await anyio.to_thread.run_sync(in_thread)
            assert found == [2] * 3
            with pytest.raises(FlakyError, match="attempt 3"):
                await runner.map(call, [Flaky()], retry=Retry(2, delay=0))


@pytest.mark.usefixtures("real_time")
async def test_wherever_a_call_is_submitted() -> None:
    """To a group, from a thread, under the key of another, with and without keeping it."""
    async with ConcurrentTaskRunner(retain=False).start() as runner:
        async with runner.group() as group:
            one = group.submit_nowait("one", Flaky(1).on_loop, retry=1)
            two = await group.submit("two", Flaky(1).on_loop, retry=1)
        assert (await one, await two) == (2, 2)
        flaky = Flaky(1)
        found = await anyio.to_thread.run_sync(
            lambda: runner.from_thread.submit("k", flaky.plain, retry=1).result()
        )
        assert found == 2
        assert not runner.slots
    async with ConcurrentTaskRunner(1, max_pending=1).start() as runner:
        slots = [await runner.submit(n, Flaky(1).on_loop, retry=1) for n in range(4)]
        assert [await slot for slot in slots] == [2] * 4


@pytest.mark.usefixtures("real_time")
async def test_from_another_loop(elsewhere: Callable[[Callable[[], Any]], Any]) -> None:
    """The option travels with the submit, and what is wrong is raised where it was made."""
    for make in RUNNERS:
        async with make().start() as runner:
            flaky = Flaky(1)

            async def there(runner: Any = runner, flaky: Flaky = flaky) -> Any:
                with pytest.raises(ValueError, match="retry"):
                    await runner.submit("bad", give, retry=-1)
                return await (await runner.submit("k", flaky.on_loop, retry=1))

            assert await elsewhere(there) == 2


@each_runner
async def test_bad_input(make: Callable[..., Any]) -> None:
    """It is refused at the submit, and the key is free."""
    async with make().start() as runner:
        for given in (-1, "3", True, 1.0):
            with pytest.raises((TypeError, ValueError), match="retry must be"):
                runner.submit_nowait("k", give, retry=given)
            with pytest.raises((TypeError, ValueError), match="retry must be"):
                await runner.submit("k", give, retry=given)
            with pytest.raises((TypeError, ValueError), match="retry must be"):
                await runner.map(give, [], retry=given)
        assert not runner.slots


@pytest.mark.usefixtures("real_time")
async def test_a_file_of_events(tmp_path: Path) -> None:
    """It tells of each attempt, also of those whose body was never begun, for want of a thread."""
    path, free = tmp_path / "events", threading.Event()
    policy = Retry(2, delay=0.01, factor=1, jitter="none")
    with EventLog(path) as log:
        async with ThreadTaskRunner(1, instruments=[log]).start() as runner:
            assert await runner.submit_nowait("k", Flaky(2).on_loop, retry=policy) == 3
    with EventLog(f"{path}2") as log:
        async with ConcurrentTaskRunner(instruments=[log]).start() as runner:
            for n in range(40):  # as many threads as there are
                runner.submit_nowait(n, free.wait)
            await settle_down()
            slot = runner.submit_nowait("late", free.wait, timeout=0.01, retry=policy)
            await runner.wait("late")
            free.set()
    assert (slot.state, slot.attempt) == (State.FAILED, 3)
    (call,) = read_history(path).calls
    assert [one.number for one in call.attempts] == [1, 2, 3]
    assert [one.delay for one in call.attempts] == [0.01, 0.01, None]
    assert [(one.error or {}).get("message") for one in call.attempts] == [
        "attempt 1",
        "attempt 2",
        None,
    ]
    call = next(call for call in read_history(f"{path}2").calls if call.key == "late")
    assert [(one.number, one.delay) for one in call.attempts][:2] == [(1, 0.01), (2, 0.01)]
