"""Bad input to the command: one sentence on standard error, no traceback, exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from creche.cli import _run
from creche.cli._app import main

FILES = {
    "one.py": "from creche import flow\n@flow\ndef one(n: int, *rest, m: float = 1.5, **more): ...\n",
    "two.py": "from creche import flow\n@flow\ndef a(): ...\n@flow\ndef b(): ...\n",
    "imports.py": "from two import a\nfrom creche import flow\n@flow\ndef own(): ...\n",
    "only_imports.py": "from one import one\n",
    "none.py": "x = 1\n",
    "broken.py": "import no_such_module_anywhere\n",
    "syntax.py": "def (\n",
    "exits.py": "raise SystemExit('gone')\n",
    "interrupts.py": "raise KeyboardInterrupt\n",
    "json.py": "from creche import flow\n@flow\ndef f(): print('own json')\n",
    "a:b.py": "from creche import flow\n@flow\ndef f(): print('colon')\n",
    "text.txt": "hello\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    import sys  # noqa: PLC0415 - what the command changes is put back

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    return tmp_path


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (["no_such.py"], "no such file: no_such.py"),
        (["no_such.py:flow"], "no such file: no_such.py"),
        (["text.txt"], "not a Python file: text.txt"),
        (["."], "not a Python file"),
        (["none.py"], "no flow in none.py"),
        (["two.py"], "several flows in two.py: a, b; say which, as in two.py:a"),
        (["two.py:c"], "no flow 'c' in two.py; it has a, b"),
        (["one.py"], "parameter 'n' of the flow is missing; add --param n=VALUE"),
        (["one.py", "--param", "n"], "must have the form NAME=VALUE"),
        (["one.py", "--param", "=1"], "must have the form NAME=VALUE"),
        (["one.py", "--param", "z=1"], "no parameter 'z'; it has n, m"),
        (["two.py:a", "--param", "z=1"], "no parameter 'z'; it has none"),
        (["one.py", "--param", "n=x"], 'unable to convert "x" into int'),
        (["one.py", "--param", "n=1", "--param", "m=x"], 'unable to convert "x" into float'),
        (["two.py:a", "--runner", "x"], "--runner"),
        (["two.py:a", "--backend", "x"], "--backend"),
        (["two.py:a", "--max-workers", "0"], "--max-workers must be at least 1, not 0"),
        (["two.py:a", "--max-workers", "x"], "unable to convert"),
        (["two.py:a", "--max-workers", "1", "--runner", "sequential"], "does not go with"),
        (["two.py:a", "--bogus"], "--bogus"),
        ([], "requires an argument"),
    ],
)
def test_one_sentence(tokens: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names what is wrong, and the cure."""
    assert main(["run", *tokens]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.startswith("creche: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    assert said.out == ""


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The parser's own errors look the same."""
    assert main(["walk"]) == 2
    assert 'Unknown command "walk"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("broken.py", "No module named 'no_such_module_anywhere'"),
        ("syntax.py", "SyntaxError"),
        ("exits.py", "SystemExit: gone"),
    ],
)
def test_a_file_whose_import_fails(file: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The user's own traceback is shown, ours is not."""
    assert main(["run", file]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert file in said
    assert "importlib" not in said
    assert "_loading" not in said


def test_ctrl_c_while_importing() -> None:
    """Exit status 130, as anywhere else."""
    assert main(["run", "interrupts.py"]) == 130


def test_ctrl_c_anywhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between two steps of the command."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_run, "bind_parameters", interrupt)
    assert main(["run", "two.py:a"]) == 130


def test_which_flow_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    """A file's own flow goes before imported ones; names that clash or have a colon are no trouble."""
    assert main(["run", "imports.py"]) == 0
    assert "flow own:" in capsys.readouterr().err
    assert main(["run", "only_imports.py", "--param", "n=1"]) == 0
    assert main(["run", "json.py"]) == 0
    assert main(["run", "a:b.py"]) == 0
    assert capsys.readouterr().out == "own json\ncolon\n"
