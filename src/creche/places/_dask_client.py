"""The client of one run: connected, or closed again; all of it blocks, and runs in threads.

What it is for: what a user asks for becomes a client that speaks with a scheduler, or an error that
names the address and the cure.

What it does not know: clusters, calls.

Invariant: a client that is not handed out is closed, also one that is made after nobody waits any more;
and none is ever closed by whoever happens to collect it.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from outcome import Error, Outcome, capture

from ._dask_threads import start as start_thread
from ._dask_threads import within

# Seconds beyond Dask's own time limit, which shall be the one that is heard of.
_MORE = 1.0


def connected(
    distributed: Any,  # noqa: ANN401 - as where it comes from
    where: Any,  # noqa: ANN401 - as above
    kwargs: dict[str, Any],
    over: threading.Event,
) -> Any:  # noqa: ANN401 - as above
    if isinstance(where, str):
        try:
            # A client that finds this out leaves half a client behind.
            importlib.import_module("distributed.comm").get_address_host(where)
        except ValueError as exc:
            msg = f"address must be one of a Dask scheduler, 'tcp://host:8786', not {where!r}: {exc}"
            raise ValueError(msg) from exc
    try:
        return _made(distributed, where, kwargs, over)
    except (ImportError, TypeError, ValueError) as exc:  # of `client_kwargs`
        if "ssl_context" not in str(exc):
            raise
        msg = (
            f"address {where!r} is one of a scheduler that wants certificates: pass "
            f"client_kwargs={{'security': distributed.Security(...)}}, or configure Dask's own ({exc})"
        )
        raise ValueError(msg) from exc
    except Exception as exc:  # what answers there may be anything, and what Dask makes of that, too
        at = where if isinstance(where, str) else getattr(where, "scheduler_address", where)
        cure = (
            "start one there (`dask scheduler`), correct address=, or leave it out for a local cluster"
        )
        msg = f"no Dask scheduler answers at {at!r} ({first_line(exc)}); {cure}"
        raise ConnectionError(msg) from exc


def _made(
    distributed: Any,  # noqa: ANN401 - as where it comes from
    where: Any,  # noqa: ANN401 - as above
    kwargs: dict[str, Any],
    over: threading.Event,
) -> Any:  # noqa: ANN401 - as above
    """A client that is connected. One that could not be made is closed: it has begun threads.

    Dask's own time limit ends when somebody accepts: it would wait without end for a scheduler that is
    frozen, and for whoever says nothing.
    """
    seconds = _seconds(kwargs.get("timeout"))
    begun: list[Any] = []

    def start(self: Any, **more: Any) -> Any:  # noqa: ANN401 - Dask's
        begun.append(self)
        return distributed.Client.start(self, **more)

    def leave(_: object) -> None:
        """It is closed here. Dask's finalizer would close it in whatever thread collects it.

        It fails, too, on a client that was closed while it started: that calls itself running after it.
        """

    made: list[Outcome[Any]] = []
    lock = threading.Lock()
    is_given_up = False
    ours = type("Client", (distributed.Client,), {"start": start, "__del__": leave})
    make = partial(ours, where, **kwargs)

    def work() -> None:
        came = capture(make, set_as_default=False)
        with lock:
            made.append(came)
            is_late = is_given_up
        over.set()
        if is_late:  # what had not begun to start when it was given up could not be closed then
            _close_begun(begun)

    start_thread(work, "creche dask")
    over.wait(seconds + _MORE)
    with lock:
        came = made[0] if made else Error(TimeoutError(f"it has said nothing for {seconds:g} s"))
        is_given_up = not made
    if isinstance(came, Error):
        _close_begun(begun)
    return came.unwrap()


def _close_begun(clients: Sequence[Any]) -> None:
    for client in clients:
        within(_MORE, partial(client.close, timeout=_MORE), None)


def _seconds(timeout: object) -> float:
    """How long Dask looks for a scheduler."""
    if timeout is None:
        timeout = importlib.import_module("dask.config").get("distributed.comm.timeouts.connect")
    parse = importlib.import_module("dask.utils").parse_timedelta
    try:
        seconds = float(parse(timeout, default="seconds"))
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        msg = f"client_kwargs['timeout'] must be seconds, or a time such as '5s', not {timeout!r}: {exc}"
        raise ValueError(msg) from exc
    return min(seconds, threading.TIMEOUT_MAX - _MORE)


def first_line(exc: BaseException) -> str:
    return (str(exc) or type(exc).__name__).partition("\n")[0]
