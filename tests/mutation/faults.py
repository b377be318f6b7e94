"""All faults that are planted.

What it does not know: how they are planted, and found.

Invariant: no two have one name.
"""

from __future__ import annotations

import in_attempts
import in_calls
import in_carriers
import in_closing
import in_lending
import in_places
import in_queueing
import in_threads

FAULTS = [
    *in_calls.FAULTS,
    *in_attempts.FAULTS,
    *in_queueing.FAULTS,
    *in_lending.FAULTS,
    *in_carriers.FAULTS,
    *in_closing.FAULTS,
    *in_threads.FAULTS,
    *in_places.FAULTS,
]
