"""Ctrl-C in a cell of IPython's shell cancels the cell: ``%load_ext creche.notebook``.

What it is for: IPython in a terminal runs a cell that awaits on an asyncio loop that it keeps. Ctrl-C
there breaks the loop off and leaves the cell's task behind, half done: a runner that it has opened
stays open. With this the task is cancelled, as under `asyncio.run`, and has unwound before the prompt.
A Jupyter kernel does so by itself, and so does ``%autoawait trio``.

What it does not know: runners; IPython, beyond the one attribute that says how a cell is run.

Invariant: when it is unloaded the shell is as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, final

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


class Shell(Protocol):
    """What is used of IPython's shell."""

    loop_runner: Any


def load_ipython_extension(shell: Shell) -> None:
    """Run the cells of a shell as `asyncio.run` runs a program; what ``%load_ext`` calls.

    Args:
        shell: IPython's.
    """
    if not isinstance(shell.loop_runner, _Cells):
        shell.loop_runner = _Cells(shell.loop_runner)


def unload_ipython_extension(shell: Shell) -> None:
    """Undo it; what ``%unload_ext`` calls.

    Args:
        shell: IPython's.
    """
    if isinstance(shell.loop_runner, _Cells):
        shell.loop_runner = shell.loop_runner.close()


@final
class _Cells:
    """Runs cells, one after the other, on one loop."""

    def __init__(self, before: Any) -> None:  # noqa: ANN401 - IPython's
        self._before = before
        self._runner = asyncio.Runner()

    def __call__(self, cell: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what a cell gives
        return self._runner.run(cell)

    def __str__(self) -> str:
        return "asyncio"

    def close(self) -> Any:  # noqa: ANN401 - IPython's
        """Close the loop; gives what ran the cells before."""
        self._runner.close()
        return self._before
