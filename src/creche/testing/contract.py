"""What every runner promises, as tests: to be inherited, with a way to make the runner.

What it is for: the same program runs on the loop, in threads, in processes and on a cluster; so the same
tests do, creche's own and those of whoever writes a runner or a place. A runner that promises less
in one point says so, with a reason, and pytest prints that.

What it does not know: any runner. It needs pytest, and anyio's plugin for the loops' names.
"""

from __future__ import annotations

import pytest

from ._contract_keys import KeyClauses
from ._contract_stops import StopClauses
from ._contract_terms import Make as Make
from ._contract_values import ValueClauses


@pytest.mark.anyio  # for tests that a subclass adds
class RunnerContract(ValueClauses, KeyClauses, StopClauses):
    """The tests that every runner passes; to be inherited by a class whose fixture `make` makes one.

    ``make()`` gives a runner that is not started, an equal one each time, with two workers. It has all
    that creche's own have, `submit_nowait`, `map` and so on: a `PlaceTaskRunner` for a place, or what is
    put around a runner. A bare `BaseTaskRunner` promises less, and is not for these tests.

    Each test runs on the loops of anyio's fixture `anyio_backend`, on the real clock, whatever plugins
    there are: it is a plain function that runs a loop of its own. Calls and tests tell each other what
    they do by files in pytest's `tmp_path`, which has to be there where the calls run.

    Attributes:
        workers: how many calls run beside each other.
        calls: how many calls `test_many` makes.
        patience: how many seconds may pass in which no call begins or ends. A test that has waited so
            long fails with a list of what it waits for, and is ended: cancelled first, then broken off,
            where the system has signals. Else it may hang: use pytest-timeout there.
        runs_async: whether async functions can be called there; if not, the clauses are tried with plain
            ones, and that is printed as what was skipped is.
        contains_exit: whether a call that raises `SystemExit` is CRASHED alone, and the runner goes on.
        skips: clauses that it does not keep, each by the name of its test, with a reason.
    """
