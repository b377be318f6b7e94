"""Which call wrote a log line: key, runner, attempt, place and flow, in every record.

What it is for: `logging` of the standard library has two places where a record can be given more than
was logged, a filter and the record factory; structlog has processors. There is one for each.

What it does not know: how the call is found (`creche.current_call` knows); structlog, which is not
imported.

Invariant: a record is never refused nor changed otherwise, and outside of calls its attributes are there
and empty, so that a format that names them always works.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any, final

from ._current import CurrentCall, current_call, text_of
from ._spelling import shorten

__all__ = ["CallFilter", "add_call", "install_record_factory"]

_NAMES = ("creche_key", "creche_runner", "creche_attempt", "creche_place", "creche_flow")
_NOTHING = dict.fromkeys(_NAMES, "")

_MARK = "_creche_inner"  # of our factory: the one that it wraps


@final
class CallFilter(logging.Filter):
    """Gives each record the call that wrote it. For a handler: ``handler.addFilter(CallFilter())``.

    The attributes are `creche_key`, `creche_runner`, `creche_attempt`, `creche_place` and `creche_flow`;
    empty strings outside of calls, the last one outside of flows. A key that is no string is there as
    its `repr`. The filter of a handler sees what comes to it from any logger; that of a logger sees its
    own lines only. It lets all through.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes; part of the protocol of `logging`.

        Args:
            record: of a line that is being logged.

        Returns:
            True.
        """
        _mark(record)
        return True


def install_record_factory() -> None:
    """Let every record of this process have what `CallFilter` gives, whoever handles it.

    Wraps the record factory that is there; a second time nothing happens. In worker processes it has
    to be called as well: by the `initializer` of a `ProcessPlace`, say.
    """
    inner = logging.getLogRecordFactory()
    if not hasattr(inner, _MARK):
        logging.setLogRecordFactory(_factory(inner))


def add_call(_logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> Any:  # noqa: ANN401 - what structlog calls an event dict
    """A processor for structlog: ``structlog.configure(processors=[add_call, ...])``.

    Adds `creche_key`, `creche_runner`, `creche_attempt`, `creche_place` and `creche_flow` inside of
    calls, and nothing outside of them. What the line says by itself under these names stands.

    Args:
        event_dict: what is being logged.

    Returns:
        the same.
    """
    call = current_call()
    if call is not None:
        for name, value in _shown(call).items():
            event_dict.setdefault(name, value)
    return event_dict


def _factory(inner: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401 - as it comes
        record = inner(*args, **kwargs)
        _mark(record)
        return record

    setattr(make_record, _MARK, inner)
    return make_record


def _mark(record: Any) -> None:  # noqa: ANN401 - a LogRecord, which is given more attributes
    if getattr(record, "creche_attempt", ""):
        return  # it was written by another call, and has come here by way of a queue
    call = current_call()
    vars(record).update(_NOTHING if call is None else _shown(call))


def _shown(call: CurrentCall) -> dict[str, Any]:
    key, runner, attempt, place, flow = call
    return dict(zip(_NAMES, (shorten(text_of(key)), runner, attempt, place, flow), strict=True))
