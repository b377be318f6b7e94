"""Methods, class methods and static methods as tasks and flows; and what is neither."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from creche import ConcurrentTaskRunner, SequentialTaskRunner, Task, flow, task


class Account:
    """Tasks of each kind of method, with keys that know the object."""

    def __init__(self, name: str) -> None:
        self.name = name

    @task(key="{self.name}/{n}")
    def plain(self, n: int) -> str:
        return f"{self.name}{n}"

    @task(key=lambda self, n: (self.name, n))
    async def later(self, n: int) -> str:
        return f"{self.name}{n}"

    @task(key="{cls.__name__}")
    @classmethod
    def of_class(cls, n: int) -> str:
        return f"{cls.__name__}{n}"

    @task
    @staticmethod
    def static(n: int) -> str:
        return f"static{n}"

    @flow
    def as_flow(self, n: int) -> str:
        return self.plain(n)

    @flow(name="classy")
    @classmethod
    def flow_of_class(cls, n: int) -> str:
        return cls.of_class(n)

    @flow
    @staticmethod
    def static_flow(n: int) -> str:
        return Account.static(n)


class Savings(Account):
    """Inherits them."""


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner, SequentialTaskRunner])
def test_methods(runner: Any) -> None:
    """Called, submitted, with other options; on an object, on its class and on a subclass."""

    @flow(task_runner=runner)
    def body() -> list[Any]:
        account = Savings("ann")
        slots = [
            account.plain.submit(1),
            account.later.submit(2),
            account.of_class.submit(3),
            Account.of_class.submit(4),
            account.static.submit(5),
            Account.static.submit(6),
            account.plain.with_options(name="other").submit(7),
            Savings.of_class.with_options(name="classy").submit(8),
            Savings.static.with_options(name="still").submit(9),
            account.plain.with_options(key="x").with_options(name="twice").submit(10),
        ]
        assert account.plain(11) == "ann11"
        return [(slot.key, slot.result()) for slot in slots]

    assert body() == [
        ("plain['ann/1']", "ann1"),
        ("later[('ann', 2)]", "ann2"),
        ("of_class['Savings']", "Savings3"),
        ("of_class['Account']", "Account4"),
        ("static[0]", "static5"),
        ("static[1]", "static6"),
        ("other['ann/7']", "ann7"),
        ("classy['Savings']", "Savings8"),
        ("still[0]", "static9"),
        ("twice['x']", "ann10"),
    ]
    assert isinstance(Account.plain, Task)
    assert Account("b").as_flow(1) == "b1"
    assert Account("b").as_flow.with_options(name="z")(2) == "b2"
    assert Savings.flow_of_class(1) == "Savings1"
    assert Savings("x").flow_of_class.with_options(backend="asyncio")(2) == "Savings2"
    assert Savings.static_flow(3) == Savings("x").static_flow.with_options(name="s")(3) == "static3"
    assert Account.as_flow.name == "as_flow"


@pytest.mark.parametrize("decorate", [task, flow, partial(task, name="x"), partial(flow, name="x")])
def test_what_is_neither_task_nor_flow(decorate: Any) -> None:
    """Generators of both kinds, properties, classes; each with a sentence of its own."""

    async def async_many() -> Any:
        yield 1

    def many() -> Any:
        yield 1

    class Many:
        async def __call__(self) -> Any:
            yield 1

    class OneByOne:
        def __call__(self) -> Any:
            yield 1

    for fn, said in [
        (OneByOne(), "'OneByOne' is a generator function"),
        (partial(many), "'many' is a generator function"),
        (async_many, "'async_many' is an async generator function"),
        (Many(), "'Many' is an async generator function"),
        (many, "'many' is a generator function, .* return a list"),
        (staticmethod(many), "'many' is a generator function"),
        (property(lambda self: self), "not a property; make it a method"),
        (Account, "decorates a function, not <class"),
    ]:
        with pytest.raises(TypeError, match=said):
            decorate()(fn) if isinstance(decorate, partial) else decorate(fn)
