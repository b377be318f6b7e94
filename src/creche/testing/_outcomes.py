"""Which of the things that are raised are failures, and which are for whoever runs the tests.

What it is for: `pytest.fail`, `pytest.raises` and `sys.exit` raise what is no `Exception`, and are
failures as any other. Ctrl-C is none, nor is `pytest.skip`, nor what hypothesis ends an example with.

What it does not know: pytest and hypothesis. Where nobody has imported them, nobody raises theirs.

Invariant: nothing is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from creche._capture import leaves

# By module: who raises these wants to be heard by whoever runs the test, or the debugger.
_WORDS = {
    "_pytest.outcomes": ("Skipped", "XFailed", "Exit"),
    "unittest.case": ("SkipTest",),
    "hypothesis.errors": ("StopTest", "UnsatisfiedAssumption"),
    "bdb": ("BdbQuit",),
}


def _known() -> Iterator[type[BaseException]]:
    for module, names in _WORDS.items():
        for name in names:
            found = getattr(sys.modules.get(module), name, None)
            if found is not None:
                yield found


def is_outcome(error: BaseException) -> bool:
    """Whether it says how a test ends, and not that it fails; of a group, whether all in it do."""
    known = tuple(_known())
    return all(isinstance(one, known) for one in leaves(error))


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, or a coroutine is closed by it; of a group, whether any in it is that."""
    return any(isinstance(one, (KeyboardInterrupt, GeneratorExit)) for one in leaves(error))


def is_for_others(error: BaseException) -> bool:
    """Whether it is one or the other: nothing to be told of as a failure."""
    return is_interrupt(error) or is_outcome(error)
