"""What a flow can be given: a timeout, what a failure means, prints in the log."""

from __future__ import annotations

import builtins
import logging
import sys
import threading
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    FlowTimedOut,
    RunnerClosed,
    SequentialTaskRunner,
    Slot,
    State,
    flow,
    task,
)
from creche.flows import _prints
from flowing import ON_BOTH, add, add_later, fail, forever

each_loop = pytest.mark.anyio


# timeout ----------------------------------------------------------------------------------------------


@ON_BOTH
def test_the_timeout_of_a_sync_flow(backend: Any) -> None:
    """What is left is cut, and named; the body hears of it where it reads, and submits no more."""
    slots: list[Slot[Any]] = []

    @flow(timeout=0.05, backend=backend)
    def slow() -> None:
        slots.extend([add.submit(1, 1), forever.submit()])
        slots[0].result()
        slots.append(add.submit(slots[1], 1))
        with pytest.raises(
            CallCancelled, match="closed.*'slow' has not ended within its timeout of 0.05"
        ):
            slots[1].result()
        with pytest.raises(RunnerClosed, match="its timeout of 0.05"):
            add.submit(1, 1)
        slots[2].result()

    with pytest.raises(FlowTimedOut) as caught:
        slow()
    error = caught.value
    assert str(error) == (
        "flow 'slow' has not ended within its timeout of 0.05 seconds; cut off: 'forever[0]', 'add[1]'"
    )
    assert (error.flow, error.timeout, error.keys) == ("slow", 0.05, ("forever[0]", "add[1]"))
    assert isinstance(error, TimeoutError)
    assert isinstance(error.__cause__, CallCancelled)
    assert [slot.state for slot in slots] == [State.COMPLETED, State.CANCELLED, State.CANCELLED]


@ON_BOTH
def test_a_body_that_makes_something_else_of_it(backend: Any) -> None:
    """It may return, or have let its tasks be waited for: the time is up all the same."""

    @flow(timeout=0.05, backend=backend)
    def stubborn(wait: bool) -> int:
        slot = forever.submit()
        if wait:
            with pytest.raises(CallCancelled):
                slot.result()
        return 1

    for wait in (True, False):
        with pytest.raises(FlowTimedOut, match=r"cut off: 'forever\[0\]'") as caught:
            stubborn(wait)
        assert caught.value.__cause__ is None


@ON_BOTH
def test_plain_code_of_a_body_is_waited_for(backend: Any) -> None:
    """Nothing can interrupt it; the flow has timed out when it has ended."""
    ended = list[int]()

    @flow(timeout=0.02, backend=backend)
    def busy() -> None:
        threading.Event().wait(0.1)
        ended.append(1)

    with pytest.raises(FlowTimedOut, match="no call of it was left"):
        busy()
    assert ended == [1]


@ON_BOTH
def test_a_thread_is_not_waited_for(backend: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The timeout holds: what sits in a thread is left to itself, and told of."""
    go_on = threading.Event()

    @task
    def stuck() -> None:
        go_on.wait(20)

    @flow(timeout=0.1, backend=backend)
    def body() -> None:
        stuck.submit()

    with pytest.raises(FlowTimedOut, match=r"'stuck\[0\]'"):
        body()
    assert not go_on.is_set()
    go_on.set()
    assert "stuck[0]" in caplog.text


@each_loop
async def test_the_timeout_of_an_async_flow() -> None:
    """The body is cancelled, whatever it waits for; or only its tasks, if it has returned."""
    unwound: list[str] = []

    @task
    async def careful() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            unwound.append("task")

    @flow(timeout=0.05)
    async def slow(how: str) -> int:
        slot = careful.submit()
        try:
            if how == "sleeps":
                await anyio.sleep_forever()
            if how == "waits":
                await slot
            if how == "makes something else of it":
                try:
                    await anyio.sleep_forever()
                finally:
                    raise LookupError("body")
        finally:
            unwound.append("body")
        return 1

    for how in ("sleeps", "waits", "returns", "makes something else of it"):
        with pytest.raises(FlowTimedOut, match=r"'slow'.*'careful\[0\]'$"):
            await slow(how)
        assert sorted(unwound) == ["body", "task"]
        unwound.clear()
    with anyio.move_on_after(0.01) as scope:
        await slow("sleeps")
    assert scope.cancelled_caught, "a cancellation from outside is no timeout"


@each_loop
async def test_a_flow_that_ends_in_time() -> None:
    """Gives its value, fails as ever, and leaves nothing that waits."""

    @flow(timeout=1_000)
    async def quick(fails: bool) -> int:
        if fails:
            raise LookupError("body")
        return await add_later.submit(1, 1)

    with anyio.fail_after(500):
        assert await quick(False) == 2
        with pytest.raises(LookupError, match="body"):
            await quick(True)


@ON_BOTH
def test_a_sync_flow_that_ends_in_time(backend: Any) -> None:
    """Likewise; infinity takes the timeout off."""

    @flow(timeout=60, backend=backend)
    def quick() -> int:
        return add(1, 1)

    assert quick() == 2
    assert quick.with_options(timeout=0)._ways.timeout == 0
    assert quick.with_options(timeout=float("inf"))._ways.timeout is None


def test_many_keys_that_were_cut() -> None:
    """Ten are spelled out."""
    error = FlowTimedOut("f", 1.0, tuple(range(12)))
    assert str(error).endswith("cut off: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more")


# on_error ------------------------------------------------------------------------------------------


@ON_BOTH
def test_what_a_failure_means(backend: Any) -> None:
    """By the flow, whatever its runner says; by default, as the runner says."""
    strict = ConcurrentTaskRunner(on_error="cancel")

    @flow(backend=backend)
    def body() -> None:
        fail.submit()
        forever.submit() if body_waits else None

    body_waits = True
    with pytest.raises(ExceptionGroup):
        body.with_options(on_error="cancel")()
    with pytest.raises(ExceptionGroup):
        body.with_options(task_runner=strict)()
    body_waits = False
    body.with_options(task_runner=strict, on_error="collect")()
    body.with_options(on_error="cancel").with_options(on_error="collect")()
    with pytest.raises(ExceptionGroup):
        body.with_options(task_runner=SequentialTaskRunner(), on_error="cancel")()
    assert strict == ConcurrentTaskRunner(on_error="cancel")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"on_error": "ignore"}, ValueError, "on_error of flow 'body' must be 'cancel' or 'collect'"),
        ({"log_prints": "yes"}, TypeError, "log_prints of flow 'body'"),
        ({"timeout": -1}, ValueError, "flow 'body': timeout"),
        ({"on_completed": print}, TypeError, "on_completed of flow 'body'"),
        ({"backend": "curio"}, ValueError, "backend"),
        ({"task_runner": "parents"}, TypeError, "or 'parent', not 'parents'"),
        (
            {"task_runner": "parent", "on_error": "cancel"},
            ValueError,
            "flow 'body': on_error is of a run",
        ),
        ({"retries": 3}, TypeError, "'retries': write retries= of its tasks; a flow is called again"),
        ({"retry_delay": 3}, TypeError, "write retry_delay= of its tasks"),
        ({"name": 3}, TypeError, "name of a flow"),
        ({"name": ""}, ValueError, "name of a flow must not be empty"),
    ],
)
def test_bad_options(options: Any, error: type[Exception], said: str) -> None:
    """They are refused at the decoration, with the flow and the option."""

    def body() -> None: ...

    with pytest.raises(error, match=said):
        flow(**options)(body)
    with pytest.raises(error, match=said):
        flow(body).with_options(**options)
    with pytest.raises(TypeError, match="must be a runner, not 'parent'"):
        flow.task_runner = "parent"  # type: ignore[assignment]  # wrong on purpose


# log_prints ---------------------------------------------------------------------------------------


@ON_BOTH
def test_prints_in_the_log(
    backend: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the body, and of tasks on the loop and in threads, with the key; to a file they stay prints."""

    @task
    def plain() -> None:
        print("in", "a thread", sep=" ", end="!\n")  # noqa: T201 - what the program says
        print("to a file", file=sys.stderr)  # noqa: T201 - what the program says
        print("to stdout", file=sys.stdout, flush=True)  # noqa: T201 - what the program says

    @task
    async def later() -> None:
        print()  # noqa: T201 - what the program says

    @flow(log_prints=True, backend=backend)
    def body() -> None:
        print("body", 1)  # noqa: T201 - what the program says
        plain.submit().result()
        later.submit().result()

    @flow(log_prints=False)
    def quiet() -> None:
        print("not logged")  # noqa: T201 - what the program says

    class Printer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("handled", record.getMessage())  # noqa: T201 - what the program says

    before, printer = builtins.print, Printer()
    logging.getLogger("creche.prints").addHandler(printer)
    try:
        with caplog.at_level(logging.INFO, logger="creche.prints"):
            body()
    finally:
        logging.getLogger("creche.prints").removeHandler(printer)
    quiet()
    assert builtins.print is before
    found = [(record.key, record.getMessage()) for record in caplog.records]  # type: ignore[attr-defined]  # creche's filter has set it
    assert found == [
        ("body", "body: body 1"),
        ("plain[0]", "plain[0]: in a thread!"),
        ("plain[0]", "plain[0]: to stdout"),
        ("later[0]", "later[0]: "),
    ]
    said = capsys.readouterr()
    assert said.err == "to a file\n"
    assert said.out.splitlines()[0] == "handled body: body 1"
    assert said.out.splitlines()[-1] == "not logged"


def test_prints_of_others_stay_prints(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of code that is not of the flow, and of an inner flow that says so."""

    @flow(log_prints=False)
    def loud() -> None:
        print("loud")  # noqa: T201 - what the program says

    @flow
    def same() -> None:
        print("same")  # noqa: T201 - what the program says

    @flow(log_prints=True)
    def outer() -> None:
        other = threading.Thread(target=print, args=("other",))
        other.start()
        other.join()
        loud()
        same()

    with caplog.at_level(logging.INFO, logger="creche.prints"):
        outer()
    assert caplog.messages == ["same: same"]
    assert capsys.readouterr().out == "other\nloud\n"


def test_a_print_that_somebody_else_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays theirs."""
    theirs = object()
    monkeypatch.setattr(builtins, "print", print)  # what is put back in the end: not the one of the flow
    with _prints.prints_logged():
        monkeypatch.setattr(builtins, "print", theirs)
    assert builtins.print is theirs
