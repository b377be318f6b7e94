"""Parcels on a socket: how they are put one after the other, and taken apart again.

What it is for: both ends of a worker's socket. A large part is received into memory of its own, where it
stays, and is never joined to anything.

What it does not know: what is in a parcel; whether the socket blocks.

Invariant: what comes out has the parts that went in, in the order in which it went in.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from mmap import mmap
from typing import Protocol, TypeAlias, final

from ._pickling import Part

# Number, seconds, how many parts, length of the first. The lengths of the others follow, then the parts.
_HEAD = struct.Struct("<QdIQ")
_AT_ONCE = 65_536
_PAGES = 1 << 20
"""Bytes from which fresh pages are better than a bytearray, which is written full of zeros."""
_MOST_PARTS = 1 << 20

TOKEN = struct.Struct("<Q")
"""Says that a call may begin. Pipes hand out whole ones: each is written and read in one go."""


class Source(Protocol):
    """What a socket has, as far as it is read."""

    def recv(self, bufsize: int, /) -> bytes: ...

    def recv_into(self, buffer: memoryview, /) -> int: ...


Frame: TypeAlias = tuple[int, float, list[Part]]
"""A parcel, and what is written on it: the number of the call, 0 for what is not about a call; of an
answer the seconds that the call has run."""


def wrap(number: int, seconds: float, parts: Sequence[Part]) -> list[Part]:
    """A frame as bytes to send, one after the other."""
    if len(parts) == 1 and len(parts[0]) < _AT_ONCE:
        return [_HEAD.pack(number, seconds, 1, len(parts[0])) + parts[0]]
    head = _HEAD.pack(number, seconds, len(parts), len(parts[0]))
    if len(parts) > 1:
        head += struct.pack(f"<{len(parts) - 1}Q", *map(len, parts[1:]))
    return [head, *parts]


@final
class Inbox:
    """Takes frames from a socket.

    Attributes:
        frames: those that have come and that nobody has taken.
        failure: why no more will come, if it is not that the socket was closed.
    """

    __slots__ = ("_filled", "_filling", "_rest", "_source", "failure", "frames")

    def __init__(self, source: Source) -> None:
        self.frames: deque[Frame] = deque()
        self.failure: BaseException | None = None
        self._source = source
        self._rest = b""
        # A frame that is received into its own memory, and what is left of its parts to fill.
        self._filling: Frame | None = None
        self._filled: deque[memoryview] = deque()

    @property
    def is_filling(self) -> bool:
        """Whether a large frame is on its way."""
        return self._filling is not None

    def receive(self) -> bool:
        """Read from the socket once; False when it was closed, or nothing that comes makes sense.

        Raises:
            BlockingIOError: the socket does not block, and has nothing.
        """
        if self.failure is not None:
            return False
        try:
            if self._filling is None:
                data = self._source.recv(_AT_ONCE)
                if data:
                    self._take(self._rest + data if self._rest else data)
                return bool(data)
            count = self._source.recv_into(self._filled[0])
            if count:
                self._fill(count)
            return bool(count)
        except BlockingIOError:
            raise
        except (OSError, ValueError, OverflowError, MemoryError) as exc:
            # The other end is gone; or there is no memory for what comes, or it is no frame.
            self.failure = exc
            return False

    def _take(self, data: bytes) -> None:
        at, frames = 0, self.frames
        size, unpack = _HEAD.size, _HEAD.unpack_from
        while len(data) - at >= size:
            number, seconds, count, first = unpack(data, at)
            start = at + size
            if count == 1:
                end = start + first
                if len(data) >= end:
                    frames.append((number, seconds, [data[start:end]]))
                    at = end
                    continue
                lengths: tuple[int, ...] = (first,)
            else:
                if not 0 < count < _MOST_PARTS:
                    msg = f"a frame of {count} parts"
                    raise ValueError(msg)
                others = struct.Struct(f"<{count - 1}Q")
                if len(data) < start + others.size:
                    break
                lengths = (first, *others.unpack_from(data, start))
                start += others.size
            self._set_out((number, seconds, []), lengths)
            at = self._copy(data, start)
            if self._filling is not None:
                break
        self._rest = data[at:]

    def _set_out(self, frame: Frame, lengths: Sequence[int]) -> None:
        """Lay out the memory for a frame."""
        for length in lengths:
            part = mmap(-1, length) if length >= _PAGES else bytearray(length)
            frame[2].append(part)
            if length:
                self._filled.append(memoryview(part))
        self._filling = frame

    def _copy(self, data: bytes, at: int) -> int:
        """Fill it with what is there already; gives how far that went."""
        while self._filled and at < len(data):
            piece = memoryview(data)[at : at + len(self._filled[0])]
            self._filled[0][: len(piece)] = piece
            at += len(piece)
            self._fill(len(piece))
        self._finish()
        return at

    def _fill(self, count: int) -> None:
        view = self._filled.popleft()
        if count < len(view):
            self._filled.appendleft(view[count:])
        self._finish()

    def _finish(self) -> None:
        if self._filling is not None and not self._filled:
            self.frames.append(self._filling)
            self._filling = None
