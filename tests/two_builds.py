"""Builds the distributions twice, and compares them byte for byte; `nox -s reproducible`.

What it is for: whoever has the commit can build what was released, and see that it is that. Each build
is of a copy of what git has, in a folder of another name, by a process with another hash seed, another
umask and another idea of the time zone, and files that were changed at another time.

What it does not know: how hatchling builds; versions, releases.

Invariant: the time in the archives is that of the last commit, and the source distribution has all that
git has: its tests can be run from it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from hatchling.build import *; build_sdist(sys.argv[1]); build_wheel(sys.argv[1])"

# Of git, not of a source distribution.
LEFT_OUT = frozenset({".ci/run"})


class Way(NamedTuple):
    """In what a build must not differ from another one.

    Attributes:
        folder: the name of the one it is made in.
        umask: of its process.
        changed: when its files were changed.
        environment: what is different in it.
    """

    folder: str
    umask: int
    changed: int
    environment: dict[str, str]


WAYS = (
    Way("one", 0o022, 1_000_000_000, {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"}),
    Way(
        "another",
        0o077,
        1_700_000_001,
        {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"},
    ),
)


def git(*words: str) -> str:
    """What git says of this clone."""
    command = ["git", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def build(way: Way, folder: Path, epoch: str) -> dict[str, str]:
    """Build in one way; gives the digests of what was built."""
    source, output = folder / way.folder, folder / f"{way.folder}-dist"
    for name in git("ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
            target.chmod(0o666 & ~way.umask)
            os.utime(target, (way.changed, way.changed))
    output.mkdir()
    environment = {**os.environ, **way.environment, "SOURCE_DATE_EPOCH": epoch}
    command = [sys.executable, "-c", BUILD, str(output)]
    subprocess.run(command, cwd=source, env=environment, check=True, umask=way.umask)
    (archive,) = output.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        there = {name.partition("/")[2] for name in tar.getnames()}
    missing = set(filter(None, git("ls-files", "-z").split("\0"))) - there - LEFT_OUT
    assert not missing, f"not in the source distribution: {sorted(missing)}"
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(output.iterdir())}


def main() -> int:
    """Build in each way, and say what differs; gives the exit status."""
    epoch = git("log", "-1", "--format=%ct").strip()
    with tempfile.TemporaryDirectory() as folder:
        one, other = (build(way, Path(folder), epoch) for way in WAYS)
    for name in sorted({*one, *other}):
        print(f"{one.get(name)}  {name}")
    if one == other and len(one) == len(("sdist", "wheel")):
        return 0
    print(f"the second build differs: {other}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
