"""The library of the docs that is handed a runner: both functions, on each loop and each runner."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from outcome import Error, Value

from creche import ConcurrentTaskRunner, SequentialTaskRunner
from examples import DOCS, load, path_of, start

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]

PAGE = DOCS / "how-to" / "write-a-library.md"

AnyRunner = ConcurrentTaskRunner | SequentialTaskRunner

library = load("agnostic")

RUNNERS = [
    ConcurrentTaskRunner(),
    ConcurrentTaskRunner(1),
    ConcurrentTaskRunner(2, retain=False),
    SequentialTaskRunner(),
]


@pytest.fixture(params=RUNNERS, ids=["unlimited", "one", "two, forgetful", "sequential"])
def runner(request: pytest.FixtureRequest) -> AnyRunner:
    """A runner as somebody might hand it over."""
    made: AnyRunner = request.param.duplicate()
    return made


async def gone() -> Any:
    """An address where nobody is any more."""
    async with library.serving(0) as (address, _):
        return address


async def test_fetch_all(runner: AnyRunner) -> None:
    """An answer or an error to each question; answers stay for the next who asks."""
    async with library.serving(0) as (address, asked), runner.start():
        outcomes = await library.fetch_all(runner, address, ["SUN", "COMET", "SUN", "NOTHING"])
        assert list(outcomes) == ["SUN", "COMET", "NOTHING"]
        assert (outcomes["SUN"], outcomes["COMET"]) == (Value("U+2609"), Value("U+2604"))
        assert isinstance(outcomes["NOTHING"], Error)
        assert isinstance(outcomes["NOTHING"].error, LookupError)
        assert len(runner.slots) in (0, 2)
        again = await library.fetch_all(runner, address, ["SUN", "NOTHING"])
        assert again["SUN"] == Value("U+2609")
    assert asked.count("NOTHING") == 2
    if runner.slots:
        assert (asked.count("SUN"), asked.count("COMET")) == (1, 1)


async def test_two_that_ask_at_once(runner: AnyRunner) -> None:
    """The server is asked once."""
    got = []

    async def one() -> None:
        got.append(await library.fetch_all(runner, address, ["SUN"]))

    async with (
        library.serving(0.05) as (address, asked),
        runner.start(),
        anyio.create_task_group() as group,
    ):
        group.start_soon(one)
        group.start_soon(one)
    assert got == [{"SUN": Value("U+2609")}] * 2
    assert asked == ["SUN"]


async def test_a_question_that_takes_too_long(runner: AnyRunner) -> None:
    """It fails by itself, and its key is free again."""
    async with library.serving(3600) as (address, _), runner.start():
        for _ in range(2):
            outcomes = await library.fetch_all(runner, address, ["SUN"], timeout=0.05)
            assert isinstance(outcomes["SUN"].error, TimeoutError)
            assert dict(runner.slots) == {}


async def test_the_first_to_answer(runner: AnyRunner) -> None:
    """One that is gone costs no patience; nothing is left behind."""
    async with library.serving(0) as (near, asked), runner.start():
        addresses = [await gone(), near, near]
        assert await library.first_to_answer(runner, addresses, "SUN", patience=60) == "U+2609"
        assert (asked, dict(runner.slots), len(runner)) == (["SUN"], {}, 0)


async def test_the_first_answer_comes_while_the_next_waits_for_room() -> None:
    """It is the answer: the group takes no more calls then, which is no error."""
    runner = ConcurrentTaskRunner(1, max_pending=1)
    async with library.serving(0.3) as (near, _), library.serving(3600) as (far, _), runner.start():
        addresses = [near, far, far, far]
        answer = await library.first_to_answer(runner, addresses, "COMET", patience=0.01)
        assert answer == "U+2604"
        assert not runner.slots


async def test_one_that_is_silent() -> None:
    """The next is asked when the patience is over; when that answers, the silent one is cancelled."""
    runner = ConcurrentTaskRunner()
    async with library.serving(0) as (near, _), library.serving(3600) as (far, _), runner.start():
        assert await library.first_to_answer(runner, [far, near], "SUN", patience=0.1) == "U+2609"
        assert (dict(runner.slots), len(runner)) == ({}, 0)


async def test_nobody_answers(runner: AnyRunner) -> None:
    """A group of what went wrong with each."""
    async with library.serving(0) as (near, _), runner.start():
        with pytest.raises(ExceptionGroup, match="nobody has answered 'NOTHING'") as caught:
            await library.first_to_answer(runner, [await gone(), near], "NOTHING")
        first, second = caught.value.exceptions
        assert isinstance(first, OSError)
        assert isinstance(second, LookupError)
        with pytest.raises(ValueError, match="at least one address"):
            await library.first_to_answer(runner, [], "SUN")
        assert (dict(runner.slots), len(runner)) == ({}, 0)


async def test_one_who_asks_is_cancelled() -> None:
    """Its own calls end with it; a call that is shared goes on for the other one who waits."""
    runner = ConcurrentTaskRunner()
    async with library.serving(0.2) as (address, asked), runner.start():
        with anyio.move_on_after(0.05) as scope:
            await library.first_to_answer(runner, [address, address], "SUN", patience=0.01)
        assert scope.cancelled_caught
        assert (dict(runner.slots), len(runner)) == ({}, 0)
        with anyio.move_on_after(0.05) as scope:
            await library.fetch_all(runner, address, ["COMET"])
        assert scope.cancelled_caught
        assert await library.fetch_all(runner, address, ["COMET"]) == {"COMET": Value("U+2604")}
    assert asked.count("COMET") == 1


async def test_from_a_call_of_the_same_runner() -> None:
    """On one worker it does not wait for itself."""
    runner = ConcurrentTaskRunner(1)
    async with library.serving(0) as (address, _), runner.start():

        async def call() -> object:
            first = await library.first_to_answer(runner, [await gone(), address], "SUN")
            return first, await library.fetch_all(runner, address, ["COMET"])

        slot = runner.submit_nowait("call", call)
        assert await slot == ("U+2609", {"COMET": Value("U+2604")})


async def test_the_runner_goes_on(runner: AnyRunner) -> None:
    """It is the caller's: neither started nor closed by the library, whose keys are not the caller's."""
    async with library.serving(0) as (address, _), runner.start():
        mine = await runner.submit("SUN", str, "mine")
        await library.fetch_all(runner, address, ["SUN"])
        await library.first_to_answer(runner, [address], "SUN")
        assert runner.is_started
        assert await mine == "mine"
        assert await runner.submit_nowait("later", str, "still open") == "still open"


def test_the_program_and_the_page() -> None:
    """It says that both loops give the same; the page shows the library as it is in the file."""
    with start(path_of("agnostic")) as process:
        said, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")
    assert said.endswith("\nthe same on asyncio\n")
    assert "SNOWMAN: Value('U+2603')\n" in said
    source = path_of("agnostic").read_text(encoding="utf-8")
    shown = source[source.index("Runner = ") : source.index("# The program")].strip()
    assert shown in PAGE.read_text(encoding="utf-8")
