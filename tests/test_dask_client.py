"""The client of a Dask place, without a cluster: one that cannot be made, or is made too late."""

from __future__ import annotations

import gc
import threading
from types import SimpleNamespace

import pytest

from creche.places import _dask_client


def test_a_client_that_is_not_made() -> None:
    """What was wrong with its settings is said as it is."""

    class Client:
        def __init__(self, *_: object, **__: object) -> None:
            raise TypeError("no such setting")

    with pytest.raises(TypeError, match="no such setting"):
        _dask_client.connected(SimpleNamespace(Client=Client), "tcp://a:1", {}, threading.Event())


class SlowClient:
    """Of Dask's, as far as connecting goes; its start takes as long as it is told."""

    may_start, closed, collected = threading.Event(), threading.Event(), threading.Event()

    def __init__(self, *_: object, **__: object) -> None:
        self.has_started = False
        self.start()

    def start(self) -> None:
        """Then it may be closed; before that nothing happens, as with Dask's."""
        self.may_start.wait()
        self.has_started = True

    def close(self, timeout: float) -> None:
        """See `start`."""
        assert timeout > 0
        if self.has_started:
            self.closed.set()

    def __del__(self) -> None:
        self.collected.set()


def test_a_client_that_starts_when_it_was_given_up() -> None:
    """It is closed as soon as it can be, by us, and not by whoever collects it."""
    over = threading.Event()
    over.set()
    with pytest.raises(ConnectionError, match="no Dask scheduler"):
        _dask_client.connected(SimpleNamespace(Client=SlowClient), "tcp://a:1", {"timeout": "1s"}, over)
    assert not SlowClient.closed.is_set()
    SlowClient.may_start.set()
    assert SlowClient.closed.wait(10)
    gc.collect()
    assert not SlowClient.collected.is_set()
