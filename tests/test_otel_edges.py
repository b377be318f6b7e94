"""`OpenTelemetry`: several runners, providers that keep nothing, names, and what is refused."""

from __future__ import annotations

import importlib
import pickle
import sys
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv.attributes import error_attributes, exception_attributes
from opentelemetry.trace import NoOpTracerProvider, StatusCode

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State
from creche.instruments import CallEvent, Instrument, RunnerEvent, _otel_span, otel
from creche.instruments.otel import OpenTelemetry
from tracing import Traced, attributes

pytestmark = pytest.mark.anyio


async def test_the_current_span_stands_for_that_of_the_call() -> None:
    """What code writes into it is in the span; it is not code's to end."""
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])

    async def write() -> bool:
        span = trace.get_current_span()
        span.set_attribute("one", 1)
        span.set_attributes({"two": 2})
        span.add_event("seen", {"three": 3})
        span.add_link(outer.get_span_context())
        span.update_name("renamed")
        span.record_exception(ValueError("handled"))
        span.set_status(StatusCode.OK)
        span.end()
        return span.is_recording()

    outer = traced.tracer.start_span("outer")
    outer.end()
    async with runner.start():
        assert await runner.submit_nowait("a", write)
    span = traced.named("renamed")
    assert (attributes(span)["one"], attributes(span)["two"]) == (1, 2)
    assert [event.name for event in span.events] == ["seen", "exception"]
    assert traced.links(span) == ["outer"]
    assert span.status.status_code is StatusCode.OK


@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("kind", [ConcurrentTaskRunner, SequentialTaskRunner])
async def test_in_threads_the_span_is_current_too(kind: Any) -> None:
    """Of plain functions, and of async ones with a loop there."""
    traced = Traced()
    runner = kind(instruments=[traced.instrument])

    def plain() -> None:
        with traced.tracer.start_as_current_span("inner"):
            pass

    async def there() -> None:
        plain()

    async with runner.start():
        await runner.submit("a", plain)
        await runner.submit("b", there, place="thread")
        await runner.until_idle()
        assert trace.get_current_span().get_span_context() != traced.named("a").context
    paths = {traced.path(span) for span in traced.spans}
    name = f"run {runner.name}"
    assert paths == {name, f"{name}/a", f"{name}/b", f"{name}/a/inner", f"{name}/b/inner"}


async def test_several_runners_at_once() -> None:
    """One instrument keeps them apart, and knows a call of one that submits to the other."""
    traced = Traced()
    one = ConcurrentTaskRunner(instruments=[traced.instrument])
    other = SequentialTaskRunner(instruments=[traced.instrument])

    async def across() -> None:
        await other.submit("b", give)

    async with one.start(), other.start():
        await one.submit_nowait("a", across)
        await other.submit("c", give)
    inner = "run concurrent/run sequential"
    assert traced.paths == {
        "run concurrent",
        inner,
        f"{inner}/a",  # where it is submitted the second runner is open as well
        f"{inner}/a/b",
        f"{inner}/c",
    }


async def test_a_parent_of_a_run_that_is_over() -> None:
    """What submits is a call of a runner without the instrument, or of one that has closed."""
    traced = Traced()

    class Strange(Instrument):
        def prepare_context(self, event: CallEvent) -> None:
            context.attach(context.Context())
            traced.instrument.prepare_context(event._replace(parent=(-1, "gone")))

    async with ConcurrentTaskRunner(instruments=[traced.instrument, Strange()]).start() as runner:
        await runner.submit("a", give)
    assert "run concurrent/a" in traced.paths


async def test_one_key_twice() -> None:
    """A call that makes room for another under its key ends its own span."""
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])
    async with runner.start():
        runner.submit_nowait("a", forever)
        await settle_down()
        runner.submit_nowait("a", give, on_collision="replace")
        await runner.submit("b", give, after=["a"])
    states = [attributes(span)["creche.call.state"] for span in traced.spans if span.name == "a"]
    assert sorted(states) == ["cancelled", "completed"]
    (link,) = traced.named("b").links
    completed = [
        span for span in traced.spans if attributes(span).get("creche.call.state") == "completed"
    ]
    assert link.context in [span.context for span in completed]


async def test_a_span_that_nobody_wants() -> None:
    """Not sampled, or no SDK at all: the calls run as ever."""
    traced = Traced(sampler=ALWAYS_OFF)
    silent = OpenTelemetry(NoOpTracerProvider(), NoOpMeterProvider())
    runner = ConcurrentTaskRunner(instruments=[traced.instrument, silent, OpenTelemetry()])
    async with runner.start():
        await runner.wait(runner.submit_nowait("a", fail))
        await runner.submit("b", give, after_any_end=True, after=["a"])
    assert traced.spans == ()


async def test_left_in_another_context() -> None:
    """The span of the run is over; what is current there is left alone, and nothing is logged."""
    traced = Traced()
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])
    async with runner.start():
        token = context.attach(context.Context())
    assert not trace.get_current_span().get_span_context().is_valid
    context.detach(token)
    assert traced.paths == {"run concurrent"}


def test_tags() -> None:
    """Words to find a call by are an attribute of its span."""
    traced = Traced()
    told, run = CallEvent("a", 0.0, State.PENDING, run=1, call=1), RunnerEvent("r", 0.0, run=1)
    traced.instrument.runner_started(run)
    traced.instrument.call_submitted(told._replace(tags=("nightly", "slow")))
    traced.instrument.call_started(told)
    traced.instrument.call_finished(told._replace(state=State.COMPLETED))
    traced.instrument.runner_closed(run)
    assert attributes(traced.named("a"))["creche.call.tags"] == ("nightly", "slow")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("load[3]", "load"),
        ("census/parse['ast.py']", "census/parse"),
        ("part[1]/load[0]", "part/load"),
        ("work[1]#2/load['a']", "work/load"),
        ("issue[1]#2", "issue"),
        ("part['a/b]/c']/load['it\\'s'][0]", "part/load"),
        ("fetch-17", "fetch"),
        ("2024-01", "2024"),
        (("page", 4), "page"),
        ((), "call"),
        (7, "call"),
        ("[", "call"),
    ],
)
def test_names_of_spans(key: Any, name: str) -> None:
    """One for many calls; the key is an attribute."""
    assert otel._name_of(CallEvent(key, 0.0, State.PENDING)) == name


async def test_names_of_your_own() -> None:
    """By a function of the event; any key is written somehow."""

    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no words")

    traced = Traced(span_name=lambda event: f"call of {type(event.key).__name__}")
    runner = ConcurrentTaskRunner(instruments=[traced.instrument])
    async with runner.start():
        await runner.submit(Silent(), give)
    assert "Silent object" in attributes(traced.named("call of Silent"))["creche.call.key"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tracer_provider": 3}, "tracer_provider must be an OpenTelemetry TracerProvider, not 3"),
        ({"meter_provider": "x"}, "meter_provider must be an OpenTelemetry MeterProvider, not 'x'"),
        ({"span_name": "x"}, "span_name must be a function that is given an event, not 'x'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    """Each by its name, with the cure."""
    with pytest.raises(TypeError, match=message):
        OpenTelemetry(**options)


def test_pickling() -> None:
    """With a runner it travels, unless it has providers of its own."""
    assert isinstance(pickle.loads(pickle.dumps(OpenTelemetry(span_name=repr))), OpenTelemetry)
    with pytest.raises(TypeError, match="set the global ones in each process"):
        pickle.dumps(Traced().instrument)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "creche.instruments.otel")
    with pytest.raises(ImportError, match=r"pip install 'creche\[otel\]'"):
        importlib.import_module("creche.instruments.otel")


def test_names_of_the_conventions() -> None:
    """They are written out, since the package that has them need not be installed."""
    assert _otel_span.ERROR_TYPE == error_attributes.ERROR_TYPE
    assert _otel_span.EXCEPTION_TYPE == exception_attributes.EXCEPTION_TYPE
    assert _otel_span.EXCEPTION_MESSAGE == exception_attributes.EXCEPTION_MESSAGE
    assert _otel_span.EXCEPTION_STACKTRACE == exception_attributes.EXCEPTION_STACKTRACE
