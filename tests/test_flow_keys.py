"""The keys of a flow's calls, where tasks that run side by side submit others."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from creche import KeyTaken, flow, task
from flowing import IN_BOTH_WAYS, ON_BOTH, run


@task
def load(name: str) -> str:
    return name


@task(key="{name}")
def keyed(name: str) -> str:
    return name


@ON_BOTH
@pytest.mark.parametrize("first", ["a", "b"])
def test_tasks_in_threads_that_submit_the_same(backend: Any, first: str) -> None:
    """Whichever comes first, each of them counts its own; keys of the body stay as they are."""

    @task
    def work(name: str) -> dict[str, str]:
        if name != first:
            turn.wait(20)
        slots = [*load.map([f"{name}1", f"{name}2"]), keyed.submit("same")]
        turn.set()
        return {str(slot.key): slot.result() for slot in slots}

    @flow(backend=backend)
    def main() -> dict[str, str]:
        slots = work.map(["a", "b"])
        mine = load.submit("mine")
        return {str(mine.key): mine.result(), **slots[0].result(), **slots[1].result()}

    turn = threading.Event()
    assert main() == {
        "load[0]": "mine",
        "work[0]/load[0]": "a1",
        "work[0]/load[1]": "a2",
        "work[0]/keyed['same']": "same",
        "work[1]/load[0]": "b1",
        "work[1]/load[1]": "b2",
        "work[1]/keyed['same']": "same",
    }


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.anyio
@IN_BOTH_WAYS
async def test_tasks_on_the_loop_that_submit_the_same(way: Any, first: str) -> None:
    """In a subflow, too; and what a task submits may submit others."""

    @task
    async def deep(name: str) -> dict[str, str]:
        slot = load.submit(name)
        return {str(slot.key): await slot}

    @task
    async def work(name: str) -> dict[str, str]:
        if name != first:
            await turn.wait()
        slots = [deep.submit(f"{name}1"), deep.submit(f"{name}2")]
        turn.set()
        return await slots[0] | await slots[1]

    @flow(task_runner=way)
    async def part() -> dict[str, str]:
        slots = work.map(["a", "b"])
        return await slots[0] | await slots[1]

    @flow
    async def main() -> dict[str, str]:
        return await part()

    turn = anyio.Event()
    assert await main() == {
        "part/work[0]/deep[0]/load[0]": "a1",
        "part/work[0]/deep[1]/load[0]": "a2",
        "part/work[1]/deep[0]/load[0]": "b1",
        "part/work[1]/deep[1]/load[0]": "b2",
    }


def test_a_key_in_a_task_that_is_taken() -> None:
    """The key in the message is the whole one."""

    @task
    def work() -> None:
        keyed("it runs as a function, and has no key")
        keyed.submit("same")
        with pytest.raises(KeyTaken, match=r"^key \"work\[0\]/keyed\['same'\]\" is taken"):
            keyed.submit("same")

    @flow
    def main() -> None:
        work.submit().result()

    main()


@ON_BOTH
def test_a_task_that_is_tried_again(backend: Any) -> None:
    """What it submits then has a key of its own, with or without `key=`: the one before is taken."""
    seen: list[str] = []

    @flow
    def part() -> None:
        seen.append(str(load.submit("x").key))

    @task(retries=2, retry_delay=0)
    def work() -> str:
        part()
        seen.extend(str(slot.key) for slot in (load.submit("x"), keyed.submit("x")))
        if len(seen) < 9:
            raise ValueError("again")
        return "done"

    @flow(backend=backend)
    def main() -> str:
        return work.submit().result()

    assert main() == "done"
    assert seen == [
        f"work[0]{attempt}/{key}"
        for attempt in ("", "#2", "#3")
        for key in ("part/load[0]", "load[0]", "keyed['x']")
    ]


@ON_BOTH
def test_a_number_that_is_taken(backend: Any) -> None:
    """By a call that was numbered: the two are of one name, and only one of them has a `key=`."""
    by_number = load.with_options(key=int)

    @flow
    async def main() -> None:
        load.submit("x")
        by_number.submit("1")
        with pytest.raises(
            KeyTaken,
            match=r"'load\[0\]' is taken .*the number of another call of task 'load', which was "
            r"submitted without key=; give one of the two another name=",
        ):
            by_number.submit("0")
        assert load.submit("y").key == "load[2]", "numbers leave out what is taken"
        assert by_number.with_options(name="other").submit("0").key == "other[0]"

    run(backend, main)
