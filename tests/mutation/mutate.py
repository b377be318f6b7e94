"""The command: plant each fault, see that a test notices, and print a table.

`nox -s mutation` runs it. Names of faults as arguments: these only; `--all-tests`: every test that is
not slow for each of them, not only those that are meant for it. Exits with 1 if a fault survives.

What it does not know: how a fault is planted and tried.

Invariant: nothing is tried unless the tests pass without a fault: then a failure says something.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from faults import FAULTS
from planting import Fault
from trying import Found, Terms, copy_project, files_of, run_tests, try_all


def main(arguments: Sequence[str], faults: Sequence[Fault] = FAULTS, terms: Terms | None = None) -> int:
    """Run it.

    Args:
        arguments: of the command.
        faults: that there are.
        terms: those that no argument changes.

    Returns:
        the exit status.
    """
    terms = Terms() if terms is None else terms
    known = {fault.name: fault for fault in faults}
    parser = argparse.ArgumentParser(
        prog="nox -s mutation --", description="Plant faults in the source."
    )
    parser.add_argument("names", nargs="*", metavar="FAULT", help="these only")
    parser.add_argument("--all-tests", action="store_true", help="every test that is not slow, for each")
    parser.add_argument("--jobs", type=int, default=terms.jobs, help="how many at once")
    parser.add_argument("--loops", default=terms.loops, help="that shared tests run on")
    parser.add_argument("--list", action="store_true", help="say which there are, and end")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        parser.error(f"there is no fault named {', '.join(unknown)}; --list names them")
    chosen = [known[name] for name in dict.fromkeys(asked.names)] or list(faults)
    if asked.list:
        for fault in chosen:
            print(f"{fault.name:{_WIDTH}} {fault.file}.py {fault.where}: {fault.breaks}")
        return 0
    terms = dataclasses.replace(terms, jobs=asked.jobs, loops=asked.loops, at_once=asked.all_tests)
    if not _pass_without(chosen, terms):
        return 1
    began = time.monotonic()
    found = []
    for one in try_all(chosen, terms):
        print(told(one), flush=True)
        found.append(one)
    left = [one for one in found if one.caught_by is None]
    late = [one for one in found if one.caught_by is not None and one.by_all and not terms.at_once]
    print(
        f"\n{len(found) - len(left)} of {len(found)} faults caught in {time.monotonic() - began:.0f} s"
    )
    for one in late:
        print(f"not by the tests meant for it, but by others: {one.fault.name}")
    for one in left:
        print(f"not caught: {one.fault.name}, which breaks: {one.fault.breaks}")
    return bool(left)


_WIDTH = 42


def told(found: Found) -> str:
    """A line of the table."""
    how = found.caught_by or f"NOT CAUGHT: {found.detail}"
    return f"{found.fault.name:{_WIDTH}} {found.seconds:6.1f} s  {'(all) ' * found.by_all}{how}"


def _pass_without(faults: Sequence[Fault], terms: Terms) -> bool:
    tests = files_of(name for fault in faults for name in fault.tests)
    what = tests if not terms.at_once or terms.everything is None else terms.everything
    with tempfile.TemporaryDirectory(prefix="creche-faults-") as folder:
        began = time.monotonic()
        name, detail = run_tests(
            copy_project(Path(folder, "copy")), what, terms.loops, terms.more_seconds
        )
        if name is not None or detail != "survived":
            print(f"the tests do not pass without a fault: {name or detail}")
            return False
    print(f"{'no fault':{_WIDTH}} {time.monotonic() - began:6.1f} s  {len(what)} files of tests pass")
    return True


if __name__ == "__main__":
    # A shell has its background jobs ignore Ctrl-C, and they their children, which test it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
