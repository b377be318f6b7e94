"""What the system says of this process and its children, and how fast the machine is meanwhile.

What it is for: memory, descriptors and processes, read from ``/proc``; a yardstick beside us, which
tells a machine that has become slower from a runner that has.

What it does not know: runners, loops.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Self

PAGE = os.sysconf("SC_PAGE_SIZE")

# A process of its own: it sleeps and works for a moment, over and over, and says how long that took.
YARDSTICK = """
import json, sys, time
def once():
    begun = time.perf_counter()
    time.sleep(0.005)
    sum(range(20_000))
    return time.perf_counter() - begun
for line in sys.stdin:
    until, took = time.monotonic() + float(line), []
    while time.monotonic() < until:
        took.append(once())
        time.sleep(0.015)
    print(json.dumps(took), flush=True)
"""


def parents() -> dict[int, int]:
    """The parent of each process that lives."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if state not in "ZX":
            found[int(path.parent.name)] = int(parent)
    return found


def below(roots: Iterable[int], parent_of: dict[int, int]) -> set[int]:
    """These processes, and all that they have started."""
    found = set(roots)
    while more := {pid for pid, parent in parent_of.items() if parent in found} - found:
        found |= more
    return found & set(parent_of)


def command(pid: int) -> str:
    """What a process was started with."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def age(pid: int) -> float:
    """For how many seconds a process has been there; 0 if it is not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    since_boot = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return since_boot - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def resident(pids: Iterable[int]) -> int:
    """Bytes of memory that processes have, shared ones counted for each."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE
        except (OSError, IndexError):
            continue
    return total


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough


class Yardstick:
    """Another process that does the same all the time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", YARDSTICK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, name="yardstick")
        self._took: list[float] = []
        self._is_over = False

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._is_over = True
        self._process.kill()
        self._thread.join()
        self._process.communicate()

    def take(self) -> list[float]:
        """What it took each time, since this was last asked."""
        taken, self._took = self._took, []
        return taken

    def _read(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        while not self._is_over:
            try:
                self._process.stdin.write(f"{self._seconds}\n")
                self._process.stdin.flush()
            except OSError:
                return
            if line := self._process.stdout.readline():
                self._took += json.loads(line)
