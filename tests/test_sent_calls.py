"""Calls that a place takes without a task: cancellations of every origin, and what comes back."""

from __future__ import annotations

import asyncio
import gc
import math
import weakref
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from calls import settle_down
from creche import CallCrashed, ConcurrentTaskRunner, Slot, State
from posting import Post, owner

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time")]

LETTER: ContextVar[str] = ContextVar("letter", default="none")


class Thing:
    """Whatever it is."""


class OddError(LookupError):
    """An exception that can be referred to weakly."""


def seen(slot: Slot[Any]) -> tuple[State, str | None]:
    return slot.state, slot.origin


async def test_many_are_settled_at_once_and_others_follow() -> None:
    """In the order of submission, as many at once as the place takes."""
    post = Post(2)
    async with owner(post).start() as runner:
        slots = [runner.submit_nowait(key, abs, -key) for key in range(1, 6)]
        await settle_down()
        assert post.keys() == [1, 2]
        assert (runner.statistics().running, runner.statistics().pending) == (2, 3)
        post.end((1, ...), (2, ...))
        assert post.keys() == [3, 4]
        post.end((4, ...))
        post.end((3, ...), (5, ...))
        assert [slot.result() for slot in slots] == [1, 2, 3, 4, 5]
        assert runner.statistics().running == runner.statistics().carriers == 0


async def test_an_async_one_follows_one_that_has_a_task() -> None:
    """A carrier leaves it to the place."""
    post = Post(1)
    async with owner(post).start() as runner:
        first = runner.submit_nowait("first", abs, -1, timeout=9)
        second = runner.submit_nowait("second", anyio.sleep, 0)
        await first.wait(10)
        await settle_down()
        assert (post.run_by_task, post.keys()) == (["first"], ["second"])
        post.end(("second", (True, 2)))
        assert second.peek_value() == 2


@pytest.mark.parametrize("begun", [False, True])
async def test_a_cancelled_one(*, begun: bool) -> None:
    """One that has not begun ends at once; another when its place says so."""
    post = Post(1)
    async with owner(post).start() as runner:
        slot = runner.submit_nowait("k", abs, -1)
        after = runner.submit_nowait("after", abs, -2)
        if begun:
            post.begin("k")
        runner.cancel("k", "it is not wanted")
        runner.cancel("k", "nor is it now")
        assert post.cancelled == ["k"]
        if begun:
            assert slot.state is State.RUNNING
            post.end(("k", None))
        assert (seen(slot), slot.reason) == ((State.CANCELLED, "cancel"), "it is not wanted")
        assert post.keys() == ["after"]
        post.end(("after", ...))
        assert after.result() == 2


async def test_a_value_beats_a_cancel() -> None:
    """As does a failure."""
    post = Post()
    async with owner(post).start() as runner:
        value, failure = runner.submit_nowait("v", abs, -1), runner.submit_nowait("f", abs, -1)
        post.begin("v", "f")
        runner.cancel("v")
        runner.cancel("f")
        post.end(("v", ...), ("f", (False, LookupError("x"))))
    assert value.result() == 1
    assert failure.state is State.FAILED


async def test_what_it_raises() -> None:
    """By the user's code, and by its place; what would end a process ends nothing here."""
    post = Post()
    crash = CallCrashed("c", "worker-died", "it is dead", -9)
    async with owner(post).start() as runner:
        ends: dict[str, Any] = {
            "failed": (False, LookupError("x")),
            "crashed": crash,
            "ended": (False, SystemExit(3)),
        }
        slots = {key: runner.submit_nowait(key, abs, -1) for key in ends}
        post.end(*ends.items())
        assert [slots[key].state for key in ends] == [State.FAILED, State.CRASHED, State.CRASHED]
        assert slots["crashed"].peek_error() is crash
        for slot in slots.values():
            slot.mark_read()


async def test_ctrl_c_while_an_answer_is_read() -> None:
    """It ends the run, and the others in it."""
    post = Post()
    with pytest.raises(KeyboardInterrupt):
        async with owner(post).start() as runner:
            hit = runner.submit_nowait("hit", abs, -1)
            other = runner.submit_nowait("other", abs, -1)
            post.end(("hit", KeyboardInterrupt()))
            await anyio.sleep(10)
    assert hit.state is State.CRASHED
    assert seen(other) == (State.CANCELLED, "outer")


@pytest.mark.parametrize("error", [OSError("the line is dead"), KeyboardInterrupt()])
async def test_one_that_its_place_does_not_take(error: BaseException) -> None:
    """It has crashed; Ctrl-C while it is packed ends the run."""
    post = Post(1)
    slots: list[Slot[int]] = []

    async def go() -> None:
        async with owner(post).start() as runner:
            post.refuses = error
            slots.extend(runner.submit_nowait(key, abs, -1) for key in range(300))
            assert slots[0].state is State.RUNNING
            runner.cancel(0)
            await runner.wait(0)
            if isinstance(error, Exception):
                await runner.until_idle()

    if isinstance(error, Exception):
        await go()
        assert {slot.state for slot in slots} == {State.CRASHED}
        assert slots[7].peek_error() is error
        for slot in slots:
            slot.mark_read()
    else:
        with pytest.raises(KeyboardInterrupt):
            await go()
        assert (slots[0].state, slots[1].state) == (State.CRASHED, State.CANCELLED)


async def test_arguments_that_cannot_be_had() -> None:
    """A slot among them that is open: the call has failed, and its place has heard nothing."""
    post = Post(1)
    async with owner(post).start() as runner:
        reserved = runner.reserve("later")
        slot: Slot[Any] = runner.submit_nowait("k", repr, reserved)
        with pytest.raises(Exception, match="has not ended yet"):
            await runner.result("k")
        assert (slot.state, post.keys()) == (State.FAILED, [])


async def test_cancelled_by_code_that_runs_while_it_is_sent() -> None:
    """By what pickles its arguments, say; which sees the context variables of the submitter."""
    post = Post()
    found: list[str] = []
    async with owner(post).start() as runner:

        def cancel_it() -> None:
            found.append(LETTER.get())
            LETTER.set("changed")
            runner.cancel("k")

        post.when_sent = cancel_it
        token = LETTER.set("mine")
        slot = runner.submit_nowait("k", abs, -1)
        assert LETTER.get() == "mine"
        LETTER.reset(token)
        assert (seen(slot), found, post.keys()) == ((State.CANCELLED, "cancel"), ["mine"], [])


async def test_a_scope_around_the_run_that_the_body_does_not_see() -> None:
    """The calls are cancelled at once, and none starts."""
    post = Post(2)
    with anyio.CancelScope() as scope:
        async with owner(post).start() as runner:
            first, second = runner.submit_nowait(1, abs, -1), runner.submit_nowait(2, abs, -1)
            third = runner.submit_nowait(3, abs, -1)
            post.begin(1)
            with anyio.CancelScope(shield=True):
                scope.cancel()
                await settle_down()
                assert post.cancelled == [1, 2]
                assert seen(second) == (State.CANCELLED, "outer")
                assert first.state is State.RUNNING
                post.end((1, None))
                assert seen(first) == (State.CANCELLED, "outer")
                await third.wait(10)
            await anyio.sleep(10)
    assert scope.cancelled_caught
    assert seen(third) == (State.CANCELLED, "closed")


async def test_a_scope_that_was_cancelled_before() -> None:
    """Nothing is sent, not even for a moment."""
    post = Post()
    with anyio.CancelScope() as scope:
        async with owner(post).start() as runner:
            scope.cancel()
            slot = runner.submit_nowait(1, abs, -1)
            await anyio.sleep(10)
    assert slot.state is State.CANCELLED
    assert (post.parcels, post.cancelled, post.run_by_task) == ([], [], [])


@pytest.mark.parametrize("how", ["raises", "cancelled", "drained"])
async def test_the_run_ends_before_its_time(how: str) -> None:
    """It waits for what has begun to stop."""
    post = Post()
    slot: Any = None

    async def stop_later() -> None:
        while not post.cancelled:  # noqa: ASYNC110 - no event
            await anyio.sleep(0.001)
        await settle_down()
        assert slot.state is State.RUNNING
        post.end((1, None))

    async with anyio.create_task_group() as group:
        group.start_soon(stop_later)
        with anyio.CancelScope() as scope:
            try:
                async with owner(post).start() as runner:
                    slot = runner.submit_nowait(1, abs, -1)
                    post.begin(1)
                    if how == "raises":
                        raise LookupError
                    if how == "drained":
                        assert await runner.drain(0) == [1]
                    else:
                        scope.cancel()
            except LookupError:
                pass
    assert seen(slot) == (State.CANCELLED, "outer" if how == "cancelled" else "closed")


async def test_the_first_failure_cancels_the_rest() -> None:
    """What had not begun ends at once, and what had ended by then counts."""
    post = Post()
    slots: dict[int, Slot[int]] = {}
    with pytest.raises(ExceptionGroup) as raised:
        async with owner(post, on_error="cancel").start() as runner:
            slots.update({key: runner.submit_nowait(key, abs, -key) for key in range(1, 5)})
            post.begin(3, 4)
            post.end((1, (False, LookupError("x"))), (3, ...), (4, None))
            await anyio.sleep(10)
    assert [type(error) for error in raised.value.exceptions] == [LookupError]
    assert [slots[key].state for key in (1, 3)] == [State.FAILED, State.COMPLETED]
    assert [seen(slots[key]) for key in (2, 4)] == [(State.CANCELLED, "closed")] * 2


async def test_a_callback_that_cancels_others() -> None:
    """Of those that are told of at the same time, and of those that are not; and submits one."""
    post = Post()
    async with owner(post).start() as runner:
        slots = {key: runner.submit_nowait(key, abs, -key) for key in range(1, 4)}
        post.begin(1, 2)

        def cancel_others(slot: Slot[Any]) -> None:
            del slot
            runner.cancel_all()
            runner.submit_nowait("new", abs, -1)

        slots[1].add_done_callback(cancel_others)
        post.end((1, ...), (2, ...))
        assert [slots[key].state for key in (1, 2, 3)] == [
            State.COMPLETED,
            State.COMPLETED,
            State.CANCELLED,
        ]
        assert post.keys() == ["new"]
        post.end(("new", ...))


async def test_limits_and_a_place_beside_others() -> None:
    """What a call has beside its place is free when it has ended."""
    post = Post(5)
    async with ConcurrentTaskRunner(limits={"one": 1}).start() as runner:
        runner.submit_nowait("opens", abs, -1, place=post)
        await runner.until_idle()
        assert post.run_by_task == ["opens"]
        for key in range(3):
            runner.submit_nowait(key, abs, -1, place=post, limits=["one"])
        for key in range(3):
            assert post.keys() == [key]
            post.end((key, ...))


async def test_workers_are_limited_while_it_runs() -> None:
    """It counts among them."""
    post = Post()
    async with ConcurrentTaskRunner().start() as runner:
        runner.submit_nowait("opens", abs, -1, place=post)
        await runner.until_idle()
        runner.submit_nowait("k", abs, -1, place=post)
        runner.set_max_workers(1)
        other = runner.submit_nowait("other", anyio.sleep, 0)
        await settle_down()
        assert other.state is State.PENDING
        post.end(("k", ...))
        await other.wait(10)


async def test_what_needs_more_has_a_task() -> None:
    """A time limit, more tries, an instrument: as in any place."""
    post = Post()
    async with owner(post).start() as runner:
        runner.submit_nowait("timeout", abs, -1, timeout=9)
        runner.submit_nowait("retry", abs, -1, retry=2)
        await runner.until_idle()
        assert sorted(post.run_by_task) == ["retry", "timeout"]
    async with owner(Post(), grace=math.inf).start() as runner:
        assert await runner.result(runner.submit_nowait("grace", abs, -1)) == 1


async def test_a_place_that_closes_too_early() -> None:
    """Calls after that have crashed."""
    post = Post()
    async with owner(post).start() as runner:
        post.closes.set()
        await settle_down()
        slot = runner.submit_nowait("k", abs, -1)
        await slot.wait(10)
        assert slot.state is State.CRASHED
        slot.mark_read()


@pytest.mark.parametrize("retain", [False, True])
async def test_nothing_is_kept(*, retain: bool) -> None:
    """Neither what was called, nor what was handed over, nor what came; and without the collector."""
    post = Post()
    keys = ("value", "failure", "crash", "dropped", "stopped")
    gc.collect()
    gc.disable()
    try:
        async with owner(post, retain=retain).start() as runner:
            thing, value = Thing(), Thing()
            errors = [OddError("x"), OddError("y"), OddError("z")]
            kept = [weakref.ref(one) for one in (thing, value, *errors)]
            for key in keys:
                runner.submit_nowait(key, id, thing)
            post.refuses = errors.pop()
            runner.submit_nowait("refused", id, thing)
            post.refuses = None
            post.begin("stopped")
            runner.cancel("dropped")
            runner.cancel("stopped")
            crash = errors.pop()
            post.end(
                ("value", (True, value)),
                ("failure", (False, errors.pop())),
                ("crash", crash),
                ("stopped", None),
            )
            del thing, value, crash
            await settle_down()
            if retain:
                for key in (*keys, "refused"):
                    runner.forget(key)
            assert [ref() for ref in kept] == [None] * 5
    finally:
        gc.enable()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_task_that_sees_to_them_is_cancelled_by_itself() -> None:
    """By asyncio's own means, by code that cancels all tasks: it is for no call."""
    post = Post()
    async with owner(post).start() as runner:
        slot = runner.submit_nowait("k", abs, -1)
        await settle_down()
        (watcher,) = [one for one in asyncio.all_tasks() if one.get_name() == "creche calls elsewhere"]
        watcher.cancel()
        await settle_down()
        assert not watcher.done()
        post.end(("k", ...))
        assert slot.result() == 1
