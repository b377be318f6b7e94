"""The one logger of the library, ``creche``.

What it is for: whatever goes wrong where nobody can be told otherwise (an instrument that raises, a
failure that nobody read) goes here, and nowhere does the library print.

What it does not know: handlers, levels, formats. Those are the application's.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("creche")
