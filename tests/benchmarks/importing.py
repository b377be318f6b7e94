"""What `import creche` takes, beside what it builds on.

What it is for: a sample in a new interpreter, whose own start does not count.

What it does not know: why.

Invariant: the files of a package have been compiled before: the first round does not count.
"""

from __future__ import annotations

from fresh import run_fresh
from results import Sample

UNITS = {"cpu": "ms of CPU"}

PACKAGES = ("trio", "creche", "anyio", "asyncio")

PROGRAM = """
import time
begun = time.process_time()
import {}
print(time.process_time() - begun)
"""


def imported(package: str) -> Sample:
    """Import a package in a new interpreter.

    Args:
        package: its name.

    Returns:
        milliseconds of the processor's: `cpu`.
    """
    printed, _ = run_fresh(["-c", PROGRAM.format(package)])
    return {"cpu": float(printed) * 1e3}
