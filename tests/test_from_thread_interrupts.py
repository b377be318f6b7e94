"""Ctrl-C in a main thread that waits for a runner whose loop runs in another thread."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import asyncio, sys, threading
import anyio, trio
from creche import ConcurrentTaskRunner, SequentialTaskRunner

how, loop = sys.argv[1:]
runner = SequentialTaskRunner() if how == "submit" else ConcurrentTaskRunner(1)
opened, hold, ended = threading.Event(), threading.Event(), threading.Event()


async def host():
    async with runner.start():
        done = asyncio.Event() if loop == "asyncio" else trio.Event()
        runner.end = done.set
        runner.post = (
            asyncio.get_running_loop().call_soon_threadsafe
            if loop == "asyncio"
            else trio.lowlevel.current_trio_token().run_sync_soon
        )
        runner.reserve("k")
        opened.set()
        if how == "handover":
            hold.wait(30)
        await done.wait()


async def never():
    await anyio.sleep_forever()


async def one():
    return 1


def main():
    thread = threading.Thread(
        target=(lambda: asyncio.run(host())) if loop == "asyncio" else (lambda: trio.run(host))
    )
    thread.start()
    opened.wait()
    threading.Timer(0.3, print, ("ready",), {"flush": True}).start()
    try:
        if how == "wait":
            runner.from_thread.wait("k")
        elif how == "timed":
            runner.from_thread.result("k", timeout=30)
        elif how == "map":
            runner.from_thread.map(lambda n: never(), range(3), key=str)
        else:
            runner.from_thread.submit("n", never)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    hold.set()
    try:
        for key in runner.from_thread.map(str, ["a"]):
            print(key, runner.from_thread.wait("n", timeout=5) if "n" in runner else "free")
        print([slot.done for key, slot in runner.slots.items() if key != "k"])
    finally:
        runner.post(runner.end)
        thread.join()


main()
"""


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
@pytest.mark.parametrize("how", ["wait", "timed", "map", "handover", "submit"])
def test_a_real_ctrl_c(how: str, loop: str) -> None:
    """It wakes the main thread; the runner goes on, and what was not judged was not submitted."""
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), how, loop],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    with program:
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        said, _ = program.communicate(timeout=30)
    assert program.returncode == 0
    lines = said.splitlines()
    assert lines[0] == "interrupted"
    if how == "submit":
        assert "CallCancelled('n', 'outer'" in lines[1]
    else:
        assert lines[1] == "a free"
    assert "False" not in lines[2]
