"""`set_max_workers`, and calls that are waited for in threads: each has one place, and gives it back."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from calls import give, settle_down
from creche import ConcurrentTaskRunner, State, ThreadTaskRunner

pytestmark = pytest.mark.anyio


def give_plain(value: Any) -> Any:
    """A plain call."""
    return value


def taken(runner: ConcurrentTaskRunner) -> int:
    """How many places of its limit somebody has."""
    places = getattr(runner, "_run").queue.places  # noqa: B009 - a test of the inside
    return int(places.taken)


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (give_plain, {}),
    "plain, timeout": (give_plain, {"timeout": math.inf}),
    "plain, retry": (give_plain, {"retry": 1}),
    "async": (give, {}),
    "async in a thread": (give, {"place": "thread"}),
}


@pytest.mark.parametrize("make", [ConcurrentTaskRunner, ThreadTaskRunner])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_limit_that_was_lifted_and_set_again(make: Any, kind: str) -> None:
    """Calls that began in between have given back what they had."""
    fn, options = KINDS[kind]
    async with make(max_workers=2).start() as runner:
        runner.set_max_workers(None)
        slots = [runner.submit_nowait(number, fn, number, **options) for number in range(5)]
        assert [await slot for slot in slots] == list(range(5))
        runner.set_max_workers(1)
        slots = [runner.submit_nowait(("then", number), give_plain, number) for number in range(5)]
        slots.append(runner.submit_nowait("and", give, 5))
        assert [await slot for slot in slots] == list(range(6))
        assert taken(runner) == 0


@pytest.mark.parametrize("kind", ["plain, timeout", "plain, retry", "async in a thread"])
async def test_a_limit_that_is_set_while_calls_wait_for_threads(kind: str) -> None:
    """Those that wait have a place of it: they need no other, and give it back."""
    go_on = threading.Event()

    def hold(number: int) -> int:
        go_on.wait(60)
        return number

    async def hold_there(number: int) -> int:
        return hold(number)

    options = KINDS[kind][1]
    fn = hold_there if kind.startswith("async") else hold
    async with ConcurrentTaskRunner().start() as runner:
        slots = [runner.submit_nowait(number, fn, number, **options) for number in range(50)]
        await settle_down()
        runner.set_max_workers(2)
        late = runner.submit_nowait("late", give, 50)
        await settle_down()
        assert late.state is State.PENDING
        go_on.set()
        assert [await slot for slot in slots] == list(range(50))
        assert await late == 50
        assert taken(runner) == 0
