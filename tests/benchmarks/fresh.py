"""Samples that are taken in a process of their own.

What it is for: memory, a million calls, imports and instructions are measured where nothing else has
been before.

What it does not know: what a sample means.

Invariant: a process that fails fails the run of the benchmarks, with what it said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHILD = str(Path(__file__).with_name("child.py"))


def run_fresh(arguments: Sequence[str], before: Sequence[str] = ()) -> tuple[str, str]:
    """Run this Python.

    Args:
        arguments: what it is given.
        before: a command that runs it.

    Returns:
        what it printed, and what it said beside.

    Raises:
        RuntimeError: it failed.
    """
    ended = subprocess.run(
        [*before, sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        # The same order in sets of strings, every time.
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{ended.stderr}")
    return ended.stdout, ended.stderr


def take_fresh(what: str, *arguments: object) -> dict[str, float]:
    """Take a sample in a process of its own.

    Args:
        what: a function of `child.py`.
        *arguments: its arguments.

    Returns:
        the sample.
    """
    printed, _ = run_fresh([CHILD, what, json.dumps(arguments)])
    sample: dict[str, Any] = json.loads(printed)
    return sample
