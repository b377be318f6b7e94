"""``creche report``: an event file as a page of HTML.

What it does not know: the spelling of the command line (`_app` does); what is on the page.
"""

from __future__ import annotations

import sys
from pathlib import Path

from creche.report._page import render
from creche.report._words import count

from ._event_files import check_output, read_events, write_output
from ._usage import UsageError


def write_report(events: Path, output: Path) -> int:
    """Read an event file, and write the page of it.

    Args:
        events: the file.
        output: where the page goes.

    Returns:
        the exit status.

    Raises:
        UsageError: the file cannot be read or is none of events, or the page cannot be made or written.
    """
    check_output("--output", output, events)
    history = read_events(events)
    try:
        page = render(history, events.name)
    except ImportError as exc:
        if exc.name != "jinja2":
            raise
        what = "creche report needs jinja2, which is not installed: pip install 'creche[cli]'"
        raise UsageError(what) from None
    write_output("--output", output, page)
    sys.stderr.write(f"{output}: {count(len(history.calls), 'call')}, {len(page) / 1e6:.1f} MB\n")
    return 0
