"""A mistake in a call of `cancel_everywhere` or `explore` is told as one, with its cure."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import anyio
import pytest
import trio

from creche.testing import cancel_everywhere, explore

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])
each = pytest.mark.parametrize("call", [cancel_everywhere, explore])


async def fn() -> None:
    await anyio.sleep(1)


async def takes(_: object) -> None:
    await anyio.sleep(1)


async def yields() -> AsyncIterator[int]:
    yield 1


def generates() -> Iterator[int]:
    yield 1


def plain() -> int:
    return 1


@each
@both
def test_inside_of_a_loop(call: Any, backend: Any, recwarn: pytest.WarningsRecorder) -> None:
    """It is refused before anything is made, on each loop, and in a guest and its host."""

    def refused() -> None:
        with pytest.raises(RuntimeError, match="call it from a plain function") as caught:
            call(fn, backend=backend)
        assert type(caught.value) is RuntimeError

    async def main() -> None:
        refused()

    async def host() -> None:
        done = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            main,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=done.set_result,
        )
        (await done).unwrap()
        refused()

    trio.run(main)
    asyncio.run(main())
    asyncio.run(host())
    call(fn, backend=backend)
    assert [str(one.message) for one in recwarn] == []


@each
@both
@pytest.mark.parametrize(
    ("given", "match"),
    [
        (plain, "async function, and plain is none: it gave 1"),
        (yields, "async function, and yields is none: it gave <async_generator object>"),
        (takes, "takes is called with no argument: missing a required argument: '_'; pass a lambda"),
        (partial(takes), "is called with no argument: missing a required argument"),
        (3, "async function, not 3; pass the function, and do not call it"),
    ],
)
def test_what_is_no_function_to_test(given: Any, match: str, call: Any, backend: Any) -> None:
    """Also if that shows only when it is called."""
    with pytest.raises(TypeError, match=match):
        call(given, backend=backend)


@each
def test_a_builtin_is_tried(call: Any) -> None:
    """What it takes nobody knows."""
    with pytest.raises(TypeError, match="none: it gave {}"):
        call(dict)


WRONG: list[tuple[Callable[..., Any], dict[str, Any], type[Exception], str]] = [
    (cancel_everywhere, {"only": "1"}, TypeError, "only must be a whole number"),
    (cancel_everywhere, {"only": 1.0}, TypeError, "only must be a whole number"),
    (cancel_everywhere, {"within": "a"}, TypeError, "within must be a number of seconds"),
    (cancel_everywhere, {"within": -1}, ValueError, "within must be 0 seconds or more"),
    (cancel_everywhere, {"within": math.nan}, ValueError, "within must be 0 seconds or more"),
    (cancel_everywhere, {"how": ValueError}, TypeError, r"how=ValueError\(\)"),
    (cancel_everywhere, {"places": "a.py"}, TypeError, r"places must be .*; \['a.py'\] is one"),
    (cancel_everywhere, {"places": [1]}, TypeError, r"places must be a list of strings, not \[1\]$"),
    (cancel_everywhere, {"allow": "held"}, TypeError, "allow must be a list of strings"),
    (cancel_everywhere, {"allow": None}, TypeError, "allow must be a list of strings"),
    (cancel_everywhere, {"setup": 3}, TypeError, "setup must be a function"),
    (cancel_everywhere, {"setup": generates}, TypeError, "plain generator function.*async def"),
    (cancel_everywhere, {"setup": takes}, TypeError, "setup: takes is called with no argument"),
    (cancel_everywhere, {"setup": plain}, TypeError, "fn is called with one argument, what setup makes"),
    (cancel_everywhere, {"invariant": 3}, TypeError, "invariant must be a function"),
    (cancel_everywhere, {"invariant": takes}, TypeError, "invariant: takes is called with no arg"),
    (explore, {"seeds": -3}, ValueError, "seeds must be at least 0"),
    (explore, {"seeds": True}, TypeError, "seeds must be a whole number"),
    (explore, {"seeds": "abc"}, TypeError, "seeds must be how many, or a list"),
    (explore, {"seeds": 2.5}, TypeError, "seeds must be how many, or a list"),
    (explore, {"seeds": [1, "a"]}, TypeError, "seeds must be numbers, and 'a' is none"),
    (explore, {"replay": 5}, TypeError, "replay must be a string"),
    (explore, {"replay": "-1"}, ValueError, "'0.2.1'"),
    (explore, {"replay": "1..1"}, ValueError, "'0.2.1'"),
    (explore, {"replay": "¹"}, ValueError, "'0.2.1'"),
]


@pytest.mark.parametrize(("call", "options", "error", "match"), WRONG)
def test_wrong_options(call: Any, options: Any, error: Any, match: str) -> None:
    """Each is refused by name."""
    with pytest.raises(error, match=match):
        call(fn, **options)


def test_right_options() -> None:
    """Numbers that are no limit, no seeds, seeds of any collection."""
    assert cancel_everywhere(fn, within=math.inf, allow=(), places=set()).failures == ()
    assert cancel_everywhere(takes, setup=plain, invariant=lambda one: one == 1).failures == ()
    assert explore(fn, seeds=0).runs == 1
    assert explore(fn, seeds=(seed for seed in (1, 2))).runs == 3
