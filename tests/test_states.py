"""The state table: each row is walked by a real runner, and what is no row is refused."""

from __future__ import annotations

import itertools
from typing import Any

import anyio
import pytest

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, SequentialTaskRunner, Slot, State
from creche._states import ORIGINS, TRANSITIONS, mermaid

FINAL = (State.COMPLETED, State.FAILED, State.CANCELLED, State.CRASHED)


class NoHome:
    """A home for slots that nobody waits for."""

    is_elsewhere = False
    runner_name = flow_name = ""
    tries: Any = None
    credit = 0

    async def wait(self, slot: Any, timeout: float | None, /) -> bool:
        raise AssertionError

    def is_cancel_due(self) -> bool:
        raise AssertionError

    def in_loop(self) -> bool:
        return False

    def block(self, slot: Any, timeout: float | None, /) -> bool:
        raise AssertionError

    def parker(self) -> Any:
        raise AssertionError


class Nobody:
    """Carries a call out, as far as a slot must know."""

    task = None
    place = "loop"

    def cancel(self, origin: Any, reason: str, /) -> None:
        raise AssertionError


def slot_in(state: State) -> Slot[Any]:
    """A slot in a state of our choice."""
    from creche._call import read_call  # noqa: PLC0415 - tests of the inside only

    slot = Slot[Any]("k", NoHome(), read_call(give, ()))
    if state is not State.PENDING:
        slot.begin(Nobody())  # type: ignore[arg-type]  # it stands for a carrier
    if state.final:
        slot.settle(state, payload_of(state))
    return slot


def payload_of(state: State) -> Any:
    return {
        State.CANCELLED: ("cancel", "why"),
        State.FAILED: ValueError(),
        State.CRASHED: ValueError(),
    }.get(state)


def test_the_names() -> None:
    """Values equal names; the last four are final."""
    assert all(state.value == state.name for state in State)
    assert [state for state in State if state.final] == list(FINAL)
    assert set(ORIGINS) == {"cancel", "outer", "closed", "upstream", "foreign", "lost"}


# From PENDING to RUNNING goes `begin`, which is tested below.
PAIRS = [pair for pair in itertools.product(State, State) if pair != (State.PENDING, State.RUNNING)]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_settling(before: State, after: State) -> None:
    """A slot settles along a row of the table, and refuses everything else."""
    slot = slot_in(before)
    if after in TRANSITIONS.get(before, frozenset()):
        slot.settle(after, payload_of(after))
        assert (slot.state, slot.done) == (after, True)
    else:
        with pytest.raises((AssertionError, KeyError)):
            slot.settle(after, payload_of(after))
        assert slot.state is before


@pytest.mark.parametrize("before", [State.RUNNING, *FINAL])
def test_beginning(before: State) -> None:
    """Only a pending call begins."""
    with pytest.raises(AssertionError):
        slot_in(before).begin(Nobody())  # type: ignore[arg-type]  # it stands for a carrier


def test_the_picture_is_drawn_from_the_table() -> None:
    """One arrow for each entry."""
    arrows = {line.strip() for line in mermaid().splitlines()[1:]}
    expected = {f"{a.name} --> {b.name}" for a, row in TRANSITIONS.items() for b in row}
    expected |= {"[*] --> PENDING"} | {f"{state.name} --> [*]" for state in FINAL}
    assert arrows == expected


@pytest.mark.anyio
async def test_each_row_is_walked() -> None:
    """By calls that complete, fail, crash, and are cancelled before and while they run."""
    runner = ConcurrentTaskRunner(max_workers=4)
    walked: dict[Any, list[State]] = {}

    class Watch:
        """Notes the states of each call."""

        def call_submitted(self, event: Any) -> None:
            walked[event.key] = [event.state]

        call_started = call_finished = lambda _, event: walked[event.key].append(event.state)

    runner = ConcurrentTaskRunner(max_workers=4, instruments=[Watch()])  # type: ignore[list-item]  # it hears some events only
    with pytest.raises(SystemExit):
        async with runner.start():
            runner.submit_nowait("completed", give)
            runner.submit_nowait("failed", fail)
            runner.submit_nowait("running", forever)
            await runner.wait("completed")
            await runner.wait("failed")
            runner.cancel("running")
            runner.cancel(runner.submit_nowait("pending", forever))
            await settle_down()
            runner.submit_nowait("crashed", fail, SystemExit())
            await anyio.sleep_forever()
    begun = [State.PENDING, State.RUNNING]
    assert walked == {
        "completed": [*begun, State.COMPLETED],
        "failed": [*begun, State.FAILED],
        "running": [*begun, State.CANCELLED],
        "pending": [State.PENDING, State.CANCELLED],
        "crashed": [*begun, State.CRASHED],
    }


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_a_pending_call_is_cancelled_each_way(kind: Any) -> None:
    """By its key, by a runner that closes, and by the last sweep; its body never runs."""
    ran: list[str] = []

    async def body(name: str) -> None:
        ran.append(name)

    runner = kind()
    with pytest.raises(LookupError):
        async with runner.start():
            by_key = runner.submit_nowait("by key", body, "by key")
            runner.cancel(by_key, "not needed")
            by_key_at_once = by_key.state
            closing = runner.submit_nowait("closing", body, "closing")
            reserved = runner.reserve("reserved")
            raise LookupError
    assert by_key_at_once is State.CANCELLED
    assert [slot.state for slot in (by_key, closing, reserved)] == [State.CANCELLED] * 3
    assert [slot.origin for slot in (by_key, closing, reserved)] == ["cancel", "closed", "lost"]
    assert by_key.reason == "not needed"
    assert ran == []


@pytest.mark.anyio
async def test_a_final_state_never_changes() -> None:
    """Not by a cancel, not by a crash of another call, not by the exit of the run."""
    runner = ConcurrentTaskRunner()
    with pytest.raises(SystemExit):
        async with runner.start():
            runner.submit_nowait("completed", give)
            runner.submit_nowait("failed", fail)
            runner.submit_nowait("cancelled", forever)
            await settle_down()
            runner.cancel("cancelled", "first")
            await runner.wait("cancelled")
            before = {key: slot.state for key, slot in runner.slots.items()}
            assert [runner.cancel(key, "second") for key in before] == [False] * 3
            runner.submit_nowait("crash", fail, SystemExit())
            await anyio.sleep_forever()
    assert {key: runner.slots[key].state for key in before} == before
    assert runner.slots["cancelled"].reason == "first"
