"""Cells of IPython: a loop runs in them already, they show what they give, and can be interrupted."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import pexpect
import pytest

from creche.notebook import load_ipython_extension, unload_ipython_extension

PROMPT = r"In \[\d+\]: "

BEGIN = """
import anyio
from creche import *

runner = ConcurrentTaskRunner()

async def wait_long():
    try:
        print('be' + 'gan')
        await anyio.sleep(60)
    finally:
        print('unwound')

@task
def double(x):
    return 2 * x

@flow
async def twice(x):
    return await double.submit(x)

@flow
def plainly(x):
    return double(x)
"""

BLOCK = """
async with runner.start():
    slot = await runner.submit('a', {})
    await slot
slot
"""


@final
class Shell:
    """IPython in a terminal, without colours."""

    def __init__(self, folder: Path) -> None:
        options = ["--simple-prompt", "--no-banner", "--colors=NoColor", "--no-confirm-exit"]
        self._process = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", *options],
            encoding="utf-8",
            env={**os.environ, "IPYTHONDIR": str(folder)},
            timeout=60,
            dimensions=(50, 200),
        )
        self._process.expect(PROMPT)

    def cell(self, text: str) -> str:
        """Run a cell; gives what it has printed, or shown."""
        self.begin(text)
        return self.end()

    def begin(self, text: str) -> None:
        """Run a cell, and do not wait for its end."""
        self._process.setecho(False)
        self._process.sendline("%cpaste -q")
        self._process.sendline(text)
        self._process.sendline("--")

    def until(self, said: str) -> None:
        self._process.expect(said)

    def interrupt(self) -> None:
        self._process.sendintr()

    def end(self) -> str:
        """What a cell has said, once it has ended."""
        self._process.expect("\n" + PROMPT)
        return str(self._process.before)

    def close(self) -> None:
        self._process.close(force=True)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.close()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["%load_ext creche.notebook", "%autoawait trio"])
def test_cells(shell: Shell, way: str) -> None:
    """Runners and flows work; an interrupt ends the cell, and what it has begun."""
    shell.cell(way)
    shell.cell(BEGIN)
    block = BLOCK.format("anyio.sleep, 0")
    assert "<creche.Slot 'a' COMPLETED>" in shell.cell(block)
    assert "6" in shell.cell("await twice(3)")
    said = shell.cell("await anyio.sleep(0); plainly(3)")
    assert "RuntimeError: flow 'plainly' is sync, and called on a running event loop" in said

    shell.begin(BLOCK.format("wait_long"))
    shell.until("began")
    shell.interrupt()
    said = shell.end()
    assert "unwound" in said
    assert re.search("KeyboardInterrupt|CancelledError", said)
    said = shell.cell("runner, slot")
    assert "<creche.ConcurrentTaskRunner closed: 0 pending, 0 running, 1 settled>" in said
    # On trio Ctrl-C may hit the code of the call itself.
    assert re.search(r"<creche.Slot 'a' (CANCELLED \(outer\)|CRASHED)>", said)
    assert "COMPLETED" in shell.cell(block)
    assert "<creche.Task 'double'>, <creche.Flow 'twice'>" in shell.cell("double, twice")


def test_the_extension() -> None:
    """It runs cells one after the other on one loop, and leaves the shell as it was."""

    class Quiet:
        loop_runner: Any = "before"

    shell = Quiet()
    load_ipython_extension(shell)
    runner = shell.loop_runner
    load_ipython_extension(shell)
    assert shell.loop_runner is runner
    assert str(runner) == "asyncio"

    async def cell() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert runner(cell()) is runner(cell())
    unload_ipython_extension(shell)
    assert shell.loop_runner == "before"
    unload_ipython_extension(shell)
    assert shell.loop_runner == "before"
