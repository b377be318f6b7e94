"""The kinds of crashes that places of creche's own give are those that the docs list."""

from __future__ import annotations

import re
from pathlib import Path

from creche import CallCrashed

ROOT = Path(__file__).parent.parent


def test_kinds_are_documented() -> None:
    """Each of them, in the page and in the docstring; and no other ones in the page."""
    given = set()
    for path in (ROOT / "src/creche").rglob("*.py"):
        given |= set(re.findall(r'\.crash\(\s*"([a-z-]+)"', path.read_text()))
    assert "dask" in given
    page = (ROOT / "docs/how-to/run-calls-elsewhere.md").read_text()
    table = page.partition("| `kind` | what happened |")[2].partition("\n\n")[0]
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))
    assert given <= listed
    assert all(f'`"{kind}"`' in (CallCrashed.__doc__ or "") for kind in listed)
