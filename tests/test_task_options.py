"""What a task can be given: names and keys, a timeout, limits, a priority, tags, a place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import anyio
import pytest

from creche import (
    ConcurrentTaskRunner,
    KeyTaken,
    Slot,
    State,
    allow_failure,
    flow,
    task,
    unmapped,
)
from creche.instruments import CallEvent, Instrument
from flowing import ON_BOTH, run

CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


class Ear(Instrument):
    """Remembers the submits."""

    def __init__(self) -> None:
        self.submitted: dict[Any, CallEvent] = {}

    def call_submitted(self, event: CallEvent) -> None:
        self.submitted[event.key] = event


@task
def parse(path: Any, *, depth: int = 1) -> str:
    return f"{path}@{depth}"


def keys_of(fn: Callable[[], list[Slot[Any]]]) -> list[Any]:
    """The keys of the slots that a flow of this body gives."""
    return [slot.key for slot in flow(fn)()]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("{path}", "parse['a/b.py']"),
        ("{path.name}", "parse['b.py']"),
        ("{depth}", "parse[1]"),
        ("{path.name}-{depth}", "parse['b.py-1']"),
        ("{depth:03}", "parse['001']"),
        ("all", "parse['all']"),
        (lambda path, **_: path.name, "parse['b.py']"),
        (lambda path: path, "parse['a/b.py']"),
        (lambda *_: (1, "x"), "parse[(1, 'x')]"),
        (lambda *_: " at 0x1", "parse[' at 0x1']"),
        (lambda *_: set("dcba"), "parse[{'a', 'b', 'c', 'd'}]"),
        (lambda *_: frozenset("ba"), "parse[frozenset({'a', 'b'})]"),
        (lambda *_: (set(),), "parse[(set(),)]"),
        (lambda *_: [{1: {"c", "b", "a"}}, ()], "parse[[{1: {'a', 'b', 'c'}}, ()]]"),
        (lambda *_: CIRCLE, "parse[[[...]]]"),
    ],
)
def test_keys(key: Any, expected: str) -> None:
    """A template, or a function of the arguments; text in quotes, and numbers bare."""
    named = parse.with_options(key=key)
    assert keys_of(lambda: [named.submit(PurePosixPath("a/b.py"))]) == [expected]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("load-{path}", "load-{'a', 'b', 'é'}"),
        ("load-{path!r}", "load-{'a', 'b', 'é'}"),
        ("load-{path!s}", "load-{'a', 'b', 'é'}"),
        ("load-{path!a:.8}", "load-{'a', 'b"),
        ("load-{path!a}", "load-{'a', 'b', '\\xe9'}"),
        ("{depth!r:>3}-{depth[0]}", "[{'a', 'b', 'é'}]-{'a', 'b', 'é'}"),
    ],
)
def test_sets_with_text_beside(key: str, expected: str) -> None:
    """The order is the same from run to run, as where a set is all of the key."""
    letters = set("éba")
    named = parse.with_options(key=key)
    assert keys_of(lambda: [named.submit(letters, depth=[letters])]) == [f"parse[{expected!r}]"]
    of_numbers = parse.with_options(key="load-{path}")  # whose order is the same always: 8 goes first
    assert keys_of(lambda: [of_numbers.submit({1, 8})]) == ["parse['load-{1, 8}']"]


def test_keys_of_a_map_and_of_other_arguments() -> None:
    """Each row has its own; what comes by ``**`` is an argument, too."""

    @task(key="{size}-{args}")
    def make(*args: int, **sizes: int) -> int:
        return sum(args, **sizes)

    named = parse.with_options(key="{path}")
    assert keys_of(lambda: named.map(["a", "b"], depth=unmapped(3))) == ["parse['a']", "parse['b']"]
    assert keys_of(lambda: [make.submit(1, 2, size=3)]) == ["make['3-(1, 2)']"]


@ON_BOTH
def test_a_key_that_is_taken(backend: Any) -> None:
    """The task is named; numbers and given keys do not get into each other's way."""
    named = parse.with_options(key="{path}")

    @flow(backend=backend)
    def body() -> list[Any]:
        slots = [named.submit("a")]
        with pytest.raises(KeyTaken, match=r"\"parse\['a'\]\" is taken .*task 'parse'.*key="):
            named.submit("a")
        slots += [parse.submit(0), named.submit(1), parse.submit(0), parse.submit(0)]
        with pytest.raises(KeyTaken, match=r"'parse\[0\]' is taken"):
            named.submit(0)
        return [slot.key for slot in slots]

    assert body() == ["parse['a']", "parse[0]", "parse[1]", "parse[2]", "parse[3]"]

    @flow(task_runner=ConcurrentTaskRunner(retain=False), backend=backend)
    def forgetful() -> None:
        named.submit("a").result()
        with pytest.raises(KeyTaken, match="no longer kept"):
            named.submit("a")

    forgetful()

    @flow
    async def inline() -> str:
        assert named("b") == "b@1"
        with pytest.raises(KeyTaken):
            await named.submit("b")
        return named("c")

    assert run(backend, inline) == "c@1"


def test_a_refused_submit_leaves_its_key_free() -> None:
    """Nothing came of it."""
    named = parse.with_options(key="{path}")

    @flow
    def body() -> Any:
        with pytest.raises(ValueError, match="'db'"):
            named.with_options(limits=["db"]).submit("a")
        return named.submit("a").key

    assert body() == "parse['a']"


def test_keys_that_cannot_be_made() -> None:
    """The task is named, and what is the matter, at the submit."""

    def broken(*_: Any) -> str:
        raise LookupError("broken")

    @flow
    def body() -> None:
        with pytest.raises(TypeError, match=r"task 'parse'.*'parse\[0\]'.*no value yet"):
            parse.with_options(key="{path}").submit(parse.submit(1))
        with pytest.raises(TypeError, match="no value yet"):
            parse.with_options(key="{path}-{depth}").submit(allow_failure(parse.submit(1)))
        with pytest.raises(TypeError, match="no value yet"):
            parse.with_options(key=lambda path: path).submit([{"a": parse.submit(1)}])
        with pytest.raises(TypeError, match="differs from run to run; give a text or a number"):
            parse.with_options(key=lambda path: path).submit(object())
        with pytest.raises(ValueError, match="task 'parse'.*does not fit.*no attribute 'name'"):
            parse.with_options(key="{path.name}").submit(3)
        with pytest.raises(ValueError, match="does not fit"):
            parse.with_options(key="{path[a]}-").submit({})
        with pytest.raises(LookupError, match="broken") as caught:
            parse.with_options(key=broken).submit(3)
        assert "a call of task 'parse'" in caught.value.__notes__[0]
        with pytest.raises(TypeError, match="argument") as missing:
            parse.with_options(key="{path}").submit()
        assert "task 'parse'" in missing.value.__notes__[0]

    body()


async def _async_key(path: Any) -> Any:
    return path


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"key": "{pth}"}, ValueError, "task 'parse'.*asks for 'pth'; its arguments are: path, depth"),
        ({"key": "{0}"}, ValueError, "asks for '0'"),
        ({"key": "{}"}, ValueError, "asks for ''"),
        ({"key": "{path"}, ValueError, "no template"),
        ({"key": 3}, TypeError, "task 'parse': key must be a template .* not 3"),
        ({"key": _async_key}, TypeError, "key must be"),
        ({"timeout": -1}, ValueError, "task 'parse': timeout must be 0 seconds or more"),
        ({"timeout": float("nan")}, ValueError, "task 'parse': timeout"),
        ({"timeout": "1"}, TypeError, "task 'parse': timeout"),
        ({"priority": "high"}, TypeError, "task 'parse': priority"),
        ({"priority": float("nan")}, ValueError, "task 'parse': priority"),
        ({"limits": "db"}, TypeError, "task 'parse': limits"),
        ({"tags": "db"}, TypeError, r"task 'parse': tags must be a list of words, \['nightly'\]"),
        ({"tags": [3]}, TypeError, "task 'parse': tags must be words"),
        ({"tags": [""]}, TypeError, "task 'parse': tags must be words"),
        ({"on_failed": print}, TypeError, r"on_failed of task 'parse' must be a list of functions"),
        ({"on_failed": "notify"}, TypeError, "on_failed of task 'parse'"),
        ({"on_crashed": [_async_key]}, TypeError, "on_crashed of task 'parse'.*plain functions"),
        ({"on_cancelled": [3]}, TypeError, "3 is none"),
        ({"place": 3}, TypeError, "task 'parse'"),
        ({"retires": 3}, TypeError, "retires"),
        ({"name": "x", "timeout": -1}, ValueError, "task 'x': timeout"),
    ],
)
def test_bad_options(options: Any, error: type[Exception], said: str) -> None:
    """They are refused at the decoration, with the task and the option."""
    with pytest.raises(error, match=said):
        task(**options)(parse.fn)
    with pytest.raises(error, match=said):
        parse.with_options(**options)


def test_a_template_for_a_function_of_unknown_arguments() -> None:
    """A built-in one may not say what they are called."""
    with pytest.raises(TypeError, match="task 'max'.*make key= a function"):
        task(max, name="max").with_options(key="{a}")
    named = task(max, name="max").with_options(key=lambda *args: args)
    assert keys_of(lambda: [named.submit(1, 2)]) == ["max[(1, 2)]"]


@ON_BOTH
def test_what_is_wished_reaches_the_call(backend: Any) -> None:
    """Limits and tags are in the events; a timeout fails the call; the later of priority comes first."""
    ear, order = Ear(), list[str]()

    @task(tags=["nightly", "eu", "eu"], limits=["db"], timeout=0.02)
    async def slow() -> None:
        await anyio.sleep_forever()

    @task
    async def note(name: str) -> None:
        order.append(name)

    @task
    async def gate(event: anyio.Event) -> None:
        await event.wait()

    @flow(task_runner=ConcurrentTaskRunner(1, limits={"db": 1}, instruments=[ear]))
    async def body() -> None:
        slot = slow.submit()
        with pytest.raises(TimeoutError, match=r"'slow\[0\]' has not ended within its timeout of 0.02"):
            await slot
        event = anyio.Event()
        held = gate.submit(event)
        slots = [note.submit("late"), note.with_options(priority=1).submit("soon")]
        event.set()
        for one in [held, *slots]:
            await one
        inline = parse.with_options(tags=["inline"])
        assert inline("x") == "x@1"
        assert inline.tags == ("inline",)

    run(backend, body)
    assert ear.submitted["slow[0]"].limits == ("db",)
    assert ear.submitted["slow[0]"].tags == ("nightly", "eu")
    assert ear.submitted["note[0]"].tags == ()
    assert ear.submitted["parse[0]"].tags == ("inline",)
    assert order == ["soon", "late"]


def test_options_are_kept_and_taken_off() -> None:
    """`with_options` changes what is given; infinity and what is empty take an option off."""
    ear = Ear()
    first = task(timeout=0, tags=["a"], limits=["db"], key="{path}", name="first")(parse.fn)
    second = first.with_options(timeout=float("inf"), tags=[], limits=[])
    third = first.with_options(name="third", limits=[])

    @flow(task_runner=ConcurrentTaskRunner(instruments=[ear]))
    def body() -> list[State]:
        slots = [second.submit("x"), third.submit("x")]
        assert slots[0].result() == "x@1"
        with pytest.raises(TimeoutError):
            slots[1].result()
        return [slot.state for slot in slots]

    assert body() == [State.COMPLETED, State.FAILED]
    assert list(ear.submitted) == ["first['x']", "third['x']"]
    assert ear.submitted["third['x']"].tags == ("a",)
    assert (second.fn, second.name) == (parse.fn, "first")


@ON_BOTH
def test_mapping_with_what_is_the_same(backend: Any) -> None:
    """Positional or by name, mapped or not; a slot that is unmapped is a dependency of each."""

    @flow(backend=backend)
    def body() -> list[str]:
        depth = parse.with_options(name="depth").submit("d")
        slots = parse.map(["a", "b"], depth=[1, 2])
        slots += parse.map(path=["c"], depth=unmapped(depth))
        slots += parse.map(unmapped([1, 2]), depth=range(2))
        assert all(isinstance(slot, Slot) for slot in slots)
        assert parse.map([]) == []
        for args, kwargs in [((unmapped("a"),), {}), ((), {"depth": unmapped(1)})]:
            with pytest.raises(TypeError, match="task 'parse'.*all that it got is unmapped"):
                parse.map(*args, **kwargs)
        with pytest.raises(ValueError, match=r"not of 1, 2 items; unmapped\(value\)"):
            parse.map(["a"], depth=[1, 2])
        with pytest.raises(TypeError, match=r"not 3; use unmapped\(value\)"):
            parse.map(["a"], depth=3)
        return [slot.result() for slot in slots]

    assert body() == ["a@1", "b@2", "c@d@1", "[1, 2]@0", "[1, 2]@1"]
    assert repr(unmapped(3)) == "<creche.unmapped 3>"
