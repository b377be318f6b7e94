"""`OpenTelemetry` to a collector: what the SDK sends over HTTP, decoded as a collector decodes it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from calls import fail, give
from creche import ConcurrentTaskRunner
from creche.instruments.otel import OpenTelemetry

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]


class Collector(ThreadingHTTPServer):
    """A receiver of OTLP over HTTP that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Decodes one request."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            self.server.traces.append(ExportTraceServiceRequest.FromString(body))
        else:
            assert self.path == "/v1/metrics"
            self.server.metrics.append(ExportMetricsServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        """Quietly."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_collector_is_sent_it(collector: Collector) -> None:
    """Spans in one trace with parents and links, and metrics with their units."""
    resource = Resource({"service.name": "census"})
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracer_provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces"))
    )
    exporter = OTLPMetricExporter(f"{collector.url}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter)
    meter_provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    runner = ConcurrentTaskRunner(instruments=[OpenTelemetry(tracer_provider, meter_provider)])
    async with runner.start():
        await runner.submit("a", give)
        await runner.wait(runner.submit_nowait("b", fail, after=["a"]))
    tracer_provider.shutdown()
    meter_provider.shutdown()

    spans = {
        span.name: span
        for request in collector.traces
        for of_resource in request.resource_spans
        for scope in of_resource.scope_spans
        for span in scope.spans
    }
    assert set(spans) == {"run concurrent", "a", "b"}
    run, a, b = spans["run concurrent"], spans["a"], spans["b"]
    assert a.parent_span_id == b.parent_span_id == run.span_id
    assert [link.span_id for link in b.links] == [a.span_id]
    assert len({span.trace_id for span in spans.values()}) == 1
    assert (b.status.code, b.status.message) == (b.status.STATUS_CODE_ERROR, "b")
    assert run.start_time_unix_nano <= a.start_time_unix_nano <= a.end_time_unix_nano
    assert a.end_time_unix_nano <= b.start_time_unix_nano <= run.end_time_unix_nano
    (of_resource,) = collector.traces[0].resource_spans
    assert ("service.name", "census") in {
        (one.key, one.value.string_value) for one in of_resource.resource.attributes
    }

    metrics = {
        metric.name: metric
        for request in collector.metrics
        for of_resource in request.resource_metrics
        for scope in of_resource.scope_metrics
        for metric in scope.metrics
    }
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "creche.call.count": "{call}",
        "creche.call.duration": "s",
        "creche.call.wait.duration": "s",
    }
    assert not metrics["creche.call.count"].sum.is_monotonic
    assert sum(point.count for point in metrics["creche.call.duration"].histogram.data_points) == 2
