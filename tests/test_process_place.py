"""Calls in worker processes: what comes back, what is seen, what a worker is like inside."""

from __future__ import annotations

import contextvars
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from creche._errors import CallCrashed
from creche.places._process import ProcessPlace
from far_calls import exhaust, look_round, nap, open_files
from pools import until
from processes import is_alive, open_place

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


def add(one: int, other: int) -> int:
    return one + other


async def add_later(one: int, other: int) -> int:
    await anyio.sleep(0.001)
    return one + other


async def test_plain_and_async_calls() -> None:
    """Both run in a process of their own, one worker after another."""
    async with open_place(2) as opened:
        assert await opened.result(add, 1, 2) == 3
        assert await opened.result(add_later, 3, 4, is_async=True) == 7
        assert await opened.result(os.getpid) != os.getpid()
        assert len(opened.crew.workers) == 1


async def test_lambdas_and_closures() -> None:
    """They are sent by value."""
    offset = 10
    async with open_place(1) as opened:
        assert await opened.result(lambda x: x + offset, 1) == 11
        assert await opened.result(lambda x: x + 1, 1) == 2


async def test_where_the_program_has_a_default_timeout() -> None:
    """Sockets are made so that they do not block then; large values travel all the same."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        async with open_place(1) as opened:
            pid = await opened.result(os.getpid)
            assert await opened.result(len, b"x" * 5_000_000) == 5_000_000
            assert await opened.result(bytes, 5_000_000) == bytes(5_000_000)
            assert await opened.result(os.getpid) == pid
    finally:
        socket.setdefaulttimeout(before)


async def test_calls_run_at_the_same_time() -> None:
    """A worker is started when none is idle, up to the limit."""
    async with open_place(2) as opened:
        pids = await opened.all_of(nap, [0.2, 0.2])
        assert len(set(pids)) == 2
        assert len(await opened.all_of(nap, [0, 0, 0, 0])) == 4
        assert {worker.process.pid for worker in opened.crew.workers} == set(pids)


async def test_what_a_call_raises() -> None:
    """It is the failure of the call, and shows where it came from over there."""
    async with open_place(1) as opened:
        failed = await opened.outcome(int, "x")
        assert isinstance(failed.error, ValueError)
        assert "Traceback" not in str(failed.error)
        assert "invalid literal" in str(failed.error.__cause__)
        assert await opened.result(add, 1, 2) == 3


async def test_system_exit_leaves_the_worker_alone() -> None:
    """It is a crash of that call, and the same process carries on."""
    async with open_place(1) as opened:
        pid = await opened.result(os.getpid)
        with pytest.raises(CallCrashed, match="SystemExit: 3") as caught:
            await opened.outcome(sys.exit, 3)
        assert (caught.value.kind, caught.value.exit_code) == ("exit", 3)
        assert await opened.result(os.getpid) == pid


async def test_what_cannot_be_pickled_is_that_calls_own_affair() -> None:
    """Argument, result, exception: each is said by its name."""
    async with open_place(1) as opened:
        pid = await opened.result(os.getpid)
        with pytest.raises(CallCrashed, match="argument 1 of 'add', of type _thread.lock"):
            await opened.outcome(add, threading.Lock(), 1)
        with pytest.raises(CallCrashed, match="the result of the call, of type _thread.lock"):
            await opened.outcome(threading.Lock)

        def throw() -> None:
            raise ValueError(threading.Lock())

        with pytest.raises(CallCrashed, match="the exception 'ValueError: <unlocked") as caught:
            await opened.outcome(throw)
        assert caught.value.kind == "serialize"
        assert await opened.result(os.getpid) == pid


async def test_out_of_memory_is_an_exception() -> None:
    """The worker lives on."""
    async with open_place(1) as opened:
        pid = await opened.result(os.getpid)
        assert isinstance((await opened.outcome(exhaust)).error, MemoryError)
        assert await opened.result(os.getpid) == pid


def _double(one: Any, other: Any) -> list[Any]:
    return [one * 2, other, one[:, :50_000].copy()]


async def test_large_arrays_keep_their_contents() -> None:
    """They travel out of band, there and back, and can be written to."""
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(3_000_000, dtype=float).reshape(3, -1)
    small = numpy.arange(30)
    async with open_place(1) as opened:
        back = await opened.result(_double, array, small)
        assert (back[0] == array * 2).all()
        assert (back[1] == small).all()
        assert (back[2] == array[:, :50_000]).all()
        back[0][0, 0] = 5
        assert len(await opened.result(bytes, 5_000_000)) == 5_000_000


async def test_what_a_worker_is_like_inside() -> None:
    """It has imported neither creche nor trio, and has nothing of its parent open but the output."""
    async with open_place(2, prewarm=2) as opened:
        seen = await opened.result(look_round)
        heavy = {"trio", "anyio", "asyncio", "creche", "outcome", "cloudpickle"}
        assert heavy & set(seen["modules"]) == set()
        assert seen["path"] == sys.path
        assert seen["argv"] == sys.argv
        assert seen["stdin"] == ""
        ours = open_files()
        held = [name for name in seen["open"] if name.startswith(("socket", "pipe"))]
        assert len([name for name in held if name not in (ours.get("1"), ours.get("2"))]) == 2


PRINTS = """
import os, sys, trio
from processes import open_place

def speak():
    print("a line")
    print("no line", end="")
    print("an error", file=sys.stderr)

async def main():
    async with open_place(1) as opened:
        await opened.result(speak)
        def hang():
            print("before it hangs")
            import time
            time.sleep(60)
        with trio.move_on_after(0.5):
            await opened.result(hang)
        class Own(Exception):
            pass
        def throw():
            raise Own("of the main program")
        failed = await opened.outcome(throw)
        assert type(failed.error) is Own, failed
trio.run(main)
"""


def run_script(text: str, *args: str) -> subprocess.CompletedProcess[str]:
    """A program, as its file's content; it finds the modules of these tests."""
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", text, *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_output_is_seen() -> None:
    """Of a call that ends, and of one that is killed; functions of the main program need no guard."""
    said = run_script(PRINTS)
    assert said.returncode == 0, said.stderr
    assert said.stdout == "a line\nno linebefore it hangs\n"
    assert said.stderr == "an error\n"


async def test_context_variables_travel() -> None:
    """Those that the settings name; a call cannot change them for the next one."""
    async with open_place(1, context=[VARIABLE]) as opened:
        assert await opened.result(look_at_variable) == "unset"
        token = VARIABLE.set("here")
        try:
            assert await opened.result(look_at_variable) == "here"
        finally:
            VARIABLE.reset(token)
        assert await opened.result(look_at_variable) == "unset"


def look_at_variable() -> str:
    found = VARIABLE.get()
    VARIABLE.set("by a call")
    return found


async def test_ctrl_c_is_the_parents_affair() -> None:
    """A worker goes on; a program that a call starts has the signal as it is everywhere."""
    async with open_place(1) as opened:
        pid = await opened.result(os.getpid)
        os.kill(pid, signal.SIGINT)
        assert await opened.result(os.getpid) == pid
        code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        run = [sys.executable, "-c", code]
        assert await opened.result(subprocess.check_output, run) == b"True\n"


async def test_options_of_a_call_are_refused() -> None:
    """There are none for processes."""
    with pytest.raises(ValueError, match="leave out 'resources'"):
        ProcessPlace(1).check_options({"resources": 1})


async def test_a_process_that_a_call_forks_and_lets_return() -> None:
    """It is no second worker."""
    async with open_place(1) as opened:
        forked = await opened.result(os.fork)
        assert forked > 0
        assert await opened.result(add, 1, 2) == 3
        await until(lambda: not is_alive(forked))


class ByName:
    """Pickled, it is a name in the main program."""

    def __call__(self) -> None: ...

    def __reduce__(self) -> str:
        return "by_name"


async def test_what_goes_by_a_name_of_the_main_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The crash says what helps."""
    monkeypatch.setattr(ByName, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "by_name", ByName(), raising=False)
    by_name = sys.modules["__main__"].by_name
    async with open_place(1) as opened:
        with pytest.raises(CallCrashed, match="put it in a module that can be imported there") as caught:
            await opened.outcome(by_name)
    assert caught.value.kind == "deserialize"


async def test_whereabouts_of_what_waits() -> None:
    """It has no worker yet; what is not there is nowhere."""
    async with open_place(1, batch=1) as opened, anyio.create_task_group() as group:
        for number in (1, 2, 3):
            group.start_soon(opened.outcome, time.sleep, 0.2 + number / 1000)
        await until(lambda: opened.crew.workers and opened.crew.workers[0].flight)
        said = {opened.pool.whereabouts(f"call of {(0.2 + number / 1000,)}") for number in (1, 2, 3)}
        assert "waits for a worker process" in said
        assert opened.pool.whereabouts("nobody") is None
