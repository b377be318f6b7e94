"""Ctrl-C at odd moments of a sync flow: before its loop, after its body, and a second time."""

from __future__ import annotations

import signal
import threading

import pytest
import trio

from creche import flow, task


def press() -> None:
    """Ctrl-C, for the main thread, which is given the time to notice."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    threading.Event().wait(0.3)


def test_before_there_is_a_helper_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes out, and nothing is waited for."""
    start = threading.Thread.start

    def pressed(thread: threading.Thread) -> None:
        if thread.name.startswith("creche flow"):
            signal.raise_signal(signal.SIGINT)
        start(thread)

    @flow
    def never() -> None:
        raise AssertionError

    monkeypatch.setattr(threading.Thread, "start", pressed)
    with pytest.raises(KeyboardInterrupt):
        never()


def test_after_the_body_has_raised() -> None:
    """The loop is not left behind: what still runs is abandoned at once."""
    begun, go_on = threading.Event(), threading.Event()

    @task
    def slow() -> None:
        begun.set()
        go_on.wait(0.1)
        press()
        go_on.wait(10)

    @flow
    def failing() -> None:
        slow.submit()
        begun.wait(10)
        raise ValueError

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert not [one for one in threading.enumerate() if one.name == "creche flow failing"]
    go_on.set()


def test_a_second_time() -> None:
    """Nothing is waited for any more, not even the clean-up of a task."""
    begun, go_on = threading.Event(), threading.Event()

    @task
    async def cleans_up_for_ever() -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            threading.Thread(target=press).start()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(go_on.wait)

    @flow
    def interrupted() -> None:
        cleans_up_for_ever.submit()
        begun.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    left = [one for one in threading.enumerate() if one.name == "creche flow interrupted"]
    go_on.set()
    for thread in left:
        thread.join(10)
    assert len(left) == 1
