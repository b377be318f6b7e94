"""Many threads that hammer one runner, each in a way of its own; what they did, and how long it took.

What it does not know: what to expect of it. What a hand gets that it did not expect it raises.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from typing import Any

import anyio
import trio
from outcome import Error, Value

from calls import fail, forever, give
from creche import CallCancelled, ConcurrentTaskRunner, Slot
from creche.instruments import CallEvent, Instrument


class Counts(Instrument):
    """An instrument that counts; it is told on the home loop only."""

    def __init__(self) -> None:
        self.submitted: Counter[Any] = Counter()
        self.finished: Counter[Any] = Counter()

    def call_submitted(self, event: CallEvent) -> None:
        """Count."""
        self.submitted[event.key] += 1

    def call_finished(self, event: CallEvent) -> None:
        """Count."""
        self.finished[event.key] += 1


class Hammer:
    """A number of threads; every third one without a loop, on trio, on asyncio."""

    def __init__(self, runner: ConcurrentTaskRunner, hands: int) -> None:
        self.runner = runner
        self.hands = hands
        self.errors: list[BaseException] = []
        self.keys: list[Any] = []
        self.latencies: list[float] = []
        self.calls = 0
        self._round = itertools.count()

    def strike(self, goes_on: Callable[[int], bool]) -> None:
        """Let every hand work as long as a function of the number of its rounds says; wait for them."""
        number = next(self._round)
        ways = [self._plain, self._on_trio, self._on_asyncio]
        threads = [
            threading.Thread(
                target=self._hand, args=(ways[hand % 3], (number, hand), goes_on), name=f"hand {hand}"
            )
            for hand in range(self.hands)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _hand(self, way: Callable[..., None], me: Any, goes_on: Callable[[int], bool]) -> None:
        try:
            way(me, goes_on)
        except BaseException as exc:
            self.errors.append(exc)

    def _note(self, begun: float, *keys: Any) -> None:
        self.latencies.append(time.perf_counter() - begun)
        self.keys += keys

    # Without a loop ----------------------------------------------------------------------------------

    def _plain(self, me: Any, goes_on: Callable[[int], bool]) -> None:
        rng = random.Random(hash(me))
        portal = self.runner.from_thread
        turns = itertools.count()
        while goes_on(n := next(turns)):
            key, begun = (*me, n), time.perf_counter()
            what = rng.randrange(6)
            if what == 0:
                assert portal.submit(key, give, key).result() == key
                self._note(begun, key)
            elif what == 1:
                assert portal.wait(portal.submit(key, hash, key)) == Value(hash(key))
                self._note(begun, key)
            elif what == 2:
                slot: Slot[Any] = portal.submit(key, forever)
                assert portal.wait(slot, timeout=rng.choice([0, 0.001])) is None
                portal.cancel(slot)
                check_cancelled(portal.wait(slot, timeout=60))
                self._note(begun, key)
            elif what == 3:
                keys = [(*key, item) for item in range(4)]
                assert portal.map(give, keys, key=lambda item: item) == keys
                self._note(begun, *keys)
            elif what == 4:
                error = ValueError(key)
                outcome = portal.wait(portal.submit(key, fail, error))
                assert isinstance(outcome, Error)
                assert outcome.error is error
                self._note(begun, key)
            else:
                first = portal.submit(key, give, 1)
                second = portal.submit((*key, 2), give, 2, after=[first])
                assert portal.result(second) == 2
                assert first.result() == 1
                self._note(begun, key, (*key, 2))

    # By an executor ----------------------------------------------------------------------------------

    def strike_by_executor(self, rounds: int) -> tuple[int, int]:
        """Let every hand submit, cancel and read; how many calls gave a value, and how many none."""
        executor: Any = self.runner.as_executor()
        numbers = [0, 0]

        def work(me: Any, goes_on: Callable[[int], bool]) -> None:
            rng = random.Random(hash(me))
            for _ in range(rounds):
                kinds = rng.choices([give, plain, later], k=rng.randrange(1, 6))
                futures = [executor.submit(kind, n) for n, kind in enumerate(kinds)]
                for n, future in enumerate(futures):
                    is_cancelled = rng.random() < 0.4 and future.cancel()
                    try:
                        assert future.result(60) == n
                    except CancelledError:
                        assert is_cancelled
                        numbers[1] += 1
                    else:
                        assert not is_cancelled
                        numbers[0] += 1
                assert not wait(futures, 60).not_done

        threads = [
            threading.Thread(target=self._hand, args=(work, (-1, hand), bool), name=f"hand {hand}")
            for hand in range(self.hands)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        executor.shutdown()
        return numbers[0], numbers[1]

    # On a loop of their own --------------------------------------------------------------------------

    def _on_trio(self, me: Any, goes_on: Callable[[int], bool]) -> None:
        trio.run(self._tasks, me, goes_on)

    def _on_asyncio(self, me: Any, goes_on: Callable[[int], bool]) -> None:
        asyncio.run(self._tasks(me, goes_on))

    async def _tasks(self, me: Any, goes_on: Callable[[int], bool]) -> None:
        async with anyio.create_task_group() as group:
            for number in range(2):
                group.start_soon(self._task, (*me, "task", number), goes_on)

    async def _task(self, me: Any, goes_on: Callable[[int], bool]) -> None:
        rng = random.Random(hash(me))
        turns = itertools.count()
        while goes_on(n := next(turns)):
            key, begun = (*me, n), time.perf_counter()
            what = rng.randrange(4)
            if what == 0:
                assert await (await self.runner.submit(key, give, key)) == key
                self._note(begun, key)
            elif what == 1:
                slots = [await self.runner.submit((*key, item), give, item) for item in range(4)]
                if rng.random() < 0.5:
                    assert await self.runner.wait_all(slots) == [Value(item) for item in range(4)]
                else:
                    async with self.runner.as_completed(slots) as arrivals:
                        assert {slot.result() async for slot in arrivals} == set(range(4))
                self._note(begun, *(slot.key for slot in slots))
            elif what == 2:
                slot: Slot[Any] = await self.runner.submit(key, forever)
                assert await self.runner.wait(slot, timeout=rng.choice([0, 0.001])) is None
                self.runner.cancel(slot)
                check_cancelled(await self.runner.wait(slot))
                self._note(begun, key)
            else:
                await self._leave_early(key)

    async def _leave_early(self, key: Any) -> None:
        """Cancel a submission, or the wait for its call: it was made, or it was not."""
        slot = None
        with anyio.move_on_after(0.0005):
            slot = await self.runner.submit(key, give, 5)
            await self.runner.wait(slot)
        if slot is not None:
            assert await slot == 5
            self.keys.append(key)


def plain(value: int) -> int:
    """Return it, in a thread."""
    return value


def later(value: int) -> Any:
    """Return an awaitable."""
    return give(value)


def check_cancelled(outcome: Any) -> None:
    """It must have been."""
    assert isinstance(outcome, Error)
    assert isinstance(outcome.error, CallCancelled)
