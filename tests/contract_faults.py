"""Runners and places with one fault each, which the contract of runners has to find.

What it does not know: the contract.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from outcome import Error, Value, capture

from creche import CallCrashed, Slot, State, TaskConcurrencyType
from creche._options import read_options
from creche._queueing import QueueingTaskRunner
from creche.places import OpenPlace, Place

LEFT: list[subprocess.Popen[bytes]] = []
GO_ON = threading.Event()


class Runner(QueueingTaskRunner):
    """A `ConcurrentTaskRunner`, which is final."""

    def __init__(self, max_workers: int | None = None) -> None:
        self._options = read_options(
            max_workers=max_workers, on_error="collect", retain=True, instruments=()
        )

    @property
    def concurrency_type(self) -> TaskConcurrencyType:
        return TaskConcurrencyType.CONCURRENT


class LosesKeys(Runner):
    """A cancelled key is not known any more."""

    def cancel(self, key: Any, *args: Any, **options: Any) -> Any:
        slot = key if isinstance(key, Slot) else self.slots[key]
        board = self._run.board  # type: ignore  # it runs
        slot.add_done_callback(board.discard)
        return super().cancel(slot, *args, **options)


class CancelsOthers(Runner):
    """Cancelling one cancels whatever else runs."""

    def cancel(self, key: Any, *args: Any, **options: Any) -> Any:
        for slot in list(self.slots.values()):
            if slot.state is State.RUNNING:
                super().cancel(slot, *args, **options)
        return super().cancel(key, *args, **options)


class RunsTheCancelled(Runner):
    """What is cancelled while it waits runs all the same."""

    def cancel(self, key: Any, *args: Any, **options: Any) -> Any:
        slot = key if isinstance(key, Slot) else self.slots[key]
        if slot.state is State.PENDING:
            threading.Thread(target=slot.work.fn, args=slot.work.args, daemon=True).start()  # type: ignore  # it is pending
        return super().cancel(key, *args, **options)


class NeverEndsThePending(Runner):
    """What is cancelled while it waits is never settled."""

    def cancel(self, key: Any, *args: Any, **options: Any) -> Any:
        slot = key if isinstance(key, Slot) else self.slots[key]
        return slot.state is State.PENDING or super().cancel(key, *args, **options)


class Wrapping(Runner):
    """Puts something around every plain call."""

    def around(self, fn: Callable[..., Any], *args: Any) -> Any:
        raise NotImplementedError

    def submit_nowait(self, key: Any, fn: Any, *args: Any, **options: Any) -> Any:  # type: ignore  # a fault takes whatever it is given
        return super().submit_nowait(key, partial(self.around, fn), *args, **options)


class SwallowsExits(Wrapping):
    """Ctrl-C out of a call is a value."""

    def around(self, fn: Callable[..., Any], *args: Any) -> Any:
        try:
            return fn(*args)
        except KeyboardInterrupt:
            return None


class MakesErrorsAnew(Wrapping):
    """The class and the arguments of an error are kept, and nothing else."""

    def around(self, fn: Callable[..., Any], *args: Any) -> Any:
        try:
            return fn(*args)
        except Exception as exc:
            made = type(exc)(*exc.args)
        raise made from None


class HidesWhere(Wrapping):
    """All is kept of an error but where it came from."""

    def around(self, fn: Callable[..., Any], *args: Any) -> Any:
        came = capture(fn, *args)
        if isinstance(came, Error):
            raise came.error.with_traceback(None) from None
        return came.value


class LeavesThreadsRunning(Runner):
    """A cancelled call has ended, and its thread goes on."""

    def submit_nowait(self, key: Any, fn: Any, *args: Any, **options: Any) -> Any:  # type: ignore  # a fault takes whatever it is given
        gone = partial(anyio.to_thread.run_sync, abandon_on_cancel=True)
        call = partial(gone, partial(Context().run, fn, *args))
        return super().submit_nowait(key, call, **options)


class LeavesThread(Runner):
    """Each run leaves a thread."""

    async def _start(self, exit_stack: Any) -> None:
        await super()._start(exit_stack)
        threading.Thread(target=GO_ON.wait, args=(60,), daemon=True, name="left").start()


class LeavesProcess(Runner):
    """Each run leaves a process."""

    async def _start(self, exit_stack: Any) -> None:
        await super()._start(exit_stack)
        LEFT.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))  # noqa: ASYNC220 - left behind on purpose


class LosesContext(Runner):
    """Calls do not see the submitter's context variables."""

    def submit_nowait(self, key: Any, fn: Any, *args: Any, **options: Any) -> Any:  # type: ignore  # a fault takes whatever it is given
        return Context().run(partial(super().submit_nowait, key, fn, *args, **options))


class Ignores(Runner):
    """Does not care for one option of a submit."""

    def __init__(self, option: str) -> None:
        super().__init__(2)
        self._option = option

    def submit_nowait(self, key: Any, fn: Any, *args: Any, **options: Any) -> Any:  # type: ignore  # a fault takes whatever it is given
        options.pop(self._option, None)
        return super().submit_nowait(key, fn, *args, **options)


class JoinsInstead(Runner):
    """Nothing is ever replaced."""

    def submit_nowait(self, key: Any, fn: Any, *args: Any, **options: Any) -> Any:  # type: ignore  # a fault takes whatever it is given
        if options.get("on_collision") == "replace":
            options["on_collision"] = "join"
        return super().submit_nowait(key, fn, *args, **options)


class MapsAsTheyEnd(Runner):
    """The values of a `map` come in the order in which the calls end."""

    async def map(self, fn: Any, items: Any, *args: Any, **options: Any) -> Any:
        slots = [self.submit_nowait(None, fn, item) for item in items]
        async with self.as_completed(slots) as ended:
            return [slot.result() async for slot in ended]


class ThreadPlace(Place):
    """Runs plain calls in threads; what its subclasses do wrong is in the methods."""

    name = "threads"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore  # it cannot be hashed, on purpose

    @asynccontextmanager
    async def open(self, host: Any) -> AsyncIterator[OpenPlace]:
        yield OpenThreads(self)

    async def answer(self, work: Any) -> Value[Any] | Error:
        await anyio.sleep(self.seconds)
        call = partial(work.context.copy().run, capture, work.fn, *work.args)
        came: Value[Any] | Error = await anyio.to_thread.run_sync(call)
        if isinstance(came, Error) and not isinstance(came.error, Exception):
            raise CallCrashed(work.key, "exit", repr(came.error))
        return came


class OpenThreads(OpenPlace):
    def __init__(self, place: ThreadPlace) -> None:
        self.place = place

    async def run(self, work: Any) -> Value[Any] | Error:
        return await self.place.answer(work)


class NeverStops(ThreadPlace):
    """Cancelled, it waits for ever, behind a shield."""

    async def answer(self, work: Any) -> Value[Any] | Error:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()
        raise AssertionError


class NeverCloses(ThreadPlace):
    """Open, it does not close."""

    @asynccontextmanager
    async def open(self, host: Any) -> AsyncIterator[OpenPlace]:
        yield OpenThreads(self)
        await anyio.sleep_forever()


class BlocksTheLoop(ThreadPlace):
    """Waits for something that does not come, and nothing else on the loop goes on."""

    async def answer(self, work: Any) -> Value[Any] | Error:
        GO_ON.wait()
        raise AssertionError


class ProcessGoesOn(ThreadPlace):
    """Cancelled, it does not kill what it has started."""

    async def answer(self, work: Any) -> Value[Any] | Error:
        call = functools.partial(capture, work.fn, *work.args)
        came: Value[Any] | Error = await anyio.to_thread.run_sync(
            partial(Context().run, call), abandon_on_cancel=True
        )
        return came


class TooMany(Runner):
    """One more at once than it was told."""

    def __init__(self, number: int) -> None:
        super().__init__(number + 1)
