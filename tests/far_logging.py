"""What worker processes are asked in tests about the call that they carry out.

What it does not know: pytest, runners.
"""

from __future__ import annotations

import logging
import sys

from creche import CurrentCall, current_call
from creche.logging import install_record_factory


def ask() -> CurrentCall | None:
    return current_call()


async def ask_later() -> CurrentCall | None:
    return current_call()


def line() -> str:
    """What a line of a log looks like here."""
    install_record_factory()
    record = logging.getLogRecordFactory()("far", logging.INFO, "", 0, "said", (), None)
    return logging.Formatter("%(creche_runner)s/%(creche_key)s#%(creche_attempt)s %(message)s").format(
        record
    )


def loaded() -> list[str]:
    """What asking has loaded that a worker can do without."""
    ask()
    return [name for name in sys.modules if name in {"trio", "anyio", "outcome", "creche._lending"}]
