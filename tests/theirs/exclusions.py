"""Which of other people's tests do not hold for creche, why, and where only words differ.

What it is for: reading `suites.toml`, and keeping account of what of it was needed.

What it does not know: pytest; where the tests come from.

Invariant: an entry has a reason, and one that nothing needed any more is told of by `unused`.
"""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path
from typing import Any, NamedTuple, final

SUITES = Path(__file__).with_name("suites.toml")


class Exclusion(NamedTuple):
    """One entry of the list.

    Attributes:
        reason: why a test does not hold.
        runs: whether it is run all the same. One that would hang, or leave something behind that fails
            another one, is not.
    """

    reason: str
    runs: bool


@final
class Exclusions:
    """What is in the file about one suite."""

    def __init__(self, suite: dict[str, Any]) -> None:
        self._listed: dict[str, Exclusion] = {}
        for entry in suite.get("excluded", ()):
            assert entry["reason"].strip(), f"no reason for {entry['tests']}"
            exclusion = Exclusion(entry["reason"], entry.get("runs", True))
            for pattern in entry["tests"]:
                assert pattern not in self._listed, f"{pattern} is excluded twice"
                self._listed[pattern] = exclusion
        self._words: dict[str, str] = dict(suite.get("words", {}))
        self._unused = {*self._listed, *self._words}

    @classmethod
    def of(cls, name: str, file: Path = SUITES) -> Exclusions:
        """Those of a suite."""
        return cls(read(file)[name])

    def find(self, name: str) -> Exclusion | None:
        """Whether a test is excluded: by its name, with its class if it has one, or a pattern of that.

        Args:
            name: with the parameters in brackets, if there are any.
        """
        plain = name.partition("[")[0]
        for pattern, exclusion in self._listed.items():
            # A bracket is itself, and only in a pattern that has one do the parameters matter.
            escaped = pattern.replace("[", "[[]")
            if fnmatch.fnmatchcase(name if "[" in pattern else plain, escaped):
                self._unused.discard(pattern)
                return exclusion
        return None

    def in_our_words(self, pattern: str) -> str:
        """A pattern that a test compares a message with, as our message is."""
        for theirs, ours in self._words.items():
            if theirs in pattern:
                self._unused.discard(theirs)
                pattern = pattern.replace(theirs, ours)
        return pattern

    def unused(self) -> list[str]:
        """Entries that nothing has needed so far."""
        return sorted(self._unused)


def read(file: Path = SUITES) -> dict[str, dict[str, Any]]:
    """All suites."""
    return tomllib.loads(file.read_text(encoding="utf-8"))
