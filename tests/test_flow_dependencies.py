"""Slots among the arguments of tasks: in dataclasses, allowed to fail, and what a failed one means."""

from __future__ import annotations

import logging
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar, NamedTuple

import anyio
import pytest

from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    NotSettled,
    Slot,
    allow_failure,
    flow,
    task,
)
from creche._arguments import slots_in, upstream_in, with_values
from creche.flows._flow_run import CURRENT
from creche.instruments import CallEvent, Instrument
from flowing import ON_BOTH, UNDER_BOTH, run


@task
def give(value: Any) -> Any:
    return value


@task
async def give_later(value: Any) -> Any:
    await anyio.lowlevel.checkpoint()
    return value


@task
def fail(text: str = "disk is gone") -> Any:
    raise OSError(text)


@dataclass
class Plain:
    left: Any
    right: Any = None
    seen: ClassVar[list[Any]] = []
    made: int = field(default=0, init=False)
    start: InitVar[int] = 0

    def __post_init__(self, start: int) -> None:
        self.made = start + 1
        Plain.seen.append(self)


@dataclass(frozen=True)
class Frozen:
    left: Any
    right: Any = None


@dataclass(frozen=True, slots=True)
class Slotted:
    left: Any
    never: Any = field(init=False)
    right: Any = None


@dataclass
class Derived:
    __slots__ = ("__dict__", "extra", "left")
    left: Any


@dataclass
class Single:
    __slots__ = "left"  # noqa: PLC0205 - one name alone is allowed, too
    left: Any


@dataclass
class Wrong(Exception):  # noqa: N818 - it is never raised
    left: Any


class Pair(NamedTuple):
    left: Any
    right: Any


@ON_BOTH
@UNDER_BOTH
@pytest.mark.parametrize("make", [Plain, Frozen, Slotted, Derived, Single, Wrong])
def test_dataclasses(backend: Any, runner: Any, make: Any) -> None:
    """Of each kind: a copy with the values arrives, the one that was passed keeps its slot."""

    @flow(task_runner=runner, backend=backend)
    def body() -> Any:
        slot = give_later.submit(5)
        given = make([slot, {"x": Pair(slot, 1)}])
        came = give.submit(given).result()
        assert type(came) is make
        assert given.left[0] is slot
        assert came is not given
        return came.left

    assert body() == [5, {"x": Pair(5, 1)}]


def test_a_dataclass_without_slots_is_handed_on_as_it_is() -> None:
    """Also inside of a list, and beside another one with a slot in it."""
    plain = Plain([1], start=4)

    @flow
    def body() -> None:
        slot = give.submit(1)
        assert give.submit(plain).result() is plain
        first, second = give.submit([plain, Plain(plain, slot)]).result()
        assert first is plain
        assert (second.left, second.right, second.made) == (plain, 1, 1)

    before = len(Plain.seen)
    body()
    assert len(Plain.seen) == before + 1, "a copy is made without __init__"


def test_a_dataclass_keeps_what_is_no_field() -> None:
    """What was set on it by hand, in its dict or a slot; what is unset stays unset."""
    slot: Any = None

    @flow
    def body() -> None:
        nonlocal slot
        slot = give.submit(1)
        given: Any = Derived(slot)
        given.extra, given.more = "slot", "dict"
        came = give.submit(given).result()
        assert (came.left, came.extra, came.more) == (1, "slot", "dict")
        slotted = give.submit(Slotted(slot)).result()
        assert not hasattr(slotted, "never")
        assert slotted.left == 1
        with pytest.raises(ValueError, match="part of itself"):
            circle = Plain(slot)
            circle.right = circle
            give.submit(circle).result()

    body()
    assert list(slots_in(Plain)) == []  # the class itself is no container


def test_dependencies_are_told() -> None:
    """They are `after` in the event of the submit, each once."""
    after: dict[Any, Any] = {}

    class Ear(Instrument):
        def call_submitted(self, event: CallEvent) -> None:
            after[event.key] = event.after

    @task
    async def wait(event: anyio.Event) -> None:
        await event.wait()

    @flow(task_runner=ConcurrentTaskRunner(instruments=[Ear()]))
    async def body() -> None:
        event = anyio.Event()
        slot = wait.submit(event)
        other = give.submit([Frozen(slot), allow_failure(slot), {"a": slot}])
        event.set()
        assert (await other)[0] == Frozen(None)

    run("trio", body)
    assert after == {"wait[0]": (), "give[0]": ("wait[0]",)}


# A dependency that fails -------------------------------------------------------------------------


@ON_BOTH
@UNDER_BOTH
def test_one_error_with_the_root_cause(
    backend: Any, runner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """However many depend on it, and through how many others: the root is named, and is the cause."""

    @flow(task_runner=runner, backend=backend)
    def body() -> Any:
        bad = fail.submit()
        chain = [give.submit(bad)]
        for _ in range(20):
            chain.append(give.submit(chain[-1]))
        chain += [give.submit([bad, slot]) for slot in chain]
        for slot in reversed(chain):
            with pytest.raises(CallCancelled, match=r"'fail\[0\]', which it was to run after") as caught:
                slot.result()
            assert isinstance(caught.value.__cause__, OSError)
            assert (slot.origin, slot.root) == ("upstream", bad)
        return chain[-1].result()

    with caplog.at_level(logging.WARNING), pytest.raises(CallCancelled) as caught:
        body()
    assert str(caught.value.__cause__) == "disk is gone"
    assert caplog.messages == [], "who has read of it downstream has read of it"


@ON_BOTH
def test_the_root_cause_in_an_async_flow(backend: str) -> None:
    """Awaited, it is the same; the one exception keeps its traceback as it was."""

    @flow
    async def body() -> None:
        bad = fail.submit()
        slots = [give.submit(bad) for _ in range(5)]
        for slot in slots:
            with pytest.raises(CallCancelled, match=r"'fail\[0\]'") as caught:
                await slot
            cause = caught.value.__cause__
            assert isinstance(cause, OSError)
            assert cause is bad.outcome.error  # type: ignore[attr-defined]  # it has failed
            frames, at = 0, cause.__traceback__
            while at is not None:
                frames, at = frames + 1, at.tb_next
            assert frames <= 3
        good = give.submit(1)
        await good
        assert good.root is good

    run(backend, body)


@ON_BOTH
def test_a_root_that_was_cancelled(backend: str) -> None:
    """Its own cancellation is the cause then."""

    @task
    async def forever() -> None:
        await anyio.sleep_forever()

    @flow
    async def body() -> list[Any]:
        slot = forever.submit()
        last = give.submit([give.submit(slot)])
        with anyio.move_on_after(0.01):
            await CURRENT.get().call(slot)  # type: ignore[union-attr]  # it is within a flow
        with pytest.raises(CallCancelled, match=r"'forever\[0\]'.*CANCELLED \(cancel\)") as caught:
            await last
        return [caught.value.__cause__, slot.outcome.error]  # type: ignore[attr-defined]  # it has failed

    cause, error = run(backend, body)
    assert (type(cause), cause.args) == (CallCancelled, error.args)

    @flow
    async def by_timeout() -> None:
        slot = forever.with_options(timeout=0.01).submit()
        last = give.submit([give.submit(slot)])
        with pytest.raises(CallCancelled) as caught:
            await last
        assert isinstance(caught.value.__cause__, TimeoutError)

    run(backend, by_timeout)


# allow_failure -------------------------------------------------------------------------------------


@ON_BOTH
@UNDER_BOTH
def test_allow_failure(backend: Any, runner: Any) -> None:
    """The task runs whatever became of the slot, and sees the value or the exception."""

    @flow(task_runner=runner, backend=backend)
    def body() -> list[Any]:
        good, bad = give_later.submit(1), fail.submit()
        cut = give.submit(bad)
        slots = [
            give.submit(allow_failure(one))
            for one in (good, bad, cut, [good, {"b": bad}], Frozen(bad), 5)
        ]
        slots.append(give.submit([good, allow_failure(good)]))
        strict = give.submit([bad, allow_failure(bad)])
        error: Any = give(allow_failure(bad))
        assert error.args == ("disk is gone",)
        with pytest.raises(CallCancelled):
            strict.result()
        return [slot.result() for slot in slots]

    one, error, cancelled, nested, frozen, five, both = body()
    assert (one, five, both) == (1, 5, [1, 1])
    assert isinstance(error, OSError)
    assert isinstance(cancelled, CallCancelled)
    assert isinstance(cancelled.__cause__, OSError)
    assert nested == [1, {"b": error}]
    assert frozen == Frozen(error)


@ON_BOTH
def test_reading_without_raising(backend: Any) -> None:
    """In a sync flow it waits, in an async one it is awaited; `raise_on_failure=False` elsewhere."""

    @flow(backend=backend)
    def body() -> list[Any]:
        good, bad = give_later.submit(1), fail.submit()
        return [allow_failure(good).result(), allow_failure(bad).result(), allow_failure([bad]).result()]

    one, error, (again,) = body()
    assert (one, str(error), again) == (1, "disk is gone", error)

    @flow
    async def body_async() -> list[Any]:
        good, bad = give_later.submit(1), fail.submit()
        with pytest.raises(NotSettled):
            allow_failure(good).result()
        return [await allow_failure(good), await allow_failure([allow_failure(bad), good])]

    one, (error, again) = run(backend, body_async)
    assert (one, str(error), again) == (1, "disk is gone", 1)
    assert repr(allow_failure(3)) == "<creche.allow_failure 3>"


@ON_BOTH
def test_a_failure_that_is_not_the_calls_own(backend: Any) -> None:
    """What cannot be read is an error also where failures are allowed."""

    def refuse(slot: Slot[Any]) -> Any:
        raise LookupError(slot.key)

    @flow(backend=backend)
    def body() -> None:
        good = give.submit(1)
        good.result()
        with pytest.raises(LookupError):
            with_values([allow_failure(good)], refuse)
        bad = fail.submit()
        with pytest.raises(OSError, match="disk"):
            bad.result()
        (error,) = with_values([allow_failure(bad)], refuse)
        assert isinstance(error, OSError)
        assert upstream_in([allow_failure(bad), good]) == ([bad, good], [bad])

    body()


@pytest.mark.slow
def test_in_another_process() -> None:
    """Dataclasses arrive there with values, and a failure that is allowed as an exception."""

    @task(place="process")
    def there(given: Any) -> Any:
        return type(given.left).__name__, str(given.left), given.right

    @flow
    def body() -> Any:
        return there.submit(Frozen(allow_failure(fail.submit()), give.submit(3))).result()

    assert body() == ("OSError", "disk is gone", 3)
