"""Runs other people's tests on creche: ``python tests/theirs/run_theirs.py``, or ``nox -s theirs``.

What it is for: each suite of `suites.toml` is fetched as a source distribution from where pip gets its
packages, unpacked to a temporary folder, and run with `standing_in` as a plugin. At the end a table says
how many tests there were, how many hold, and how many are excluded.

What it does not know: what the tests do, and what takes the place of what.

Invariant: it fails if a test fails that is not excluded, if one holds that is, and if an entry of the
list is needed by no test. One that has failed is run once more by itself, and that is said: many of them
measure real time, and a busy machine is slow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from exclusions import read

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
COLUMNS = ("passed", "failed", "excluded", "not run", "skipped", "without ours")


def main() -> int:
    """Run what was asked for; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", metavar="SUITE", help="may be repeated")
    parser.add_argument("--skip", action="append", metavar="SUITE", default=[], help="may be repeated")
    parser.add_argument("--sdists", type=Path, metavar="FOLDER", help="where they are already")
    parser.add_argument("rest", nargs="*", help="for pytest")
    given = parser.parse_args()
    suites = read()
    names = [name for name in given.only or suites if name not in given.skip]
    rows, failed = [], []
    with tempfile.TemporaryDirectory(prefix="theirs-") as folder:
        for name in names:
            ended = run(name, suites[name], Path(folder), given.sdists, given.rest)
            if ended is None:
                rows.append(f"{name:12}this Python has come without its own tests")
            elif not ended:
                failed.append(name)
            else:
                rows += table(name, ended)
                failed += [f"{name}: {test}" for test, how in ended.items() if how == "failed"]
    print(f"{'suite':12}{'loop':10}" + "".join(f"{column:>14}" for column in COLUMNS))
    print("\n".join(rows))
    if failed:
        print("failed:", *failed, sep="\n  ")
    return 1 if failed else 0


def run(
    name: str, suite: dict[str, Any], folder: Path, sdists: Path | None, rest: list[str]
) -> dict[str, str] | None:
    """Run one suite; gives how each test has ended, nothing if that cannot be said.

    `None` if there is nothing to run.
    """
    if "source" in suite:
        root = unpack(fetch(suite["source"], sdists or folder), folder) / suite["folder"]
        config: list[str] = []
    elif find_spec("test.test_concurrent_futures") is None:
        return None
    else:
        root, config = HERE, ["-c", os.devnull, "--rootdir", str(HERE)]
    told = folder / f"{name}.json"
    plugins = [word for plugin in suite["plugins"] for word in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", *config, "-q", "-p", "no:cacheprovider"]
    command += ["-p", "standing_in", "--suite", name, "--told", str(told), *plugins]
    command += ["--timeout", "60", "--tb", "short", *suite.get("options", ()), *rest]
    print(f"+ {name}: {suite.get('source', 'of this Python')}", flush=True)
    status = call([*command, *suite["files"]], root)
    if not told.exists():
        return {}
    first = json.loads(told.read_text(encoding="utf-8"))
    if status and not (first["failed"] or rest):
        return {}
    if first["failed"]:
        print(f"+ once more: {' '.join(first['failed'])}", flush=True)
        call([*command, "--part", *first["failed"]], root)
        again = json.loads(told.read_text(encoding="utf-8"))
        first["ended"].update(again["ended"])
    ended: dict[str, str] = first["ended"]
    return {} if first["unused"] and not rest else ended


def call(command: list[str], root: Path) -> int:
    """Run pytest in a folder; gives its exit status."""
    paths = [str(root), str(HERE), str(TESTS), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode


def fetch(source: str, folder: Path) -> Path:
    """The archive of a source distribution, from a folder or by pip."""
    pattern = f"{source.replace('==', '-')}.tar.gz"
    if not list(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "-d", str(folder), source], check=True)
    (archive,) = folder.glob(pattern)
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """The folder that is in an archive."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def table(suite: str, ended: dict[str, str]) -> list[str]:
    """A row for each loop."""
    loop_of = _loop_of if suite != "trio" else lambda _: "trio"
    loops = sorted(set(map(loop_of, ended)))
    rows = []
    for loop in loops:
        counts = Counter(how for name, how in ended.items() if loop_of(name) == loop)
        rows.append(f"{suite:12}{loop:10}" + "".join(f"{counts[column]:>14}" for column in COLUMNS))
    return rows


def _loop_of(name: str) -> str:
    """The loop of a test, as its name tells."""
    marks = {"uvloop": "uvloop", "asyncio+eager": "eager", "asyncio": "asyncio"}
    return next((loop for mark, loop in marks.items() if mark in name.lower()), "trio")


if __name__ == "__main__":
    sys.exit(main())
