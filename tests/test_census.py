"""The main job: the census of the standard library, on a small tree and on the real one."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from creche import ConcurrentTaskRunner, SequentialTaskRunner
from examples import load

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "stdlib_census.py"

TREE: dict[str, str | bytes] = {
    "alpha.py": "import beta, os.path\nfrom pkg.deep import x\nclass A:\n    def m(self): ...\n",
    "beta.py": "from alpha import A\nasync def f():\n    def inner(): ...\n",
    "pkg/__init__.py": "",
    "pkg/deep.py": "from . import sibling\nimport alpha as a\nlambda: 0\n",
    "pkg/odd.py": b"# -*- coding: latin-1 -*-\nname = '\xe9'\ndef caf\xe9(): ...\n",
    "pkg/wrong.py": b"name = '\xff'\n",
    "broken.py": "print 'python 2'\n",
    "escapes.py": "x = '\\d'\n",
    "site-packages/skipped.py": "def no(): ...\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path


def count_keyword(source: bytes, keyword: str) -> int:
    """How often a keyword stands in a source, counted by tokens: an independent count."""
    tokens = tokenize.tokenize(io.BytesIO(source).readline)
    return sum(token.type == tokenize.NAME and token.string == keyword for token in tokens)


@pytest.mark.slow
def test_equal_results_in_other_places(tree: Path) -> None:
    """In threads, worker processes and on a cluster, too; by the command, as people start them."""
    results = {}
    for runner in ("concurrent", "thread", "process", "dask"):
        command = [sys.executable, "-m", "creche", "run", str(EXAMPLE), "--allow-failed-calls"]
        done = subprocess.run(
            [*command, "--quiet", "--param", f"root={tree}", "--runner", runner],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        results[runner] = done.stdout
    assert results["concurrent"].startswith("6 files parsed\n")
    assert set(results.values()) == {results["concurrent"]}


def test_equal_results_everywhere(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under each runner and loop the same table, which agrees with a count by tokens."""
    census = load("stdlib_census").census
    results = []
    for runner in (ConcurrentTaskRunner(), SequentialTaskRunner(), ConcurrentTaskRunner(2)):
        for backend in ("trio", "asyncio"):
            chosen = census.with_options(task_runner=runner, backend=backend)
            results.append(chosen(root=tree))
            assert capsys.readouterr().out == "\n".join(results[-1]) + "\n"
    assert all(result == results[0] for result in results)
    good = ["alpha.py", "beta.py", "pkg/__init__.py", "pkg/deep.py", "pkg/odd.py", "escapes.py"]
    sources = [(tree / name).read_bytes() for name in good]
    assert results[0][:4] == [
        "6 files parsed",
        f"{sum(source.count(10) for source in sources)} lines",
        f"{sum(count_keyword(source, 'def') for source in sources)} functions",
        f"{sum(count_keyword(source, 'class') for source in sources)} classes",
    ]
    text = "\n".join(results[0])
    assert re.search(r"most imported \(files\)\n  alpha +2\n  beta +1\n  pkg +1\n", text)
    assert "2 files could not be parsed" in text
    assert "  broken.py: SyntaxError: Missing parentheses" in text
    assert "  pkg/wrong.py: SyntaxError: (unicode error)" in text


def test_as_a_command(tree: Path) -> None:
    """The broken files fail alone, and are in the summary too."""
    command = [sys.executable, "-m", "creche", "run", str(EXAMPLE), "--param", f"root={tree}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "8 COMPLETED, 2 FAILED" in ended.stderr
    assert "6 files parsed" in ended.stdout
    allowed = subprocess.run(
        [*command, "--allow-failed-calls"], capture_output=True, text=True, check=False
    )
    assert (allowed.returncode, allowed.stdout) == (0, ended.stdout)


@pytest.mark.slow
def test_the_whole_standard_library() -> None:
    """Real input: every machine with Python has it."""
    command = [sys.executable, "-m", "creche", "run", str(EXAMPLE), "--allow-failed-calls"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    parsed = re.match(r"(\d+) files parsed\n(\d+) lines\n", ended.stdout)
    assert parsed is not None
    assert int(parsed[1]) > 500
    assert "files could not be parsed" in ended.stdout
    assert "Warning" not in ended.stderr
