"""A worker process: takes calls from a socket, one after the other, and answers.

What it is for: `main` is all that a worker process runs. It begins a call only when it has got hold of a
token for it; the parent takes the token back of a call that it wants back. So after a death the parent
knows which call had begun.

What it does not know: the other workers, keys, cancellation: it is killed.

Invariant: at most one call has begun and is not answered; an answer is sent before the next token is
taken.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import socket
import sys
from time import perf_counter
from typing import Any, final

from ._body import VALUE, carry
from ._frames import TOKEN, Frame, Inbox, wrap
from ._orphans import die_with, is_orphan
from ._pickling import Part, load
from ._stop import Stop

END = 0
"""The token that says that there is nothing to do any more."""

_TRIES = 64
"""How often a worker looks for its next call before it sleeps: a tenth of a millisecond, in which its
answer is read over there and the next call comes. To be woken costs both sides more than that, and
whoever else wants the processor has it in between."""

LOOK_ROUND = 2.0
"""Seconds after which an idle worker looks whether its parent is still there."""


@final
class Worker:
    """One worker process, from inside.

    Attributes:
        stop: is set when the call that runs here is to stop.
    """

    def __init__(self, connection: socket.socket, tokens: int) -> None:
        self.stop = Stop()
        self._socket = connection
        self._inbox = Inbox(self._socket)
        self._tokens = tokens
        self._poll = select.poll()
        self._poll.register(tokens, select.POLLIN)
        self._pid = os.getpid()
        self._parent = 0
        self._may_be_told = False

    def serve(self) -> None:
        """Set up what the parent says, then carry out calls until there are no more."""
        settings = load(self._next(0)[2])
        self._parent = settings["parent"]
        die_with(self._parent)
        sys.path[:] = settings["path"]
        sys.argv[:] = settings["argv"]
        self._may_be_told = settings["graceful"]
        if self._may_be_told:
            signal.signal(signal.SIGTERM, lambda *_: self.stop.set())
        answer = carry(settings["initializer"], wants_value=False)
        self._send(0, 0.0, answer)
        if load(answer)[0] != VALUE:
            return
        while number := self._claim():
            # It has begun: it may be told to stop from now on, while the rest of it travels, too.
            self.stop.clear()
            self._carry_out(self._next(number))

    def _carry_out(self, frame: Frame) -> None:
        number, _, parts = frame
        del frame
        began = perf_counter()
        answer = carry(parts, self.stop if self._may_be_told else None)
        seconds = perf_counter() - began
        if os.getpid() != self._pid:
            os._exit(0)  # pragma: no cover - a fork that the call has made and let return
        del parts
        self._send(number, seconds, answer)

    def _send(self, number: int, seconds: float, answer: list[Part]) -> None:
        for stream in (sys.stdout, sys.stderr):
            flush(stream)
        for piece in wrap(number, seconds, answer):
            self._socket.sendall(piece)

    def _claim(self) -> int:
        """The number of the call to begin next; `END` when there is none to come."""
        tries = _TRIES
        while True:
            try:
                token = os.read(self._tokens, TOKEN.size)
            except BlockingIOError:
                if tries:
                    tries -= 1
                    os.sched_yield()
                    continue
                self._poll.poll(LOOK_ROUND * 1000)
                if is_orphan(self._parent):
                    return END
                continue
            return TOKEN.unpack(token)[0] if token else END

    def _next(self, number: int) -> Frame:
        """The frame of a call. Those before it were taken back, and are passed over."""
        frames = self._inbox.frames
        while True:
            while frames:
                frame = frames.popleft()
                if frame[0] == number:
                    return frame
            if not self._inbox.receive():
                # The parent is gone, or has sent more than there is memory for.
                raise self._inbox.failure or SystemExit(0)


def flush(stream: Any) -> None:  # noqa: ANN401 - a call may have put anything there
    """What a call has printed is seen before its answer is."""
    try:
        stream.flush()
    except BaseException:  # noqa: BLE001 - nobody reads it any more, or it is no stream
        return


def main(link: int, tokens: int) -> None:
    """Run a worker.

    Args:
        link: the descriptor of its end of the socket.
        tokens: that of the reading end of the pipe.
    """
    # What a call starts, or turns into, has no share in them: then the end of either is seen, and nobody
    # else has a way to the parent, which trusts whoever has the other end.
    os.set_inheritable(link, False)  # noqa: FBT003 - the system's own function
    os.set_inheritable(tokens, False)  # noqa: FBT003 - as above
    # Ctrl-C is the parent's affair. Not ignored: programs that a call starts would inherit that.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if sys.stderr is not None:
        faulthandler.enable()
    # Lines are seen when they are printed, also of a call that is killed later.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)
    with socket.socket(fileno=link) as connection:
        Worker(connection, tokens).serve()
