"""OpenTelemetry in memory: what an instrument has written, by names.

What it does not know: runners.
"""

from __future__ import annotations

from typing import Any, final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from creche.instruments.otel import OpenTelemetry


@final
class Traced:
    """Providers that keep all, an instrument that writes there, and a tracer for code of one's own."""

    def __init__(self, sampler: Sampler | None = None, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.instrument = OpenTelemetry(self.tracer_provider, self.meter_provider, **options)
        self.tracer = self.tracer_provider.get_tracer("of the user")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that have ended."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        """The only span of this name."""
        (span,) = (one for one in self.spans if one.name == name)
        return span

    def path(self, span: ReadableSpan) -> str:
        """Its name, below those of the spans that it is in."""
        if span.parent is None:
            return span.name
        return f"{self.path(self._by_id(span.parent.span_id))}/{span.name}"

    @property
    def paths(self) -> set[str]:
        """Those of all spans."""
        return {self.path(span) for span in self.spans}

    def links(self, span: ReadableSpan) -> list[str]:
        """The names of the spans that it is linked to."""
        return [self._by_id(link.context.span_id).name for link in span.links]

    def points(self, name: str) -> dict[tuple[Any, ...], Any]:
        """Of a metric: its points, by the values of their attributes."""
        data = self._reader.get_metrics_data()
        assert data is not None
        (metric,) = (
            metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        )
        return {tuple((point.attributes or {}).values()): point for point in metric.data.data_points}

    def _by_id(self, number: int) -> ReadableSpan:
        (span,) = (one for one in self.spans if one.context and one.context.span_id == number)
        return span


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})
