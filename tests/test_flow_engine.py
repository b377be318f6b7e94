"""The flow engine of the docs: sixty lines, and what a reader may expect of them."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
import trio
import trio.testing

from creche import CallCancelled, ConcurrentTaskRunner, State, UnknownKey
from examples import DOCS, count_code, load, path_of, read_until, start

PAGE = DOCS / "how-to" / "write-a-flow-engine.md"


class Flow(Protocol):
    """What the engine's class of this name offers."""

    runner: ConcurrentTaskRunner

    def task(self, fn: Callable[..., Any], *, tries: int = 1) -> Callable[..., Any]: ...
    async def run(self, **given: object) -> None: ...


@pytest.fixture(params=[None, 1, 2])
def flow(request: pytest.FixtureRequest) -> Flow:
    """A flow without tasks yet; its runner has no limit, or a narrow one."""
    made: Flow = load("flow_engine").Flow(ConcurrentTaskRunner(request.param))
    return made


def run(flow: Flow, **given: object) -> dict[Any, State]:
    """Run a flow, in virtual time; the states of its tasks."""
    clock = trio.testing.MockClock(autojump_threshold=0.01)  # there are threads, which it must wait for
    trio.run(partial(flow.run, **given), clock=clock)
    return {key: slot.state for key, slot in flow.runner.slots.items() if isinstance(key, str)}


def test_sixty_lines() -> None:
    """Of code, with the flow and all; and the page shows the engine as it is in the file."""
    source = path_of("flow_engine").read_text(encoding="utf-8")
    assert count_code(source) <= 60
    page = PAGE.read_text(encoding="utf-8")
    for part in (r"^class Task.*?(?=^class)", r"^class Flow.*?(?=^def)", r"^def report.*?\n\n\n"):
        found = re.search(part, source, re.MULTILINE | re.DOTALL)
        assert found is not None
        assert found[0].strip() in page


def test_the_program_without_and_with_the_file(tmp_path: Path) -> None:
    """One branch fails and the other does not; with the file both complete. Exit status 0."""
    with start(path_of("flow_engine"), cwd=tmp_path) as process:
        said, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")
    assert re.search(r"^lines +COMPLETED +Value\(\d{5,}\)$", said, re.MULTILINE)
    assert said.count("('before', ") == 2
    assert re.search(r"^growth +CANCELLED +'before', which it was .* is FAILED", said, re.MULTILINE)
    assert said.endswith("\n4 COMPLETED, 1 FAILED, 1 CANCELLED\n")

    (tmp_path / "lines.txt").write_text("1", encoding="utf-8")
    with start(path_of("flow_engine"), cwd=tmp_path) as process:
        said, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")
    lines = re.search(r"^lines +COMPLETED +Value\((\d+)\)$", said, re.MULTILINE)
    assert lines is not None
    assert re.search(rf"^growth +COMPLETED +Value\('\+{int(lines[1]) - 1}'\)$", said, re.MULTILINE)
    assert said.endswith("\n6 COMPLETED\n")


def test_results_by_name(flow: Flow, capsys: pytest.CaptureFixture[str]) -> None:
    """Async and plain tasks, declared in any order; each is carried out once, and reported once."""
    carried_out = []

    @flow.task
    def last(left: int, right: int, factor: int) -> int:
        carried_out.append("last")
        return (left + right) * factor

    @flow.task
    async def right(first: int) -> int:
        carried_out.append("right")
        await trio.sleep(2)
        return first + 10

    @flow.task
    def left(first: int) -> int:
        carried_out.append("left")
        return first + 1

    @flow.task
    def first() -> int:
        carried_out.append("first")
        return 100

    states = run(flow, factor=2)
    assert flow.runner.slots["last"].result() == 422
    assert set(states.values()) == {State.COMPLETED}
    assert sorted(carried_out) == ["first", "last", "left", "right"]
    *reported, counts = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in reported) == ["factor", "first", "last", "left", "right"]
    assert counts == "5 COMPLETED"


def test_a_branch_that_fails(flow: Flow, caplog: pytest.LogCaptureFixture) -> None:
    """It takes down what needs it, with a reason that names the root; the rest completes."""

    @flow.task
    def good() -> int:
        return 1

    @flow.task
    async def bad() -> int:
        raise OSError("disk is gone")

    @flow.task
    def below(bad: int) -> int:
        raise AssertionError

    @flow.task
    def bottom(good: int, below: int) -> int:
        raise AssertionError

    @flow.task
    def other(good: int) -> int:
        return good + 1

    states = run(flow)
    slots = flow.runner.slots
    assert states == {
        "good": State.COMPLETED,
        "bad": State.FAILED,
        "below": State.CANCELLED,
        "bottom": State.CANCELLED,
        "other": State.COMPLETED,
    }
    with pytest.raises(OSError, match="disk is gone"):
        slots["bad"].result()
    for name in ("below", "bottom"):
        assert slots[name].origin == "upstream"
        assert (
            slots[name].reason == "'bad', which it was to run after, is FAILED (OSError: disk is gone)"
        )
    assert caplog.records == []  # the report counts as reading


@pytest.mark.parametrize("good_at", [1, 3, 4])
def test_tries(flow: Flow, good_at: int) -> None:
    """A task that fails is tried again, with a longer wait each time, until there is no try left."""
    times: list[float] = []

    @partial(flow.task, tries=3)
    async def flaky(n: int) -> int:
        times.append(trio.current_time())
        if len(times) < good_at:
            raise OSError(len(times))
        return n

    states = run(flow, n=7)
    waits = [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]
    assert waits == [0.2, 0.4][: good_at - 1]
    if good_at <= 3:
        assert flow.runner.slots["flaky"].result() == 7
    else:
        assert states["flaky"] is State.FAILED
        with pytest.raises(OSError, match="3"):
            flow.runner.slots["flaky"].result()


def test_a_given_result(flow: Flow) -> None:
    """The task is not run, and neither must what only it needs be there."""

    @flow.task
    def rows(file: str) -> list[int]:
        raise AssertionError

    @flow.task
    def total(rows: list[int]) -> int:
        return sum(rows)

    assert run(flow, rows=[1, 2]) == {"rows": State.COMPLETED, "total": State.COMPLETED}
    assert flow.runner.slots["total"].result() == 3


def test_a_circle_and_an_unknown_name(flow: Flow) -> None:
    """Refused, by name; the run ends."""

    @flow.task
    def egg(hen: int) -> int:
        raise AssertionError

    with pytest.raises(UnknownKey, match="hen"):
        run(flow)

    @flow.task
    def hen(egg: int) -> int:
        raise AssertionError

    with pytest.raises(ValueError, match="'hen' cannot run after 'egg'"):
        run(flow)


def test_a_task_that_is_cancelled(flow: Flow) -> None:
    """It takes its try with it, and what needs it; the rest goes on."""
    left = []
    begun = trio.Event()

    @partial(flow.task, tries=2)
    async def slow() -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            left.append("slow")

    @flow.task
    def below(slow: None) -> None:
        raise AssertionError

    @flow.task
    async def other() -> int:
        return 1

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flow.run)
            await begun.wait()
            flow.runner.cancel("slow", "enough")

    trio.run(main)
    slots = flow.runner.slots
    assert left == ["slow"]
    with pytest.raises(CallCancelled, match="enough"):
        slots["slow"].result()
    assert [key for key in slots if isinstance(key, tuple)].count(("slow", 2)) == 0
    assert slots["below"].origin == "upstream"
    assert slots["other"].result() == 1


INTERRUPTED = """
import sys
import trio
from creche import ConcurrentTaskRunner
from flow_engine import Flow

flow = Flow(ConcurrentTaskRunner(max_workers=2))

@flow.task
async def quick():
    return 1

@flow.task
async def slow(quick):
    try:
        await trio.sleep(0 if quick is None else 3600)
    finally:
        print("cleaned up")

@flow.task
def in_a_thread(quick):
    # In one piece: the main thread prints meanwhile, and print() writes the end of a line by itself.
    sys.stdout.write("begun\\n")
    input()
    sys.stdout.write("to its end\\n")

@flow.task
def waiting(slow):
    raise AssertionError

@flow.task
def crowded(quick):
    raise AssertionError

try:
    trio.run(flow.run)
except KeyboardInterrupt:
    raise SystemExit(130) from None
"""


def test_ctrl_c(tmp_path: Path) -> None:
    """Each task is reported once, and nothing is left behind; the program ends by itself."""
    program = tmp_path / "interrupted.py"
    program.write_text(INTERRUPTED, encoding="utf-8")
    with start(program, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        said = read_until(process, "begun\n")
        process.send_signal(signal.SIGINT)
        said += read_until(process, "cleaned up\n")
        assert process.stdin is not None
        process.stdin.write("go on\n")
        process.stdin.flush()
        # Not communicate(): it reads behind the back of the buffer that the lines above came from.
        assert process.stdout is not None
        assert process.stderr is not None
        said += process.stdout.read()
        complaints = process.stderr.read()
        process.wait(60)
    assert (process.returncode, complaints) == (130, "")
    assert (said.count("cleaned up\n"), said.count("to its end\n")) == (1, 1)
    states = re.findall(r"^(\w+) +(COMPLETED|CANCELLED) ", said, re.MULTILINE)
    assert sorted(name for name, _ in states) == ["crowded", "in_a_thread", "quick", "slow", "waiting"]
    assert dict(states)["quick"] == "COMPLETED"
    assert dict(states)["slow"] == dict(states)["waiting"] == dict(states)["crowded"] == "CANCELLED"
    assert said.endswith("\n1 COMPLETED, 4 CANCELLED\n")
