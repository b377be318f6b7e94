"""`retry=` of a call: which attempts there are, what they end in, and what is told of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from calls import error_of, forever, give, settle_down, swallow
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    Retry,
    SequentialTaskRunner,
    State,
    ThreadTaskRunner,
)
from retrying import AT_ONCE, IN_THREE, STEADY, Attempts, Flaky, FlakyError, seeded, without_gc
from spinning import Spin

pytestmark = pytest.mark.anyio

RUNNERS = [SequentialTaskRunner, ConcurrentTaskRunner, lambda **kw: ConcurrentTaskRunner(1, **kw)]
each_runner = pytest.mark.parametrize("make", RUNNERS, ids=["sequential", "unbounded", "bounded"])
each_kind = pytest.mark.parametrize("kind", ["plain", "on_loop", "half"])


@each_runner
@each_kind
@pytest.mark.usefixtures("real_time")
async def test_it_is_tried_until_it_returns(make: Callable[..., Any], kind: str) -> None:
    """The slot has the value, and says which attempt it is of; each is told of."""
    heard = Attempts()
    flaky = Flaky(2)
    async with make(instruments=[heard]).start() as runner:
        slot = await runner.submit("k", getattr(flaky, kind), retry=AT_ONCE)
        assert await slot == 3
    assert (slot.state, slot.attempt, flaky.calls) == (State.COMPLETED, 3, 3)
    assert heard.of("k") == IN_THREE
    assert heard.errors == ["attempt 1", "attempt 2"]
    assert heard.delays == [0, 0]


@each_runner
@each_kind
@pytest.mark.usefixtures("real_time")
async def test_the_last_failure_counts(make: Callable[..., Any], kind: str) -> None:
    """It is the original object, with a note, and nobody hears of the others."""
    flaky = Flaky()
    async with make().start() as runner:
        slot = await runner.submit("k", getattr(flaky, kind), retry=Retry(2, delay=0))
        error = error_of(await runner.wait("k"))
    assert (slot.state, slot.attempt, flaky.calls) == (State.FAILED, 3, 3)
    assert error is flaky.errors[-1]()
    assert (str(error), error.__notes__) == ("attempt 3", ["in attempt 3 of 3 of call 'k'"])
    assert (error.__context__, error.__cause__) == (None, None)
    assert runner.statistics().failed == 1


async def test_the_first_attempt_is_as_ever() -> None:
    """A call that completes at once, or has no policy, was attempted once; nothing is noted."""
    flaky = Flaky()
    async with ConcurrentTaskRunner().start() as runner:
        assert await runner.submit_nowait("k", give, 4, retry=3) == 4
        assert runner.slots["k"].attempt == 1
        for key, retry in (("none", None), ("zero", 0), ("other", Retry(3, on=OSError))):
            slot: Any = runner.submit_nowait(key, flaky.on_loop, retry=retry)
            error = error_of(await runner.wait(slot))
            assert not hasattr(error, "__notes__")
            assert runner.slots[key].attempt == 1
    assert flaky.calls == 3


@each_runner
async def test_the_delays_go_by_the_loops_clock(make: Callable[..., Any], virtual_time: bool) -> None:
    """They are those of the policy."""
    if not virtual_time:
        pytest.skip("it would take seven seconds")
    flaky = Flaky(3)
    async with make().start() as runner:
        assert await (await runner.submit("k", flaky.on_loop, retry=STEADY)) == 4
    assert flaky.gaps == pytest.approx([1, 2, 4])


async def test_a_deadline_is_for_all_attempts() -> None:
    """None begins after it, and the note says that there would have been more."""
    policy = Retry(9, delay=0.2, factor=1, jitter="none", deadline=0.5)
    flaky = Flaky()
    async with ConcurrentTaskRunner().start() as runner:
        error = error_of(await runner.wait(runner.submit_nowait("k", flaky.on_loop, retry=policy)))
    assert 1 < flaky.calls <= 3
    assert error.__notes__ == [f"in attempt {flaky.calls} of 10 of call 'k'"]


async def test_the_jitter_is_that_of_random() -> None:
    """Whoever seeds that has the same delays again."""
    heard = Attempts()
    policy = Retry(2, delay=0.01)
    async with ConcurrentTaskRunner(instruments=[heard]).start() as runner:
        for _ in range(2):
            with seeded():
                await runner.wait(runner.submit_nowait(None, Flaky().on_loop, retry=policy))
    with seeded():
        drawn = [0.01 * random.random(), 0.02 * random.random()]
    assert heard.delays == pytest.approx([*drawn, *drawn])


@each_runner
async def test_a_time_limit_is_of_each_attempt(make: Callable[..., Any]) -> None:
    """A `TimeoutError` is retried like any failure, and the next attempt has all the time again."""
    heard = Attempts()
    rest = [60, 60, 0]

    async def slow_at_first() -> str:
        await anyio.sleep(rest.pop(0))
        return "in time"

    async with make(instruments=[heard]).start() as runner:
        slot = await runner.submit("k", slow_at_first, timeout=0.2, retry=AT_ONCE)
        assert await slot == "in time"
        late = await runner.submit("late", forever, timeout=0.01, retry=Retry(1, delay=0, on=OSError))
        error = error_of(await runner.wait("late"))
    assert heard.errors[0] == "call 'k' has not ended within its timeout of 0.2 seconds"
    assert slot.attempt == 3
    assert type(error) is TimeoutError
    assert (late.attempt, error.__notes__) == (2, ["in attempt 2 of 2 of call 'late'"])


async def test_a_time_limit_that_is_not_retried() -> None:
    """`TimeoutError` is one of `OSError`'s, and of nothing else that `on` may name."""
    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", forever, timeout=0.01, retry=Retry(1, on=ValueError))
        assert type(error_of(await runner.wait(slot))) is TimeoutError
        slow = runner.submit_nowait("v", swallow, 4, timeout=0.01, retry=1)
        assert await slow == 4  # a value beats it
    assert slot.attempt == slow.attempt == 1


@pytest.mark.usefixtures("real_time")
async def test_a_plain_call_may_see_that_its_time_has_passed() -> None:
    """Each attempt in a thread is told of its own time."""
    async with ThreadTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", Spin(), timeout=0.05, retry=Retry(1, delay=0))
        error = error_of(await runner.wait(slot))
    assert type(error) is TimeoutError
    assert slot.attempt == 2


@pytest.mark.parametrize("kind", ["plain", "on_loop"])
@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
async def test_what_is_no_exception_ends_it(kind: str, fatal: type[BaseException]) -> None:
    """Also at the second attempt; it is not noted, and ends the run as ever."""
    flaky = Flaky(1)

    def plain() -> None:
        flaky.plain()
        raise fatal

    async def on_loop() -> None:
        await flaky.on_loop()
        raise fatal

    runner = ConcurrentTaskRunner()
    with pytest.raises(fatal) as caught:
        async with runner.start():
            slot = runner.submit_nowait("k", {"plain": plain, "on_loop": on_loop}[kind], retry=AT_ONCE)
            await anyio.sleep_forever()
    assert (slot.state, slot.attempt) == (State.CRASHED, 2)
    assert not hasattr(caught.value, "__notes__")


async def test_a_group_is_judged_as_a_whole() -> None:
    """An `ExceptionGroup` is an `Exception`; what is in it is for a function to look at."""
    tries = 0

    async def fail_in_children() -> None:
        nonlocal tries
        tries += 1
        msg = "children"
        raise ExceptionGroup(msg, [OSError(), ValueError()])

    def has_os_error(error: Exception) -> bool:
        return isinstance(error, ExceptionGroup) and error.subgroup(OSError) is not None

    async with ConcurrentTaskRunner().start() as runner:
        for on, expected in ((OSError, 1), (Exception, 3), (has_os_error, 3)):
            tries = 0
            await runner.wait(
                runner.submit_nowait(None, fail_in_children, retry=Retry(2, delay=0, on=on))
            )
            assert tries == expected


async def test_a_function_that_fails_itself() -> None:
    """The call fails with that, and what it was asked about is its context."""

    def judge(error: Exception) -> bool:
        msg = "no attribute"
        raise AttributeError(msg)

    flaky = Flaky()
    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", flaky.on_loop, retry=Retry(2, on=judge))
        error = error_of(await runner.wait(slot))
    assert slot.state is State.FAILED
    assert isinstance(error, AttributeError)
    assert error.__context__ is flaky.errors[0]()
    assert flaky.calls == 1


async def test_a_function_that_raises_what_it_was_given() -> None:
    """Or something with a context of its own: that is left as it is."""

    def again(error: Exception) -> bool:
        raise error

    def other(error: Exception) -> bool:
        try:
            raise KeyError(1) from error
        except KeyError:
            raise LookupError from None

    async with ConcurrentTaskRunner().start() as runner:
        error = error_of(
            await runner.wait(runner.submit_nowait(1, Flaky().on_loop, retry=Retry(1, on=again)))
        )
        assert isinstance(error, FlakyError)
        assert error.__context__ is None
        error = error_of(
            await runner.wait(runner.submit_nowait(2, Flaky().on_loop, retry=Retry(1, on=other)))
        )
        assert isinstance(error.__context__, KeyError)


async def test_a_function_that_exits() -> None:
    """`SystemExit` out of it ends the run, as out of the call."""

    def leave(error: Exception) -> bool:
        raise SystemExit(3)

    runner = ConcurrentTaskRunner()
    with pytest.raises(SystemExit):
        async with runner.start():
            slot = runner.submit_nowait("k", Flaky().on_loop, retry=Retry(1, on=leave))
            await anyio.sleep_forever()
    assert slot.state is State.CRASHED


async def test_an_error_that_cannot_be_written_to() -> None:
    """It goes without the note; one that comes again has it once."""

    class StubbornError(Exception):
        def add_note(self, note: str) -> None:
            raise AttributeError(note)

    error = ValueError("the same object")

    def raise_it(what: Exception) -> Callable[[], Any]:
        async def call() -> None:
            raise what

        return call

    async with ConcurrentTaskRunner().start() as runner:
        stubborn = StubbornError()
        assert (
            error_of(await runner.wait(runner.submit_nowait("k", raise_it(stubborn), retry=AT_ONCE)))
            is stubborn
        )
        for _ in range(2):
            await runner.wait(runner.submit_nowait("n", raise_it(error), retry=AT_ONCE))
            runner.forget("n")
    assert error.__notes__ == ["in attempt 10 of 10 of call 'n'"]


async def test_what_runs_after_it_sees_the_last_outcome() -> None:
    """And nothing before it has come."""
    flaky, other = Flaky(2), Flaky()
    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("a", flaky.on_loop, retry=AT_ONCE)
        after = runner.submit_nowait("b", give, 1, after=["a"])
        runner.submit_nowait("c", other.on_loop, retry=1)
        never = runner.submit_nowait("d", give, 1, after=["c"])
        assert await after == 1
        await runner.wait(never)
    assert flaky.calls == 3
    assert (never.state, never.origin) == (State.CANCELLED, "upstream")


async def test_only_the_last_failure_ends_a_run() -> None:
    """With `on_error="cancel"`, too, an attempt that is followed by another is none."""
    runner = ConcurrentTaskRunner(on_error="cancel")
    async with runner.start():
        assert await runner.submit_nowait("k", Flaky(2).on_loop, retry=AT_ONCE) == 3
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            runner.submit_nowait("k", Flaky().on_loop, retry=Retry(1, delay=0))
            await anyio.sleep_forever()
    (error,) = caught.value.exceptions
    assert error.__notes__ == ["in attempt 2 of 2 of call 'k'", "in call 'k'"]


async def test_a_failure_in_the_same_run_ends_the_attempts() -> None:
    """Once the run is being closed, nothing is retried: what failed meanwhile has failed."""

    async def fail_late() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise FlakyError

    runner = ConcurrentTaskRunner(on_error="cancel")
    with pytest.raises(ExceptionGroup):
        async with runner.start():
            slot = runner.submit_nowait("late", fail_late, retry=AT_ONCE)
            await settle_down()
            runner.submit_nowait("k", Flaky().on_loop)
            await anyio.sleep_forever()
    assert (slot.state, slot.attempt) == (State.FAILED, 1)


@each_runner
@each_kind
@pytest.mark.usefixtures("real_time")
async def test_nothing_leads_to_what_was_raised(
    make: Callable[..., Any], kind: str, anyio_backend: tuple[str, Any]
) -> None:
    """No ring of references: without the garbage collector an error goes when nobody has it."""
    if kind == "plain" and anyio_backend[0] == "trio":
        pytest.skip("a worker thread of trio's keeps what it has brought last")
    flaky, lost = Flaky(2), Flaky()
    with without_gc():
        async with make().start() as runner:
            policy = Retry(2, delay=0.05, factor=1, jitter="none")
            slot = runner.submit_nowait("k", getattr(flaky, kind), retry=policy)
            while not flaky.errors:  # noqa: ASYNC110 - it may be in a thread
                await anyio.sleep(0.001)
            await anyio.sleep(0.02)
            assert flaky.errors[0]() is None  # it waits already
            assert await slot == 3
            assert flaky.calls == 3
            await runner.wait(runner.submit_nowait("lost", getattr(lost, kind), retry=1))
            runner.forget("lost")
            with anyio.fail_after(5):  # the thread that has brought it lets go when it has brought it
                while any(error() for error in lost.errors):  # noqa: ASYNC110 - what it waits for has no event
                    await anyio.sleep(0.001)


async def test_a_call_that_cancels_itself_between() -> None:
    """An attempt that was cancelled, and fails on its way out, is the last one."""
    tries = 0

    async def fail_when_cancelled() -> None:
        nonlocal tries
        tries += 1
        try:
            await anyio.sleep_forever()
        finally:
            raise FlakyError

    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", fail_when_cancelled, retry=AT_ONCE)
        await settle_down()
        runner.cancel("k")
        assert isinstance(error_of(await runner.wait("k")), FlakyError)
        plain = runner.submit_nowait("c", forever, retry=AT_ONCE)
        await settle_down()
        runner.cancel("c", reason="enough")
        with pytest.raises(CallCancelled, match="enough"):
            await plain
    assert tries == 1
    assert (slot.attempt, plain.attempt) == (1, 1)
