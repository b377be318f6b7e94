"""Bad input: a clear error, raised where the mistake is, and nothing half-started."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from calls import give
from creche import ConcurrentTaskRunner, KeyTaken, SequentialTaskRunner, flow, task

pytestmark = pytest.mark.anyio

RUNNERS: list[Callable[[], Any]] = [ConcurrentTaskRunner, SequentialTaskRunner]


async def generate() -> AsyncIterator[int]:
    yield 1


class Generating:
    """An object whose call is an async generator."""

    async def __call__(self) -> AsyncIterator[int]:
        yield 1


@pytest.mark.parametrize("make", RUNNERS)
@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: give(1), r"write submit\(key, give, \.\.\.\) instead of submit\(key, give\("),
        (lambda: 5, "must be callable, not int 5"),
        (lambda: None, "must be callable, not NoneType"),
        (lambda: generate, "'generate' is an async generator function"),
        (lambda: functools.partial(generate), "'generate' is an async generator function"),
        (lambda: Generating().__call__, "async generator"),
        (Generating, "async generator"),
        (generate, "must be callable"),
    ],
)
async def test_what_cannot_be_called(
    make: Callable[[], Any], call: Callable[[], Any], says: str
) -> None:
    """It is named, with what to write instead; a coroutine is closed; the key stays free."""
    runner = make()
    async with runner.start():
        with pytest.raises(TypeError, match=says):
            runner.submit_nowait("k", call())
        with pytest.raises(TypeError, match=says):
            await runner.submit("k", call())
        assert "k" not in runner
        assert await (await runner.submit("k", give, 1)) == 1


@pytest.mark.parametrize("make", RUNNERS)
async def test_keys_that_are_none(make: Callable[[], Any]) -> None:
    """A key must be hashable, and no slot."""
    runner = make()
    async with runner.start():
        slot = runner.submit_nowait("a", give)
        for key, says in (([1], r"hashable, not list \[1\]"), (slot, "a slot cannot be a key")):
            for submit in (runner.submit_nowait, runner.reserve):
                with pytest.raises(TypeError, match=says):
                    submit(key, *([give] if submit == runner.submit_nowait else []))
            with pytest.raises(TypeError, match=says):
                await runner.submit(key, give)
            with pytest.raises(TypeError, match=says):
                await runner.submit(key, give, on_collision="join")
        if isinstance(runner, ConcurrentTaskRunner):
            with pytest.raises(TypeError, match="hashable"):
                runner.cancel([1])  # type: ignore[arg-type]  # that is the point
        with pytest.raises(TypeError, match="hashable"):
            await runner.wait({})
        assert list(runner.slots) == ["a"]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be at least 1, not 0; None"),
        ({"max_workers": -3}, ValueError, "max_workers"),
        ({"max_workers": 1.5}, TypeError, "max_workers must be a whole number"),
        ({"max_workers": True}, TypeError, "max_workers"),
        ({"max_workers": "3"}, TypeError, "max_workers"),
        (
            {"max_pending": -1},
            ValueError,
            "max_pending must be at least 0, not -1; 0 lets a submit wait",
        ),
        ({"max_pending": 2.0}, TypeError, "max_pending must be a whole number"),
        ({"max_pending": True}, TypeError, "max_pending"),
        ({"on_error": "explode"}, ValueError, "on_error must be 'collect' or 'cancel'"),
        ({"on_error": None}, ValueError, "on_error"),
        ({"retain": "yes"}, TypeError, "retain must be True or False"),
        ({"instruments": 5}, TypeError, "instruments must be a sequence"),
        ({"instruments": [object()]}, TypeError, "has none of the methods"),
        ({"instruments": [dict]}, TypeError, "not the class dict; call it first"),
        ({"max_worker": 1}, TypeError, "max_worker"),
    ],
)
def test_options(options: dict[str, Any], error: type[Exception], says: str) -> None:
    """An option is named, with what was given and what is allowed."""
    with pytest.raises(error, match=says):
        ConcurrentTaskRunner(**options)


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-1, ValueError), (math.nan, ValueError), ("1", TypeError), (True, TypeError)],
)
async def test_timeouts(timeout: Any, error: type[Exception]) -> None:
    """A time that is none is refused at the call, by `wait` and by `Slot.result`."""
    runner = ConcurrentTaskRunner()
    async with runner.start():
        slot = runner.submit_nowait("k", give)
        with pytest.raises(error, match="timeout must be"):
            await runner.wait("k", timeout)
        with pytest.raises(error, match="timeout must be"):
            slot.result(timeout)


@pytest.mark.parametrize("make", RUNNERS)
async def test_unknown_words(make: Callable[[], Any]) -> None:
    """`on_collision` and `reason` say what they take; an unknown option is refused."""
    runner = make()
    async with runner.start():
        for submit in (runner.submit_nowait, runner.submit):
            with pytest.raises(ValueError, match="on_collision must be 'raise' or 'join'"):
                _ = (
                    submit("k", give, on_collision="ignore")
                    if submit != runner.submit
                    else (await submit("k", give, on_collision="ignore"))
                )
        with pytest.raises(TypeError, match="colour"):
            runner.submit_nowait("k", give, colour="red")
        slot = await runner.submit("k", give)
        with pytest.raises(TypeError, match="reason must be a string"):
            runner.cancel(slot, reason=5)


def test_decorators() -> None:
    """What can be neither a flow nor a task is named at the decoration."""
    decorators: list[tuple[Any, str]] = [(task, "task"), (flow, "flow")]
    for decorate, word in decorators:
        for thing, says in ((5, "decorates a function"), (int, "decorates a function")):
            with pytest.raises(TypeError, match=f"@{word} {says}"):
                decorate(thing)
        with pytest.raises(TypeError, match="async generator"):
            decorate(generate)
        with pytest.raises(TypeError, match="name of a"):
            decorate(name=5)(give)
        with pytest.raises(ValueError, match="must not be empty"):
            decorate(name="")(give)
    with pytest.raises(ValueError, match="backend must be 'trio' or 'asyncio'"):
        flow(backend="curio")  # type: ignore[call-overload]  # wrong on purpose
    for runner in (5, int, "concurrent"):
        with pytest.raises(TypeError, match="task_runner must be a runner"):
            flow(task_runner=runner)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.anyio
async def test_an_awaitable_that_is_no_coroutine() -> None:
    """It is refused as a coroutine object is, and there is nothing to close."""

    class Later:
        def __await__(self) -> Any:
            yield

    async with ConcurrentTaskRunner().start() as runner:
        with pytest.raises(TypeError, match=r"submit\(key, Later, \.\.\.\)"):
            runner.submit_nowait("k", Later())  # type: ignore  # wrong on purpose
        assert "k" not in runner


@pytest.mark.anyio
async def test_numbers_beyond_all_clocks() -> None:
    """More seconds than a float can hold are no limit; what cannot be a key is not in a runner."""
    async with ConcurrentTaskRunner().start() as runner:
        slot = runner.submit_nowait("k", give, 1)
        assert await runner.wait("k", 10**400) is not None
        assert slot.result(timeout=1e300) == 1
        assert ([],) not in runner
        assert {} not in runner
        with pytest.raises(KeyTaken) as caught:
            runner.reserve("k")
        assert "on_collision" not in str(caught.value)
