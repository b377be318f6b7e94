"""Which pending call gets a place first: by priority, by age, by the order of submission."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import Gate, give, settle_down
from creche import ConcurrentTaskRunner, State
from creche._call import read_call
from creche._queue import Queue
from creche._slot import Slot
from queues import cancel


def slot(key: Any) -> Slot[Any]:
    """A pending slot, as the queue sees it."""
    return Slot(key, None, read_call(give, ()))  # type: ignore  # the queue never asks for its runner


STEPS = st.lists(
    st.one_of(
        # Mostly without a priority: who waits is put into another order by the first that has one.
        st.tuples(st.just("push"), st.sampled_from([0, 0, 0, 0, -2, -1, 1, 2])),
        st.tuples(st.just("next"), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("free"), st.just(0)),
        st.tuples(st.just("time"), st.integers(0, 5)),
    ),
    max_size=120,
)


@given(st.sampled_from([None, 1, 3]), st.sampled_from([None, 2.0]), STEPS)
def test_the_queue(max_workers: int | None, ageing: float | None, steps: list[tuple[str, int]]) -> None:
    """Against a list that is searched from end to end each time."""
    queue = Queue(max_workers, ageing=ageing)
    model: list[tuple[int, int, int, Slot[Any]]] = []  # priority, when, number, slot
    out: list[Slot[Any]] = []
    running = now = 0
    for number, (step, value) in enumerate(steps):
        if step == "push":
            one = slot(number)
            queue.push(one, value, now)
            model.append((value, now, number, one))
        elif step == "time":
            now += value
        elif step == "cancel" and model:
            one = model.pop(value % len(model))[-1]
            cancel(queue, one)
        elif step == "free" and running and max_workers is not None:
            running -= 1
            assert queue.places is not None
            queue.places.free()
        elif step == "next":
            came = queue.next()
            if not model or (max_workers is not None and running == max_workers):
                assert came is None
            else:
                expected = min(model, key=lambda it: (-_effective(it, now, ageing), it[2]))
                model.remove(expected)
                running += 1
                assert came is not None
                assert came[0] is expected[-1]
                out.append(came[0])
        assert len(queue) == len(model)
    dropped = queue.drop_all()
    expected_order = sorted(model, key=lambda it: (-_effective(it, now, ageing), it[2]))
    assert dropped == [it[-1] for it in expected_order]
    assert len(queue) == 0


def _effective(it: tuple[int, int, int, Slot[Any]], now: float, ageing: float | None) -> float:
    priority, when, _, _ = it
    return priority if ageing is None else priority + (now - when) / ageing


@pytest.mark.anyio
async def test_higher_ones_come_first() -> None:
    """Equal ones in the order of submission; calls without one have 0."""
    runner = ConcurrentTaskRunner(1)
    gate = Gate()
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)

    async with runner.start():
        runner.submit_nowait("gate", gate)
        await settle_down()
        for name, priority in [
            *[("x", 0), ("y", 0), ("a", 0)],  # these wait before there is any priority
            *[("b", 2), ("c", -1), ("d", 2.5), ("e", 2), ("f", 0)],
        ]:
            await runner.submit(name, note, name, priority=priority)
        runner.cancel("e")
        gate.open.set()
    assert order == ["d", "b", "x", "y", "a", "f", "c"]


@pytest.mark.anyio
async def test_ageing_lets_nobody_wait_for_ever() -> None:
    """A call that has waited long enough comes before younger ones of higher priority."""
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)

    async with ConcurrentTaskRunner(1, ageing=0.01).start() as runner:
        runner.submit_nowait("running", anyio.sleep, 0.1)
        runner.submit_nowait("old", note, "old")
        await anyio.sleep(0.05)
        runner.submit_nowait("young", note, "young", priority=2)
        runner.submit_nowait("urgent", note, "urgent", priority=100)
    assert order == ["urgent", "old", "young"]


@pytest.mark.parametrize(
    ("ageing", "error"),
    [(0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("1", TypeError)],
)
def test_bad_ageing(ageing: Any, error: type[Exception]) -> None:
    """The message names the option."""
    with pytest.raises(error, match="ageing"):
        ConcurrentTaskRunner(ageing=ageing)


@pytest.mark.parametrize("kept", [slice(10), slice(90, 100), slice(0, 100, 10)])
@pytest.mark.parametrize("priority", [0, 1, -1])
def test_cancelled_calls_do_not_pile_up(priority: int, kept: slice) -> None:
    """Once they outnumber those that wait they are swept out, and the order stays."""
    queue = Queue(None)
    slots = [slot(n) for n in range(100)]
    for n, one in enumerate(slots):
        queue.push(one, priority * (n % 3))
    stay = slots[kept]
    for one in slots:
        if one in stay:
            continue
        cancel(queue, one)
        lanes = queue._lanes
        held = len(queue.waiting) if lanes is None else sum(len(it._entries) for it in lanes.values())
        assert held <= 2 * len(queue) + 33
    assert len(queue) == 10
    expected = sorted(range(100)[kept], key=lambda n: -priority * (n % 3))
    assert [one.key for one in queue.in_order()] == expected
    # What is asked for one after the other is in that order, too.
    assert [came[0].key for came in iter(queue.next, None)] == expected


def test_cancelled_before_the_first_priority() -> None:
    """What was cancelled before the order became one of priorities is not taken over."""
    queue = Queue(None)
    slots = [slot(n) for n in range(3)]
    for one in slots[:2]:
        queue.push(one)
    cancel(queue, slots[0])
    queue.push(slots[2], 1)
    assert len(queue) == 2
    assert queue.drop_all() == [slots[2], slots[1]]


@pytest.mark.parametrize("max_workers", [None, 1])
def test_nothing_is_left_but_cancelled_calls(max_workers: int | None) -> None:
    """Then there is no next one, and no place is taken for it."""
    queue = Queue(max_workers)
    one = slot("k")
    queue.push(one)
    cancel(queue, one)
    assert queue.next() is None
    assert queue.places is None or queue.places.taken == 0


@pytest.mark.parametrize("reaction", ["submits", "cancels", "closes"])
@pytest.mark.anyio
async def test_whoever_hears_of_a_cancellation_may_do_anything(reaction: str) -> None:
    """A call that is being cancelled is not in the queue any more, whatever is done meanwhile."""
    runner = ConcurrentTaskRunner(1)

    def react(_: Slot[Any]) -> None:
        if reaction == "submits":
            runner.submit_nowait("urgent", give, 1, priority=1)
        elif reaction == "cancels":
            for n in range(1, 80):
                runner.cancel(n)
        else:
            runner.cancel_all()

    async with runner.start():
        gate = Gate()
        runner.submit_nowait("running", gate)
        await settle_down()
        for n in range(100):
            runner.submit_nowait(n, give, n)
        runner.slots[0].add_done_callback(react)
        runner.cancel(0)
        left = runner.statistics().pending
        assert left == {"submits": 100, "cancels": 20, "closes": 0}[reaction]
        gate.open.set()
    states = [slot.state for slot in runner.slots.values()]
    assert states.count(State.COMPLETED) == left + (reaction != "closes")
