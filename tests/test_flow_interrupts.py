"""Ctrl-C at odd moments of a sync flow: before its loop, after its body, and a second time."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from typing import Any, Literal, cast

import pytest
import trio

from creche import ConcurrentTaskRunner, ProcessTaskRunner, flow, task
from creche._backends import by_name
from creche.flows._beside import _Beside
from creche.flows._flow_run import FlowRun


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


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_while_the_runner_starts(backend: Literal["trio", "asyncio"]) -> None:
    """It is not waited for until its place is open: that may take as long as somebody is looked for."""
    runner = ProcessTaskRunner(1, initializer=partial(time.sleep, 30), prewarm=1)

    @flow(task_runner=runner, backend=backend)
    def never() -> None:
        raise AssertionError

    timer = threading.Timer(0.3, press)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        never()
    assert time.monotonic() - begun < 10
    timer.join()
    assert not [one for one in threading.enumerate() if one.name == "creche flow never"]


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
    assert not left[0].is_alive()


@pytest.mark.parametrize("end", ["_has_begun", "_end_host", "tell"])
def test_a_second_time_before_the_loop_has_been_told(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """Wherever it hits, the loop is told once more, and ends."""
    hits = iter([True])
    original = getattr(_Beside, end)

    def hit(beside: _Beside, *args: object) -> object:
        if next(hits, False):
            press()
        return original(beside, *args)

    @task
    async def long() -> None:
        await trio.sleep_forever()

    @flow
    def hit_twice() -> None:
        long.submit()
        raise KeyboardInterrupt

    monkeypatch.setattr(_Beside, end, hit)
    with pytest.raises(KeyboardInterrupt):
        hit_twice()
    for thread in threading.enumerate():
        if thread.name == "creche flow hit_twice":
            thread.join(10)
            assert not thread.is_alive()


def test_while_the_helper_thread_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a thread then, though it has no number yet: it opens no runner, and is waited for."""
    begin = cast("Any", threading.Thread)._bootstrap_inner

    def late(thread: threading.Thread) -> None:
        if thread.name == "creche flow never":
            threading.Thread(target=press).start()
            time.sleep(0.2)
        begin(thread)

    @flow
    def never() -> None:
        raise AssertionError

    monkeypatch.setattr(threading.Thread, "_bootstrap_inner", late)
    with pytest.raises(KeyboardInterrupt):
        never()
    assert not [one for one in threading.enumerate() if one.name == "creche flow never"]


def test_while_a_thread_is_listed_that_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may hit Python between the two: it is not waited for without end."""

    def listed(thread: threading.Thread) -> None:
        limbo[thread] = thread
        raise KeyboardInterrupt

    @flow
    def never() -> None:
        raise AssertionError

    limbo = cast("Any", threading)._limbo
    monkeypatch.setattr("creche.flows._beside._BEGINS_WITHIN", 0.01)
    monkeypatch.setattr(threading.Thread, "start", listed)
    with pytest.raises(KeyboardInterrupt):
        never()
    limbo.clear()


def test_given_up_before_there_is_a_loop() -> None:
    """Ctrl-C may come when the thread of the loop has only just begun: it opens no runner then."""
    beside = _Beside(
        "flow",
        ConcurrentTaskRunner(),
        by_name("trio"),
        lambda run: FlowRun("flow", run, one_by_one=False),
    )
    beside._thread = threading.Thread(target=beside._ended.set)
    beside._thread.start()
    beside._opened.set()
    beside.end(KeyboardInterrupt())
    beside._main()
    assert beside.error is None
    assert beside._flow_run is None
