"""`ScriptedRunner`: a runner whose calls end as a script says, and when it says; nothing is run.

What it is for: testing what is built on a runner (a flow engine, a scheduler) without its calls.

What it does not know: queues, slots, waiting: all that is the real thing. Only the place where calls
run is the script's, so each way of submitting ends there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import anyio
from outcome import Error, Outcome, Value

from creche._events import Instrument
from creche._place import Host, OpenPlace, Place, Work
from creche._spelling import spell

from ._placed import PlaceTaskRunner


@final
@dataclass(frozen=True, slots=True)
class Step:
    """How one call ends; made by `returns`, `fails`, `crashes` and `never`.

    Attributes:
        outcome: what becomes of it; `None` for nothing, until it is cancelled.
        after: seconds from its start.
        crash: whether that is the fault of the place.
    """

    outcome: Outcome[Any] | None
    after: float = 0
    crash: bool = False


def returns(value: Any = None, *, after: float = 0) -> Step:  # noqa: ANN401 - any value
    """The call returns this.

    Args:
        value: what.
        after: seconds from its start.

    Returns:
        a step of a script.
    """
    return Step(Value(value), after)


def fails(error: BaseException, *, after: float = 0) -> Step:
    """The call raises this, and is FAILED.

    Args:
        error: what.
        after: seconds from its start.

    Returns:
        a step of a script.
    """
    return Step(Error(error), after)


def crashes(error: BaseException, *, after: float = 0) -> Step:
    """The call is lost, and CRASHED with this.

    Args:
        error: what; a `CallCrashed`, say.
        after: seconds from its start.

    Returns:
        a step of a script.
    """
    return Step(Error(error), after, crash=True)


def never() -> Step:
    """The call does not end by itself.

    Returns:
        a step of a script.
    """
    return Step(None)


@final
@dataclass(slots=True)
class Asked:
    """One call that a `ScriptedRunner` was to run.

    Attributes:
        key: its key.
        fn: its function, which was not called.
        args: its arguments; the results of slots are there in the place of these.
        started: when it was to begin, in the loop's time.
        ended: when it ended; `None` if it has not.
        cancelled: whether it ended because it was cancelled, or its time had passed.
    """

    key: Hashable
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    started: float
    ended: float | None = None
    cancelled: bool = False


Script = Mapping[Any, Step | Sequence[Step]] | Callable[[Asked], Step]


@final
class ScriptedRunner(PlaceTaskRunner):
    """A runner that runs nothing: calls end as a script says and when it says.

    Attributes:
        asked: what it was asked to run, in the order of their starts, over all its runs.
    """

    asked: list[Asked]

    def __init__(
        self,
        script: Script,
        max_workers: int | None = None,
        *,
        otherwise: Step | None = None,
        on_error: Literal["collect", "cancel"] = "collect",
        instruments: Iterable[Instrument] = (),
    ) -> None:
        """Set a runner up.

        Args:
            script: by key, how the call ends; a list for a key that is run several times, one each,
                the last one from then on. Or a function that is asked for each call.
            max_workers: how many calls run at once; `None` for no limit.
            otherwise: for keys that are not in the script; `None`: such a call is CRASHED with a
                `LookupError`.
            on_error: `"collect"` or `"cancel"`; see `ConcurrentTaskRunner`.
            instruments: who is told what happens.

        Raises:
            TypeError: the script is neither a mapping nor a function, or an option is of the wrong type.
            ValueError: an option is none of those that there are.
        """
        if not (isinstance(script, Mapping) or callable(script)):
            msg = f"a script maps keys to steps, or is a function that gives one; it is {script!r}"
            raise TypeError(msg)
        place = _Stage(script, otherwise)
        super().__init__(place, max_workers, on_error=on_error, instruments=instruments)
        self.asked = place.asked


class _Stage(Place):
    """Where nothing is run."""

    name = "script"

    def __init__(self, script: Script, otherwise: Step | None) -> None:
        self.script = script
        self.otherwise = otherwise
        self.asked: list[Asked] = []

    @asynccontextmanager
    async def open(self, host: Host) -> AsyncIterator[OpenPlace]:  # noqa: ARG002 - nothing of it is needed
        yield self

    async def run(self, work: Work) -> Value[Any] | Error:
        asked = Asked(work.key, work.fn, work.args, anyio.current_time())
        self.asked.append(asked)
        step = self._step(asked)
        try:
            await (anyio.sleep_forever() if step.outcome is None else anyio.sleep(step.after))
        except anyio.get_cancelled_exc_class():
            asked.cancelled = True
            raise
        finally:
            asked.ended = anyio.current_time()
        outcome = step.outcome
        if isinstance(outcome, Error):
            if step.crash:
                raise outcome.error
            return Error(outcome.error)
        assert isinstance(outcome, Value)  # the last kind there is
        return Value(outcome.value)

    def _step(self, asked: Asked) -> Step:
        if not isinstance(self.script, Mapping):
            return self.script(asked)
        step = self.script.get(asked.key, self.otherwise)
        if step is None:
            msg = f"the script has no step for call {spell(asked.key)}; add one, or give otherwise="
            raise LookupError(msg)
        if isinstance(step, Step):
            return step
        times = sum(one.key == asked.key for one in self.asked)
        return step[min(times, len(step)) - 1]
