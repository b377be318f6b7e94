"""Worker threads of anyio's that do not keep the interpreter from ending.

What it is for: a call that was cancelled may leave its thread to itself, and that thread may never end.
trio's worker threads are daemon threads, anyio's on asyncio are not: the interpreter would wait for it
for ever. So an idle daemon thread is put among anyio's own before it is asked for one.

What it does not know: what the threads are good for.

Invariant: where anyio's insides are not what this file takes them for, nothing is done: the threads are
anyio's own then.
"""

# ruff: noqa: SLF001 - what this file is for

from __future__ import annotations

from contextvars import Context
from typing import final

from ._inside import INSIDE


@final
class NextThread:
    """What anyio takes for the limiter of a call in a thread, and enters just before it picks one.

    How many there may be is counted by the run, outside of the shield around the wait.
    """

    async def __aenter__(self) -> None:
        """See to the thread; lets nobody else run."""
        offer_daemon()

    async def __aexit__(self, *_: object) -> None:
        """Nothing is given back."""


def offer_daemon() -> bool:
    """See to it that the next worker thread that anyio takes is a daemon thread; on the loop.

    Returns:
        whether it will be.
    """
    try:
        # anyio has made them by now.
        idle, workers = INSIDE._threadpool_idle_workers.get(), INSIDE._threadpool_workers.get()
        if not (idle and idle[-1].daemon):
            root_task = INSIDE.find_root_task()
            worker = INSIDE.WorkerThread(root_task, workers, idle)
            worker.daemon = True
            stop = worker.stop
            worker.start()
            workers.add(worker)
            root_task.add_done_callback(stop, context=Context())
            idle.append(worker)  # anyio takes the last one
    except (AttributeError, LookupError, TypeError):
        return False
    return True
