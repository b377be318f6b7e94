"""The command line: its commands and options, and what a mistake in it looks like.

What it does not know: what the commands do.

Invariant: bad input is one sentence on standard error and exit status 2.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from ._parameters import convert_exactly
from ._run import INTERRUPTED, USAGE, run_file
from ._usage import UsageError

app = App(
    name="creche",
    help="Run keyed calls under structured concurrency.",
    version=importlib.metadata.version("creche"),
    suppress_keyboard_interrupt=False,  # the exit status is decided in `main`
)


@app.command
def run(
    target: Annotated[str, Parameter(name="FILE[:FLOW]")],
    /,
    *,
    runner: Literal["concurrent", "sequential"] = "concurrent",
    backend: Literal["trio", "asyncio"] | None = None,
    max_workers: Annotated[
        int | None,
        Parameter(converter=partial(convert_exactly, "--max-workers", int)),
    ] = None,
    param: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    allow_failed_calls: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Run a flow, show progress, and end with a summary.

    The file is imported, so its code runs. What the flow prints goes to standard output; progress and
    summary go to standard error. The exit status is 0 when the flow and all its calls completed,
    1 when the flow or one of its calls failed, 2 for bad input, 130 for Ctrl-C; or the flow's own,
    when it exits with one.

    Args:
        target: a Python file, and the flow in it if there are several.
        runner: which runner the tasks run on.
        backend: which event loop; the flow's own by default.
        max_workers: how many calls run at once; no limit by default.
        param: a parameter of the flow, as NAME=VALUE; may be repeated.
        allow_failed_calls: do not count failed calls, as long as the flow itself completes.
        quiet: show neither progress nor summary.

    Returns:
        the exit status.
    """
    return run_file(
        target,
        runner=runner,
        backend=backend,
        max_workers=max_workers,
        params=param,
        allow_failed_calls=allow_failed_calls,
        quiet=quiet,
    )


def main(tokens: Sequence[str]) -> int:
    """Run the command.

    Args:
        tokens: the command line, without the program's name.

    Returns:
        the exit status.
    """
    try:
        status = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as exc:
        return refuse(" ".join(str(exc).split()))
    except UsageError as exc:
        return refuse(str(exc))
    except KeyboardInterrupt:
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def refuse(sentence: str) -> int:
    """Say what is wrong.

    Args:
        sentence: one.

    Returns:
        the exit status.
    """
    sys.stderr.write(f"creche: {sentence}\n")
    return USAGE
