"""Dry runs: the body of a flow runs, no task does, and what it would run is known."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from creche import SequentialTaskRunner, Slot, flow, task
from creche.flows._dry_run import DryRun
from creche.flows._placeholder import NeedsValue, Placeholder, placeholders_in, sources_of


def runs(*args: Any, **kwargs: Any) -> Any:
    """What must not happen here."""
    raise SystemExit(args, kwargs)


async def runs_async(*args: Any) -> Any:
    """As above."""
    raise SystemExit(args)


# Of no type: what they give is none of theirs.
load: Any = task(name="load")(runs)
parse: Any = task(name="parse", place="process")(runs)
fetch: Any = task(name="fetch")(runs_async)


def value_of(*sources: str) -> Any:
    """A placeholder."""
    return Placeholder(sources, lambda needed: None)


def drawn(fn: Callable[..., Any], *args: object) -> dict[str, tuple[str, ...]]:
    """What would run, each with what it comes after."""
    run = DryRun()
    run.run(fn, *args)
    return {str(call.key): tuple(map(str, call.after)) for call in run.calls}


def test_every_way_to_run_a_task() -> None:
    """By calling, `submit` and `map`; with slots, and with values that there are not."""

    @flow
    def body(n: int) -> None:
        value = load(1)
        slot = parse.submit(value, strict={"deep": [value]})
        parts = parse.map(range(n))
        load([slot, *parts])
        fetch(slot.result()["name"].strip() + "x")

    assert drawn(body, 2) == {
        "load[0]": (),
        "parse[0]": ("load[0]",),
        "parse[1]": (),
        "parse[2]": (),
        "load[1]": ("parse[0]", "parse[1]", "parse[2]"),
        "fetch[0]": ("parse[0]",),
    }


def test_async_flows() -> None:
    """Awaiting, in line, and by slots."""

    @flow
    async def body() -> None:
        value = await fetch(1)
        in_line = load(value)
        slot: Slot[Any] = parse.submit(in_line)
        await fetch(await slot)

    assert drawn(trio.run, body) == {
        "fetch[0]": (),
        "load[0]": ("fetch[0]",),
        "parse[0]": ("load[0]",),
        "fetch[1]": ("parse[0]",),
    }


def test_a_sequential_runner() -> None:
    """Is not what the tasks run on, and what it does not change."""

    @flow(task_runner=SequentialTaskRunner())
    def body() -> None:
        load(parse.submit(1))

    assert drawn(body) == {"parse[0]": (), "load[0]": ("parse[0]",)}


def test_subflows() -> None:
    """A flow in a flow is a box in its box; sync and async; each call is one of its own."""

    @flow
    def inner(value: Any) -> Any:
        return load(value)

    @flow
    def outer() -> None:
        load(inner(inner(1)))

    run = DryRun()
    run.run(outer)
    assert [box.name for box in run.boxes] == ["outer", "inner", "inner"]
    assert [box.outer for box in run.boxes] == [None, run.boxes[0], run.boxes[0]]
    first, second, last = run.calls
    assert [call.box for call in run.calls] == [run.boxes[1], run.boxes[2], run.boxes[0]]
    assert (second.after, last.after) == ((first,), (second,))

    @flow
    async def inner_async(value: Any) -> Any:
        return await fetch(value)

    @flow
    async def outer_async() -> None:
        await inner_async(await fetch(1))

    run = DryRun()
    run.run(trio.run, outer_async)
    assert [call.box.name for call in run.calls] == ["outer_async", "inner_async"]


def test_walking_through_a_value() -> None:
    """There is one item, which stands for each; what is made of it does, too."""

    @flow
    def body() -> None:
        for item in load(1):
            parse.submit(item)
            load([parse.submit(item.part)])
        parse.map(load(2))

    run = DryRun()
    run.run(body)
    assert [call.is_each for call in run.calls] == [False, True, True, True, False, True]


def test_unpacking_a_value() -> None:
    """Says itself how many there are."""
    value = value_of("a")
    one, two, three = value
    first, *rest = value
    assert all(sources_of(part) == ("a",) for part in (one, two, three, first))
    assert rest == []


def test_what_a_placeholder_can() -> None:
    """All that needs no value gives another one, of all that it was made of."""
    one, other = value_of("a"), value_of("b")
    assert sources_of(one + other) == sources_of(1 + one + other) == ("a", "b")
    assert sources_of(one.name(other)[0] ** 2) == ("a", "b")
    assert sources_of(operator.lt(one, 3)) == sources_of(-one) == ("a",)
    assert sources_of(one == other) == ("a", "b")
    one.name = 3
    assert one.name is not 3  # noqa: F632 - that is what is asked
    assert f"{one:>3}|{one + other!r}" == "<value of a>|<value of a and b>"
    assert {one: 1}[one] == 1
    with pytest.raises(AttributeError):
        one.__wrapped__  # noqa: B018 - that it raises is asked


@pytest.mark.parametrize(
    "need",
    [bool, len, int, float, range, lambda value: 3 in value, lambda value: [1, 2][value]],
)
def test_what_a_placeholder_cannot(need: Callable[[Any], Any]) -> None:
    """Where the value itself is needed, that is said, with whose it is."""
    with pytest.raises(NeedsValue, match="of the value of a and b"):
        need(value_of("a", "b"))


def test_where_placeholders_are_found() -> None:
    """In containers and dataclasses, however deep."""

    @dataclass
    class Options:
        path: Any
        kind: type = int

    found = placeholders_in([{"k": ({1}, Options(value_of("a")))}, Options, {value_of("b")}])
    assert [sources_of(one) for one in found] == [("a",), ("b",)]


def test_containers_that_are_parts_of_themselves() -> None:
    """Are looked into once."""
    ring: list[Any] = [value_of("a")]
    ring.append({"ring": ring})
    assert len(list(placeholders_in(ring))) == 1


def test_a_need_that_the_body_hides() -> None:
    """Comes out all the same: what is drawn would be wrong."""

    @flow
    def body() -> None:
        try:
            if load(1):
                load(2)
        except TypeError:
            load(3)

    with pytest.raises(NeedsValue, match=r"the value of load\[0\]"):
        DryRun().run(body)


def test_what_the_body_raises() -> None:
    """Comes out, and the next call of the flow is in earnest again."""

    @flow
    def body() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        DryRun().run(body)

    def three() -> int:
        return 3

    @flow
    def earnest() -> int:
        return task(three)()

    assert earnest() == 3


def test_nothing_else_is_told() -> None:
    """No hook hears of a dry run; keys are made of arguments, also of such as there are not."""
    told: list[Any] = []

    def one(what: Any) -> Any:
        return runs(what)

    keyed: Any = task(name="keyed", key="{what}", on_completed=[lambda *given: told.append(given)])(one)

    @flow(on_completed=[lambda *given: told.append(given)], timeout=0.001, task_runner="parent")
    def inner(value: Any) -> Any:
        return keyed(value)

    @flow
    async def outer() -> None:
        keyed.submit("x")
        await inner.run_async(await fetch(1))

    assert drawn(trio.run, outer) == {
        "keyed['x']": (),
        "fetch[0]": (),
        "inner/keyed[<value of fetch[0]>]": ("fetch[0]",),
    }
    assert told == []
