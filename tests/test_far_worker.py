"""A worker process from inside, without a process: what it does when its parent is gone, or odd."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from creche._far import _orphans, _worker
from creche._far._body import VALUE
from creche._far._frames import TOKEN, Frame, wrap
from creche._far._pickling import Part, dump_plain
from creche._far._stop import Stop
from creche._far._worker import END, Worker, flush, main


class Ends:
    """A worker, and what its parent has in hand."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.take, self.give = os.pipe()
        os.set_blocking(self.take, False)
        self.worker = Worker(self.theirs, self.take)
        self.is_open = True

    def close_ours(self) -> None:
        if self.is_open:
            self.ours.close()
            os.close(self.give)
            self.is_open = False

    def close(self) -> None:
        self.close_ours()
        self.theirs.close()
        os.close(self.take)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def test_an_idle_worker_looks_round(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends when its parent is another process now, even if the ways to it are open."""
    monkeypatch.setattr(_worker, "LOOK_ROUND", 0.01)
    assert ends.worker._claim() == END


def test_an_idle_worker_waits(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not end while its parent is there."""
    looked = []

    def look(parent: int) -> bool:
        looked.append(parent)
        if len(looked) == 2:
            os.write(ends.give, TOKEN.pack(5))
        return False

    monkeypatch.setattr(_worker, "LOOK_ROUND", 0.01)
    monkeypatch.setattr(_worker, "is_orphan", look)
    assert ends.worker._claim() == 5
    assert len(looked) == 2


def test_the_pipe_is_closed(ends: Ends) -> None:
    """There is nothing to do any more."""
    ends.close_ours()
    assert ends.worker._claim() == END


def test_the_socket_is_closed(ends: Ends) -> None:
    """The worker ends without a word."""
    ends.close_ours()
    with pytest.raises(SystemExit) as caught:
        ends.worker._next(1)
    assert caught.value.code == 0


def test_nonsense_comes(ends: Ends) -> None:
    """The worker ends, and says why."""
    ends.ours.sendall(b"\xff" * 100)
    with pytest.raises(ValueError, match="a frame of 4294967295 parts"):
        ends.worker._next(1)


def test_what_was_taken_back_is_passed_over(ends: Ends) -> None:
    """The frame is there, and no token."""
    for number in (1, 2, 3):
        for piece in wrap(number, 0.0, [bytes([number])]):
            ends.ours.sendall(piece)
    assert ends.worker._next(3) == (3, 0.0, [b"\x03"])


@pytest.mark.parametrize("graceful", [True, False])
def test_a_call_that_is_told_to_stop_while_it_is_read(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, *, graceful: bool
) -> None:
    """It has begun: it is told, if calls are told at all. The next one is not."""
    told: list[bool] = []
    worker = ends.worker
    settings = {
        "parent": os.getppid(),
        "path": sys.path,
        "argv": sys.argv,
        "graceful": graceful,
        "initializer": [],
    }

    def read(number: int) -> Frame:
        if number == 1:
            worker.stop.set()
        return number, 0.0, [dump_plain(settings)]

    def carry(parts: object, stop: Stop | None = None, **options: object) -> list[Part]:
        del parts
        if not options:  # it is no initializer
            told.append(stop is not None and stop.is_set)
        return [dump_plain((VALUE, None))]

    before = signal.getsignal(signal.SIGTERM)
    for name, value in {"carry": carry, "die_with": repr, "_next": read}.items():
        owner = worker if name == "_next" else _worker
        monkeypatch.setattr(owner, name, value)
    os.write(ends.give, TOKEN.pack(1) + TOKEN.pack(2) + TOKEN.pack(END))
    try:
        worker.serve()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [graceful, False]


class Shut:
    def flush(self) -> None:
        raise ValueError("I/O operation on closed file")


class Exits:
    def flush(self) -> None:
        sys.exit()


@pytest.mark.parametrize("stream", [None, Shut(), Exits(), sys.stdout])
def test_whatever_a_call_has_put_in_the_place_of_the_output(stream: object) -> None:
    """It is flushed if that can be done."""
    flush(stream)


def test_a_worker_without_output(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a daemon starts one."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    served: list[Worker] = []

    def serve(worker: Worker) -> None:
        served.append(worker)

    monkeypatch.setattr(Worker, "serve", serve)
    link, tokens = os.dup(ends.theirs.fileno()), os.dup(ends.take)
    before = signal.getsignal(signal.SIGINT)
    try:
        main(link, tokens)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(tokens)
    assert len(served) == 1


def test_a_system_that_does_not_end_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked to."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(importlib, "import_module", pytest.fail)
    _orphans.die_with(os.getppid())
