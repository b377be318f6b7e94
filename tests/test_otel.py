"""`OpenTelemetry`: spans, what they hang below and lead to, how they end; and numbers."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import sniffio
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.semconv.attributes import error_attributes, exception_attributes
from opentelemetry.trace import SpanKind, StatusCode

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, State
from creche.instruments import CallEvent, Instrument, otel
from creche.instruments.otel import OpenTelemetry
from tracing import Traced, attributes

pytestmark = pytest.mark.anyio

NS = 1_000_000_000


def length(span: ReadableSpan) -> int:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.end_time - span.start_time


async def test_a_span_for_each_run_and_call() -> None:
    """With stable names, and inside of each other."""
    traced = Traced()
    runner = ConcurrentTaskRunner(max_workers=3, limits={"db": 2}, instruments=[traced.instrument])
    with traced.tracer.start_as_current_span("around"):
        async with runner.start():
            await runner.submit("load[7]", give, limits=["db"])
    assert traced.paths == {"around", "around/run concurrent", "around/run concurrent/load"}
    call, run = traced.named("load"), traced.named("run concurrent")
    number = attributes(run)["creche.run.number"]
    assert isinstance(number, int)
    wait = attributes(call).pop("creche.call.wait")
    assert wait >= 0
    assert attributes(call) == {
        "creche.call.key": "load[7]",
        "creche.call.place": "loop",
        "creche.call.limits": ("db",),
        "creche.call.wait": wait,
        "creche.call.state": "completed",
        "creche.call.attempts": 1,
        "creche.runner.name": "concurrent",
        "creche.run.number": number,
    }
    assert attributes(run) == {
        "creche.runner.name": "concurrent",
        "creche.run.number": number,
        "creche.run.loop": sniffio.current_async_library(),
        "creche.run.max_workers": 3,
        "creche.run.calls.completed": 1,
    }
    assert call.kind is run.kind is SpanKind.INTERNAL
    assert call.status.status_code is run.status.status_code is StatusCode.UNSET
    assert call.instrumentation_scope is not None
    assert call.instrumentation_scope.name == "creche"


async def test_times_are_those_of_the_run() -> None:
    """Tied to the time of day at its start; a span begins with the body, and the wait is told."""
    traced = Traced()
    runner = ConcurrentTaskRunner(max_workers=1, instruments=[traced.instrument])
    async with runner.start():
        runner.submit_nowait("a", anyio.sleep, 0.05)
        runner.submit_nowait("b", anyio.sleep, 0.05)
    a, b, run = traced.named("a"), traced.named("b"), traced.named("run concurrent")
    assert run.start_time is not None
    assert a.end_time is not None
    assert b.start_time is not None
    assert b.end_time is not None
    assert run.end_time is not None
    assert run.start_time <= a.end_time <= b.start_time < b.end_time <= run.end_time
    assert length(a) >= 0.049 * NS
    assert attributes(b)["creche.call.wait"] >= 0.049
    assert attributes(b)["creche.call.wait"] == pytest.approx(
        (b.start_time - run.start_time) / NS, abs=0.04
    )


async def test_what_a_call_hangs_below() -> None:
    """The call that has submitted it, at any depth of tasks and spans of its own; else the run."""
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)

    async def child() -> None:
        await runner.submit("direct", give)
        with traced.tracer.start_as_current_span("mine"):
            await runner.submit("deeper", give)

    async with runner.start():
        await runner.submit("parent", parent)
        with traced.tracer.start_as_current_span("block"):
            await runner.submit("in block", give)
    below = "run concurrent/parent"
    assert traced.paths == {
        "run concurrent",
        below,
        f"{below}/direct",
        f"{below}/mine",
        f"{below}/mine/deeper",
        "run concurrent/block",
        "run concurrent/block/in block",
    }


@pytest.mark.parametrize("around", [True, False])
async def test_a_task_that_was_there_before(around: bool) -> None:
    """It does not see the run's span, nor a call of it; what it submits hangs below the run."""
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])
    go, gone = anyio.Event(), anyio.Event()

    async def before() -> None:
        await go.wait()
        await runner.submit("a", give)
        gone.set()

    outer = traced.tracer.start_span("around")
    token = context.attach(trace.set_span_in_context(outer)) if around else None
    async with anyio.create_task_group() as group:
        group.start_soon(before)
        await settle_down()
        async with runner.start():
            go.set()
            await gone.wait()
    if token is not None:
        context.detach(token)
    outer.end()
    assert ("around/run concurrent/a" if around else "run concurrent/a") in traced.paths


async def test_a_call_whose_code_has_hidden_its_span() -> None:
    """What it submits hangs below it all the same."""
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])

    async def parent() -> None:
        context.attach(context.Context())
        await runner.submit("child", give)

    async with runner.start():
        await runner.submit("parent", parent)
    assert "run concurrent/parent/child" in traced.paths


async def test_a_request_of_somebody_elses() -> None:
    """A call belongs to the trace in which it is submitted, if that is not the run's."""
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])
    async with runner.start():
        with traced.tracer.start_as_current_span("request", context=context.Context()):
            await runner.submit("a", give)
    assert traced.paths == {"run concurrent", "request", "request/a"}


async def test_links_lead_to_what_it_was_after() -> None:
    """To those that ended before it was submitted as well; not to those that never had a span."""
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])
    async with runner.start():
        await runner.submit("a", give)
        await runner.submit("b", anyio.sleep, 0.01, after=["a"])
        runner.submit_nowait("c", anyio.sleep, 0.01)
        await runner.submit("d", give, after=["a", "c"])
    assert traced.links(traced.named("a")) == []
    assert traced.links(traced.named("b")) == ["a"]
    assert traced.links(traced.named("d")) == ["a", "c"]
    assert attributes_of_links(traced.named("b")) == [{"creche.link": "after"}]


def attributes_of_links(span: ReadableSpan) -> list[dict[str, Any]]:
    return [dict(link.attributes or {}) for link in span.links]


async def test_links_to_the_last_calls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that goes on for weeks not every call is kept."""
    monkeypatch.setattr(otel, "_REMEMBERED", 2)
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])
    async with runner.start():
        for key in "abc":
            await runner.wait(runner.submit_nowait(key, give))
        await runner.submit("d", give, after=["a", "b", "c"])
    assert traced.links(traced.named("d")) == ["b", "c"]


async def test_a_failure() -> None:
    """The conventions' `exception` event and `error.type`; the traceback is that of the user's code."""
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])
    async with runner.start():
        await runner.wait(runner.submit_nowait("a", fail, ValueError("no good")))
        await runner.wait(runner.submit_nowait("b", fail, UnspeakableError()))
    span = traced.named("a")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no good")
    assert attributes(span)[error_attributes.ERROR_TYPE] == "ValueError"
    assert attributes(span)["creche.call.state"] == "failed"
    (event,) = span.events
    told = dict(event.attributes or {})
    assert event.name == "exception"
    assert event.timestamp == span.end_time
    assert told[exception_attributes.EXCEPTION_TYPE] == "ValueError"
    assert told[exception_attributes.EXCEPTION_MESSAGE] == "no good"
    stack = str(told[exception_attributes.EXCEPTION_STACKTRACE])
    assert "in fail" in stack
    assert "_carriers.py" not in stack
    other = traced.named("b")
    assert attributes(other)["error.type"] == f"{__name__}.UnspeakableError"
    assert other.status.description == "<str() of it failed>"


class UnspeakableError(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


async def test_a_crash() -> None:
    """An error, too."""
    traced = Traced()
    instrument = traced.instrument
    runner = ConcurrentTaskRunner(instruments=[instrument])

    async def crash() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        async with runner.start():
            await runner.wait(runner.submit_nowait("a", crash))
    span = traced.named("a")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["creche.call.state"] == "crashed"
    assert attributes(traced.named("run concurrent"))["creche.run.calls.crashed"] == 1


async def test_a_cancellation_is_no_error() -> None:
    """Who wanted it, and why, is told; a call that never began has a span without length."""
    traced = Traced()
    runner = ConcurrentTaskRunner(max_workers=1, instruments=[traced.instrument])
    async with runner.start():
        running = runner.submit_nowait("a", forever)
        runner.submit_nowait("b", give)
        runner.submit_nowait("c", give, after=["b"])
        await settle_down()
        assert running.state is State.RUNNING
        runner.cancel("b", reason="not needed")
        runner.cancel("a", reason="enough")
    for name, reason, origin, attempts in (
        ("a", "enough", "cancel", 1),
        ("b", "not needed", "cancel", 0),
        ("c", None, "upstream", 0),
    ):
        span = traced.named(name)
        assert span.status.status_code is StatusCode.UNSET
        assert attributes(span)["creche.call.state"] == "cancelled"
        assert attributes(span)["creche.call.cancel.origin"] == origin
        assert reason is None or attributes(span)["creche.call.cancel.reason"] == reason
        assert attributes(span)["creche.call.attempts"] == attempts
        assert span.events == ()
    assert length(traced.named("b")) == 0


async def test_attempts() -> None:
    """Each is an event of the span; what was retried is not recorded as an exception."""
    traced = Traced()
    instrument = traced.instrument
    runner = ConcurrentTaskRunner(instruments=[instrument, Again(instrument)])
    async with runner.start():
        await runner.submit("a", give)
    span = traced.named("a")
    assert [event.name for event in span.events] == [
        "creche.call.retrying",
        "creche.call.attempt",
        "creche.call.retrying",
        "creche.call.attempt",
    ]
    assert [dict(event.attributes or {}) for event in span.events] == [
        {
            "creche.call.attempt": 1,
            "creche.call.retry.delay": 2.5,
            "exception.type": "OSError",
            "exception.message": "lost",
        },
        {"creche.call.attempt": 2},
        {"creche.call.attempt": 2},
        {"creche.call.attempt": 3},
    ]
    assert span.status.status_code is StatusCode.UNSET
    assert traced.points("creche.call.retries")["concurrent", "loop"].value == 2
    assert traced.points("creche.call.wait.duration")["concurrent", "loop"].count == 1


class Again(Instrument):
    """Tells another instrument of attempts that were not made."""

    def __init__(self, other: OpenTelemetry) -> None:
        self._other = other

    def call_started(self, event: CallEvent) -> None:
        other = self._other
        other.call_retrying(event._replace(delay=2.5, error=OSError("lost")))
        other.call_started(event._replace(attempt=2))
        other.call_retrying(event._replace(attempt=2))
        other.call_started(event._replace(attempt=3))


async def test_numbers() -> None:
    """How many wait and run, and how long each took: in seconds, by runner, place and state."""
    traced = Traced()
    runner = ConcurrentTaskRunner(max_workers=1, instruments=[traced.instrument])
    async with runner.start():
        for key in "abc":
            runner.submit_nowait(key, forever)
        await settle_down()
        now = traced.points("creche.call.count")
        assert now["concurrent", "loop", "pending"].value == 2
        assert now["concurrent", "loop", "running"].value == 1
        runner.cancel_all()
        await runner.wait(runner.submit_nowait("d", fail))
        await runner.submit("e", anyio.sleep, 0.05)
    after = traced.points("creche.call.count")
    assert [point.value for point in after.values()] == [0, 0]
    lengths = traced.points("creche.call.duration")
    assert {name: point.count for name, point in lengths.items()} == {
        ("concurrent", "loop", "cancelled"): 1,
        ("concurrent", "loop", "failed", "ValueError"): 1,
        ("concurrent", "loop", "completed"): 1,
    }
    assert lengths["concurrent", "loop", "completed"].sum >= 0.049
    assert lengths["concurrent", "loop", "completed"].explicit_bounds[-1] == 7200
    assert traced.points("creche.call.wait.duration")["concurrent", "loop"].count == 3
