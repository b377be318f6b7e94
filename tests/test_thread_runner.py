"""`ThreadTaskRunner`: every call in a thread; how many, under which names, and how it ends."""

from __future__ import annotations

import contextvars
import logging
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any, cast

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trio

from calls import give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    State,
    TaskConcurrencyType,
    ThreadTaskRunner,
)
from limiting import limiter_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="unset")


class Crowd:
    """Counts how many are in it, and waits a little."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def leave(self) -> None:
        with self._lock:
            self._now -= 1

    def plain(self) -> str:
        self.enter()
        time.sleep(0.01)
        self.leave()
        return threading.current_thread().name

    async def asynchronous(self) -> str:
        self.enter()
        await anyio.sleep(0.01)
        self.leave()
        return threading.current_thread().name


async def test_its_settings() -> None:
    """What it says of itself, and its copies."""
    runner = ThreadTaskRunner(3, abandon_on_cancel=True)
    assert (runner.name, runner.max_workers) == ("thread", 3)
    assert runner.concurrency_type is TaskConcurrencyType.CONCURRENT
    assert ThreadTaskRunner().max_workers == 40
    assert runner == runner.duplicate() == pickle.loads(pickle.dumps(runner))
    assert runner != ThreadTaskRunner(3)
    async with runner.duplicate().start() as copy:
        assert await copy.submit_nowait("a", give, 2) == 2


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be"),
        ({"max_workers": "3"}, TypeError, "max_workers must be"),
        ({"abandon_on_cancel": 1}, TypeError, "abandon_on_cancel must be True or False, not 1"),
        ({"limiter": 3}, TypeError, "limiter must be a trio.CapacityLimiter or anyio.CapacityL.*not 3"),
        ({"limits": 3, "limiter": trio.CapacityLimiter(1)}, TypeError, "limits must be a mapping"),
        (
            {"limits": {"threads": 1}, "limiter": trio.CapacityLimiter(1)},
            ValueError,
            "limit 'threads' is the name of the limiter",
        ),
        ({"on_error": "explode"}, ValueError, "on_error"),
    ],
)
def test_bad_input(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    """Refused at once, with the option that is meant."""
    with pytest.raises(kind, match=message):
        ThreadTaskRunner(**options)


@pytest.mark.parametrize("workers", [1, 3])
async def test_never_more_threads_than_workers(workers: int) -> None:
    """Of plain and async calls together; and no thread is left when the runner was."""
    crowd = Crowd()
    async with ThreadTaskRunner(workers).start() as runner:
        slots = [
            runner.submit_nowait(n, cast("Any", crowd.asynchronous if n % 2 else crowd.plain))
            for n in range(12)
        ]
        timed = runner.submit_nowait("timed", crowd.plain, timeout=10)
        assert runner.statistics().running <= workers
    assert crowd.most == workers
    for n, slot in enumerate(slots):
        assert slot.result() == f"creche {n}"
    assert timed.result() == "creche 'timed'"
    assert not [one.name for one in threading.enumerate() if one.name.startswith("creche")]


async def test_as_many_threads_as_there_are_calls() -> None:
    """Without a number, more than the loops' own 40, of either kind."""
    crowd = Crowd()
    count = threading.Barrier(90)

    def plain() -> int:
        return count.wait(30)

    async def asynchronous() -> int:
        return plain()

    async with ThreadTaskRunner(None).start() as runner:
        for n in range(45):
            runner.submit_nowait(f"p{n}", plain)
            runner.submit_nowait(f"a{n}", asynchronous)
    assert {slot.state for slot in runner.slots.values()} == {State.COMPLETED}
    assert crowd.most == 0


async def test_threads_of_an_unbounded_runner_are_limited() -> None:
    """`place="thread"` on a runner without a limit: 40 in all, as for its plain calls."""
    crowd = Crowd()
    async with ConcurrentTaskRunner().start() as runner:
        for n in range(60):
            fn: Any = crowd.asynchronous if n % 2 else crowd.plain
            runner.submit_nowait(n, fn, place="thread")
    assert 1 < crowd.most <= 40


async def test_names_and_context() -> None:
    """The thread is named for the call, which sees the variables of its submitter, in a copy."""

    def plain() -> tuple[str, str]:
        VAR.set("changed")
        return threading.current_thread().name, VAR.get()

    async def asynchronous() -> tuple[str, str, str]:
        seen = VAR.get()
        VAR.set("changed")
        await anyio.lowlevel.checkpoint()
        return threading.current_thread().name, seen, VAR.get()

    async with ThreadTaskRunner().start() as runner:
        VAR.set("mine")
        assert await runner.submit_nowait("k", plain) == ("creche 'k'", "changed")
        name = "creche ('a', 1)"
        assert await runner.submit_nowait(("a", 1), asynchronous) == (name, "mine", "changed")
        assert VAR.get() == "mine"


async def test_back_calls(anyio_backend_name: str) -> None:
    """From a plain call into the loop of the runner, by all three ways."""
    runner = ThreadTaskRunner(1)

    def back() -> Any:
        found = [
            runner.from_thread.submit("inner", give, 2).result(),
            anyio.from_thread.run(give, 3),
            anyio.from_thread.run_sync(runner.cancel, "inner"),
        ]
        if anyio_backend_name == "trio":
            found.append(trio.from_thread.run(give, 4))
        return found

    async with runner.start():
        found = await runner.submit_nowait("outer", back)
    assert found == [2, 3, False] + ([4] if anyio_backend_name == "trio" else [])


async def test_a_shared_limiter(anyio_backend_name: str) -> None:
    """Each call takes a token of it, which other code then cannot have; and the other way round."""
    limiter = limiter_of(anyio_backend_name, 2)
    runner = ThreadTaskRunner(limiter=limiter, limits={"db": 1})
    go_on = threading.Event()
    with pytest.raises(TypeError, match="limiter object"):
        pickle.dumps(runner)
    async with runner.start():
        runner.submit_nowait("a", go_on.wait, 10)
        runner.submit_nowait("b", give, 1, limits=["db"])
        await runner.wait("b")
        assert limiter.borrowed_tokens == 1
        async with limiter:
            runner.submit_nowait("c", give, 1)
            await settle_down()
            assert runner.slots["c"].state is State.PENDING
        assert await runner.result("c") == 1
        assert await runner.submit_nowait("loop", give, 1, place="loop") == 1
        executor = runner.as_executor()
        future = executor.submit(go_on.wait, 10)
        await settle_down()
        assert limiter.borrowed_tokens == 2
        go_on.set()
        await runner.until_idle()
        assert future.result() is True
    assert limiter.borrowed_tokens == 0


# Leaving threads to themselves -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"timeout": 60}], ids=["light", "in a task"])
@pytest.mark.parametrize("abandon", [True, False])
async def test_abandon_on_cancel(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture, *, abandon: bool
) -> None:
    """The call ends at once, and a warning names it at the exit; by default it is waited for."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        go_on.wait(10)
        return 3

    runner = ThreadTaskRunner(abandon_on_cancel=abandon)
    async with runner.start():
        slot = runner.submit_nowait("k", work, **options)
        quick = runner.submit_nowait("quick", time.sleep, 0.05, **options)
        await anyio.to_thread.run_sync(begun.wait)
        runner.cancel("k")
        runner.cancel("quick")
        await settle_down()
        assert slot.done is abandon
        await anyio.sleep(0.2)  # the thread of the other one has ended by then: nobody need be told
        if not abandon:
            go_on.set()
    if abandon:
        assert slot.origin == "cancel"
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "still run: 'k'; what they do is lost" in record.message
        go_on.set()
    else:
        assert slot.result() == 3
        assert caplog.records == []
    assert quick.done


async def test_a_timeout_that_abandons() -> None:
    """It has FAILED when its time is over, whatever the thread does."""
    go_on = threading.Event()
    async with ThreadTaskRunner(abandon_on_cancel=True).start() as runner:
        slot = runner.submit_nowait("k", go_on.wait, 10, timeout=0.05)
        await runner.wait(slot)
        go_on.set()
    assert slot.state is State.FAILED
    with pytest.raises(TimeoutError):
        slot.result()


def run_program(source: str, seconds: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


PROGRAM = """
    import asyncio, logging, threading, time, trio
    from creche import ThreadTaskRunner, ConcurrentTaskRunner
    logging.basicConfig()

    async def main():
        async with ThreadTaskRunner(abandon_on_cancel={abandon}).start() as runner:
            runner.submit_nowait("endless", {work}{options})
            while runner.slots["endless"].state.name != "RUNNING":
                await {sleep}(0.01)
            await {sleep}(0.05)
            runner.cancel("endless")
    {run}
    print("left")
"""
LOOPS = {
    "trio": {"run": "trio.run(main)", "sleep": "trio.sleep"},
    "asyncio": {"run": "asyncio.run(main())", "sleep": "asyncio.sleep"},
}


@pytest.mark.parametrize("options", ["", ", timeout=60"], ids=["light", "in a task"])
@pytest.mark.parametrize("loop", list(LOOPS))
def test_an_endless_call_does_not_keep_the_interpreter(loop: str, options: str) -> None:
    """One that was left to itself; the warning names it."""
    work = "threading.Event().wait"
    done = run_program(PROGRAM.format(abandon=True, work=work, options=options, **LOOPS[loop]))
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr
    assert "'endless'" in done.stderr


@pytest.mark.parametrize("loop", list(LOOPS))
def test_by_default_it_is_waited_for(loop: str) -> None:
    """The runner is left when the call has ended, cancelled or not."""
    begin = time.monotonic()
    done = run_program(PROGRAM.format(abandon=False, work="time.sleep, 1", options="", **LOOPS[loop]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")
    assert time.monotonic() - begin > 1


async def test_a_cancelled_call_of_which_a_value_comes() -> None:
    """A value beats a late cancel, as everywhere."""
    begun = threading.Event()

    def work() -> int:
        begun.set()
        time.sleep(0.1)
        return 5

    async with ThreadTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", work)
        await anyio.to_thread.run_sync(begun.wait)
        runner.cancel("k")
        queued = runner.submit_nowait("q", give, 1)
        runner.cancel("q")
    assert slot.result() == 5
    with pytest.raises(CallCancelled):
        queued.result()


async def test_insides_of_anyio_that_are_not_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads are its own then, and everything else is as it was."""
    monkeypatch.setattr("creche._backends._daemons.INSIDE", object())
    async with ThreadTaskRunner().start() as runner:
        assert await runner.submit_nowait("k", lambda: 3, timeout=60) == 3


async def test_cancelled_before_it_begins_and_after_it_has_ended() -> None:
    """A call that is to leave its thread to itself: it has none yet, or the thread has done its work."""
    began, go = threading.Event(), threading.Event()

    def work() -> int:
        began.set()
        go.wait(10)
        return 1

    async with ThreadTaskRunner(abandon_on_cancel=True).start() as runner:
        early = runner.submit_nowait("early", len, "abc")
        runner.cancel(early)
        assert early.state is State.CANCELLED
        late = runner.submit_nowait("late", work)
        while not began.is_set():  # noqa: ASYNC110 - a thread says so
            await anyio.sleep(0.001)
        go.set()
        time.sleep(0.1)  # noqa: ASYNC251 - the thread ends with it, and the loop has not heard of that
        runner.cancel(late)
        assert await late == 1
