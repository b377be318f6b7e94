"""Whole programs, cancelled everywhere: those of the docs.

What it does not know: what must hold whatever hits them where; that is in `everywhere`. Here is what
each of them promises beside it.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.lowlevel
import trio

from creche import ConcurrentTaskRunner, SequentialTaskRunner
from everywhere import Scene, Trial, TroubleError, narrow, nothing, plain
from examples import load
from workflows import load_example

# The flow engine ------------------------------------------------------------------------------------


async def flow_engine(scene: Scene) -> None:
    """Each task is reported once, whatever happens; one is tried again, one fails."""
    example = load("flow_engine")
    flow = example.Flow(scene.note(ConcurrentTaskRunner(2, **scene.options())))
    tries: list[int] = []

    async def first() -> int:
        await trio.sleep(1)
        return 1

    async def flaky(first: int) -> int:
        tries.append(first)
        await trio.sleep(0.5)
        if len(tries) == 1:
            raise TroubleError("not yet")
        return 2

    async def bad(first: int) -> int:
        await scene.fail()
        return first

    def both(flaky: int, given: int) -> int:
        return flaky + given

    async def below(bad: int, both: int) -> None:
        raise AssertionError

    for fn in (first, bad, both, below):
        flow.task(fn)
    flow.task(flaky, tries=3)
    said = StringIO()
    try:
        with redirect_stdout(said):
            await flow.run(given=5)
    finally:
        scene.got.append((flow, said.getvalue()))


def all_reported(scene: Scene) -> None:
    """Each task that there is a slot for, once; and the sum at the end counts them."""
    for flow, said in scene.got:
        *lines, last = said.splitlines()
        names = [line.split()[0] for line in lines if not line.startswith("(")]
        there = [key for key in flow.runner.slots if isinstance(key, str)]
        assert sorted(names) == sorted(there), said
        assert sum(int(part.split()[0]) for part in last.split(", ") if part) == len(there), said


# The library that is handed a runner ----------------------------------------------------------------


async def agnostic_library(scene: Scene) -> None:
    """Its two functions, with a connection that takes its time."""
    example = load("agnostic")

    async def ask(address: Any, question: str) -> str:
        await anyio.sleep(address)
        if question == "no":
            raise LookupError(question)
        return f"{address}"

    example.ask = ask
    await example.fetch_all(scene.runner, 1, ["a", "b", "a", "no"])
    await example.first_to_answer(scene.runner, [5, 3, 1, 1, 1], "who", patience=0.5)


def nothing_left_on_the_board(scene: Scene) -> None:
    """But answers."""
    for key, slot in scene.runner.slots.items():
        if slot.done and key not in [one.key for one in scene.theirs]:
            assert key[0] == "agnostic", slot


# The pipeline ---------------------------------------------------------------------------------------

pipeline = load_example("pipeline")
PAGES = ["host-a/0", "host-b/1", "host-c/2", "host-a/3"]


class Response:
    """What a host answers."""

    def __init__(self, page: str) -> None:
        self.headers = {"Content-Type": "application/json"}
        self.text = f'{{"title": "Page {page}", "links": ["/1", "/2"]}}'

    def raise_for_status(self) -> Response:
        return self


class Client:
    """Instead of httpx's: no sockets, and virtual time."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await anyio.lowlevel.cancel_shielded_checkpoint()

    async def get(self, url: str) -> Response:
        await anyio.sleep(0.3)
        return Response(url.rpartition("/")[2])


async def a_pipeline(scene: Scene) -> None:
    """Fetch, parse, store: its whole `carry`, its runner, limits and all; real files and threads."""
    folder = tempfile.TemporaryDirectory(prefix="creche-everywhere-")
    file = str(Path(folder.name, "pages.sqlite"))
    try:
        assert pipeline.read_stored(file) == set()
        runner = pipeline.make_runner(0)
        scene.note(runner)
        with redirect_stdout(StringIO()):
            async with Client() as client, runner.start():
                for page in PAGES:
                    host, _, path = page.partition("/")
                    slot = await runner.submit(
                        page, pipeline.carry, client, f"http://{host}/{path}", page, file, limits=[host]
                    )
                    slot.add_done_callback(pipeline.tell)
    finally:
        stored = pipeline.read_stored(file)
        with closing(sqlite3.connect(file)) as db:
            links = db.execute("SELECT count(*) FROM links").fetchone()[0]
        scene.got.append((runner, stored, links))
        folder.cleanup()


def the_report_is_true(scene: Scene) -> None:
    """What has COMPLETED is stored, with all its links; no page is there by half."""
    for runner, stored, links in scene.got:
        completed = {slot.key for slot in runner.slots.values() if slot.state.name == "COMPLETED"}
        assert completed <= stored, (completed, stored)
        assert links == 2 * len(stored)


# The census -----------------------------------------------------------------------------------------


FILES = {"a": "import b\n", "b": "x = 1\n", "c": "def (", "d": "import a\n"}


@contextmanager
def folder_of(files: dict[str, str]) -> Iterator[Path]:
    """A folder with sources, for a block."""
    with tempfile.TemporaryDirectory(prefix="creche-everywhere-") as folder:
        for name, text in files.items():
            Path(folder, f"{name}.py").write_text(text, encoding="utf-8")
        yield Path(folder)


def census_on(runner: Callable[[], Any]) -> Callable[[Scene], Any]:
    """The census of a folder with three files, one of which is broken."""

    async def census(scene: Scene) -> None:
        flow = load("stdlib_census").census.with_options(
            task_runner=runner(), backend="asyncio" if scene.backend == "trio" else "trio"
        )
        with folder_of(FILES) as folder, redirect_stdout(StringIO()):
            lines = await flow.run_async(folder, 3)
        assert lines[0] == "3 files parsed"

    census.__name__ = f"census_{runner.__name__}"
    return census


# Workflows ------------------------------------------------------------------------------------------


replaying, graphs, shapes = (load_example(name) for name in ("wf_replay", "wf_graph", "wf_shapes"))


async def replays_a_workflow(_: Scene) -> None:
    """A synthetic one, of a few tasks, which run after each other. The kit looks at its slots."""
    workflow = graphs.read_workflow(shapes.make_document("montage", 8, 1), "made")
    progress = replaying.Progress("made", len(workflow.tasks), quiet=True)
    await replaying.replay(workflow, 2, replaying.Pace(replaying.TICK, virtual=True), progress)


TRIALS = [
    Trial(flow_engine, ("flow_engine",), nothing, then=all_reported, backends=("trio",)),
    Trial(agnostic_library, ("agnostic",), plain, then=nothing_left_on_the_board),
    Trial(agnostic_library, ("agnostic",), narrow, then=nothing_left_on_the_board),
    Trial(a_pipeline, ("pipeline",), nothing, then=the_report_is_true),
    Trial(census_on(ConcurrentTaskRunner), ("census",), nothing),
    Trial(census_on(SequentialTaskRunner), ("census",), nothing),
    Trial(replays_a_workflow, ("wf_replay",), nothing),
]
