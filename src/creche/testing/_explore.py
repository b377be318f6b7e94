"""`explore`: a function is run under many orders of its tasks, each drawn from a seed.

What it is for: an order that fails is made small: fewer decisions, and zeros among them, as long as it
fails.

What it does not know: the loops.

Invariant: the same decisions give the same run, if the function does nothing that depends on real
time, threads or the order of a set.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

from creche._capture import leaves

from ._clock import VirtualTime
from ._inputs import NotAsyncError, begun, check_function, check_no_loop, seeds_of
from ._naming import written
from ._orders import Drawn, read, replayed, trim, write
from ._outcomes import is_interrupt, is_outcome
from ._stages import BackendName, Stage, stage_named
from ._where import told

# Arbitrary: enough for a list of some hundred decisions.
_TRIES = 300
# A run goes on and on if it takes so many times the passes of the loop of the usual order, which itself
# has so many; a short one has a few.
_TIMES = 20
_PASSES = 50_000
_FEW = 2_000


class ExploreError(AssertionError):
    """Under one order of its tasks a function fails; its cause is what it raised.

    Attributes:
        seed: the seed that the order was found with; `None` if it was given.
        replay: the order, made small, for `explore(fn, replay=...)`.
        order: who went before whom, in words: a line for each decision that is not the usual one.
    """

    def __init__(
        self, title: str, seed: int | None, replay: str, order: Sequence[str], error: BaseException
    ) -> None:
        self.seed = seed
        self.replay = replay
        self.order: tuple[str, ...] = tuple(order)
        with_seed = "" if seed is None else f" with seed {seed}"
        lines = [
            f"{title} fails{with_seed}:",
            *map(told, leaves(error)),
            *(self.order or ["in the usual order"]),
            f'again: {title[:-1]}, replay="{replay}")',
        ]
        super().__init__("\n  ".join(lines))


@final
@dataclass(frozen=True, slots=True)
class ExploreReport:
    """What was explored.

    Attributes:
        runs: how many runs there were.
        orders: how many of them had different orders.
    """

    runs: int
    orders: int


def explore(
    fn: Callable[[], Awaitable[Any]],
    *,
    seeds: int | Iterable[int] = 100,
    backend: BackendName = "trio",
    replay: str | None = None,
) -> ExploreReport:
    """Run an async function under many orders of its tasks.

    Not from inside an event loop: each run has a loop of its own, in virtual time. Wherever several
    tasks can run, their order is drawn from the seed, and some are put off while others go on; the first
    run has the order of a plain queue. On
    asyncio callbacks that are no steps of tasks keep their order, which asyncio promises. Time passes
    only when nothing can run, so of two timers the one that is due first always comes first.

    Args:
        fn: the function; it raises if something is wrong.
        seeds: how many seeds, from 0, the same ones each time; or which, as ``range(100, 200)``.
        backend: `"trio"` or `"asyncio"`.
        replay: run only this order, as an `ExploreError` says it.

    Returns:
        how much was explored.

    Raises:
        ExploreError: it failed, or hung, or went on and on; the order was made small. Whatever it
            raises is a failure, `sys.exit`, `pytest.fail` and a cancellation too. Only Ctrl-C, skips and
            expected failures of pytest's and what hypothesis ends an example with come out as they are.
        RuntimeError: an event loop is running here.
        TypeError: `fn` is no async function that can be called without arguments, `seeds` no number and
            no numbers, or `replay` no string.
        ValueError: `backend` is neither of the two, `seeds` is below 0, or `replay` is no such order.
    """
    check_no_loop("explore")
    stage = stage_named(backend)
    check_function("explore", fn)
    drawn_from = seeds_of(seeds)
    title = f'explore({written(fn)}, backend="{backend}")'
    if replay is not None:
        drawn = replayed(read(replay))
        error = _attempt(stage, fn, drawn)
        if error is not None:
            _let_out(error)
            raise ExploreError(title, None, write(drawn.decisions), _tell(drawn), error) from error
        return ExploreReport(1, 1)
    orders: set[tuple[int, ...]] = set()
    runs = 0
    usual: list[tuple[int | None, Drawn]] = [(None, replayed(()))]
    most = _PASSES
    for seed, drawn in _all(usual, drawn_from):
        error = _attempt(stage, fn, drawn, most)
        if not runs:
            most = max(_FEW, _TIMES * drawn.passes)
        runs += 1
        orders.add(tuple(drawn.decisions))
        if error is not None:
            _let_out(error)
            small, error = _shrink(stage, fn, drawn, error, most)
            raise ExploreError(title, seed, write(small.decisions), _tell(small), error) from error
    return ExploreReport(runs, len(orders))


def _let_out(error: BaseException) -> None:
    if is_outcome(error):
        raise error


def _tell(drawn: Drawn) -> list[str]:
    return [f"decision {number}: {words}" for number, words in drawn.told]


def _all(
    first: list[tuple[int | None, Drawn]], seeds: Iterable[int]
) -> Iterable[tuple[int | None, Drawn]]:
    yield from first
    for seed in seeds:
        yield seed, Drawn(random.Random(seed).randrange)  # noqa: S311 - no cryptography


def _attempt(
    stage: Stage, fn: Callable[[], Awaitable[Any]], drawn: Drawn, most: float = _PASSES
) -> BaseException | None:
    times: list[VirtualTime] = []

    async def main(time: VirtualTime) -> None:
        times.append(time)
        time.most = most
        await begun("explore", fn, ())

    try:
        stage.run(main, chance=drawn)
    except BaseException as exc:
        if is_interrupt(exc) or isinstance(exc, NotAsyncError):
            raise
        return exc  # it is what is looked for
    finally:
        drawn.passes = sum(time.passes for time in times)
    return None


def _shrink(
    stage: Stage, fn: Callable[[], Awaitable[Any]], failed: Drawn, error: BaseException, most: float
) -> tuple[Drawn, BaseException]:
    """Fewer decisions that matter: halve the list as long as it fails, then make each of it 0."""
    best, why = failed, error
    tries = passes = 0

    def still(decisions: list[int]) -> bool:
        nonlocal best, why, tries, passes
        tries += 1
        drawn = replayed(decisions)
        found = _attempt(stage, fn, drawn, most) if tries <= _TRIES and passes < _TIMES * _FEW else None
        passes += drawn.passes
        if found is None or type(found) is not type(error):
            return False
        best, why = drawn, found
        return True

    kept = trim(failed.decisions)
    while kept and still(kept[: len(kept) // 2]):
        kept = kept[: len(kept) // 2]
    for place in range(len(kept) - 1, -1, -1):
        without = trim([*kept[:place], 0, *kept[place + 1 :]])
        if place < len(kept) and kept[place] and still(without):
            kept = without
    still(kept)
    return best, why
