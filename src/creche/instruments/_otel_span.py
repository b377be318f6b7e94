"""The span that the code of a call sees as the current one, and what is written into spans.

What it is for: a call is given its context variables when it is submitted, and its span only when its
body starts. What it sees in between stands for that span.

What it does not know: runs, metrics, when a span starts and ends.

Invariant: code of a call never ends the span of the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, final

from opentelemetry.trace import Span, SpanContext, Status, StatusCode

from creche._tracebacks import users_traceback

Attributes = Mapping[str, Any]

# Names of the conventions; the package that has them need not be installed.
ERROR_TYPE = "error.type"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"


class HasSpan(Protocol):
    """What will have a span."""

    span: Span


@final
class CurrentSpan(Span):
    """The span of a call, as its code sees it: there is nothing in it before the body has begun."""

    def __init__(self, call: HasSpan) -> None:
        self._call = call

    def get_span_context(self) -> SpanContext:
        """That of the call's span."""
        return self._call.span.get_span_context()

    def is_recording(self) -> bool:
        """Whether anybody keeps what is written into it."""
        return self._call.span.is_recording()

    def set_attribute(self, key: str, value: Any) -> None:  # noqa: ANN401 - what attributes may be
        """Into the call's span."""
        self._call.span.set_attribute(key, value)

    def set_attributes(self, attributes: Attributes) -> None:
        """Into the call's span."""
        self._call.span.set_attributes(attributes)

    def add_event(
        self, name: str, attributes: Attributes | None = None, timestamp: int | None = None
    ) -> None:
        """Into the call's span."""
        self._call.span.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes | None = None) -> None:
        """Into the call's span."""
        self._call.span.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """That of the call's span."""
        self._call.span.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """That of the call's span."""
        self._call.span.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes | None = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - the API's
    ) -> None:
        """Into the call's span."""
        self._call.span.record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """Nothing: the span ends with the call."""


def type_of(error: BaseException) -> str:
    """The full name of the type of an exception."""
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """What an exception says, whatever its `str` does."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - somebody's own
        return "<str() of it failed>"


def short(error: BaseException) -> dict[str, Any]:
    """Of an exception that has been dealt with: what it is and what it says."""
    return {EXCEPTION_TYPE: type_of(error), EXCEPTION_MESSAGE: message_of(error)}


def record(span: Span, error: BaseException, now: int) -> None:
    """Write an exception into a span, by the conventions, and make it that of something that failed.

    Args:
        span: is recording.
        error: with its traceback.
        now: when, in nanoseconds.
    """
    span.add_event("exception", {**short(error), EXCEPTION_STACKTRACE: users_traceback(error)}, now)
    span.set_status(Status(StatusCode.ERROR, message_of(error)))
