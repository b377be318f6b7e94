"""The pipeline of the docs, for its tests: in this process, or as one of its own, and what must agree.

What it does not know: what is asked of it. It reads the store with SQL of its own, and knows by itself
what the pages of the hosts are.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Self

import anyio
import pytest
import stamina.instrumentation

from examples import path_of, start
from workflows import load_example

LOOPS = ["trio", "asyncio", "uvloop"]
HOSTS = ("host-a", "host-b", "host-c")

flaky_server = load_example("flaky_server")
pipeline = load_example("pipeline")


class Ended(NamedTuple):
    """A run that has ended: its exit status, what it printed, and of each page what the report says."""

    status: int
    said: str
    report: dict[str, str]

    @property
    def stored(self) -> set[str]:
        """The pages that are stored."""
        return {page for page, how in self.report.items() if how == "stored"}


def names(count: int) -> list[str]:
    """The first pages."""
    return [f"{HOSTS[n % 3]}/{n}" for n in range(count)]


def check(said: str, pages: int, store: Path) -> dict[str, str]:
    """The report names each page once, in order, and agrees with the store, which has no half pages."""
    lines = re.findall(r"^(host-\w/\d+) (stored|not stored: .+)$", said, re.MULTILINE)
    assert [page for page, _ in lines] == names(pages)
    report = dict(lines)
    with closing(sqlite3.connect(store)) as db:
        bodies: dict[str, str] = dict(db.execute("SELECT page, body FROM pages"))
        links = db.execute("SELECT page, target FROM links ORDER BY rowid").fetchall()
    assert {page for page, how in report.items() if how == "stored"} == set(bodies)
    for page, body in bodies.items():
        number = int(page.partition("/")[2])
        assert f"Page {number}" in body
        targets = [target for of, target in links if of == page]
        assert targets == [f"/{number + 1}", f"/{number * 2}"]
    assert len(links) == 2 * len(bodies)
    assert said.endswith(f"\n{len(bodies)} of {pages} pages are in {store}\n")
    assert not store.with_name(f"{store.name}-journal").exists()
    return report


class Here:
    """The program in this process: as many runs as a test likes, all with one store."""

    def __init__(
        self, loop: str, store: Path, patch: pytest.MonkeyPatch, out: pytest.CaptureFixture[str]
    ) -> None:
        self.store = store
        self.hosts: dict[str, Any] = {}
        self._patch = patch
        self._out = out
        self._backend = "trio" if loop == "trio" else "asyncio"
        # On asyncio, older versions of anyio leave a connection open that is cancelled while it is made.
        self.leaks = loop != "trio" and tuple(map(int, version("anyio").split(".")[:2])) < (4, 16)
        if loop == "uvloop":
            patch.setattr(anyio, "run", partial(anyio.run, backend_options={"use_uvloop": True}))

    def run(self, pages: int, *args: object, seed: int = 0) -> Ended:
        """Run it, as from the command line."""
        command = ["--pages", pages, "--backend", self._backend, "--store", self.store, "--seed", seed]
        self._patch.setattr(sys, "argv", ["pipeline.py", *map(str, (*command, *args))])
        self._out.readouterr()
        try:
            status = pipeline.main()
        except KeyboardInterrupt:
            pytest.fail("Ctrl-C came out of the program")
        said, complaints = self._out.readouterr()
        assert complaints == ""
        return Ended(status, said, check(said, pages, self.store))

    def replace(self, name: str, make: Callable[[Any], Any], module: Any = pipeline) -> None:
        """Put something else in the place of one of the program's functions."""
        self._patch.setattr(module, name, make(getattr(module, name)))

    def trouble(self, **of_hosts: list[str] | None) -> None:
        """Say what each path of a host meets with, whatever the seed says: nothing by default."""
        troubles = {f"host-{letter}": trouble for letter, trouble in of_hosts.items()}
        self._patch.setattr(flaky_server.Host, "troubles", lambda host, _: troubles.get(host._name, []))


@pytest.fixture(params=LOOPS)
def here(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Here]:
    """The program, on each loop; what it has changed in this process is put right again."""
    made = Here(request.param, tmp_path / "pages.sqlite", monkeypatch, capsys)
    handler = signal.getsignal(signal.SIGINT)
    serving = pipeline.serving

    def seen(*args: Any, **options: Any) -> Any:
        return _Seen(made, serving(*args, **{"late": 0.05, **options}))

    monkeypatch.setattr(pipeline, "serving", seen)
    try:
        yield made
    finally:
        signal.signal(signal.SIGINT, handler)
        stamina.instrumentation.set_on_retry_hooks(None)


class _Seen:
    """Hosts that are started, and can be looked at afterwards."""

    def __init__(self, here: Here, serving: Any) -> None:
        self._here = here
        self._serving = serving

    async def __aenter__(self) -> Any:
        self._here.hosts = await self._serving.__aenter__()
        return self._here.hosts

    async def __aexit__(self, *exc: object) -> Any:
        return await self._serving.__aexit__(*exc)


class Finger:
    """Presses Ctrl-C at the n-th time that it is asked to; and again, if it may, when that was seen."""

    def __init__(self, here: Here, at: int, *, twice: bool) -> None:
        self.pressed = False
        self._times = 0
        self._at = at
        if twice:
            here._patch.setattr(pipeline, "print", self._print, raising=False)

    def __call__(self) -> None:
        """Press, if it is time."""
        self._times += 1
        if self._times == self._at:
            self.pressed = True
            press()

    def before(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """A function before which it is asked."""

        def asked_before(*args: Any, **options: Any) -> Any:
            self()
            return fn(*args, **options)

        return asked_before

    def after(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """A plain function after which it is asked."""

        def asked_after(*args: Any, **options: Any) -> Any:
            given = fn(*args, **options)
            self()
            return given

        return asked_after

    def _print(self, *words: object) -> None:
        sys.stdout.write(" ".join(map(str, words)) + "\n")
        if str(words[0]).startswith("Ctrl-C: "):
            press()


def press() -> None:
    """Ctrl-C, from any thread."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def find_seed(pages: int, wanted: Callable[[list[list[str] | None]], bool]) -> int:
    """The first seed with which the troubles of the pages are as wanted."""
    for seed in range(10_000):
        hosts = {name: flaky_server.Host(name, seed, 0) for name in HOSTS}
        split = (page.partition("/") for page in names(pages))
        if wanted([hosts[host].troubles(f"/{path}") for host, _, path in split]):
            return seed
    raise AssertionError(wanted)


def kinds(troubles: list[list[str] | None]) -> set[str]:
    """Every kind of trouble that there is."""
    return set(chain.from_iterable(one or () for one in troubles))


PROGRAM = """
import sys
from functools import partial
import anyio, flaky_server, httpx, pipeline
{prelude}
sys.exit(pipeline.main())
"""

ON_UVLOOP = "anyio.run = partial(anyio.run, backend_options={'use_uvloop': True})"


class Process:
    """The program as a process of its own, in a session of its own; killed if it takes too long."""

    def __init__(self, loop: str, folder: Path, *args: object, prelude: str = "") -> None:
        program = path_of("pipeline")
        if loop == "uvloop" or prelude:
            program = folder / "program.py"
            text = PROGRAM.format(prelude=prelude + (ON_UVLOOP if loop == "uvloop" else ""))
            program.write_text(text, encoding="utf-8")
        self.store = folder / "pages.sqlite"
        backend = "trio" if loop == "trio" else "asyncio"
        options = ("--backend", backend, "--store", self.store, *args)
        self._process = start(program, *options, cwd=folder, start_new_session=True)
        self._said = ""
        self._timer = threading.Timer(60, self._process.kill)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.__exit__(None, None, None)

    def read(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Read on until a line has matched so many times; gives the last match."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said += line
            found = re.match(pattern, line)
            times -= found is not None
            if found and not times:
                return found
        raise AssertionError(f"the program ended without {pattern!r}: {self._said}")

    def press(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def end(self, pages: int) -> Ended:
        """Wait for its end, and look that nothing of it is left."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._said += self._process.stdout.read()
        assert self._process.stderr.read() == ""
        status = self._process.wait(60)
        with pytest.raises(ProcessLookupError):
            os.killpg(self._process.pid, 0)
        return Ended(status, self._said, check(self._said, pages, self.store))
