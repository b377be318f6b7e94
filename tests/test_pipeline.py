"""The pipeline of the docs: what it stores, and that its report is true whenever Ctrl-C comes."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from creche import Slot
from examples import DOCS, path_of, start
from pipelines import (
    LOOPS,
    Finger,
    Here,
    Process,
    find_seed,
    flaky_server,
    kinds,
    names,
    pipeline,
)
from pipelines import here as here  # a fixture

pytestmark = pytest.mark.slow

PAGE = DOCS / "how-to" / "stop-a-pipeline.md"


# Runs that nobody stops -----------------------------------------------------------------------------


def test_all_is_stored(here: Here) -> None:
    """Through every kind of trouble; a page is asked for until it comes, and not again after that."""
    seed = find_seed(12, lambda found: None not in found and len(kinds(found)) == 4)
    ended = here.run(12, seed=seed)
    assert ended.status == 0
    assert ended.stored == set(names(12))
    for page in names(12):
        name, _, number = page.partition("/")
        host, path = here.hosts[name], f"/{number}"
        troubles = host.troubles(path)
        late = troubles.index("late") if "late" in troubles else len(troubles)  # and that is a page, too
        assert host.asked[path] == late + 1
    assert ended.said.count("again in ") == sum(host.asked.total() for host in here.hosts.values()) - 12


def test_a_page_that_always_fails(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried four times and reported with its error; the others are stored; the status is 1."""
    seed = find_seed(6, lambda found: [one is None for one in found] == [False, True] + [False] * 4)
    ended = here.run(6, seed=seed)
    assert ended.status == 1
    assert ended.stored == set(names(6)) - {"host-b/1"}
    assert re.match(r"not stored: FAILED, HTTPStatusError: .* '500 .*/1'$", ended.report["host-b/1"])
    assert here.hosts["host-b"].asked["/1"] == 4
    assert [record for record in caplog.records if record.name == "creche"] == []  # it was read


def test_what_is_stored_is_not_fetched_again(here: Here) -> None:
    """A run goes on with what is missing; the report names everything all the same."""
    here.trouble(b=None)
    first = here.run(6)
    assert (first.status, first.stored) == (1, {"host-a/0", "host-c/2", "host-a/3", "host-c/5"})
    here.trouble()
    second = here.run(9)
    assert (second.status, second.stored) == (0, set(names(9)))
    asked = {f"{name}{path}" for name, host in here.hosts.items() for path in host.asked}
    assert asked == set(names(9)) - first.stored


def test_limits_by_host(here: Here) -> None:
    """Two requests at once to each host, and no more; the hosts have counted them."""
    here.trouble(a=["late"], b=["late"], c=["late"])
    here.replace("serving", lambda serving: partial(serving, late=0.1))
    ended = here.run(12)
    assert ended.status == 0
    assert {name: host.most for name, host in here.hosts.items()} == dict.fromkeys(here.hosts, 2)


def test_nothing_is_left(here: Here) -> None:
    """No host listens any more, and no thread works."""
    here.run(3)
    for host in here.hosts.values():
        with socket.socket() as connection, pytest.raises(ConnectionRefusedError):
            connection.connect(("127.0.0.1", int(host.url.rpartition(":")[2])))
    assert not [one for one in threading.enumerate() if "store" in one.name]


def test_the_store_fails_when_it_has_stored(here: Here) -> None:
    """The page is there, so it is reported as stored, whatever became of its call."""

    def store_and_fail(store: Callable[..., None]) -> Callable[..., None]:
        def failing(*args: Any) -> None:
            store(*args)
            raise OSError("disk is gone")

        return failing

    here.replace("store", store_and_fail)
    ended = here.run(3)
    assert "  host-a/0: FAILED, OSError: disk is gone\n" in ended.said
    assert (ended.status, ended.stored) == (0, set(names(3)))


def test_half_a_page(here: Here) -> None:
    """Is never stored: a page whose links are refused is not there either."""
    here.trouble()

    def spoil(parse: Callable[[str, str], list[Any]]) -> Callable[[str, str], list[Any]]:
        return lambda kind, body: parse(kind, body) + ([] if "Page 1" in body else [object()])

    here.replace("parse", spoil)
    ended = here.run(3)
    assert (ended.status, ended.stored) == (1, {"host-b/1"})


def test_the_seed_decides() -> None:
    """The troubles of a path are the same each time; another seed, host or path has others."""

    def troubles(seed: int, name: str, first: int = 0) -> list[Any]:
        host = flaky_server.Host(name, seed, 0)
        return [host.troubles(f"/{number}") for number in range(first, first + 100)]

    found = troubles(1, "host-a")
    assert found == troubles(1, "host-a")
    assert found not in (troubles(2, "host-a"), troubles(1, "host-b"), troubles(1, "host-a", 100))
    assert max(len(one or ()) for one in found) == 3
    assert 0 < found.count(None) < 20 < found.count([])


def test_bad_input(tmp_path: Path) -> None:
    """Refused before anything is done, with status 2."""
    for option, value, complaint in [
        ("--grace", "-1", "grace must be 0 seconds or more, not -1"),
        ("--store", tmp_path / "no" / "folder", "unable to open database file"),
        ("--backend", "twisted", "invalid choice: 'twisted'"),
    ]:
        with start(path_of("pipeline"), option, value, cwd=tmp_path) as process:
            said, complaints = process.communicate(timeout=60)
        assert (process.returncode, said) == (2, "")
        assert complaint in complaints


# Ctrl-C at a chosen moment ---------------------------------------------------------------------------


def while_submitting(finger: Finger, run: Any) -> Any:
    """`run` is given its pages one by one, and the finger is asked after the third."""

    def one_by_one(pages: list[str]) -> Iterator[str]:
        yield from pages[:3]
        finger()
        yield from pages[3:]

    return lambda runner, pages, *rest: run(runner, one_by_one(pages), *rest)


def when_stopping(finger: Finger, serving: Any) -> Any:
    """All has ended, and the hosts are being stopped."""

    @asynccontextmanager
    async def serving_to_its_end(*args: Any) -> AsyncIterator[Any]:
        async with serving(*args) as hosts:
            yield hosts
            finger()

    return serving_to_its_end


def when_all_is_over(finger: Finger, run: Any) -> Any:
    """Nobody listens any more, and the loop still runs."""

    async def run_to_its_end(*args: Any) -> Any:
        interrupted = await run(*args)
        finger()
        return interrupted

    return run_to_its_end


class Moment(NamedTuple):
    """When Ctrl-C is pressed: at the n-th call of a function; how many of 12 pages may be stored."""

    name: str
    make: Callable[[Finger, Any], Any]
    nth: int
    stored: range
    statuses: tuple[int, ...] = (130,)
    module: Any = pipeline


ALL = range(12, 13)
MOMENTS = {
    "nobody listens yet": Moment("open_signal_receiver", Finger.before, 1, range(1), module=anyio),
    "nothing has begun": Moment("serving", Finger.before, 1, range(12)),
    "some are submitted": Moment("run", while_submitting, 1, range(12)),
    "a page is parsed": Moment("parse", Finger.before, 2, range(12)),
    "a store begins": Moment("store", Finger.before, 3, range(3, 12)),
    "a store has ended": Moment("store", Finger.after, 3, range(3, 12)),
    "a page has ended": Moment("tell", Finger.after, 4, range(4, 12)),
    # Nothing is left to interrupt; only trio sees it.
    "the hosts are stopped": Moment("serving", when_stopping, 1, ALL, (0, 130)),
    "nobody listens any more": Moment("run", when_all_is_over, 1, ALL),
    "the report is given": Moment("report", Finger.before, 1, ALL, (0,)),
}
CASES = [(when, False) for when in MOMENTS]
CASES += [(when, True) for when in list(MOMENTS)[1:7]]  # somebody listens, and will listen again


@pytest.mark.parametrize(("when", "twice"), CASES)
def test_the_report_is_true(here: Here, when: str, twice: bool) -> None:
    """It agrees with the store, and the status says whether something was interrupted."""
    if twice and here.leaks:
        pytest.skip("this anyio leaves a connection open that is cancelled while it is made")
    moment = MOMENTS[when]
    here.trouble()
    finger = Finger(here, moment.nth, twice=twice)
    here.replace(moment.name, partial(moment.make, finger), moment.module)
    ended = here.run(12, "--grace", 60)
    assert finger.pressed
    assert ended.status in moment.statuses
    assert len(ended.stored) in moment.stored
    assert set(origins(ended.report)) <= ({"closed", "cancel"} if twice else {"closed"})


def origins(report: dict[str, str]) -> Counter[str]:
    """Of the pages that were cancelled, how many by what; the others are stored, or never began."""
    counts: Counter[str] = Counter()
    for how in report.values():
        if how not in ("stored", "not stored: it was never submitted"):
            found = re.match(r"not stored: CANCELLED \((\w+)\), .", how)
            assert found, how
            counts[found[1]] += 1
    return counts


@pytest.mark.parametrize("twice", [False, True], ids=["at the end of the grace", "at a second Ctrl-C"])
def test_a_store_that_is_under_way(here: Here, twice: bool) -> None:
    """It goes to its end, and its page is reported as stored; the page that was being fetched is not."""
    fetching, cancelled = threading.Event(), threading.Event()

    def troubles(_: object, path: str) -> list[str]:
        if path != "/2":
            return []
        fetching.set()
        return ["late"]

    def slowly(store: Callable[..., None]) -> Callable[..., None]:
        def wait_and_store(file: str, page: str, *rest: Any) -> None:
            if page == "host-a/0":
                assert fetching.wait(30)
                finger()
                assert cancelled.wait(30)
            store(file, page, *rest)

        return wait_and_store

    def tell(slot: Slot[Any]) -> None:
        if slot.key == "host-c/2":
            cancelled.set()

    finger = Finger(here, 1, twice=twice)
    here.replace("troubles", lambda _: troubles, flaky_server.Host)
    here.replace("serving", lambda serving: partial(serving, late=60))
    here.replace("store", slowly)
    here.replace("tell", lambda _: tell)
    ended = here.run(3, "--grace", 60 if twice else 0.1)
    assert ended.status == 130
    assert ended.report["host-a/0"] == "stored"
    assert ended.report["host-c/2"] == (
        "not stored: CANCELLED (cancel), Ctrl-C came again"
        if twice
        else "not stored: CANCELLED (outer), a scope around the runner was cancelled"
    )


# Ctrl-C as the terminal sends it ----------------------------------------------------------------------

HOST_C_HANGS = """
flaky_server.Host.troubles = lambda host, _: ["late"] if host._name == "host-c" else []
pipeline.serving = partial(pipeline.serving, late=3600)
httpx.AsyncClient = partial(httpx.AsyncClient, timeout=None)
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c(loop: str, tmp_path: Path) -> None:
    """What has begun ends within its grace; nothing begins after that; the status is 130."""
    with Process(loop, tmp_path, "--pages", 600, "--grace", 60) as process:
        process.read("  host-a/0: COMPLETED")
        process.press()
        begun = int(process.read(r"Ctrl-C: (\d+) pages that have begun")[1])
        ended = process.end(600)
    assert ended.status == 130
    before, _, after = ended.said.partition("Ctrl-C: ")
    ends = re.compile(r"^  host-\w/\d+: (?:COMPLETED|FAILED)", re.MULTILINE)
    assert begun > 0
    assert len(ends.findall(after)) == begun
    assert len(ended.stored) <= len(ends.findall(before)) + begun < 600
    assert "(closed)" in ended.said
    assert "(outer)" not in ended.said


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_before_anything(loop: str, tmp_path: Path) -> None:
    """Pressed while the hosts are being started, or at any moment after that."""
    ready = (
        "serving = pipeline.serving\npipeline.serving = lambda *args: print('ready') or serving(*args)\n"
    )
    with Process(loop, tmp_path, "--pages", 600, "--grace", 60, prelude=ready) as process:
        process.read("ready")
        process.press()
        ended = process.end(600)
    assert ended.status == 130
    assert len(ended.stored) < 600


@pytest.mark.parametrize("loop", LOOPS)
def test_a_second_ctrl_c(loop: str, tmp_path: Path) -> None:
    """It ends the program at once, however long the grace; every page is accounted for."""
    with Process(loop, tmp_path, "--pages", 30, "--grace", 3600, prelude=HOST_C_HANGS) as process:
        process.read(r"  host-[ab]/\d+: COMPLETED", times=20)
        process.press()
        process.read("Ctrl-C: 2 pages that have begun may end; again, and they are stopped, too")
        process.press()
        ended = process.end(30)
    assert ended.status == 130
    assert ended.stored == {page for page in names(30) if not page.startswith("host-c")}
    assert origins(ended.report) == {"cancel": 2, "closed": 8}
    assert ended.report["host-c/2"] == "not stored: CANCELLED (cancel), Ctrl-C came again"


@pytest.mark.parametrize(
    ("example", "first", "behind"),
    [
        ("pipeline", "def make_runner(", "async def listen("),
        ("pipeline", "async def carry(", "def is_passing("),
        ("page_store", "def store(", "def read_stored("),
    ],
)
def test_the_page(example: str, first: str, behind: str) -> None:
    """It shows the heart of the program as it is in the files."""
    source = path_of(example).read_text(encoding="utf-8")
    assert source[source.index(first) : source.index(behind)].strip() in PAGE.read_text("utf-8")
