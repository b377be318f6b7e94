"""Keys for calls that nobody has named.

What it is for: a key that is made from what people call a function, and that no other call has.

What it does not know: slots, what hangs under a key.

Invariant: a key that is given out was free at that time; a number is used once.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Hashable
from typing import final


@final
class FreshKeys:
    """Makes the fresh keys of one run."""

    def __init__(self, taken: Container[Hashable]) -> None:
        """Make it.

        Args:
            taken: the keys that there are, now and later.
        """
        self._taken = taken
        self._numbers = itertools.count(1)

    def free(self, name: str) -> str:
        """A key that is made from a name, and is free.

        Args:
            name: what people call it.

        Returns:
            the name itself, if it can be, else the name and a number.
        """
        return self.fresh(name) if name in self._taken else name

    def fresh(self, name: str) -> str:
        """A key that is made from a name and a number, and is free.

        Args:
            name: what people call it.

        Returns:
            the key.
        """
        while True:
            key = f"{name}-{next(self._numbers)}"
            if key not in self._taken:
                return key
