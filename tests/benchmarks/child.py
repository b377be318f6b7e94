"""What runs in a process of its own: takes one sample and prints it as JSON.

What it is for: the other end of `fresh.py`.

What it does not know: what is done with the sample.

Invariant: nothing else is printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import bounding
import submitting
from event_loops import FAMILY
from growth import grown
from memory import held
from results import Sample
from timing import timed


def once(workload: str, contender: str, loop: str, n: int) -> Sample:
    """A run of W1 or W3, whose time does not matter: something else counts."""
    table = {"W1": submitting.CONTENDERS, "W3": bounding.CONTENDERS}[workload]
    return timed(contender, table[FAMILY[loop]][contender], loop, n)


TAKERS: dict[str, Callable[..., Sample]] = {"held": held, "grown": grown, "once": once}


if __name__ == "__main__":
    print(json.dumps(TAKERS[sys.argv[1]](*json.loads(sys.argv[2]))))
