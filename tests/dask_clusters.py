"""Real Dask clusters for tests: a scheduler and workers in processes of their own, and who uses them.

What runs on the workers is in here, too: they find it by name.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any

import anyio
import sniffio
from distributed import get_worker
from outcome import Error, Value

from creche._far._stop import is_stopping
from creche._place import Place, Work
from creche.places._dask import DaskPlace
from creche.places._dask_open import OpenDask

SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    # How often it looks. Not earlier than after ten heartbeats, 5 s, is a worker given up.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "500ms",
    "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h",
}


class Cluster:
    """A scheduler and workers, as the command line starts them."""

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 2,
        settings: dict[str, str] = SETTINGS,
        words: Sequence[str] = (),
    ) -> None:
        self._words = words
        self._file = folder / "scheduler.json"
        self._folder = folder
        self._env = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(self._file))
        until = time.monotonic() + 30
        while not self._file.exists():
            assert time.monotonic() < until, "the scheduler has not come up"
            time.sleep(0.02)
        self.address = self._address()
        if workers:
            self.add_workers(workers)

    def _address(self) -> str:
        while True:
            with suppress(ValueError):
                return str(json.loads(self._file.read_text())["address"])
            time.sleep(0.02)

    def add_workers(self, number: int, *more: str) -> subprocess.Popen[bytes]:
        return self._start(
            *("worker", self.address, "--nworkers", str(number), "--nthreads", "1"),
            *("--local-directory", str(self._folder), *more),
        )

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{words[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "dask",
                    *words,
                    *self._words,
                    "--host",
                    "127.0.0.1",
                    "--dashboard-address",
                    ":0",
                ],
                env=self._env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self.processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def cluster(folder: Path, **options: Any) -> Iterator[Cluster]:
    made = Cluster(folder, **options)
    try:
        yield made
    finally:
        made.close()


class Host:
    """Of a run that there is not."""

    runner_name = "test"
    has_waiting = False

    def __init__(self) -> None:
        self.loop = sniffio.current_async_library()

    def set_capacity(self, number: int | None) -> None:
        raise NotImplementedError


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[Any]:
    """The place, open."""
    async with place.open(Host()) as found:
        yield found


@asynccontextmanager
async def on(cluster: Cluster, **settings: Any) -> AsyncGenerator[OpenDask]:
    """The place, open, on a cluster that is there."""
    async with opened(DaskPlace(cluster.address, **settings)) as found:
        yield found


def work(fn: Callable[..., Any], *args: Any, key: Any = "key", **more: Any) -> Work:
    """Plain work."""
    return Work(key, fn, args, is_async=False, context=copy_context(), **more)


def async_work(fn: Callable[..., Any], *args: Any, key: Any = "key", **more: Any) -> Work:
    """Work that is awaited over there."""
    return work(fn, *args, key=key, **more)._replace(is_async=True)


async def run_all(place: OpenDask, works: dict[Any, Work]) -> dict[Any, Any]:
    """The results of pieces of work, begun together; of what has raised, the exception."""
    found: dict[Any, Any] = {}

    async def one(key: Any, piece: Work) -> None:
        try:
            came = await place.run(piece)
        except Exception as exc:
            found[key] = exc
        else:
            found[key] = came.value if isinstance(came, Value) else came.error

    async with anyio.create_task_group() as group:
        for key, piece in works.items():
            group.start_soon(one, key, piece._replace(key=key))
    return found


async def error_of(place: OpenDask, piece: Work) -> BaseException:
    came = await place.run(piece)
    assert isinstance(came, Error)
    return came.error


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for something that another process does."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - nothing here can tell us
            await anyio.sleep(0.01)


# What runs on the workers --------------------------------------------------------------------------


def double(number: int) -> int:
    return 2 * number


def note(path: str, text: str = "ran\n") -> str:
    """Write down that it ran."""
    with Path(path).open("a") as file:
        file.write(text)
    return text


def note_and_sleep(path: str, seconds: float) -> str:
    note(path)
    time.sleep(seconds)
    return "slept"


def note_and_die(path: str) -> None:
    note(path)
    os.kill(os.getpid(), signal.SIGKILL)


def note_and_freeze(path: str) -> None:
    note(path, f"{os.getpid()}\n")
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)  # it takes effect in a moment


def poll(path: str, seconds: float = 20.0) -> str:
    """A plain call that asks whether it was cancelled, and goes on to the end if it was."""
    note(path)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if is_stopping():
            note(path, "stopping\n")
            return "stopped"
        time.sleep(0.01)
    return "never"


async def sleep(path: str, seconds: float) -> str:
    note(path)
    try:
        await anyio.sleep(seconds)
    except BaseException:
        note(path, "cancelled\n")
        raise
    return sniffio.current_async_library()


class NeedsTwoError(Exception):
    """An exception that plain pickling cannot rebuild."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail(kind: str) -> None:
    raise {
        "value": ValueError("no"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "stop": StopIteration(5),
        "two": NeedsTwoError(1, 2),
    }[kind]


class Stubborn:
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        msg = "I stay here"
        raise TypeError(msg)


def give_stubborn() -> Stubborn:
    return Stubborn()


def annotations_here() -> dict[str, Any]:
    """Those of the task that runs here."""
    worker: Any = get_worker()
    task = worker.state.tasks[worker.get_current_task()]
    return dict(task.annotations or {})
