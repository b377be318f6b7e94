"""`leaks()` knows threads and tasks by themselves: the number of one that has ended goes to another."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from creche.testing import LeakError, leaks


class Numbered(threading.Thread):
    """All of them have one number, as two have of which one begins when the other has ended."""

    ident: Any = property(lambda _: 1)


def test_the_number_of_a_thread() -> None:
    """The second one is left, and the first was there before."""
    ends, go = threading.Event(), threading.Event()
    first, second = Numbered(target=ends.wait, name="first"), Numbered(target=go.wait, name="second")
    first.start()
    try:
        with pytest.raises(LeakError) as caught, leaks(grace=0):
            ends.set()
            first.join()
            second.start()
    finally:
        go.set()
        second.join()
    assert caught.value.left == ["thread 'second'"]


def test_the_address_of_a_task() -> None:
    """A task that lies where another one has lain is left."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first: Any = loop.create_task(asyncio.sleep(60), name="first")
        await asyncio.sleep(0)
        watch = leaks(grace=0)
        await watch.__aenter__()
        address = id(first)
        first.cancel()
        await asyncio.wait([first])
        del first
        gc.collect()
        others: list[Any] = []
        while len(others) < 1_000 and not (others and id(others[-1]) == address):
            others.append(loop.create_task(asyncio.sleep(60), name="second"))
        for other in others[:-1]:
            other.cancel()
        await asyncio.sleep(0)
        with pytest.raises(LeakError, match="task 'second'"):
            await watch.__aexit__(None, None, None)
        others[-1].cancel()

    asyncio.run(main())
