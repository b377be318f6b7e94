"""Parcels on a socket, however it cuts them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from mmap import mmap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creche._far import _frames
from creche._far._frames import Inbox, wrap


class Source:
    """A socket that gives no more at once than it was told."""

    def __init__(self, data: bytes, cuts: Sequence[int]) -> None:
        self._data = data
        self._cuts = list(cuts)

    def _next(self, most: int) -> bytes:
        most = min(most, self._cuts.pop()) if self._cuts else most
        piece, self._data = self._data[:most], self._data[most:]
        return piece

    def recv(self, bufsize: int, /) -> bytes:
        return self._next(bufsize)

    def recv_into(self, buffer: memoryview, /) -> int:
        piece = self._next(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


frames = st.lists(
    st.tuples(
        st.integers(0, 2**64 - 1),
        st.lists(
            st.integers(0, 300) | st.sampled_from([0, 65_536, 70_000, 1 << 20]), min_size=1, max_size=4
        ),
    ),
    max_size=5,
)


def bytes_of(number: int, sizes: list[int]) -> list[bytes]:
    return [bytes([(number + at) % 251]) * size for at, size in enumerate(sizes)]


@given(frames, st.lists(st.integers(1, 200), max_size=30))
def test_what_goes_in_comes_out(sent: list[tuple[int, list[int]]], cuts: list[int]) -> None:
    """In the same order, and in the same parts."""
    data = b"".join(
        b"".join(map(bytes, wrap(number, 0.5, bytes_of(number, sizes)))) for number, sizes in sent
    )
    inbox = Inbox(Source(data, cuts))
    while inbox.receive():
        pass
    assert not inbox.is_filling
    assert inbox.failure is None
    found = [
        (number, seconds, [bytes(part) for part in parts]) for number, seconds, parts in inbox.frames
    ]
    assert found == [(number, 0.5, bytes_of(number, sizes)) for number, sizes in sent]


def test_large_parts_have_memory_of_their_own() -> None:
    """Which is not written full of zeros first."""
    data = b"".join(wrap(1, 0.0, [b"a", b"b" * (1 << 20), b""]))
    inbox = Inbox(Source(data, ()))
    while inbox.receive():
        pass
    (frame,) = inbox.frames
    assert [type(part) for part in frame[2]] == [bytearray, mmap, bytearray]


def test_the_lengths_are_cut() -> None:
    """They are waited for."""
    data = b"".join(wrap(1, 0.0, [b"a", b"b", b"c"]))
    inbox = Inbox(Source(data, [3, 30]))
    while inbox.receive():
        pass
    assert inbox.frames[0][2] == [b"a", b"b", b"c"]


def test_half_a_frame() -> None:
    """It is none."""
    data = b"".join(wrap(1, 0.0, [b"a" * 100_000]))
    inbox = Inbox(Source(data[:-1], ()))
    while inbox.receive():
        pass
    assert inbox.is_filling
    assert not inbox.frames


class Broken:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def recv(self, bufsize: int, /) -> bytes:
        raise self.error

    def recv_into(self, buffer: memoryview, /) -> int:
        raise self.error


@pytest.mark.parametrize("error", [ConnectionResetError(), MemoryError()])
def test_a_socket_that_fails(error: BaseException) -> None:
    """It is kept why, and nothing is read any more."""
    inbox = Inbox(Broken(error))
    assert not inbox.receive()
    assert inbox.failure is error
    assert not inbox.receive()


def test_a_socket_that_has_nothing() -> None:
    """That is no failure."""
    inbox = Inbox(Broken(BlockingIOError()))
    with pytest.raises(BlockingIOError):
        inbox.receive()
    assert inbox.failure is None


@pytest.mark.parametrize("count", [0, 2**32 - 1])
def test_what_is_no_frame(count: int) -> None:
    """It is not believed."""
    head: Any = struct.pack("<QdIQ", 1, 0.0, count, 2**63)
    inbox = Inbox(Source(head, ()))
    assert not inbox.receive()
    assert isinstance(inbox.failure, ValueError)


def test_more_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""

    def refuse(number: int, size: int) -> mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(_frames, "mmap", refuse)
    inbox = Inbox(Source(struct.pack("<QdIQ", 1, 0.0, 1, 2**40) + b"x", ()))
    assert not inbox.receive()
    assert isinstance(inbox.failure, OSError)
