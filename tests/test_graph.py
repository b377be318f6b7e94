"""``creche graph``: what is drawn of flows and of event files, in each format, and bad input."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from creche import ConcurrentTaskRunner, flow, task
from creche.afterwards import _graph
from creche.afterwards._drawing import dot, mermaid
from creche.afterwards._graph import Group, Node, fold, from_history
from creche.afterwards._svg import svg
from creche.cli._app import main
from creche.instruments import EventLog, read_history
from recording import fan_out, mapped, nested, record

EVIL = '"]--> <b>&`#;%%{init}\n\\ end \x1b[31m é'

PROGRAM = """
from creche import flow, task
@task
def load(n): raise SystemExit("ran")
@task
def parse(text): raise SystemExit("ran")
@task
async def store(all): raise SystemExit("ran")
@flow
def part(value):
    return parse(value)
@flow
def census(n: int = 3):
    print("in the body")
    total = store.submit(parse.map(load.map(range(n))))
    for line in part(total.result()):
        store.submit(line)
@flow
async def decides():
    value = await store(1)
    if value > 3:
        load(1)
@flow
def raises():
    raise KeyError("mine")
@flow
def interrupts():
    raise KeyboardInterrupt
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A file with flows, none of whose tasks may run."""
    path = tmp_path / "drawn.py"
    path.write_text(PROGRAM)
    return path


def parsed(text: str) -> ET.Element:
    """The document that a picture is."""
    return ET.fromstring(text)  # noqa: S314 - our own


def read_mermaid(text: str) -> tuple[dict[str, str], list[tuple[str, str]], list[str]]:
    """The labels of the nodes and boxes, the edges, and the boxes that stand around nodes."""
    labels: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    boxes: list[str] = []
    depth = 0
    lines = text.splitlines()
    assert lines[0] == "flowchart TD"
    for line in map(str.strip, lines[1:]):
        if found := re.fullmatch(r'(subgraph )?(\w+)\["([^"<>`]*)"\]', line):
            label = re.sub(r"#(\d+);", lambda one: chr(int(one[1])), found[3])
            assert re.fullmatch(r"([^#;&]|#\d+;)*", found[3])
            labels[found[2]] = label
            if found[1]:
                boxes.append(label)
                depth += 1
        elif found := re.fullmatch(r"(\w+) (-->|-\.->) (\w+)", line):
            edges.append((labels[found[1]], labels[found[3]]))
        elif line == "end":
            depth -= 1
        else:
            assert re.fullmatch(r"class [\w,]+ \w+|classDef \w+ [\w:#,\-]+", line), line
    assert depth == 0
    return labels, edges, boxes


def drawn(capsys: pytest.CaptureFixture[str], *tokens: object) -> str:
    """What the command prints."""
    assert main(["graph", *map(str, tokens)]) == 0
    return capsys.readouterr().out


def test_a_flow(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each task with what it comes after, alike ones as one; a subflow is a box."""
    labels, edges, boxes = read_mermaid(drawn(capsys, f"{program}:census"))
    assert boxes == ["census", "part"]
    assert edges == [
        ("load \N{MULTIPLICATION SIGN}3", "parse \N{MULTIPLICATION SIGN}3"),
        ("parse \N{MULTIPLICATION SIGN}3", "store[0]"),
        ("store[0]", "part/parse[0]"),
        ("part/parse[0]", "store for each"),
    ]
    assert len(labels) == 7


def test_each_call(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On request; with parameters as in ``creche run``."""
    text = drawn(capsys, f"{program}:census", "--each", "--param", "n=2")
    _, edges, _ = read_mermaid(text)
    assert ("load[1]", "parse[1]") in edges
    assert ("parse[1]", "store[0]") in edges


def test_the_body_prints_beside_it(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is drawn can be piped on."""
    assert main(["graph", f"{program}:census"]) == 0
    said = capsys.readouterr()
    assert "in the body" in said.err
    assert "in the body" not in said.out


def test_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What did run: dependencies, parents, states, and the critical path."""
    record(tmp_path / "log", fan_out)
    text = drawn(capsys, tmp_path / "log")
    _, edges, _ = read_mermaid(text)
    assert edges == [("split", "part 0"), ("part 0", "collect")] or len(edges) == 40
    assert "classDef completed" in text
    assert re.search(r"class n0,[\w,]+ critical", text)
    record(tmp_path / "log", nested)
    text = drawn(capsys, tmp_path / "log", "--each")
    assert text.count("-.->") == 24


def test_tasks_of_tasks(tmp_path: Path) -> None:
    """They are alike under whichever task they are; each is named by all that it is in."""

    @task
    def load() -> None: ...

    @task
    def work() -> None:
        for slot in (load.submit(), load.submit()):
            slot.result()

    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:

        @flow(task_runner=ConcurrentTaskRunner(instruments=[log]))
        def main() -> None:
            for slot in (work.submit(), work.submit()):
                slot.result()

        main()
    nodes, _ = from_history(read_history(path))
    assert sorted(node.text for node in fold(nodes)) == [
        "work \N{MULTIPLICATION SIGN}2",
        "work/load \N{MULTIPLICATION SIGN}4",
    ]


def test_map_is_nobodys_child(tmp_path: Path) -> None:
    """The call where there was room for the next item has not submitted it."""
    history = record(tmp_path / "log", mapped, max_workers=2)
    for call in history.calls:
        call.submitted += 1e-6
    nodes, groups = from_history(history)
    assert not any(node.parents for node in nodes)
    assert groups == []


def test_runs_are_boxes(tmp_path: Path) -> None:
    """If there are several; and of many calls the critical path is left out."""
    history = record(tmp_path / "log", fan_out)
    other = record(tmp_path / "other", nested)
    history.runs += other.runs
    history.calls += other.calls
    nodes, groups = from_history(history)
    assert [group.label.partition(":")[2] for group in groups] == [" concurrent", " concurrent"]
    assert {node.group for node in nodes} == set(groups)
    assert any(node.is_critical for node in nodes)


def test_many_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many, the critical path is not looked for."""
    monkeypatch.setattr(_graph, "_MOST_FOR_PATH", 3)
    nodes, _ = from_history(record(tmp_path / "log", fan_out))
    assert not any(node.is_critical for node in nodes)


def test_failures_have_their_colour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what was cancelled because of one has another."""

    async def body(runner: ConcurrentTaskRunner) -> None:
        async def fail() -> None:
            raise ValueError

        slot = runner.submit_nowait("fails", fail)
        runner.submit_nowait("never", anyio.sleep, 1, after=[slot])
        await runner.wait(slot)

    record(tmp_path / "log", body)
    text = drawn(capsys, tmp_path / "log")
    assert "class n0 failed" in text
    assert "class n1 cancelled" in text
    assert 'tooltip="failed"' in drawn(capsys, tmp_path / "log", "--format", "dot")
    assert "<title>fails failed</title>" in drawn(capsys, tmp_path / "log", "--format", "svg")


def nodes_of(count: int) -> tuple[list[Node], list[Group]]:
    """Nodes in boxes, with texts that want to end where they stand."""
    outer = Group(f"outer {EVIL}")
    inner = Group(f"inner {EVIL}", outer)
    empty = Group("empty", inner)
    nodes = [Node(f"{n} {EVIL}", "name", (None, outer, inner)[n % 3]) for n in range(count)]
    for n, node in enumerate(nodes[1:], 1):
        node.after = [nodes[n // 2]]
        node.parents = [nodes[n - 1]] if n % 4 == 0 else []
    nodes[1].state, nodes[2].is_critical = "failed", True
    return nodes, [outer, inner, empty]


def test_text_of_users_in_mermaid() -> None:
    """Is text, whatever is in it."""
    labels, _, _ = read_mermaid("\n".join(mermaid(*nodes_of(7))))
    assert labels["n0"] == '0 "]--> <b>&`#;%%{init}\\n\\ end \\x1b[31m é'


def test_text_of_users_in_dot(tmp_path: Path) -> None:
    """Quotes and backslashes are escaped, and nothing else means anything inside of quotes."""
    text = "\n".join(dot(*nodes_of(7)))
    bare = re.sub(r'"(?:[^"\\\n]|\\.)*"', "TEXT", text)
    assert '"' not in bare
    assert bare.count("{") == bare.count("}") == 4
    assert "<b>" not in bare
    if program := shutil.which("dot"):  # pragma: no cover - where Graphviz is installed
        (tmp_path / "graph.dot").write_text(text)
        subprocess.run([program, "-Tsvg", tmp_path / "graph.dot"], check=True, capture_output=True)


def test_text_of_users_in_svg() -> None:
    """It is one document, with the texts in it as they are."""
    root = parsed("\n".join(svg(*nodes_of(7))))
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert '0 "]--> <b>&`#;%%{init}\\n\\ end \\x1b[31m é' in texts
    assert not list(root.iter("{http://www.w3.org/2000/svg}b"))


def test_an_empty_text_and_a_reference() -> None:
    """Mermaid refuses empty quotes, and Graphviz reads references as HTML does."""
    labels, _, _ = read_mermaid("\n".join(mermaid([Node("", "x", None)], [])))
    assert labels == {"n0": "\u200b"}
    assert any('"&amp;amp;"' in line for line in dot([Node("&amp;", "x", None)], []))


def test_a_long_text() -> None:
    """Is cut."""
    (line,) = [line for line in mermaid([Node("x" * 500, "x", None)], []) if "xxx" in line]
    assert len(line) < 120
    assert "#8230;" in line


def test_the_picture() -> None:
    """Nodes are inside of it and do not overlap; what comes after is below."""
    nodes, groups = nodes_of(40)
    for node in nodes:
        node.group = None
    root = parsed("\n".join(svg(nodes, [])))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    found = [
        [float(one[0].attrib[name]) for name in ("x", "y", "width", "height")]
        for one in root.iter("{http://www.w3.org/2000/svg}g")
    ]
    for number, (x, y, wide, high) in enumerate(found):
        assert x >= 0
        assert y >= 0
        assert x + wide <= width
        assert y + high <= height
        for other_x, other_y, other_wide, _ in found[:number]:
            assert y != other_y or x >= other_x + other_wide or other_x >= x + wide
    for node, (_, y, _, _) in zip(nodes, found, strict=True):
        assert all(found[nodes.index(one)][1] < y for one in (*node.after, *node.parents))
    assert groups


def test_boxes_that_need_each_other() -> None:
    """A box may come before and after another one; they are drawn somewhere all the same."""
    left, right = Group("left"), Group("right")
    nodes = [Node(str(n), str(n), (left, right)[n % 2]) for n in range(4)]
    for before, node in pairwise(nodes):
        node.after = [before]
    root = parsed("\n".join(svg(nodes, [left, right])))
    assert len(list(root.iter("{http://www.w3.org/2000/svg}g"))) == 4


def test_folding_keeps_apart_what_differs() -> None:
    """What comes after others, or has others after it, is another; and so on from there."""
    one, two, three = (Node(f"a[{n}]", "a", None) for n in range(3))
    after = [Node("b[0]", "b", None, after=[one]), Node("b[1]", "b", None, after=[two])]
    last = Node("c", "c", None, after=[after[0]])
    folded = fold([one, two, three, *after, last])
    assert [node.text for node in folded] == ["a[0]", "a[1]", "a[2]", "b[0]", "b[1]", "c"]
    other = Node("c", "d", None, after=[one])
    first, second, *_ = fold([one, two, *after, other])
    assert (first.text, second.text) == ("a[0]", "a[1]")
    assert [node.text for node in fold([one, two, *after])] == [
        "a \N{MULTIPLICATION SIGN}2",
        "b \N{MULTIPLICATION SIGN}2",
    ]
    assert fold([]) == []


def test_folding_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some rounds what is left is one; all dependencies are drawn still."""
    monkeypatch.setattr(_graph, "_MOST_ROUNDS", 0)
    one, two = (Node(f"a[{n}]", "a", None) for n in range(2))
    after = [Node("b[0]", "b", None, after=[one]), Node("b[1]", "b", None, after=[two])]
    folded = fold([one, two, *after, Node("c", "c", None, after=[one])])
    assert [node.text for node in folded] == ["a[0]", "a[1]", "b \N{MULTIPLICATION SIGN}2", "c"]
    assert [node.text for node in folded[2].after] == ["a[0]", "a[1]"]


BAD = [
    (["{folder}/nosuch.py"], "no such file"),
    (["{folder}/rubbish.jsonl"], "rubbish.jsonl, line 1: no JSON"),
    (["{folder}/drawn.py"], "several flows in"),
    (["{folder}/drawn.py:nosuch"], "no flow 'nosuch'"),
    (["{folder}/drawn.py:census", "--param", "n=x"], "parameter 'n' of the flow"),
    (["{folder}/drawn.py:census", "--format", "png"], "--format"),
    (["{folder}/log:census"], "is an event file: there is no flow 'census' in it"),
    (["{folder}/log", "--param", "n=3"], "is an event file: --param goes with a flow"),
    (["{folder}"], "not a Python file"),
    (
        ["{folder}/drawn.py:decides"],
        "line 21 (if value > 3:), a decision is made because of the value of store[0]",
    ),
]


@pytest.mark.parametrize(("tokens", "says"), BAD)
def test_bad_input(
    tokens: list[str], says: str, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence that says what is wrong, and exit status 2."""
    folder = program.parent
    (folder / "rubbish.jsonl").write_text("rubbish\n")
    record(folder / "log", fan_out)
    assert main(["graph", *(token.format(folder=folder) for token in tokens)]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_body_that_shows_what_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Python meets a placeholder that it can do nothing with: drawn up to there, which is said."""
    (tmp_path / "shows.py").write_text(
        "from creche import flow, task\n\n@task\ndef load():\n    return ['a']\n\n"
        "@flow\ndef shows():\n    print('\\n'.join(load()))\n"
    )
    assert main(["graph", str(tmp_path / "shows.py")]) == 0
    said = capsys.readouterr()
    assert "load[0]" in said.out
    assert "line 9 (print(" in said.err
    assert "as far as" in said.err


def test_a_body_that_raises(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its traceback, and that it was a dry run."""
    assert main(["graph", f"{program}:raises"]) == 2
    said = capsys.readouterr().err
    assert 'raise KeyError("mine")' in said
    assert "in a dry run" in said
    assert main(["graph", f"{program}:interrupts"]) == 130


def test_a_file_that_raises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in ``creche run``."""
    (tmp_path / "raises.py").write_text("1 / 0\n")
    assert main(["graph", str(tmp_path / "raises.py")]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err
    (tmp_path / "stops.py").write_text("raise KeyboardInterrupt\n")
    assert main(["graph", str(tmp_path / "stops.py")]) == 130
