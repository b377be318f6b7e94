"""Flows and tasks: sync and async, called, submitted and mapped, under each runner and loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, NamedTuple

import pytest

from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    Flow,
    NotSettled,
    SequentialTaskRunner,
    Slot,
    State,
    Task,
    flow,
    task,
)
from creche.instruments import Summary
from flowing import ON_BOTH, UNDER_BOTH, add, add_later, fail, run


class Pair(NamedTuple):
    left: Any
    right: Any


def test_the_program_of_the_ancestors_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    """It runs unchanged but for its imports, and prints what it promises, under either runner."""

    @task
    def say_hello(name):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as in Prefect's own tutorial
        print(f"hello {name}")  # noqa: T201 - what the program says

    @task
    def say_goodbye(name):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as in Prefect's own tutorial
        print(f"goodbye {name}")  # noqa: T201 - what the program says

    @flow(task_runner=SequentialTaskRunner())
    def greetings(names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as in Prefect's own tutorial
        for name in names:
            say_hello(name)
            say_goodbye(name)

    names = ["arthur", "trillian", "ford", "marvin"]
    expected = "".join(f"hello {name}\ngoodbye {name}\n" for name in names)
    greetings(names)
    assert capsys.readouterr().out == expected
    greetings.task_runner = ConcurrentTaskRunner()
    greetings(names)
    assert capsys.readouterr().out == expected


@ON_BOTH
@UNDER_BOTH
def test_a_sync_flow(backend: Any, runner: Any) -> None:
    """Calls give values, submits give slots, and slots among arguments arrive as values."""

    @flow(task_runner=runner, backend=backend)
    def sums() -> list[int]:
        assert threading.current_thread() is threading.main_thread()
        first = add.submit(1, 2)
        second = add_later.submit(first, b=3)
        nested = add_all.submit({"a": [first, (second, Pair(4, second))]}, plain=[5])
        results = [first.result(), second.result(), nested.result()]
        results += [add(1, second), add_later(first, first)]  # type: ignore[arg-type,list-item]  # slots for values
        results += [slot.result() for slot in add.map([1, 2], [first, 3])]
        return results

    @task
    def add_all(tree: dict[str, Any], plain: list[int]) -> int:
        first, (second, pair) = tree["a"]
        assert isinstance(pair, Pair)
        return int(first + second + pair.left + pair.right + plain[0])

    assert sums() == [3, 6, 24, 7, 6, 4, 5]


@ON_BOTH
@UNDER_BOTH
def test_an_async_flow(backend: str, runner: Any) -> None:
    """The same on the caller's own loop; a plain task that is called runs in line."""

    @flow(task_runner=runner)
    async def sums(n: int) -> list[int]:
        first = add.submit(n, 2)
        second = add_later.submit(first, 3)
        thread = threading.get_ident()

        @task
        def where() -> bool:
            return threading.get_ident() == thread

        assert where() is True
        assert await where.submit() is False
        return [await second, await first, await add_later(first, 1), add(first, 1)]  # type: ignore[arg-type]  # a task takes a slot for a value

    assert run(backend, sums, 1) == [6, 3, 4, 4]


@UNDER_BOTH
def test_submit_under_a_sequential_runner_is_final(runner: Any) -> None:
    """In a sync flow: as the ancestor has it."""

    @flow(task_runner=runner)
    def one() -> bool:
        return add.submit(1, 1).done or runner is ConcurrentTaskRunner

    assert one()


def test_outside_a_flow_a_task_is_its_function() -> None:
    """Calling it just runs it; submitting it says what is missing."""
    assert add(1, 2) == 3
    assert asyncio.run(add_later(1, 2)) == 3
    assert add.fn(1, 2) == 3
    for verb in (add.submit, add.map):
        with pytest.raises(RuntimeError, match="needs a flow"):
            verb(1)
    assert (add.name, vars(add)["__name__"], repr(add)) == ("add", "add", "<creche.Task 'add'>")


def test_inside_a_task_a_task_is_its_function() -> None:
    """It runs in line, and takes no place of its own: nothing can hang."""

    @task
    def outer(n: int) -> int:
        return add(n, 1)

    @flow(task_runner=SequentialTaskRunner())
    def nested() -> int:
        return outer(1)

    assert nested() == 2


@ON_BOTH
def test_a_failed_dependency(backend: Any) -> None:
    """What depends on it never runs, down the whole chain, and says where it began."""
    ran: list[int] = []

    @task
    def note(value: int) -> int:
        ran.append(value)
        return value

    @flow(backend=backend)
    def chain() -> list[Slot[int]]:
        bad = fail.submit()
        one = note.submit(bad)
        two = note.submit([one])
        fine = note.submit(add.submit(1, 1))
        with pytest.raises(CallCancelled, match=r"'fail\[0\]'.*LookupError: task"):
            two.result()
        with pytest.raises(LookupError):
            note(bad)  # type: ignore[arg-type]  # a task takes a slot for a value
        assert fine.result() == 2
        return [bad, one, two]

    bad, one, two = chain()
    assert (bad.state, one.origin, two.origin) == (State.FAILED, "upstream", "upstream")
    assert one.reason == two.reason
    assert ran == [2]


def test_keys_are_readable_and_stable() -> None:
    """The task's name and a number, from run to run."""
    named = add.with_options(name="sum")

    @flow
    def keys() -> list[Any]:
        slots = [add.submit(1, 1), named.submit(1, 1), add.submit(1, 1)]
        return [slot.key for slot in slots]

    assert keys() == keys() == ["add[0]", "sum[0]", "add[1]"]


@ON_BOTH
def test_mapping(backend: Any) -> None:
    """Over iterables side by side, and over a slot of one."""

    @task
    def numbers() -> list[int]:
        return [1, 2, 3]

    @flow(backend=backend)
    def mapped() -> list[int]:
        with pytest.raises(ValueError, match="equal length, not of 1, 2 items"):
            add.map([1], [1, 2])
        with pytest.raises(TypeError, match="needs iterables, not 5"):
            add.map(5)
        with pytest.raises(TypeError, match="got none"):
            add.map()
        return [slot.result() for slot in add.map(numbers.submit(), iter([10, 20, 30]))]

    assert mapped() == [11, 22, 33]

    @flow
    async def mapped_async() -> list[int]:
        listed = numbers.submit()
        with pytest.raises(NotSettled, match="await"):
            add.map(listed, listed)
        await listed
        return [await slot for slot in add.map(listed, listed)]

    assert run(backend, mapped_async) == [2, 4, 6]


@ON_BOTH
def test_a_flow_in_a_flow(backend: Any) -> None:
    """Each has a runner of its own, sync in sync and async in async."""

    @flow(backend=backend)
    def inner(n: int) -> int:
        return add(n, 1) if n == 0 else add(inner(n - 1), 1)

    @flow(backend=backend)
    def outer() -> list[int]:
        return [add(1, 1), inner(2), add(2, 2)]

    assert outer() == [2, 3, 4]

    @flow
    async def inner_async(n: int) -> int:
        return await add_later(n, 1)

    @flow
    async def outer_async() -> list[int]:
        return [add(1, 1), await inner_async(2), await add_later(2, 2)]

    assert run(backend, outer_async) == [2, 3, 4]


def test_the_default_runner_of_all_flows() -> None:
    """It can be set on the decorator, by class or by object; a flow's own goes first."""
    before = flow.task_runner

    @flow
    def some() -> None: ...

    @flow(task_runner=ConcurrentTaskRunner(3))
    def own() -> None: ...

    try:
        flow.task_runner = SequentialTaskRunner
        assert isinstance(some.task_runner, SequentialTaskRunner)
        assert own.task_runner.max_workers == 3
    finally:
        flow.task_runner = before


def test_options_of_a_flow() -> None:
    """`with_options` changes what is given and keeps the rest; the runner's instruments hear."""

    @flow(name="count", backend="asyncio")
    def some() -> int:
        """Says so."""
        return add(1, 1)

    summary = Summary()
    other = some.with_options(task_runner=ConcurrentTaskRunner(instruments=[summary]))
    assert (other.name, other.backend, other.__doc__) == ("count", "asyncio", "Says so.")
    assert other.with_options(name="n", backend="trio").name == "n"
    assert other() == 2
    assert summary.counts[State.COMPLETED] == 1
    assert (isinstance(some, Flow), isinstance(add, Task)) == (True, True)
    assert repr(some) == "<creche.Flow 'count'>"
    assert not some.is_async


def test_a_task_as_a_method() -> None:
    """In a class a task is bound to its object."""

    class Account:
        def __init__(self, balance: int) -> None:
            self.balance = balance

        @task
        def after(self, interest: int) -> int:
            return self.balance + interest

    @flow
    def both() -> list[int]:
        account = Account(5)
        return [account.after(1), account.after.submit(2).result()]

    assert both() == [6, 7]
    assert isinstance(Account.after, Task)
