"""The round trips of a soak, for tasks: each submits calls in one way, and looks at what comes back.

What it is for: a task of the runner's own loop, or of another thread's, makes one of them at each
arrival.

What it does not know: when, how often, and on which loop.

Invariant: every key that a trip has drawn is told to the ledger once, or withdrawn.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import anyio
import errands
from ledger import Ledger
from outcome import Error, Outcome, Value

from creche import CallCancelled, CallCrashed, ConcurrentTaskRunner, Retry, RunnerFull, Slot, State
from creche.places import DaskPlace, ProcessPlace

DONE, FAILED, CANCELLED = State.COMPLETED, State.FAILED, State.CANCELLED


class Desk(NamedTuple):
    """What a trip has: the runner, the books, and what is drawn from."""

    runner: ConcurrentTaskRunner
    ledger: Ledger
    processes: ProcessPlace
    draw: random.Random
    dask: DaskPlace | None = None

    def told(self, slot: Slot[Any], outcome: Outcome[Any] | None, value: object = None) -> None:
        """Look at what came back for a call, and tell the books."""
        state = slot.state
        if outcome is None or not slot.done:
            self.ledger.wrong(f"{slot.key!r} was waited for, and is {state.name}")
            return
        if isinstance(outcome, Value):
            fits = state is DONE and outcome.value == value
        else:
            assert isinstance(outcome, Error)
            kinds = {CANCELLED: CallCancelled, State.CRASHED: CallCrashed}
            fits = state is not DONE and isinstance(outcome.error, kinds.get(state, Exception))
        if not fits:
            self.ledger.wrong(f"{slot.key!r} is {state.name}, and its outcome {outcome!r}")
        self.ledger.tell(slot.key, state)


Trip = Callable[[Desk], Awaitable[None]]


async def _there_and_back(desk: Desk, kind: str, fn: Callable[..., Any], **options: Any) -> None:
    key = desk.ledger.key(kind, DONE)
    slot: Slot[Any] = await desk.runner.submit(key, fn, key, **options)
    desk.told(slot, await desk.runner.wait(slot), key)


async def on_the_loop(desk: Desk) -> None:
    """One call, and its value."""
    await _there_and_back(desk, "loop", errands.give)


async def in_a_thread(desk: Desk) -> None:
    """A plain one."""
    await _there_and_back(desk, "thread", errands.same)


async def in_a_process(desk: Desk) -> None:
    """In a worker, which may be killed."""
    await _there_and_back(desk, "process", errands.same, place=desk.processes)


async def on_dask(desk: Desk) -> None:
    """On a cluster, whose workers may be killed."""
    await _there_and_back(desk, "dask", errands.same, place=desk.dask)


async def long_in_a_process(desk: Desk) -> None:
    """Long enough to be hit."""
    key = desk.ledger.key("process-long", DONE)
    slot = await desk.runner.submit(key, errands.nap, key, 0.1, place=desk.processes)
    desk.told(slot, await desk.runner.wait(slot), key)


async def long_on_dask(desk: Desk) -> None:
    """Long enough to be hit, or to be cancelled."""
    is_cancelled = desk.draw.random() < 0.3
    key = desk.ledger.key("dask-long", *([CANCELLED] if is_cancelled else []), DONE)
    slot = await desk.runner.submit(key, errands.nap, key, 0.2, place=desk.dask)
    if is_cancelled:
        await desk.runner.wait(slot, timeout=0.05)
        desk.runner.cancel(slot)
    desk.told(slot, await desk.runner.wait(slot), key)


async def with_priority(desk: Desk) -> None:
    """With one of many priorities, and some work."""
    key = desk.ledger.key("priority", DONE)
    slot = await desk.runner.submit(
        key, errands.give_after, key, desk.draw.random() / 100, priority=desk.draw.randrange(5)
    )
    desk.told(slot, await desk.runner.wait(slot), key)


async def by_limits(desk: Desk) -> None:
    """Several that may not run at once."""
    keys = [desk.ledger.key("limited", DONE) for _ in range(3)]
    slots = [
        await desk.runner.submit(key, errands.give_after, key, 0.005, limits=["few"]) for key in keys
    ]
    for slot, outcome in zip(slots, await desk.runner.wait_all(slots), strict=True):
        desk.told(slot, outcome, slot.key)


async def failing(desk: Desk) -> None:
    """It raises, here, in a thread or in a process."""
    ways: list[tuple[str, Callable[..., Any], Any, Any]] = [
        ("fail", errands.fail, ValueError("wrong"), None),
        ("fail", errands.refuse, 1, "thread"),
        ("process-fail", errands.refuse, 2, desk.processes),
    ]
    kind, fn, what, place = desk.draw.choice(ways)
    key = desk.ledger.key(kind, FAILED)
    slot = await desk.runner.submit(key, fn, what, place=place)
    desk.told(slot, await desk.runner.wait(slot))


async def tried_again(desk: Desk) -> None:
    """It fails twice, and then does not; or it fails always."""
    tries = [0]
    wanted = desk.draw.choice([2, 9])

    async def attempt() -> int:
        tries[0] += 1
        if tries[0] <= wanted:
            raise ConnectionError(tries[0])
        return tries[0]

    key = desk.ledger.key("retry", DONE if wanted == 2 else FAILED)
    slot = await desk.runner.submit(key, attempt, retry=Retry(3, delay=0.01))
    desk.told(slot, await desk.runner.wait(slot), 3)


async def out_of_time(desk: Desk) -> None:
    """It may run for a hundredth of a second, and would take an hour."""
    key = desk.ledger.key("timeout", FAILED)
    slot = await desk.runner.submit(key, errands.give_after, key, 3600, timeout=0.01)
    desk.told(slot, await desk.runner.wait(slot))


async def cancelled(desk: Desk) -> None:
    """By its key, while it is pending or running."""
    key = desk.ledger.key("cancel", CANCELLED)
    slot = await desk.runner.submit(key, errands.give_after, key, 3600)
    waited = await desk.runner.wait(key, timeout=desk.draw.choice([0, 0.002, 0.02]))
    if waited is not None or not desk.runner.cancel(key, reason="soaked"):
        desk.ledger.wrong(f"{key!r} has ended by itself: {waited!r}")
    desk.told(slot, await desk.runner.wait(slot))


async def killed(desk: Desk) -> None:
    """A cancel that kills its worker."""
    key = desk.ledger.key("process-cancel", CANCELLED)
    slot = await desk.runner.submit(key, errands.nap, key, 3600, place=desk.processes)
    await desk.runner.wait(slot, timeout=desk.draw.choice([0, 0.1]))
    desk.runner.cancel(slot)
    desk.told(slot, await desk.runner.wait(slot))


async def dying(desk: Desk) -> None:
    """A call that takes its worker along."""
    key = desk.ledger.key("process-death", State.CRASHED)
    slot: Slot[Any] = await desk.runner.submit(key, errands.die, place=desk.processes)
    desk.told(slot, await desk.runner.wait(slot))


async def one_after_another(desk: Desk) -> None:
    """A chain of three; in half of the cases the first one fails, and the others never run."""
    good = desk.draw.random() < 0.5
    first = desk.ledger.key("after", DONE if good else FAILED)
    rest = [desk.ledger.key("after", DONE if good else CANCELLED) for _ in range(2)]
    runner = desk.runner
    begun: tuple[Any, ...] = (errands.give, first) if good else (errands.fail, KeyError(first))
    slots: list[Slot[Any]] = [await runner.submit(first, *begun)]
    for key in rest:
        slots.append(await runner.submit(key, errands.same, key, after=[slots[-1]]))
    for slot in reversed(slots):
        desk.told(slot, await desk.runner.wait(slot), slot.key)


async def the_first_of_a_group(desk: Desk) -> None:
    """The first that completes ends the others."""
    keys = [desk.ledger.key("group", DONE, CANCELLED) for _ in range(3)]
    async with desk.runner.group(stop_when="first_success") as group:
        slots = [
            await group.submit(key, errands.give_after, key, seconds)
            for key, seconds in zip(keys, (0.001, 60, 3600), strict=True)
        ]
    if group.stopped_by is not slots[0]:
        desk.ledger.wrong(f"{keys!r}: the group was stopped by {group.stopped_by!r}")
    for slot in slots:
        desk.told(slot, slot.outcome, slot.key)


async def as_they_come(desk: Desk) -> None:
    """Several, read in the order in which they end; in half of the cases not all of them."""
    keys = [desk.ledger.key("completed", DONE) for _ in range(5)]
    slots = [await desk.runner.submit(key, errands.give, key) for key in keys]
    enough = desk.draw.choice([2, 5])
    async with desk.runner.as_completed(slots) as arrivals:
        async for slot in arrivals:
            desk.told(slot, slot.outcome, slot.key)
            slots.remove(slot)
            enough -= 1
            if not enough:
                break
    for slot in slots:
        desk.told(slot, await desk.runner.wait(slot), slot.key)


async def crowded(desk: Desk) -> None:
    """More than there is room for: some are refused, and wait for room then."""
    calls = 150
    slots: list[Slot[Any]] = []
    for _ in range(calls):
        key = desk.ledger.key("crowd", DONE)
        try:
            slot = desk.runner.submit_nowait(key, errands.give_after, key, 0.002)
        except RunnerFull:
            slot = await desk.runner.submit(key, errands.give_after, key, 0.002)
        slots.append(slot)
    for slot, outcome in zip(slots, await desk.runner.wait_all(slots), strict=True):
        desk.told(slot, outcome, slot.key)


async def given_up(desk: Desk) -> None:
    """A submitter, or waiter, that is cancelled; its call is not."""
    key = desk.ledger.key("given-up", DONE)
    slot: Slot[Any] | None = None
    with anyio.move_on_after(desk.draw.choice([0, 0.001, 0.01])):
        slot = await desk.runner.submit(key, errands.give_after, key, 0.005)
        await desk.runner.wait(slot)
    if slot is None:
        desk.ledger.withdraw(key)
    else:
        desk.told(slot, await desk.runner.wait(slot), key)


async def nested(desk: Desk) -> None:
    """A call that waits for a call that waits for a call, with its place lent."""

    async def deeper(level: int) -> int:
        if not level:
            return 0
        key = desk.ledger.key("nested", DONE)
        slot = await desk.runner.submit(key, deeper, level - 1)
        desk.told(slot, outcome := await desk.runner.wait(slot), level - 1)
        return 1 + int(outcome.unwrap())

    key = desk.ledger.key("nested", DONE)
    slot = await desk.runner.submit(key, deeper, 3)
    desk.told(slot, await desk.runner.wait(slot), 3)


async def joined(desk: Desk) -> None:
    """Under a key that is taken."""
    key = desk.ledger.key("joined", CANCELLED)
    slot = await desk.runner.submit(key, errands.give_after, key, 3600)
    if await desk.runner.submit(key, errands.give, 0, on_collision="join") is not slot:
        desk.ledger.wrong(f"{key!r} was not joined")
    desk.runner.cancel(slot)
    desk.told(slot, await desk.runner.wait(slot))


async def reserved(desk: Desk) -> None:
    """Waited for before it is submitted."""
    key = desk.ledger.key("reserved", DONE)
    slot = desk.runner.reserve(key)
    async with anyio.create_task_group() as group:
        group.start_soon(desk.runner.wait, slot)
        await anyio.lowlevel.checkpoint()
        await desk.runner.submit(key, errands.same, key)
    desk.told(slot, await desk.runner.wait(slot), key)


TRIPS: dict[Trip, float] = {
    on_the_loop: 30,
    in_a_thread: 12,
    in_a_process: 15,
    on_dask: 8,
    long_in_a_process: 12,
    long_on_dask: 2,
    with_priority: 4,
    by_limits: 2,
    failing: 4,
    tried_again: 2,
    out_of_time: 2,
    cancelled: 5,
    killed: 0.4,
    dying: 0.4,
    one_after_another: 3,
    the_first_of_a_group: 2,
    as_they_come: 3,
    crowded: 0.3,
    given_up: 3,
    nested: 2,
    joined: 1,
    reserved: 1,
}
"""What a task of the runner's loop does, with weights."""

ELSEWHERE: dict[Trip, float] = {
    on_the_loop: 10,
    in_a_thread: 4,
    in_a_process: 3,
    cancelled: 3,
    given_up: 3,
    failing: 2,
    one_after_another: 2,
}
"""What a task on another thread's loop does."""

NEED_DASK = frozenset({on_dask, long_on_dask})

TIMED: dict[Trip, str] = {
    on_the_loop: "loop",
    in_a_thread: "thread",
    in_a_process: "process",
    on_dask: "dask",
}
"""The trips whose time is looked at: those that wait for nothing on purpose."""
