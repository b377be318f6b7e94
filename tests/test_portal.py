"""The portal: what other threads ask of a loop is answered, also when the loop has ended meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from outcome import Value

from creche import RunnerClosed
from creche._portal import Portal

VAR: ContextVar[str] = ContextVar("var", default="unset")


class Loop:
    """A loop as far as a portal knows it: it is handed functions, and calls them when it is told to."""

    def __init__(self) -> None:
        self.handed: list[Callable[[], object]] = []
        self.has_handed = threading.Event()
        self.has_ended = False

    def post(self, fn: Callable[[], object]) -> None:
        if self.has_ended:
            raise RuntimeError("the loop is closed")
        self.handed.append(fn)
        self.has_handed.set()

    def turn(self) -> None:
        handed, self.handed = self.handed, []
        for fn in handed:
            fn()


class Asking:
    """A thread that asks one thing of a portal."""

    def __init__(self, portal: Portal, fn: Callable[[], Any]) -> None:
        self.came: object = None
        self._portal = portal
        self._fn = fn
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        VAR.set("of the thread")
        try:
            self.came = self._portal.call(self._fn)
        except BaseException as exc:
            self.came = exc

    def join(self) -> object:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.came


def test_an_errand_runs_on_the_loop_in_the_context_of_the_thread() -> None:
    """What it gives, or raises, comes back to the thread."""
    loop = Loop()
    portal = Portal(loop.post)
    here = threading.get_ident()
    asking = Asking(portal, lambda: (VAR.get(), threading.get_ident() == here))
    loop.has_handed.wait(10)
    loop.turn()
    assert asking.join() == ("of the thread", True)
    assert portal.call(lambda: 5) == 5
    assert VAR.get() == "unset"


def test_an_errand_that_the_loop_never_came_to() -> None:
    """It was accepted, so it is answered; what is done already is not answered twice."""
    loop = Loop()
    portal = Portal(loop.post)
    asking = Asking(portal, lambda: 1)
    loop.has_handed.wait(10)
    portal.close()
    came = asking.join()
    assert isinstance(came, RunnerClosed)
    assert "has ended" in str(came)


def test_a_portal_that_is_closed() -> None:
    """Errands are refused at once; what nobody waits for is dropped."""
    loop = Loop()
    portal = Portal(loop.post)
    portal.close()
    assert isinstance(Asking(portal, lambda: 1).join(), RunnerClosed)
    portal.post(lambda: 1)
    assert loop.handed == []


def test_a_loop_that_has_ended_without_a_word() -> None:
    """The portal finds out when it knocks."""
    loop = Loop()
    portal = Portal(loop.post)
    loop.has_ended = True
    assert isinstance(Asking(portal, lambda: 1).join(), RunnerClosed)
    portal.post(lambda: pytest.fail("nobody calls it"))
    assert loop.handed == []


def test_ctrl_c_while_it_knocks() -> None:
    """Nothing is left under way."""

    def interrupted(fn: object) -> None:
        raise KeyboardInterrupt

    portal = Portal(interrupted)
    assert isinstance(Asking(portal, lambda: 1).join(), KeyboardInterrupt)
    assert not portal._under_way


def test_an_errand_that_is_taken_back() -> None:
    """It is not run; one that has been run cannot be."""
    loop = Loop()
    portal = Portal(loop.post)
    ran: list[int] = []
    first, second = (portal.send(partial(ran.append, n)) for n in (1, 2))
    assert first.take_back() is True
    assert first.take_back() is False
    loop.turn()
    assert ran == [2]
    assert second.done
    assert second.take_back() is False
    assert second.enroll(lambda: None) is False
    portal.close()
    assert not first.done


def test_what_has_begun_is_not_taken_back() -> None:
    """Its answer will be there soon; what was taken back is neither begun nor answered."""
    portal = Portal(Loop().post)
    errand, other = portal.open(), portal.open()
    assert errand.begin()
    assert not errand.take_back()
    assert errand.reply(Value(3))
    assert errand.result() == 3
    assert other.take_back()
    assert not other.begin()
    assert not other.reply(Value(3))
