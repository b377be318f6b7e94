"""`EventLog`: what is in the file, whatever the keys and errors are, and however it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from calls import fail, forever, give, settle_down
from creche import ConcurrentTaskRunner, SequentialTaskRunner, State
from creche.instruments import EventLog, HistoryReader, read_history

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


async def test_what_is_in_the_file(path: Path, real_time: None) -> None:
    """A first line with the schema, a line for each event, a last line; times are the loop's."""
    with EventLog(path) as log:
        runner = ConcurrentTaskRunner(2, limits={"db": 1}, instruments=[log])
        async with runner.start():
            runner.submit_nowait("a", give, 1)
            runner.submit_nowait("b", len, "xyz", after=["a"], limits=["db"])
            runner.submit_nowait("c", fail, ValueError("no"))
            await runner.wait("c")
    first, started, *calls, closed, last = records(path)
    assert (first["event"], first["schema"]) == ("log", 1)
    assert (started["event"], started["name"], started["max_workers"]) == (
        "runner_started",
        "concurrent",
        2,
    )
    assert started["limits"] == {"db": 1}
    assert (closed["event"], last["event"]) == ("runner_closed", "log_closed")
    assert [one["event"] for one in calls if one["key"] == "b"] == [
        "call_submitted",
        "call_admitted",
        "call_started",
        "call_finished",
    ]
    by_name = {(one["key"], one["event"]): one for one in calls}
    assert by_name["b", "call_submitted"]["after"] == ["a"]
    assert by_name["b", "call_submitted"]["limits"] == ["db"]
    assert by_name["b", "call_finished"]["place"] == "thread"
    assert by_name["c", "call_finished"]["error"]["message"] == "no"
    assert {one["call"] for one in calls if one["key"] == "c"} == {3}
    assert {one["run"] for one in calls} == {started["run"]}
    times = [one["time"] for one in (started, *calls, closed)]
    assert times == sorted(times)


async def test_the_history_of_it(path: Path) -> None:
    """Who waited for whom, who submitted whom, and how each has ended."""

    async def parent(runner: ConcurrentTaskRunner) -> None:
        await anyio.sleep(0.1)
        await (await runner.submit("child", anyio.sleep, 0.2))

    with EventLog(path) as log:
        runner = ConcurrentTaskRunner(1, instruments=[log])
        async with runner.start():
            runner.submit_nowait("parent", parent, runner)
            runner.submit_nowait("next", fail, ValueError("no"), after=["parent"])
            runner.submit_nowait("last", give, after=["next"])
            runner.submit_nowait("off", forever, after=["next"])
            runner.cancel("off", "not needed")
            await runner.wait("next")
    history = read_history(path)
    run = history.runs[0]
    assert (run.name, run.max_workers, history.is_whole, history.is_closed) == (
        "concurrent",
        1,
        True,
        True,
    )
    found = {call.key: call for call in history.calls}
    assert list(found) == ["parent", "next", "last", "off", "child"]
    assert found["child"].parent is found["parent"]
    assert found["next"].after == [found["parent"]]
    assert [found[key].state for key in found] == [
        State.COMPLETED,
        State.FAILED,
        State.CANCELLED,
        State.CANCELLED,
        State.COMPLETED,
    ]
    assert (found["last"].origin, found["off"].reason) == ("upstream", "not needed")
    assert found["last"].started is found["last"].seconds is None
    assert found["next"].error is not None
    assert found["next"].attempts[0].error == found["next"].error
    assert history.find("next") is found["next"]
    assert history.find("next", run.number + 1) is None


class Odd:
    """Its repr raises what it was given."""

    def __init__(self, raises: BaseException) -> None:
        self.raises = raises

    def __repr__(self) -> str:
        raise self.raises


class Alike:
    """All of them look alike."""

    def __repr__(self) -> str:
        return "alike"


class Word(str):
    """A string that is none to look at."""

    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError

    def __repr__(self) -> str:
        return Word("word")


async def test_keys_of_all_kinds(path: Path) -> None:
    """Each key is a call of its own in the history, whatever it is and looks like."""
    keys: list[Any] = [
        1,
        "1",
        (1, "a"),
        "",
        "x" * 1_000_000,
        "x" * 1_000_001,
        b"\xff",
        "\ud800\n\x1b[31m\0",
        Odd(ValueError()),
        Odd(ValueError()),
        Odd(SystemExit(3)),
        Alike(),
        Alike(),
        Word("w"),
        10**5000,
        frozenset([1]),
        State.FAILED,
        None.__class__,
    ]
    with EventLog(path) as log:
        runner = ConcurrentTaskRunner(instruments=[log])
        async with runner.start():
            for key in keys:
                runner.submit_nowait(key, fail if isinstance(key, Alike) else give)
            await runner.wait_all(keys)
    assert path.stat().st_size < 50_000  # noqa: ASYNC240 - one look at a file that is there
    calls = read_history(path).calls
    assert len(calls) == len(keys)
    assert [call.state for call in calls] == [
        State.FAILED if isinstance(key, Alike) else State.COMPLETED for key in keys
    ]
    shown = [(call.key, call.key_type) for call in calls if call.key != "alike"]
    assert len(set(shown)) == len(keys) - 2
    assert shown[:3] == [("1", "int"), ("1", "str"), ("(1, 'a')", "tuple")]
    assert shown[7] == (keys[7], "str")
    assert shown[8][0].startswith("<Odd at 0x")
    assert "cannot be shown: SystemExit" in shown[10][0]
    assert ("word", "Word") in shown
    assert len(shown[4][0]) < 600


class Unspeakable(Exception):  # noqa: N818 - as users name theirs
    """Neither its str nor its repr is to be had."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


async def test_errors_of_all_kinds(path: Path) -> None:
    """What cannot be shown is said so; what is long keeps its end; frames of ours are left out."""

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("m" * 1_000_000)

    async def chained() -> None:
        try:
            raise KeyError("first")
        except KeyError as exc:
            raise ExceptionGroup("several", [ValueError(n) for n in range(500)]) from exc

    async def unspeakable() -> None:
        raise Unspeakable

    with EventLog(path) as log:
        runner = ConcurrentTaskRunner(instruments=[log])
        async with runner.start():
            runner.submit_nowait("deep", deep, 200)
            runner.submit_nowait("chained", chained)
            runner.submit_nowait("unspeakable", unspeakable)
            await runner.wait_all(["deep", "chained", "unspeakable"])
    history = read_history(path)
    errors = {call.key: call.error or {} for call in history.calls}
    assert errors["deep"]["type"] == "ValueError"
    assert "(1000000 characters)" in errors["deep"]["message"]
    assert errors["deep"]["traceback"].startswith("Traceback")
    assert "in deep" in errors["deep"]["traceback"]
    assert "KeyError: 'first'" in errors["chained"]["traceback"]
    assert "Unspeakable that cannot be shown: RuntimeError" in errors["unspeakable"]["message"]
    assert "raise Unspeakable" in errors["unspeakable"]["traceback"]
    assert not [name for name, one in errors.items() if "_carrier" in one["traceback"]]


async def test_secrets_stay_out(path: Path, tmp_path: Path) -> None:
    """Arguments and values are in the log that wants them, and in no other one beside it."""
    other = tmp_path / "with-values.jsonl"
    big = list(range(1_000_000))
    with EventLog(path) as log, EventLog(other, values=True) as telling:
        runner = ConcurrentTaskRunner(instruments=[log, telling])
        async with runner.start():
            await runner.submit_nowait("a", give, "secret")
            await runner.submit_nowait("many", give, big)
            await runner.submit_nowait("bytes", give, b"0" * 10_000)
            await runner.submit_nowait("few", give, b"0")
            await runner.submit_nowait("odd", give, Odd(ValueError()))
            await runner.submit_nowait("text", give, "t" * 100_000)
            await runner.submit_nowait("none", anyio.sleep, 0)
    assert "secret" not in path.read_text("ascii")  # noqa: ASYNC240 - one look at a file that is there
    assert all(call.args is None and call.value is None for call in read_history(path).calls)
    told = {call.key: call for call in read_history(other).calls}
    assert (told["a"].args, told["a"].value) == (["'secret'"], "'secret'")
    assert len(told["many"].value or "") < 1000
    assert (told["bytes"].value or "").endswith("… (10000 bytes)")
    assert told["few"].value == "b'0'"
    assert "Odd" in (told["odd"].value or "")
    assert len(told["text"].value or "") <= 2000
    assert (told["none"].args, told["none"].value) == (["0"], None)


async def test_the_loop_does_not_wait(path: Path, real_time: None) -> None:
    """However long it takes to show something: it is shown in another thread."""
    shown_by: list[threading.Thread] = []
    has_gone_on = threading.Event()

    class Slow:
        def __repr__(self) -> str:
            shown_by.append(threading.current_thread())
            return f"{has_gone_on.wait(20)}"

    with EventLog(path, values=True) as log:
        runner = ConcurrentTaskRunner(instruments=[log])
        async with runner.start():
            await runner.submit_nowait("slow", give, Slow())
            await runner.submit_nowait("next", give)
            has_gone_on.set()
    assert threading.current_thread() not in shown_by
    assert read_history(path).calls[0].value == "True"


async def test_a_call_that_makes_room(path: Path) -> None:
    """Two open calls under one key are two; the one that came second may end first."""

    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)

    with EventLog(path) as log:
        runner = ConcurrentTaskRunner(instruments=[log])
        async with runner.start():
            runner.submit_nowait("k", stubborn)
            await settle_down()
            second = runner.submit_nowait("k", give, on_collision="replace")
            runner.cancel(second, "not needed either")
            await anyio.sleep(0.2)
            runner.submit_nowait("k", forever, on_collision="replace")
            await settle_down()
            runner.submit_nowait("k", give, 3, on_collision="replace")
    first, dropped, third, fourth = read_history(path).calls
    assert first.state is State.COMPLETED
    assert first.finished is not None
    assert dropped.finished is not None
    assert dropped.finished < first.finished
    assert (dropped.state, dropped.attempts) == (State.CANCELLED, [])
    assert (third.state, len(third.attempts)) == (State.CANCELLED, 1)
    assert (fourth.state, len(fourth.attempts)) == (State.COMPLETED, 1)
    assert {call.key for call in (first, dropped, third, fourth)} == {"k"}


async def test_a_reserved_key(path: Path) -> None:
    """It is in the file when its call is there; one that nobody fills is not."""
    with EventLog(path) as log:
        runner = ConcurrentTaskRunner(instruments=[log])
        async with runner.start():
            runner.reserve("filled")
            runner.reserve("empty")
            runner.submit_nowait("late", give, after=["filled", "empty"])
            await runner.submit("filled", give)
    history = read_history(path)
    assert [(call.key, call.state.name) for call in history.calls] == [
        ("late", "CANCELLED"),
        ("filled", "COMPLETED"),
    ]
    assert history.calls[0].after == []  # neither was submitted yet


async def test_several_runners_one_after_another(path: Path) -> None:
    """Each start of each runner is a run of its own, sequential ones and duplicates as well."""
    with EventLog(path) as log:
        runner = SequentialTaskRunner(instruments=[log])
        for each in (runner, runner, runner.duplicate()):
            async with each.start():
                await each.submit("a", give)
    history = read_history(path)
    assert len({run.number for run in history.runs}) == len(history.runs) == 3
    assert [(call.run, call.key) for call in history.calls] == [
        (run.number, "a") for run in history.runs
    ]
    assert all(call.state is State.COMPLETED for call in history.calls)


async def test_several_runners_at_once(
    path: Path, real_time: None, elsewhere: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
) -> None:
    """One within another, and one on another thread's loop; a parent may be a call of another run."""

    async def inner(number: int) -> None:
        runner = ConcurrentTaskRunner(instruments=[log])
        async with runner.start():
            for n in range(50):
                runner.submit_nowait(n, give, number)

    with EventLog(path) as log:
        runner = ConcurrentTaskRunner(instruments=[log])
        async with runner.start():
            runner.submit_nowait("inner", inner, 1)
            await elsewhere(lambda: inner(2))
    history = read_history(path)
    assert (len(history.runs), len(history.calls)) == (3, 101)
    assert history.is_whole
    assert all(run.started >= 0 for run in history.runs)
    assert all(call.state is State.COMPLETED for call in history.calls)
    parents = {
        call.run: call.parent and call.parent.key for call in history.calls if call.key != "inner"
    }
    assert sorted(map(str, parents.values())) == ["None", "inner"]


async def test_it_can_be_read_while_it_is_written(path: Path, real_time: None) -> None:
    """What has happened is in it within a second, without a close, and a reader goes on where it was."""
    log = EventLog(path)
    reader = HistoryReader(path)
    runner = ConcurrentTaskRunner(instruments=[log])
    async with runner.start():
        await runner.submit_nowait("a", give)
        await read_until(reader, 5)
        assert (reader.history.calls[0].state, reader.history.is_whole) == (State.COMPLETED, False)
        assert not reader.history.is_closed
        await runner.submit_nowait("b", give)
        await read_until(reader, 9)
    log.close()
    assert reader.read() == 1
    assert reader.history.is_whole
    assert reader.history.is_closed
    assert reader.read() == 0


async def read_until(reader: HistoryReader, count: int) -> None:
    with anyio.fail_after(10):
        while reader.read() or sum(_events_of(reader)) < count:  # noqa: ASYNC110 - another process writes it
            await anyio.sleep(0.05)


def _events_of(reader: HistoryReader) -> Iterator[int]:
    yield len(reader.history.runs)
    for call in reader.history.calls:
        yield 2 + len(call.attempts) + (call.finished is not None)
