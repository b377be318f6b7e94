"""Instruments: what is told, in which order, and what happens to one that raises."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State
from creche._events import EVENT_NAMES
from creche.instruments import CallEvent, Instrument, RunnerEvent, Summary

pytestmark = pytest.mark.anyio


class Recorder(Instrument):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def runner_started(self, event: RunnerEvent) -> None:
        super().runner_started(event)
        self.heard.append(("runner_started", event))

    def call_submitted(self, event: CallEvent) -> None:
        super().call_submitted(event)
        self.heard.append(("submitted", event))

    def call_admitted(self, event: CallEvent) -> None:
        super().call_admitted(event)
        self.heard.append(("admitted", event))

    def call_started(self, event: CallEvent) -> None:
        super().call_started(event)
        self.heard.append(("started", event))

    def call_finished(self, event: CallEvent) -> None:
        super().call_finished(event)
        self.heard.append(("finished", event))

    def runner_closed(self, event: RunnerEvent) -> None:
        super().runner_closed(event)
        self.heard.append(("runner_closed", event))

    def of(self, key: object) -> list[tuple[str, State]]:
        return [
            (name, event.state)
            for name, event in self.heard
            if isinstance(event, CallEvent) and event.key == key
        ]


WHOLE = [("submitted", State.PENDING), ("admitted", State.RUNNING), ("started", State.RUNNING)]


async def test_the_events_of_each_call(real_time: None) -> None:
    """In the order of the state table, also for calls that end before they start."""
    recorder = Recorder()
    runner = ConcurrentTaskRunner(max_workers=1, instruments=[recorder])
    async with runner.start():
        runner.submit_nowait("good", give)
        runner.submit_nowait("bad", fail)
        runner.submit_nowait("thread", len, "abc")
        await runner.wait("thread")
        runner.submit_nowait("running", forever)
        runner.submit_nowait("pending", forever)
        await settle_down()
        runner.cancel("pending", "dropped")
        runner.cancel("running")
        runner.reserve("unfilled")
    assert recorder.of("good") == [*WHOLE, ("finished", State.COMPLETED)]
    assert recorder.of("bad") == [*WHOLE, ("finished", State.FAILED)]
    assert recorder.of("thread") == [*WHOLE, ("finished", State.COMPLETED)]
    assert recorder.of("running") == [*WHOLE, ("finished", State.CANCELLED)]
    assert recorder.of("pending") == [WHOLE[0], ("finished", State.CANCELLED)]
    assert recorder.of("unfilled") == []
    assert [recorder.heard[n][0] for n in (0, -1)] == ["runner_started", "runner_closed"]
    assert recorder.heard[0][1].max_workers == 1
    last = {event.key: event for name, event in recorder.heard if name == "finished"}
    assert (last["pending"].origin, last["pending"].reason) == ("cancel", "dropped")
    assert isinstance(last["bad"].error, ValueError)
    assert {key: event.place for key, event in last.items()} == defaultdict(
        lambda: "loop", thread="thread"
    ) | dict.fromkeys(["good", "bad", "running", "pending"], "loop")
    times = [event.time for _, event in recorder.heard]
    assert times == sorted(times)


async def test_a_sequential_runner_tells_the_same() -> None:
    """Inline calls are told like any others."""
    recorder = Recorder()
    runner = SequentialTaskRunner(instruments=(recorder,))
    async with runner.start():
        await runner.submit("a", give)
    assert recorder.of("a") == [*WHOLE, ("finished", State.COMPLETED)]


async def test_one_that_raises_is_taken_off(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once; the run and the other instruments go on."""

    class Broken:
        """Hears one thing, badly."""

        def call_started(self, event: CallEvent) -> None:
            raise LookupError("broken instrument")

        def call_finished(self, event: CallEvent) -> None:
            raise AssertionError

    recorder = Recorder()
    runner = ConcurrentTaskRunner(instruments=[Broken(), recorder])  # type: ignore[list-item]  # it hears some events only
    with caplog.at_level(logging.ERROR, "creche"):
        async with runner.start():
            assert await runner.submit_nowait(1, give, 1) == 1
            assert await runner.submit_nowait(2, give, 2) == 2
    assert len(caplog.records) == 1
    assert "taken off" in caplog.text
    assert recorder.of(2) == [*WHOLE, ("finished", State.COMPLETED)]


async def test_without_one_no_event_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """None attached costs nothing."""
    monkeypatch.setattr("creche._telling.CallEvent", None)
    monkeypatch.setattr("creche._opening.RunnerEvent", None)
    runner = ConcurrentTaskRunner()
    async with runner.start():
        assert await runner.submit_nowait(1, give, 1) == 1


async def test_the_summary() -> None:
    """Counts, durations, and the failures with their reasons; bounded."""
    summary = Summary(slowest=2, failures=1)
    runner = ConcurrentTaskRunner(instruments=[summary])
    async with runner.start():
        for n in (3, 1, 2):
            runner.submit_nowait(n, anyio.sleep, n / 5)  # far apart: a busy machine may stall
        runner.submit_nowait("bad", fail, ValueError("two\nlines"))
        runner.submit_nowait("worse", fail, ValueError())
        runner.cancel(runner.submit_nowait("off", forever))
        await runner.wait("bad")
        assert summary.submitted == 6
        assert set(summary.running) <= {1, 2, 3, "worse"}
    assert [key for key, _ in summary.slowest] == [3, 2]
    assert summary.slowest[0][1] >= 0.59  # a clock of the loop may run a tick behind
    assert summary.settled == 6
    assert summary.counts[State.FAILED] == 2
    assert len(summary.failures) == 1
    assert summary.failures[0].reason in {"ValueError: two lines", "ValueError"}
    assert summary.running == {}


class Leaving(Instrument):
    """Leaves the program at the event of a name."""

    def __init__(self, name: str) -> None:
        setattr(self, name, self._leave)

    def _leave(self, event: object) -> None:
        raise SystemExit(3)


@pytest.mark.parametrize("name", [name for name in EVENT_NAMES if name != "call_retrying"])
@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_one_that_exits(name: str, kind: Callable[..., Any]) -> None:
    """What it raises that is no `Exception` comes out of `start()`; no slot is left open."""
    runner = kind(instruments=[Leaving(name)])

    async def run() -> None:
        async with runner.start():
            await anyio.lowlevel.checkpoint()
            await runner.submit("k", give)
            await runner.wait("k")

    with pytest.raises(SystemExit) as caught:
        await run()
    assert caught.value.code == 3
    assert all(slot.done for slot in runner.slots.values())


async def test_a_cause_is_told_before_what_follows() -> None:
    """A whole chain is cancelled by its first call; so is what an instrument cancels meanwhile."""

    class Meddler(Recorder):
        def call_finished(self, event: CallEvent) -> None:
            super().call_finished(event)
            if event.key == "a":
                runner.cancel("z")
                runner.cancel("held")

    recorder = Meddler()
    runner = ConcurrentTaskRunner(instruments=[recorder])
    async with runner.start():
        runner.submit_nowait("a", fail)
        runner.reserve("z")
        runner.submit_nowait("after z", give, after=["z"])
        runner.submit_nowait("held", give, after=["z"])
        runner.submit_nowait("after held", give, after=["held"])
        for before, key in ("ab", "bc", "cd"):
            runner.submit_nowait(key, give, after=[before])
        runner.submit_nowait("z", forever)
        await runner.wait("a")
    finished = [event.key for name, event in recorder.heard if name == "finished"]
    assert finished[0] == "a"
    assert [key for key in finished if key in "abcd"] == list("abcd")
    assert finished.index("z") < finished.index("after z")
    assert finished.index("held") < finished.index("after held")


@pytest.mark.anyio
async def test_what_is_inherited_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event is built for the methods of an instrument that do nothing."""

    class Ends(Instrument):
        def call_finished(self, event: CallEvent) -> None:
            super().call_finished(event)

    built: list[State] = []

    def counting(kind: type[CallEvent], fields: tuple[Any, ...]) -> CallEvent:
        built.append(fields[2])
        return tuple.__new__(kind, fields)

    monkeypatch.setattr("creche._telling._new", counting)
    async with ConcurrentTaskRunner(instruments=[Ends(), Instrument()]).start() as runner:
        await runner.submit_nowait("a", give, 1)
    assert built == [State.COMPLETED]


async def test_a_failure_that_cannot_say_what_it_is() -> None:
    """The summary goes on."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    summary = Summary()
    async with ConcurrentTaskRunner(instruments=[summary]).start() as runner:
        await runner.wait(runner.submit_nowait("a", fail, MuteError()))
        await runner.submit_nowait("b", give, 1)
    assert [one.reason for one in summary.failures] == ["MuteError: its message cannot be shown"]
    assert summary.settled == 2


async def test_only_what_is_heard_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that nobody listens to cost nothing."""

    class Ends:
        def __init__(self) -> None:
            self.heard: list[Any] = []

        def call_finished(self, event: CallEvent) -> None:
            self.heard.append(event)

    built: list[State] = []

    def counting(kind: type[CallEvent], fields: tuple[Any, ...]) -> CallEvent:
        built.append(fields[2])
        return tuple.__new__(kind, fields)

    monkeypatch.setattr("creche._telling._new", counting)
    ends = Ends()
    async with ConcurrentTaskRunner(instruments=[ends]).start() as runner:  # type: ignore[list-item]  # it hears some events only
        await runner.submit_nowait("a", give, 1)
    assert built == [State.COMPLETED]
    assert [event.key for event in ends.heard] == ["a"]


async def test_one_that_submits_what_comes_first() -> None:
    """Of two that wait for one place the one with the higher priority has it, whoever came first."""
    order: list[str] = []

    class Urgent(Instrument):
        def call_submitted(self, event: CallEvent) -> None:
            if event.key == "plain":
                runner.submit_nowait("urgent", note, "urgent", priority=1)

    async def note(key: str) -> None:
        order.append(key)

    runner = ConcurrentTaskRunner(max_workers=1, instruments=[Urgent()])
    async with runner.start():
        runner.submit_nowait("plain", note, "plain")
    assert order == ["urgent", "plain"]


@pytest.mark.parametrize("retain", [True, False])
async def test_one_that_ends_the_run_at_the_end_of_a_call(retain: bool) -> None:
    """The next call of the same carrier does not begin."""
    begun: list[int] = []

    class Ends(Instrument):
        def call_finished(self, event: CallEvent) -> None:
            scope.cancel()

    async def note(n: int) -> None:
        begun.append(n)

    scope = anyio.CancelScope()
    runner = ConcurrentTaskRunner(max_workers=1, instruments=[Ends()], retain=retain)
    with scope:
        async with runner.start():
            slots = [runner.submit_nowait(n, note, n) for n in range(3)]
    assert begun == [0]
    assert [slot.state for slot in slots] == [State.COMPLETED, State.CANCELLED, State.CANCELLED]
    assert [slot.origin for slot in slots] == [None, "closed", "closed"]


async def test_one_that_drops_the_next_call_at_the_end_of_one() -> None:
    """One that is dropped never begins, and the one behind it does."""
    recorder = Recorder()

    class Drops(Instrument):
        def call_finished(self, event: CallEvent) -> None:
            if event.key == 0:
                runner.cancel(1, "not wanted")

    runner = ConcurrentTaskRunner(max_workers=1, instruments=[Drops(), recorder])
    async with runner.start():
        for n in range(3):
            runner.submit_nowait(n, give, n)
    assert recorder.of(1) == [WHOLE[0], ("finished", State.CANCELLED)]
    assert recorder.of(2) == [*WHOLE, ("finished", State.COMPLETED)]


async def test_each_run_of_a_replaced_call_is_told_of_by_itself() -> None:
    """While the first of two under one key unwinds, it is kept aside; each has its own number."""
    recorder = Recorder()
    runner = ConcurrentTaskRunner(instruments=[recorder])

    async def keeps_on() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
        return "kept"

    async with runner.start():
        first = runner.submit_nowait("a", keeps_on)
        await settle_down()
        second = runner.submit_nowait("a", give, "second", on_collision="replace")
        await runner.wait_all()
    assert (await first, await second) == ("kept", "second")
    numbers = [event.call for name, event in recorder.heard if name == "finished"]
    assert len(set(numbers)) == 2


async def test_one_that_submits_again_at_the_end_of_a_call() -> None:
    """Its key is free by then, where settled slots do not stay."""
    ends: list[int] = []

    class Again(Instrument):
        def call_finished(self, event: CallEvent) -> None:
            ends.append(event.call)
            if len(ends) < 3:
                runner.submit_nowait(event.key, give, 1)

    runner = ConcurrentTaskRunner(retain=False, instruments=[Again()])
    async with runner.start():
        runner.submit_nowait("a", give, 1)
    assert ends == [1, 2, 3]
