"""What the nursery of bare asyncio tasks is made with: loops, their factories, insides of anyio's."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from creche._backends._inside import INSIDE, fits
from creche._backends._nursery import BareNursery
from creche._backends._primitives import CHOSEN, PUBLIC, QUICK, choose
from nurseries import both_loops, give, settle_down

pytestmark = pytest.mark.anyio
anyio_backend = both_loops


def start(nursery: BareNursery, fn: Callable[[Any], Any], arg: Any = None) -> None:
    nursery.start(copy_context(), fn, arg, "child")


class TestFactories:
    """Whatever makes the tasks of a loop."""

    async def check(self) -> list[Any]:
        log: list[Any] = []

        async def child(_: object) -> None:
            log.append(anyio.get_current_task().parent_id == id(host))
            await anyio.sleep_forever()

        async def tell(_: object) -> None:
            log.append("at once")

        host = asyncio.current_task()
        async with BareNursery() as nursery:
            start(nursery, child)
            start(nursery, tell)
            log.append("started")
            await settle_down()
            nursery.cancel_scope.cancel()
        asyncio.get_running_loop().set_task_factory(None)
        return log

    async def test_a_plain_one(self) -> None:
        made: list[Any] = []

        def make(loop: Any, coro: Any, **kwargs: Any) -> Any:
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **kwargs)

        asyncio.get_running_loop().set_task_factory(make)
        assert await self.check() == ["started", True, "at once"]
        assert len(made) == 2

    async def test_one_that_fails(self) -> None:
        """Nothing is left of the child, not even a coroutine that complains."""

        def fail(*args: Any, **kwargs: Any) -> Any:
            raise MemoryError

        async with BareNursery() as nursery:
            make, nursery._make = nursery._make, fail
            with pytest.raises(MemoryError):
                start(nursery, give)
            nursery._make = make
            start(nursery, give, [])
            await settle_down()
        gc.collect()

    async def test_asyncios_eager_one(self) -> None:
        """`start_soon` comes back before the child begins, there too; as with anyio."""
        eager = getattr(asyncio, "eager_task_factory", None)
        if eager is None:
            pytest.skip("since Python 3.12")
        asyncio.get_running_loop().set_task_factory(eager)
        assert await self.check() == ["started", True, "at once"]

    async def test_an_unknown_eager_one(self) -> None:
        """It may begin at once then, and is a child all the same."""
        eager = getattr(asyncio, "eager_task_factory", None)
        if eager is None:
            pytest.skip("since Python 3.12")

        def make(loop: Any, coro: Any, **kwargs: Any) -> Any:
            return eager(loop, coro, context=kwargs.get("context"))

        asyncio.get_running_loop().set_task_factory(make)
        assert await self.check() == [True, "at once", "started"]

    async def test_a_loop_with_a_way_of_its_own(self) -> None:
        class Loop(asyncio.SelectorEventLoop):
            made = 0

            def create_task(self, *args: Any, **kwargs: Any) -> Any:
                self.made += 1
                return super().create_task(*args, **kwargs)

        loop = Loop()

        def run() -> list[Any]:
            try:
                return loop.run_until_complete(self.check())
            finally:
                loop.close()

        assert await anyio.to_thread.run_sync(run) == ["started", True, "at once"]
        assert loop.made == 3


def inside(**changed: Any) -> Any:
    names = ["_task_states", "TaskState", "CancelScope"]
    return SimpleNamespace(**{name: getattr(INSIDE, name) for name in names} | changed)


class _OtherState:
    def __init__(self, parent: int, scope: object) -> None:
        pass


class _OtherScope:
    def __init__(self, deadline: float, *, shield: bool) -> None:
        self._tasks: list[Any] = []


@pytest.mark.parametrize(
    "other",
    [
        None,
        inside(_task_states={}),
        inside(TaskState=_OtherState),
        inside(CancelScope=_OtherScope),
        SimpleNamespace(),
    ],
)
def test_another_shape_of_anyio(other: Any) -> None:
    """Then all goes the public way."""
    assert not fits(other)
    assert choose(other) is PUBLIC


def test_the_present_shape_of_anyio() -> None:
    """The quick way is used with every anyio that is tested."""
    assert choose(inside()) is CHOSEN is QUICK
