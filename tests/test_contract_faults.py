"""The contract of runners refuses those that have a fault, and says which; it never hangs."""

from __future__ import annotations

import inspect
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sniffio

import contract_faults as faults
from creche import ConcurrentTaskRunner, SequentialTaskRunner, UnknownKey, _dump
from creche.testing import LeakError, PlaceTaskRunner, _contract_watch
from creche.testing._contract_calls import fail, read_variable, tick, tick_async
from creche.testing._contract_signs import Signs
from creche.testing._contract_watch import StuckError
from creche.testing.contract import RunnerContract

BACKENDS = ["trio", "asyncio"]


class Two(RunnerContract):
    """With two workers, and little patience for what hangs."""

    patience = 0.6


class Calm(RunnerContract):
    """For faults that show at once: a busy machine must not look like one that hangs."""

    patience = 4.0


class Patient(RunnerContract):
    """For what is right: a busy machine is no fault."""

    calls = 10
    runs_async = False
    contains_exit = True


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def signs(tmp_path: Path) -> Iterator[Signs]:
    signs = Signs(tmp_path)
    yield signs
    signs.end_all()


@pytest.fixture(autouse=True)
def let_go(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that a faulty one has left stays for the next test."""
    monkeypatch.setattr(_contract_watch, "GRACE", 0.2)
    monkeypatch.setattr(_dump, "PATIENCE", 0.2)
    faults.GO_ON.clear()
    yield
    faults.GO_ON.set()
    while faults.LEFT:
        helper = faults.LEFT.pop()
        helper.kill()
        helper.communicate()


def place(kind: Callable[..., Any], *args: Any) -> Callable[[], PlaceTaskRunner]:
    return lambda: PlaceTaskRunner(kind(*args), 2)


def two(kind: Callable[..., Any]) -> Callable[[], Any]:
    return partial(kind, 2)


NOT_TOLD = "a call ran that was cancelled while it waited"
REFUSED: list[tuple[Any, str, dict[str, Any], type[BaseException], str]] = [
    (two(faults.LosesKeys), "cancelling", {"long": tick_async}, UnknownKey, "pending"),
    (two(faults.CancelsOthers), "cancelling", {"long": tick_async}, AssertionError, "was hurt"),
    (two(faults.RunsTheCancelled), "cancelling", {"long": tick}, AssertionError, NOT_TOLD),
    (two(faults.NeverEndsThePending), "cancelling", {"long": tick_async}, StuckError, "'pending'"),
    (two(faults.LeavesThreadsRunning), "cancelled_means_stopped", {"long": tick}, AssertionError, "on"),
    (place(faults.ProcessGoesOn), "cancelled_means_stopped", {"long": tick}, AssertionError, "goes on"),
    (two(faults.SwallowsExits), "exit", {"error": KeyboardInterrupt}, AssertionError, "swallowed"),
    (two(faults.MakesErrorsAnew), "failures", {"fn": None}, AssertionError, "hint|try again"),
    (two(faults.HidesWhere), "where_it_failed", {}, AssertionError, "in fail_deep"),
    (two(faults.LosesContext), "context_variables", {"fn": read_variable}, AssertionError, "lost"),
    (partial(faults.Ignores, "priority"), "priorities", {}, AssertionError, "1"),
    (partial(faults.Ignores, "after_any_end"), "dependencies", {}, AssertionError, "upstream"),
    (two(faults.JoinsInstead), "replacing", {}, AssertionError, "is not"),
    (two(faults.MapsAsTheyEnd), "mapping", {}, AssertionError, r"1, "),
    (two(faults.TooMany), "workers", {}, AssertionError, "too many at once: 3 for 2 workers"),
    (two(faults.TooMany), "cancelling", {"long": tick}, AssertionError, "too many at once: 3"),
    (SequentialTaskRunner, "workers", {}, StuckError, "signs.ticks"),
    (two(faults.LeavesThread), "leaving_nothing", {}, LeakError, "thread 'left'"),
    (two(faults.LeavesProcess), "leaving_nothing", {}, LeakError, "process"),
    (place(faults.NeverStops), "waiting", {}, StuckError, "'long' RUNNING, place 'threads', being"),
    (place(faults.NeverCloses), "keys", {}, StuckError, "make.*start"),
    (place(faults.BlocksTheLoop), "keys", {}, StuckError, "the loop is blocked"),
]


@pytest.mark.parametrize(
    ("make", "clause", "given", "error", "match"),
    REFUSED,
    ids=[f"{one[1]}-{number}" for number, one in enumerate(REFUSED)],
)
def test_a_fault_is_found(
    make: Any,
    clause: str,
    given: dict[str, Any],
    error: type[BaseException],
    match: str,
    backend: str,
    signs: Signs,
) -> None:
    """Each by the clause that asks for it, with words that say what is wrong."""
    if given.get("fn", tick) is None:
        given = {"fn": fail}
    with pytest.raises(error, match=match):
        ask(Two() if error is StuckError else Calm(), clause, make, backend, signs, **given)


RIGHT: list[tuple[Any, str, dict[str, Any]]] = [
    (two(ConcurrentTaskRunner), "cancelling", {"long": tick}),
    (place(faults.ThreadPlace, 0.02), "many", {}),
    (place(faults.ThreadPlace), "failures", {"fn": fail}),
    (place(faults.ThreadPlace), "exit", {"error": KeyboardInterrupt}),
    (place(faults.ThreadPlace), "where_it_failed", {}),
    (place(faults.ThreadPlace), "mapping", {}),
    (place(faults.ThreadPlace), "context_variables", {"fn": read_variable}),
    (place(faults.ThreadPlace), "what_cannot_be_sent", {}),
]


@pytest.mark.parametrize(("make", "clause", "given"), RIGHT, ids=[one[1] for one in RIGHT])
def test_what_is_right_passes(
    make: Any, clause: str, given: dict[str, Any], backend: str, signs: Signs
) -> None:
    """Though it is made of the same parts."""
    ask(Patient(), clause, make, backend, signs, **given)


def test_a_place_may_be_slow(backend: str, signs: Signs) -> None:
    """What counts is that something happens, not how long all of it takes."""

    class Slow(RunnerContract):
        patience = 1.0
        calls = 24
        workers = 1

    began = time.monotonic()
    ask(Slow(), "many", lambda: PlaceTaskRunner(faults.ThreadPlace(0.05), 1), backend, signs)
    assert time.monotonic() - began > Slow.patience


def test_what_hangs_is_told(backend: str, signs: Signs) -> None:
    """Where the clause waits, what the tasks do, which calls there are, and what has ended."""
    with pytest.raises(StuckError) as caught:
        ask(Two(), "cancelling", two(faults.NeverEndsThePending), backend, signs, long=tick_async)
    said = str(caught.value)
    assert "for 0.6 s no call has begun or ended; the clause waits at" in said
    assert "in StopClauses.test_cancelling: outcome = await runner.wait(key)" in said
    assert "the tasks of the loop:" in said
    assert "  'cover' at" in said
    assert "'pending' RUNNING" in said
    assert "ended: 'running 0' CANCELLED" in said
    assert "then gave" not in said  # it could be cancelled


def test_elsewhere_it_is_printed(
    backend: str, signs: Signs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a loop cannot be broken off: in a thread that is not the main one, or without signals."""
    gone: list[BaseException] = []

    def clause() -> None:
        try:
            ask(Two(), "keys", place(faults.BlocksTheLoop), backend, signs)
        except StuckError as exc:
            gone.append(exc)

    thread = threading.Thread(target=clause)
    thread.start()
    said = ""
    while "it cannot be ended here" not in said and thread.is_alive():
        said += capsys.readouterr().err
        time.sleep(0.01)
    faults.GO_ON.set()
    thread.join(30)
    assert [type(exc) for exc in gone] == [StuckError]
    assert "it cannot be ended here" in said


def test_elsewhere_it_is_cancelled(backend: str, signs: Signs) -> None:
    """If that is enough."""
    gone: list[BaseException] = []

    def clause() -> None:
        try:
            ask(Two(), "cancelling", two(faults.NeverEndsThePending), backend, signs, long=tick_async)
        except StuckError as exc:
            gone.append(exc)

    thread = threading.Thread(target=clause)
    thread.start()
    thread.join(30)
    assert [type(exc) for exc in gone] == [StuckError]


def test_no_signal_is_left(backend: str, signs: Signs) -> None:
    """And one that comes late is no exception."""
    before = signal.getsignal(signal.SIGUSR2)
    ask(Two(), "keys", two(ConcurrentTaskRunner), backend, signs)
    assert signal.getsignal(signal.SIGUSR2) is before
    watch = _contract_watch._Watch(1, lambda: None)
    watch.arm()
    watch._over.set()
    signal.raise_signal(signal.SIGUSR2)
    watch.disarm()


def test_the_loop_is_that_of_the_fixture(backend: str, signs: Signs) -> None:
    """By name, or with options."""
    found = []

    def make() -> ConcurrentTaskRunner:
        found.append(sniffio.current_async_library())
        return ConcurrentTaskRunner(2)

    ask(Two(), "keys", make, backend, signs)
    ask(Two(), "keys", make, (backend, {}), signs)
    assert found == [backend, backend]


def ask(
    runner: RunnerContract, clause: str, make: Any, backend: Any, signs: Signs, **given: Any
) -> None:
    """Try one clause, as pytest does."""
    test: Any = getattr(runner, f"test_{clause}")
    if "signs" in inspect.signature(test).parameters:
        given["signs"] = signs
    test(backend, make=make, **given)
