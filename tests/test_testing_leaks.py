"""`leaks()`: what is left is told of, what is ending is waited for, what pools keep does not count."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

from creche.testing import LeakError, _leaks, _where, leaks
from creche.testing import _present as present_module
from planted import SLEEPER


def test_descriptors_and_sockets() -> None:
    """Files and sockets, each by what it is."""
    with pytest.raises(LeakError) as caught, leaks(grace=0):
        file = Path(__file__).open(encoding="utf-8")  # noqa: SIM115 - left open on purpose
        one = socket.socket()
    file.close()
    one.close()
    assert [line.split()[0] for line in caught.value.left] == ["descriptor", "socket"]
    assert "test_testing_leaks.py" in str(caught.value)


def test_threads() -> None:
    """One that is at work counts; one that ends in time does not, nor an idle one of a pool."""
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="left")
    with pytest.raises(LeakError, match="thread 'left'"), leaks(grace=0):
        thread.start()
    go.set()
    thread.join()
    with leaks():
        threading.Thread(target=time.sleep, args=(0.05,)).start()
    with ThreadPoolExecutor() as pool, leaks():
        pool.submit(len, "abc").result()


def test_processes() -> None:
    """One that runs, and one that has ended and was not waited for."""
    with pytest.raises(LeakError, match=r"process \d+ '"), leaks(grace=0):
        running = subprocess.Popen(SLEEPER)
    with pytest.raises(LeakError, match="not waited for"), leaks(grace=0.1):
        running.kill()
        ended = subprocess.Popen(["true"])  # noqa: S607 - whichever is found
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    running.wait()
    ended.wait()


@pytest.mark.parametrize("helper", present_module._HELPERS, ids=["tracker", "server"])
def test_helpers_of_multiprocessing_do_not_count(
    helper: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the process nor the pipe to it: they stay for the next one who needs them."""
    module, name, *names = helper
    with leaks():
        child = subprocess.Popen(SLEEPER)
        pipe = os.pipe()
        try:
            ours = {("process", child.pid), ("descriptor", str(pipe[1]))}

            def found() -> set[Any]:
                idents = [
                    (one.kind, one.ident[0] if isinstance(one.ident, tuple) else one.ident)
                    for one in present_module.processes() | present_module.descriptors()
                ]
                return ours & {*idents}

            assert found() == ours
            with monkeypatch.context() as patch:
                kept = getattr(importlib.import_module(module), name)
                for attribute, value in zip(names, (child.pid, pipe[1]), strict=True):
                    patch.setattr(kept, attribute, value)
                assert found() == set()
                patch.delitem(sys.modules, module)  # it was not imported here, and will not be
                assert found() == ours
        finally:
            child.kill()
            child.wait()
            for end in pipe:
                os.close(end)


HELPED = """
import multiprocessing.forkserver as server, os
from multiprocessing.shared_memory import SharedMemory
from creche.testing import cancel_everywhere, leaks

async def fn():
    shared = SharedMemory(create=True, size=1)
    shared.close()
    shared.unlink()
    server.ensure_running()

print(cancel_everywhere(fn, check=False), len(cancel_everywhere(fn, check=False).failures))
os.kill(server._forkserver._forkserver_pid, 0)
"""


@pytest.mark.slow
def test_the_first_one_who_needs_a_helper() -> None:
    """It begins in his run, is told of in none, and is alive afterwards."""
    ended = subprocess.run([sys.executable, "-c", HELPED], capture_output=True, text=True, check=False)
    assert ended.stdout.endswith("1 of 1 points tried, 0 failed 0\n"), ended
    assert ended.returncode == 0, ended


def test_what_the_block_raises_comes_out() -> None:
    """With a note of what was left."""
    with pytest.raises(ZeroDivisionError) as caught, leaks(grace=0):
        one = socket.socket()
        raise ZeroDivisionError
    one.close()
    assert caught.value.__notes__[0].startswith("left behind:\n  socket")
    with pytest.raises(ZeroDivisionError) as caught, leaks(grace=0):
        raise ZeroDivisionError
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.anyio
async def test_inside_a_loop() -> None:
    """What is ending is waited for, and the loop goes on meanwhile; idle threads do not count."""
    async with leaks():
        await anyio.to_thread.run_sync(len, "abc")
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1)


async def test_tasks_on_asyncio() -> None:
    """A task that is left is told of with its line; one that is ending is waited for."""
    go = asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def waits() -> None:
        await go.wait()

    with pytest.raises(LeakError, match="task 'waits' at .*test_testing_leaks.py:"):
        async with leaks(grace=0.01):
            left.append(asyncio.create_task(waits()))
            await asyncio.sleep(0)
    go.set()
    await left[0]
    async with leaks():
        ending = asyncio.create_task(asyncio.sleep(0))
    await ending


test_tasks_on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])(
    pytest.mark.anyio(test_tasks_on_asyncio)
)


def test_tasks_on_trio() -> None:
    """Those of a nursery that was opened outside."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with pytest.raises(LeakError, match="task 'sleep_forever'"):
                async with leaks(grace=0.01):
                    nursery.start_soon(trio.sleep_forever)
            nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.anyio
async def test_a_block_that_is_cancelled() -> None:
    """The cancellation comes out, at once."""
    with anyio.move_on_after(0.01) as scope:
        async with leaks():
            await anyio.sleep_forever()
    assert scope.cancelled_caught


def test_without_those_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Where there is no list of descriptors or children, they are not known."""
    monkeypatch.setattr(present_module, "_DESCRIPTORS", tmp_path / "none")
    monkeypatch.setattr(present_module, "_CHILDREN", tmp_path / "none")
    with leaks():
        one = socket.socket()
    one.close()
    assert present_module.processes() == set()
    with suppress(FileNotFoundError):
        assert present_module._command(0) == "0, which has ended and was not waited for"


def test_a_function_that_is_named_as_one_of_a_pool() -> None:
    """It counts: what it waits in is no pool's."""
    space: dict[str, Any] = {}
    exec(compile("def _worker(event): event.wait()", "thread.py", "exec"), space)  # noqa: S102 - a program of this test's own
    go = threading.Event()
    thread = threading.Thread(target=space["_worker"], args=(go,), name="worker")
    with pytest.raises(LeakError, match="thread 'worker'"), leaks(grace=0):
        thread.start()
    go.set()
    thread.join()


class LateClock:
    """Wakes up late, but for the last time."""

    now = 0.0

    def __init__(self, late: float, looks: int, then: Callable[[], object]) -> None:
        self.late, self.looks, self.then = late, looks, then

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late
        self.looks -= 1
        if self.looks == 0:
            self.then()


@pytest.mark.parametrize("late", [0, 1])
def test_a_busy_machine(monkeypatch: pytest.MonkeyPatch, late: float) -> None:
    """Who looks wakes up late, as what is ending does: that time does not count, but it ends."""

    def begin(looks: int) -> None:
        monkeypatch.setattr(_leaks, "time", LateClock(late, looks, end))
        go.clear()
        threads.append(threading.Thread(target=go.wait))
        threads[-1].start()

    def end() -> None:
        go.set()
        threads[-1].join()

    async def on_a_loop() -> None:
        async with leaks(grace=0.1):
            begin(5)

    go = threading.Event()
    threads: list[threading.Thread] = []
    with leaks(grace=0.1):
        begin(5)
    trio.run(on_a_loop)
    with pytest.raises(LeakError, match="thread"), leaks(grace=0.1):
        begin(5000)
    end()


def test_where_a_coroutine_stands() -> None:
    """Nowhere before it has begun and when it has ended."""

    async def nothing() -> None:
        pass

    coro = nothing()
    assert _where.innermost(coro) is None
    with pytest.raises(StopIteration):
        coro.send(None)
    assert _where.innermost(coro) is None
    assert _where.waits_in(coro) == "a future"
