"""The program that replays workflows: what it prints and refuses, and that it sees what is broken."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pexpect
import pytest

from creche import ConcurrentTaskRunner
from workflows import EXAMPLES, ROOT, Graph, each_instance, load_example, make_graph, read_instance

pytestmark = pytest.mark.slow

PROGRAM = EXAMPLES / "wf_replay.py"
PAGE = ROOT / "docs" / "how-to" / "replay-a-workflow.md"

wf_replay = load_example("wf_replay")
make_document = load_example("wf_shapes").make_document


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    command = [sys.executable, "-W", "error", str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check_rows(printed: str, graph: Graph, *, timed: bool = True) -> None:
    """What stands in the table is what the data say, reckoned in another way."""
    rows = [line.split() for line in printed.splitlines()[4:]]
    assert [int(row[0]) for row in rows] == [1, 16, 4096]
    for workers, tasks, most, makespan, lower, upper in rows:
        assert int(tasks) == len(graph.runtimes)
        assert 1 <= int(most) <= int(workers)
        least, longest = graph.bounds(int(workers))
        assert float(lower) == pytest.approx(least / 10**6, abs=1e-3)
        assert float(upper) == pytest.approx(longest / 10**6, abs=1e-3)
        assert timed == (makespan != "-")
        if timed:
            assert float(lower) <= float(makespan) <= float(upper)
    if timed:
        assert len(set(rows[0][3:])) == 1
        assert float(rows[0][3]) == graph.total / 10**6


@pytest.mark.parametrize("backend", ["trio", "asyncio", "uvloop"])
def test_as_a_command(backend: str) -> None:
    """On each loop; uvloop has no virtual time, and its tasks take none."""
    ended = run("--shape", "rnaseq", "--tasks", 200, "--seed", 7, "--backend", backend)
    assert ended.returncode == 0, ended.stderr
    check_rows(ended.stdout, make_graph("rnaseq", 200, 7), timed=backend != "uvloop")
    number = r"\d+\.\d s\n"
    lines = (
        f"{crew}: 200 of 200 tasks ended, {number}"
        for crew in ("1 worker", "16 workers", "4096 workers")
    )
    assert re.fullmatch("".join(lines), ended.stderr)


@each_instance
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_published_workflows(path: Path, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers as by another way, to the last digit."""
    assert wf_replay.main([str(path), "--backend", backend, "--quiet"]) == 0
    printed = capsys.readouterr()
    check_rows(printed.out, read_instance(path))
    assert printed.err == ""


def test_the_table_of_the_page() -> None:
    """It is what the command above it prints."""
    page = PAGE.read_text(encoding="utf-8")
    command = re.findall(r"^    python docs/examples/wf_replay.py (--shape .*)$", page, re.MULTILINE)
    table = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert (len(command), len(table)) == (1, 1)
    assert run(*command[0].split()).stdout == table[0]


def test_progress_on_a_terminal() -> None:
    """A bar, which is gone in the end."""
    command = [str(PROGRAM), "--shape", "random", "--tasks", "400", "--workers", "3"]
    environment = os.environ | {"TERM": "xterm"}  # a dumb one, which a test may run on, shows no bar
    child = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=30, env=environment)
    child.expect(r"3 workers .*\d%")
    child.expect(r"3 workers: 400 of 400 tasks ended")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_progress_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elsewhere, lines."""
    monkeypatch.setattr(wf_replay, "CALM", 0.0)
    assert wf_replay.main(["--shape", "chain", "--tasks", "3", "--workers", "2"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "2 workers: 1 of 3 tasks have ended",
        "2 workers: 2 of 3 tasks have ended",
        "2 workers: 3 of 3 tasks have ended",
        "2 workers: 3 of 3 tasks ended",
    ]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_in_real_time(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Never sooner than the tasks take, and the bounds are not checked: everything takes a little."""
    options = ["--shape", "chain", "--tasks", "4", "--scale", "0.0001", "--backend", backend]
    assert wf_replay.main(options) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[4:]]
    assert len(rows) == 3
    # A timer of asyncio may come a nanosecond early.
    assert all(float(row[3]) > float(row[4]) - 0.001 for row in rows)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_interrupted(backend: str) -> None:
    """Ctrl-C ends it at once, with a word."""
    command = [sys.executable, str(PROGRAM), "--shape", "chain", "--scale", "1000", "--backend", backend]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            if line.startswith(" workers"):
                break
        child.send_signal(signal.SIGINT)
        said = child.stderr.read()
        assert child.wait() == 130
    assert said.endswith("wf_replay: interrupted\n")
    assert "Traceback" not in said


# What is broken ----------------------------------------------------------------------------------------


class Unruly:
    """A runner that keeps to what it was told, but for one thing."""

    def __init__(self, fault: str, max_workers: int, **options: Any) -> None:
        self.fault = fault
        self.real = ConcurrentTaskRunner(max_workers + (fault == "limit"), **options)
        self.start = self.real.start
        self.slots = self.real.slots

    def submit_nowait(self, key: str, call: Callable[[Any], Any], task: Any, after: Any) -> None:
        async def late(task: Any) -> None:
            await anyio.sleep(1)
            await call(task)

        async def stuck(task: Any) -> None:
            await anyio.sleep_forever()

        async def failing(task: Any) -> None:
            raise OSError(task.key)

        fn = {"late": late, "stuck": stuck, "failing": failing}.get(self.fault, call)
        if self.fault == "forgotten" and key == "diamond_00009":
            return
        self.real.submit_nowait(key, fn, task, after=() if self.fault == "after" else after)
        if self.fault == "twice":
            self.real.submit_nowait((key, "again"), call, task, after=[key])
        self.slots = self.real.slots


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("after", "task 'diamond_00003' started before its parent 'diamond_00000' had ended"),
        ("limit", "2 tasks ran at once, and no more than 1 may"),
        ("limit", r"the makespan is \d+\.\d+ s; it must lie between (\d+\.\d+) s and \1 s"),
        ("twice", "task 'diamond_00000' was run 2 times"),
        ("forgotten", "task 'diamond_00009' was never run"),
        ("late", r"the makespan is \d+\.\d+ s; it must lie between (\d+\.\d+) s and \1 s"),
        ("stuck", "the run came to a halt before its end"),
        ("stuck", "call 'diamond_00000' is CANCELLED, not COMPLETED"),
        ("failing", "call 'diamond_00000' is FAILED, not COMPLETED"),
    ],
)
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_what_is_broken_is_seen(
    fault: str,
    words: str,
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each promise: a line that names the task, and exit status 1."""
    unruly = partial(Unruly, fault)
    monkeypatch.setattr(wf_replay, "ConcurrentTaskRunner", unruly)
    monkeypatch.setattr(wf_replay, "SHOWN", 20)
    workers = "3" if fault == "after" else "1"  # alone, each comes after the one before anyhow
    options = ["--shape", "diamond", "--tasks", "10", "--workers", workers, "--backend", backend]
    assert wf_replay.main([*options, "--quiet"]) == 1
    said = capsys.readouterr().err
    assert re.search(f"^wf_replay: broken, with {workers} workers?: {words}$", said, re.MULTILINE), said


def test_not_all_is_shown_that_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few, and how many more."""
    monkeypatch.setattr(
        wf_replay,
        "ConcurrentTaskRunner",
        lambda max_workers, **options: Unruly("twice", max_workers, **options),
    )
    assert wf_replay.main(["--shape", "chain", "--tasks", "50", "--workers", "5", "--quiet"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1].endswith("and 41 more")


# What is refused ---------------------------------------------------------------------------------------


def spoil(change: Callable[[Any, Any], object]) -> str:
    """A document of three tasks in a chain, with something changed; as JSON."""
    document: Any = make_document("chain", 3, 0)
    workflow = document["workflow"]
    change(workflow["specification"]["tasks"], workflow["execution"]["tasks"])
    return json.dumps(document)


BAD_DOCUMENTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "it is not JSON: Expecting value: line 1 column 1"),
    "binary": (b"\xff\xfe\xff", "it is not JSON: "),
    "deep": ("[" * 100_000, "it is nested too deeply"),
    "list": ("[1]", "it has no 'workflow', which every WfFormat document has"),
    "other": ('{"workflow": 3}', "it has no 'workflow', which every WfFormat document has"),
    "no list": ('{"workflow": {"tasks": {}}}', "it has no list of tasks where WfFormat has one"),
    "no tasks": ('{"workflow": {"specification": {"tasks": []}}}', "it has no tasks"),
    "nameless": ('{"workflow": {"jobs": [{}]}}', "it has a task without an id and a name"),
    "unmeasured": ('{"workflow": {"jobs": [{"name": "a"}]}}', "it says of no task how long it took"),
    "twins": (
        spoil(lambda s, e: [one.update(id="x", name="y") for one in s]),
        "3 tasks have the id 'x'",
    ),
    "unknown parent": (
        spoil(lambda s, e: s[1].update(parents=["nobody"])),
        "task 'chain_00001' has an unknown parent, 'nobody'",
    ),
    "unknown child": (
        spoil(lambda s, e: s[1].update(children=["nobody"])),
        "task 'chain_00001' has an unknown child, 'nobody'",
    ),
    "odd parents": (
        spoil(lambda s, e: s[1].update(parents="chain_00000")),
        "the parents of task 'chain_00001' are not names",
    ),
    "own parent": (
        spoil(lambda s, e: s[1].update(parents=["chain_00001"])),
        "its tasks run in a circle: 'chain_00001' after 'chain_00001'",
    ),
    "circle": (
        spoil(lambda s, e: s[0].update(parents=["chain_00002"])),
        "its tasks run in a circle: 'chain_00000' after 'chain_00002' after 'chain_00001' after ",
    ),
    "negative": (
        spoil(lambda s, e: e[2].update(runtimeInSeconds=-1.5)),
        "the runtime of task 'chain_00002' must be a number of seconds, not -1.5",
    ),
    "no number": (
        spoil(lambda s, e: e[2].update(runtimeInSeconds=float("nan"))),
        "the runtime of task 'chain_00002' must be a number of seconds, not nan",
    ),
    "words": (
        spoil(lambda s, e: e[2].update(runtimeInSeconds="long")),
        "the runtime of task 'chain_00002' must be a number of seconds, not 'long'",
    ),
}


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
def test_bad_documents(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence that names what is wrong, exit status 2, and nothing was run."""
    text, words = BAD_DOCUMENTS[name]
    file = tmp_path / "bad.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert wf_replay.main([str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"wf_replay: cannot replay {file}: {words}")
    assert printed.err.count("\n") == 1


def test_bad_files_as_a_command(tmp_path: Path) -> None:
    """The same from outside: a file that is missing, one that is no workflow, and a circle."""
    circle = tmp_path / "circle.json"
    circle.write_text(spoil(lambda s, e: s[0].update(parents=["chain_00002"])), encoding="utf-8")
    for file, words in (
        (tmp_path / "missing.json", "No such file or directory"),
        (PAGE, "it is not JSON: "),
        (circle, BAD_DOCUMENTS["circle"][1]),
    ):
        ended = run(file)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(f"wf_replay: cannot replay {file}: {words}")
        assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a file, or a --shape, and not both"),
        (["a.json", "--shape", "chain"], "name a file, or a --shape, and not both"),
        (["a.json", "--tasks", "3"], "--tasks and --seed belong to a --shape"),
        (["--shape", "spiral"], "argument --shape: invalid choice: 'spiral'"),
        (["--shape", "chain", "--tasks", "0"], "argument --tasks: must be 1 or more, not 0"),
        (["--shape", "chain", "--workers", "4", "-1"], "argument --workers: must be 1 or more, not -1"),
        (
            ["--shape", "chain", "--workers", "many"],
            "argument --workers: invalid positive value: 'many'",
        ),
        (["--shape", "chain", "--scale", "-1"], "argument --scale: must be 0 or more, not -1"),
        (["--shape", "chain", "--scale", "nan"], "argument --scale: must be 0 or more, not nan"),
        (["--shape", "chain", "--backend", "curio"], "argument --backend: invalid choice: 'curio'"),
    ],
)
def test_bad_options(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are refused before anything is read."""
    with pytest.raises(SystemExit) as ended:
        wf_replay.main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
