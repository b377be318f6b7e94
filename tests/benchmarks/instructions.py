"""How many instructions a call takes: a count that repeats to a thousandth, on a busy machine too.

What it is for: comparing two versions of the hot path. `valgrind --tool=callgrind` counts the
instructions of a whole process for two n; the slope is what one more call takes, without the start of
the interpreter and of the loop.

What it does not know: how long an instruction takes. Two contenders are compared by time.

Invariant: the garbage collector is off and hashes are the same in both runs.
"""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

from fresh import CHILD, run_fresh
from results import Sample

UNITS = {"instructions": "instructions a call"}

FROM, TO = 500, 1500

CONTENDERS: dict[str, dict[str, list[str]]] = {
    "W1": {
        "trio": [
            "nursery + dict",
            "creche",
            "creche, counting instrument",
            "anyio TaskHandle",
            "ancestor",
        ],
        "asyncio": [
            "TaskGroup + dict",
            "creche",
            "creche, counting instrument",
            "anyio TaskHandle",
            "ancestor",
        ],
    },
    "W3": {
        "trio": ["nursery + limiter", "nursery, 100 workers", "creche", "creche map"],
        "asyncio": ["TaskGroup + semaphore", "TaskGroup, 100 workers", "creche", "creche map"],
    },
}

MISSING = (
    "instructions are not counted: there is no valgrind on the path; it is in the package `valgrind` of "
    "most Linux distributions"
)


def is_there() -> bool:
    """Whether instructions can be counted here."""
    return shutil.which("valgrind") is not None


def total(workload: str, contender: str, loop: str, n: int) -> int:
    """The instructions of a process that does a workload once.

    Args:
        workload: `W1` or `W3`.
        contender: its name there.
        loop: on which loop.
        n: how many calls.

    Returns:
        how many.

    Raises:
        RuntimeError: valgrind did not say.
    """
    # The file would hold where the instructions were; only how many is wanted.
    before = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    arguments = f'["{workload}", "{contender}", "{loop}", {n}]'
    _, said = run_fresh([CHILD, "once", arguments], before)
    found = re.search(r"Collected\s*:\s*(\d+)", said)
    if found is None:
        raise RuntimeError(f"valgrind has not said how many instructions there were:\n{said}")
    return int(found[1])


def counted(workload: str, contender: str, loop: str) -> Sample:
    """What one more call takes.

    Args:
        workload: `W1` or `W3`.
        contender: its name there.
        loop: on which loop.

    Returns:
        instructions for each call.
    """
    with ThreadPoolExecutor(2) as beside:  # counts do not mind company
        few, many = beside.map(lambda n: total(workload, contender, loop, n), (FROM, TO))
    return {"instructions": (many - few) / (TO - FROM)}
