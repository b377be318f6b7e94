"""`OpenTelemetry`: runs and calls as spans and metrics. Needs the extra `creche[otel]`.

What it is for: whoever has OpenTelemetry sees calls there, where the rest of the program is seen: a
span for each run and each call, what a call's own code writes below the span of the call, and numbers.

What it does not know: exporters, samplers, resources: those belong to the providers that it is given.

Invariant: what happens in a run is written with the run's own clock, tied to the time of day once, when
the run starts, so that the spans of a run agree with each other. Nothing here waits for anything.
"""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, final

from creche._current import text_of
from creche._events import CallEvent, Instrument, RunnerEvent
from creche._spelling import kind_of, shorten
from creche._states import State

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, trace

    from ._otel_span import ERROR_TYPE, Attributes, CurrentSpan, record, short, type_of
except ImportError as _exc:
    msg = "creche.instruments.otel needs OpenTelemetry's API: pip install 'creche[otel]'"
    raise ImportError(msg) from _exc

__all__ = ["OpenTelemetry"]

_SCOPE = "creche"
_NS = 1_000_000_000

# In seconds: those that the conventions advise for HTTP, and longer ones.
_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    *(30, 60, 300, 1800, 7200),
)

_REMEMBERED = 10_000
"""Calls that have ended, to which those that are submitted later can be linked."""


@final
class OpenTelemetry(Instrument):
    """Writes spans and metrics of whatever it is an instrument of; of several runners at once, too.

    A span for each run, below the one that is current where the runner is started, and current inside
    the block. A span for each call, from the beginning of its body to its end, below the one that is
    current where it is submitted: that of the run, that of the call whose body submits it, or one of
    your own. Links lead to the calls that it was `after`. In the body of a call, on the loop and in
    threads, its span is current, so that what your code opens is below it; in another process it is not.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        span_name: Callable[[CallEvent], str] | None = None,
    ) -> None:
        """Make it; nothing is written.

        Args:
            tracer_provider: where spans go; `None` for the global one. One whose processors export at
                once, instead of in a thread of their own, blocks the loop as long as that takes.
            meter_provider: where metrics go; `None` for the global one.
            span_name: gives the name of a call's span, from its `call_submitted`; without it that is
                the key up to what makes it one of many: `load` for `load[3]`.

        Raises:
            TypeError: one of them is no such provider, or `span_name` cannot be called.
        """
        _check("tracer_provider", tracer_provider, trace.TracerProvider)
        _check("meter_provider", meter_provider, metrics.MeterProvider)
        if not (span_name is None or callable(span_name)):
            msg = f"span_name must be a function that is given an event, not {span_name!r}"
            raise TypeError(msg)
        self._given = tracer_provider, meter_provider, span_name
        self._name: Callable[[CallEvent], str] = span_name or _name_of
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._count = meter.create_up_down_counter(
            "creche.call.count", "{call}", "Calls that wait to be started, and calls that run."
        )
        self._duration = meter.create_histogram(
            "creche.call.duration",
            "s",
            "From the beginning of a call's body to its end, waiting for retries included.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._wait = meter.create_histogram(
            "creche.call.wait.duration",
            "s",
            "From a call's submit to the beginning of its body.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._retries = meter.create_counter(
            "creche.call.retries", "{retry}", "Attempts that failed, and were followed by another one."
        )
        self._runs: dict[int, _TracedRun] = {}
        # Those that have not ended, by the numbers of run and call. Loops of several threads may ask.
        self._calls: dict[tuple[int, int], _TracedCall] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        tracer_provider, meter_provider, span_name = self._given
        if not (tracer_provider is None and meter_provider is None):
            msg = (
                "an OpenTelemetry instrument with a provider of its own cannot be pickled; "
                "leave tracer_provider and meter_provider out, and set the global ones in each process"
            )
            raise TypeError(msg)
        return _again, (span_name,)

    # Runs -------------------------------------------------------------------------------------------

    def runner_started(self, event: RunnerEvent) -> None:
        """Start the span of the run, and let it be current in the block."""
        run = self._runs[event.run] = _TracedRun(event)
        attributes: dict[str, Any] = {
            "creche.runner.name": event.name,
            "creche.run.number": event.run,
            "creche.run.loop": event.loop,
        }
        if event.max_workers is not None:
            attributes["creche.run.max_workers"] = event.max_workers
        run.span = self._tracer.start_span(
            f"run {event.name}", attributes=attributes, start_time=run.when(event.time)
        )
        run.token = contexts.attach(trace.set_span_in_context(run.span))

    def runner_closed(self, event: RunnerEvent) -> None:
        """End the span of the run."""
        run = self._runs.pop(event.run)
        for state, number in run.ended.items():
            run.span.set_attribute(f"creche.run.calls.{state}", number)
        run.span.end(run.when(event.time))
        if trace.get_current_span() is run.span:  # else the run is left in another context
            contexts.detach(run.token)

    # Calls ------------------------------------------------------------------------------------------

    def call_submitted(self, event: CallEvent) -> None:
        """Count a call that waits."""
        run = self._runs[event.run]
        call = self._calls[event.run, event.call] = _TracedCall(run, event, self._name(event))
        run.open[event.key] = call
        self._count_as(call, "pending")

    def prepare_context(self, event: CallEvent) -> None:
        """Let the span that the call will have be current in its code."""
        call = self._calls[event.run, event.call]
        around, parent = contexts.get_current(), trace.get_current_span().get_span_context()
        if not parent.is_valid or parent == call.run.outside:
            # Submitted from where nothing of the run is seen: a task or a thread that was there before.
            submitter = None if event.parent is None else self._find(*event.parent)
            span = call.run.span if submitter is None else submitter.span
            around = trace.set_span_in_context(span, around)
        call.parent = around
        contexts.attach(trace.set_span_in_context(CurrentSpan(call), around))

    def call_started(self, event: CallEvent) -> None:
        """Start the span of the call, or note another attempt."""
        call = self._calls[event.run, event.call]
        now = call.run.when(event.time)
        if call.started is not None:
            call.span.add_event("creche.call.attempt", {"creche.call.attempt": event.attempt}, now)
            return
        call.started = now
        self._start(call, now)
        self._count_as(call, "running")
        self._wait.record(max(0, now - call.submitted) / _NS, call.about)

    def call_retrying(self, event: CallEvent) -> None:
        """Note an attempt that has failed and is followed by another."""
        call = self._calls[event.run, event.call]
        attributes: dict[str, Any] = {"creche.call.attempt": event.attempt}
        if event.delay is not None:
            attributes["creche.call.retry.delay"] = event.delay
        if event.error is not None:
            # No `exception` event: by the conventions what was retried is not recorded as an error.
            attributes.update(short(event.error))
        call.span.add_event("creche.call.retrying", attributes, call.run.when(event.time))
        self._retries.add(1, call.about)

    def call_finished(self, event: CallEvent) -> None:
        """End the span of the call; one that never ran has one without length."""
        call = self._calls.pop((event.run, event.call))
        now, state = call.run.when(event.time), event.state.name.lower()
        if call.started is None:
            self._start(call, now)
        span = call.span
        span.set_attribute("creche.call.state", state)
        span.set_attribute("creche.call.attempts", 0 if call.started is None else event.attempt)
        about = {**call.about, "creche.call.state": state}
        if event.state is State.CANCELLED:  # somebody wanted it: by the conventions no error
            span.set_attribute("creche.call.cancel.origin", str(event.origin))
            span.set_attribute("creche.call.cancel.reason", str(event.reason))
        elif event.error is not None:
            about[ERROR_TYPE] = type_of(event.error)
            if span.is_recording():
                span.set_attribute(ERROR_TYPE, about[ERROR_TYPE])
                record(span, event.error, now)
        span.end(now)
        self._count_as(call, None)
        if call.started is not None:
            self._duration.record(max(0, now - call.started) / _NS, about)
        call.run.note_end(event.key, call, state)

    def _start(self, call: _TracedCall, now: int) -> None:
        """Start the span of a call, and let go what was kept for that."""
        found = [other.span.get_span_context() for other in call.after]
        call.span = self._tracer.start_span(
            call.name,
            call.parent,
            attributes={**call.attributes, "creche.call.wait": max(0, now - call.submitted) / _NS},
            links=[trace.Link(one, {"creche.link": "after"}) for one in found if one.is_valid],
            start_time=now,
        )
        call.parent, call.after, call.attributes = None, [], {}

    def _find(self, number: int, key: Hashable) -> _TracedCall | None:
        run = self._runs.get(number)
        return None if run is None else run.find(key)

    def _count_as(self, call: _TracedCall, state: str | None) -> None:
        if call.counted is not None:
            self._count.add(-1, call.counted)
        call.counted = None if state is None else {**call.about, "creche.call.state": state}
        if call.counted is not None:
            self._count.add(1, call.counted)


@final
class _TracedRun:
    """What is known of one run.

    Attributes:
        name: of the runner.
        span: of the run.
        token: with which it was made current.
        outside: of the span that was current where it was started.
        open: the calls that have not ended, by their keys; of two the last.
        ended: how many calls have ended, by their states.
    """

    def __init__(self, event: RunnerEvent) -> None:
        self.name = event.name
        self.outside = trace.get_current_span().get_span_context()
        self.span: trace.Span = trace.INVALID_SPAN
        self.token: Any = None
        self.open: dict[Hashable, _TracedCall] = {}
        self.ended: dict[str, int] = {}
        self._last: OrderedDict[Hashable, _TracedCall] = OrderedDict()
        self._offset = time.time_ns() - int(event.time * _NS)

    def when(self, seconds: float) -> int:
        """The time of day, in nanoseconds, of a time of the run's clock."""
        return self._offset + int(seconds * _NS)

    def find(self, key: Hashable) -> _TracedCall | None:
        """The call under a key: the last one, if there were several."""
        return self.open.get(key) or self._last.get(key)

    def note_end(self, key: Hashable, call: _TracedCall, state: str) -> None:
        """A call has ended; one that comes after it may link to it."""
        self.ended[state] = self.ended.get(state, 0) + 1
        if self.open.get(key) is call:
            del self.open[key]
            self._last[key] = call
            self._last.move_to_end(key)
            if len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)


@final
class _TracedCall:
    """What is known of one call.

    Attributes:
        run: its run.
        name: of its span.
        submitted: when, in nanoseconds since the epoch.
        started: when its body first began; `None` if it has not.
        about: what each number of it is told by.
        counted: as what it is counted now.
        span: once it has one.
        parent: the context that the span is to be started in; gone by then.
        attributes: of the span; gone by then.
        after: the calls that it waits for; gone by then.
    """

    def __init__(self, run: _TracedRun, event: CallEvent, name: str) -> None:
        self.run = run
        self.name = name
        self.submitted = run.when(event.time)
        self.started: int | None = None
        self.about: Attributes = {"creche.runner.name": run.name, "creche.call.place": event.place}
        self.counted: Attributes | None = None
        self.span: trace.Span = trace.INVALID_SPAN
        self.parent: contexts.Context | None = None
        self.attributes: dict[str, Any] = {
            **self.about,
            "creche.call.key": shorten(text_of(event.key)),
            "creche.run.number": event.run,
        }
        if event.tags:
            self.attributes["creche.call.tags"] = event.tags
        if event.limits:
            self.attributes["creche.call.limits"] = event.limits
        self.after = [other for other in map(run.find, event.after) if other is not None]


def _again(span_name: Callable[[CallEvent], str] | None) -> OpenTelemetry:
    return OpenTelemetry(span_name=span_name)


def _check(name: str, given: object, wanted: type) -> None:
    if not (given is None or isinstance(given, wanted)):
        msg = (
            f"{name} must be an OpenTelemetry {wanted.__name__}, not {given!r}; "
            f"leave it out for the global one"
        )
        raise TypeError(msg)


def _name_of(event: CallEvent) -> str:
    """The name of a call's span: one for many calls, as the conventions want it."""
    key = event.key
    if isinstance(key, tuple):
        key = next(itertools.chain(key, [None]))
    return (kind_of(key) if isinstance(key, str) else "") or "call"
