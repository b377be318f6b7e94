"""A run on trio that hangs and is not the kit's own: who raises the error, and what comes of the run."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest
import trio
from anyio._backends._trio import TestRunner as AnyiosRunner

from creche.testing import HungError, VirtualClock, _trio_clock, virtual_time


async def waits() -> None:
    await trio.Event().wait()


async def catches() -> None:
    while True:
        try:
            await trio.Event().wait()
        except Exception:  # noqa: S112 - the bug
            continue


def hung_in(error: BaseException) -> list[str]:
    """Where each error in this one was raised: in a function of this file, or by a nursery."""
    if isinstance(error, BaseExceptionGroup):
        return [name for one in error.exceptions for name in hung_in(one)]
    assert isinstance(error, HungError)
    assert str(error).startswith("nothing can run any more, and no timer is set:\n")
    found = "a nursery"
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == __file__:
            found = trace.tb_frame.f_code.co_name
        trace = trace.tb_next
    return [found]


def test_where_the_main_task_waits() -> None:
    """It raises the error there, as it comes; what is around it may clean up."""
    seen: list[str] = []

    async def main() -> None:
        try:
            await waits()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3600)
            seen.append("cleaned up")

    with pytest.raises(HungError, match=r"main: waits in Event.wait, at .*test_testing_hung.py:"):
        trio.run(main, clock=VirtualClock())
    assert seen == ["cleaned up"]


@pytest.mark.parametrize(
    ("number", "told"), [(1, ["waits"]), (2, ["a nursery"])], ids=["the only one", "one of two"]
)
def test_at_the_end_of_a_nursery(number: int, told: list[str]) -> None:
    """The task that is waited for raises it if it is one; else the nursery does."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(waits)

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main, clock=VirtualClock())
    assert hung_in(caught.value) == told


def test_tasks_that_are_shielded() -> None:
    """They do not end with the nursery, and are told one after the other."""

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await trio.Event().wait()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shielded)
            nursery.start_soon(shielded)

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main, clock=VirtualClock())
    assert sorted(hung_in(caught.value)) == ["a nursery", "shielded", "shielded"]


def test_one_that_catches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run falls in the end, and nothing is heard of it afterwards."""
    monkeypatch.setattr(_trio_clock, "TELLINGS", 1)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(catches)

    with pytest.raises(trio.TrioInternalError) as caught:
        trio.run(main, clock=VirtualClock())
    assert isinstance(caught.value.__cause__, HungError)
    assert "catches: waits in Event.wait" in str(caught.value.__cause__)
    del caught
    gc.collect()


def test_one_that_nobody_waits_for() -> None:
    """It is not told, though nobody else can be."""
    told: list[BaseException] = []

    async def beside() -> None:
        try:
            await waits()
        except HungError as exc:
            told.append(exc)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beside)
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    with pytest.raises(trio.TrioInternalError):
        trio.run(main, clock=VirtualClock())
    assert told == []


def test_one_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever catches it and does something else may hang again."""
    monkeypatch.setattr(_trio_clock, "TELLINGS", 1)

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(HungError):
                await waits()
            await trio.sleep(1)

    trio.run(main, clock=VirtualClock())


# Anyio leaves its own stream open when a run falls.
@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")
def test_under_anyios_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test fails, and the next one runs; also if the run fell, of which the plugin hears nothing."""
    monkeypatch.setattr(_trio_clock, "TELLINGS", 1)

    async def sleeps() -> None:
        await anyio.sleep(3600)

    _, options = virtual_time("trio")
    tests: list[Any] = [waits, sleeps, catches, sleeps, waits, sleeps]
    failed: list[bool] = []
    with AnyiosRunner(**options) as runner:
        for test in tests:
            try:
                runner.run_test(test, {})
            except HungError as exc:
                assert f"in {test.__name__}" in str(exc)  # noqa: PT017 - which of them do is looked at
                failed.append(True)
            else:
                failed.append(False)
    assert failed == [True, False, True, False, True, False]
    gc.collect()
