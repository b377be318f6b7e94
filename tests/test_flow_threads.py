"""Sync flows: the body in its thread, the loop beside it, and what passes between the two."""

from __future__ import annotations

import signal
import threading
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest

from creche import ConcurrentTaskRunner, SequentialTaskRunner, Slot, flow, task
from creche.instruments import Instrument, RunnerEvent
from flowing import ON_BOTH


@task
def give(value: Any) -> Any:
    return value


@task
def fail() -> None:
    raise ValueError("task")


def helper_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("creche flow")]


@ON_BOTH
def test_ctrl_c_while_the_last_tasks_are_waited_for(backend: Any) -> None:
    """The body has ended by then; what is left is dropped, and the loop is gone when it comes out."""
    begun: list[int] = []

    @task
    def tick(n: int) -> None:
        begun.append(n)
        if n == 1:
            main_thread_interrupt()
        elif n > 1:
            threading.Event().wait(0.3)  # on a busy machine it takes longer to notice

    @flow(task_runner=ConcurrentTaskRunner(1), backend=backend)
    def many() -> list[Slot[Any]]:
        for n in range(5):
            slots.append(tick.submit(n))  # noqa: PERF401 - one after another, until Ctrl-C
        return slots

    slots: list[Slot[Any]] = []
    with pytest.raises(KeyboardInterrupt):
        many()
    assert helper_threads() == []
    assert all(slot.done for slot in slots)
    assert len(begun) < 5


def main_thread_interrupt() -> None:
    """Press Ctrl-C, and give the main thread the time to notice."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    threading.Event().wait(0.3)


@ON_BOTH
def test_ctrl_c_while_the_loop_is_being_opened(backend: Any) -> None:
    """Nothing is left of it."""

    class Pressing(Instrument):
        def runner_started(self, event: RunnerEvent) -> None:
            main_thread_interrupt()

    @flow(task_runner=ConcurrentTaskRunner(instruments=[Pressing()]), backend=backend)
    def never() -> None:
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        never()
    assert helper_threads() == []


def interrupt() -> None:
    raise KeyboardInterrupt


def leave() -> None:
    raise SystemExit(5)


@ON_BOTH
@pytest.mark.parametrize(("end", "kind"), [(interrupt, KeyboardInterrupt), (leave, SystemExit)])
def test_what_ends_a_program_ends_a_flow_whose_task_has_failed(
    backend: Any, end: Callable[[], None], kind: type[BaseException]
) -> None:
    """Bare, with `on_error="cancel"` too: nobody looks for Ctrl-C in a group."""

    @flow(task_runner=ConcurrentTaskRunner(on_error="cancel"), backend=backend)
    def main() -> None:
        fail.submit().block(None)
        end()

    with pytest.raises(kind):
        main()


@ON_BOTH
def test_the_error_of_a_body_joins_that_of_a_task(backend: Any) -> None:
    """With `on_error="cancel"`, as it does where the body is a block of `start()`."""

    @flow(task_runner=ConcurrentTaskRunner(on_error="cancel"), backend=backend)
    def main() -> None:
        fail.submit().block(None)
        raise KeyError("body")

    with pytest.raises(ExceptionGroup) as caught:
        main()
    assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]


@ON_BOTH
def test_a_body_that_raises_while_a_task_waits_for_another(backend: Any) -> None:
    """What the other waits for is settled, so that the exit does not wait for the thread for ever."""
    begun = threading.Event()
    go_on = threading.Event()

    @task
    def slow() -> int:
        go_on.wait(10)
        return 7

    @task
    def read(slot_in_a_box: Callable[[], Slot[Any]]) -> Any:
        begun.set()
        return slot_in_a_box().result()

    @flow(backend=backend)
    def main() -> None:
        dependent = give.submit(slow.submit())
        read.submit(lambda: dependent)
        begun.wait(10)
        threading.Timer(0.1, go_on.set).start()
        raise LookupError

    with pytest.raises(LookupError):
        main()
    assert helper_threads() == []


class Pair(namedtuple("Pair", "a b")):  # noqa: PYI024 - what a user may have written
    """A named tuple whose constructor takes something else than its fields."""

    __slots__ = ()

    def __new__(cls, both: Any) -> Any:
        return super().__new__(cls, both, both)


@ON_BOTH
def test_slots_in_odd_containers(backend: Any) -> None:
    """A named tuple is built from its fields; a list in itself is looked into once."""
    circle: list[Any] = [1]
    circle.append(circle)

    @flow(backend=backend)
    def main() -> None:
        slot = give.submit(1)
        pair = Pair._make([slot, 2])
        given = give.submit(pair).result()
        assert (type(given), given) == (Pair, (1, 2))
        assert give.submit(circle).result() is circle
        with_slot: list[Any] = [slot]
        with_slot.append(with_slot)
        with pytest.raises(ValueError, match="part of itself"):
            give.submit(with_slot).result()
        twice = [slot]
        assert give.submit([twice, twice, {"k": (slot,)}]).result() == [[1], [1], {"k": (1,)}]

    main()


@ON_BOTH
def test_a_task_that_submits_under_a_sequential_runner(backend: Any) -> None:
    """It has the only place, and its submit waits: the other call is carried out all the same."""
    order: list[str] = []

    @task
    def inner(name: str) -> str:
        order.append(name)
        return name

    @task
    def outer() -> str:
        first = inner.submit("first")
        order.append("between")
        return first.result() + inner.submit(inner.submit("second")).result()

    @flow(task_runner=SequentialTaskRunner(), backend=backend)
    def main() -> str:
        value = outer()
        order.append("after")
        return value

    assert main() == "firstsecond"
    assert order == ["first", "between", "second", "second", "after"]


@ON_BOTH
def test_a_flow_inside_that_does_not_wait_for_a_slot_from_outside(backend: Any) -> None:
    """It has ended when its tasks have, the one that waits for another flow's task included."""
    begun = threading.Event()

    @task
    def slow() -> int:
        begun.wait(10)
        return 5

    @flow(backend=backend)
    def inner(slot: Any) -> Slot[Any]:
        dependent = give.submit(slot)
        begun.set()
        return dependent

    @flow(backend=backend)
    def raising(slot: Any) -> None:
        given.append(give.submit(slot))
        raise LookupError

    @flow(backend=backend)
    def outer() -> Any:
        with pytest.raises(LookupError):
            raising(slow.submit())
        return inner(slow.submit()).result()

    given: list[Slot[Any]] = []
    assert outer() == 5
    assert given[0].origin == "closed"


@ON_BOTH
def test_a_flow_in_a_class(backend: Any) -> None:
    """It is a method, as a task is."""

    class Pipeline:
        factor = 3

        @task
        def times(self, n: int) -> int:
            return n * self.factor

        @flow(task_runner=SequentialTaskRunner(), backend=backend)
        def run(self, n: int) -> int:
            return self.times.submit(n).result()

    assert Pipeline().run(2) == 6
    assert isinstance(Pipeline.run.task_runner, SequentialTaskRunner)
    assert Pipeline().run.name == "run"
