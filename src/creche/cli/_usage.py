"""What is wrong with a command line, as an exception: one sentence, exit status 2.

What it does not know: where it is raised and who prints it.
"""

from __future__ import annotations

from typing import final


@final
class UsageError(Exception):
    """The command cannot do what was asked for; its text is the sentence that is shown."""
