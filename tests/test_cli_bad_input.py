"""Bad input to the command: one sentence on standard error, no traceback, exit status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import CoercionError, convert

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
    "types_only.py": """
from __future__ import annotations
from typing import TYPE_CHECKING
from creche import flow
if TYPE_CHECKING:
    from collections.abc import Mapping
@flow
def f(n: int = 3, m: Mapping[str, int] | None = None) -> Mapping[str, int]:
    print(n, m)
""",
    "callables.py": """
from __future__ import annotations
from functools import partial, wraps
from pathlib import Path as Place
from creche import flow
def f(where: Place, m: int = 1):
    print(repr(where), m)
@wraps(f)
def around(*args, **kwargs):
    f(*args, **kwargs)
class Object:
    __name__ = "thing"
    def __call__(self, where: Place):
        f(where, 4)
wrapped, bound, called = flow(around), flow(partial(around, m=3)), flow(Object())
""",
    "kinds.py": """
from creche import flow
@flow
def f(x: int, /, y: int):
    print(x, y)
@flow
def g(a: int = 1, b: int = 2, /, *rest, c: int = 3, **more):
    print(a, b, rest, c, more)
""",
    "constructors.py": """
import sys
from creche import flow
class Fails:
    def __init__(self, *text):
        raise RuntimeError(f"no {text[0]}\\n at all")
class Exits:
    def __init__(self, *text):
        sys.exit(0)
class Interrupts:
    def __init__(self, *text):
        raise KeyboardInterrupt
@flow
def f(fails: Fails = None, exits: Exits = None, interrupts: Interrupts = None): ...
""",
    "whole.py": """
import dataclasses
from typing import Annotated, Literal, Optional
from creche import flow
@dataclasses.dataclass
class Point:
    x: int
@flow
def f(n: int = 0, maybe: int | None = 0, old: Optional[int] = 0, many: list[int] = (),
      said: int | str = 0, both: int | float = 0, noted: Annotated[int | None, "a note"] = 0,
      point: Point = None, choice: Literal[1, 2] = 1, untyped=7, floating: float = 0.0):
    for (name, value), default in zip(list(locals().items()), f.fn.__defaults__):
        if value != default:
            print(name, repr(value))
""",
    "beside/difflib.py": "",
    "beside/json.py": "",
    "beside/reads.py": """
from typing import Literal
from creche import flow
@flow
def f(n: int = 0, fruit: Literal["apple"] = "apple", many: list[int] = []): ...
""",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    # What the command changes is put back.
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
        (["one.py", "--param", "n=x"], "parameter 'n' of the flow: unable to convert \"x\" into int"),
        (["one.py", "--param", "n=1", "--param", "m=x"], 'unable to convert "x" into float'),
        (["two.py:a", "--runner", "x"], "--runner"),
        (["two.py:a", "--backend", "x"], "--backend"),
        (
            ["types_only.py", "--param", "m=x"],
            "annotation of parameter 'm' of the flow cannot be evaluated",
        ),
        (
            ["constructors.py", "--param", "fails=1"],
            "parameter 'fails' of the flow: '1' does not convert",
        ),
        (["constructors.py", "--param", "fails=1"], "RuntimeError: no 1 at all"),
        (
            ["constructors.py", "--param", "exits=1"],
            "parameter 'exits' of the flow: '1' does not convert",
        ),
        ([f"{'long' * 75}.py"], "no such file: long"),
        ([f"{'long' * 75}.py:flow"], "no such file: long"),
        (["nul\0.py"], "no such file: nul"),
        (["nul\0.py:flow"], "no such file: nul"),
        (["two.py:a", "--max-workers", "0"], "at least 1, not 0; leave it out for no limit"),
        (["two.py:a", "--max-workers", "-1"], "--max-workers must be at least 1, not -1"),
        (["two.py:a", "--max-workers", "x"], "unable to convert"),
        (["two.py:a", "--max-workers", "1.5"], 'unable to convert "1.5" into int'),
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


def test_annotations_for_type_checkers_only(capsys: pytest.CaptureFixture[str]) -> None:
    """What no value was given for is not evaluated, nor what the flow returns."""
    assert main(["run", "types_only.py"]) == 0
    assert main(["run", "types_only.py", "--param", "n=0x10"]) == 0
    assert capsys.readouterr().out == "3 None\n16 None\n"


def test_annotations_of_other_callables(capsys: pytest.CaptureFixture[str]) -> None:
    """Names are looked up where the function is that they were written in."""
    assert main(["run", "callables.py:wrapped", "--param", "where=/a"]) == 0
    assert main(["run", "callables.py:bound", "--param", "where=/b"]) == 0
    assert main(["run", "callables.py:called", "--param", "where=/c"]) == 0
    said = capsys.readouterr().out
    assert said == "PosixPath('/a') 1\nPosixPath('/b') 3\nPosixPath('/c') 4\n"


def test_kinds_of_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is given by name, also one that Python takes by position only."""
    assert main(["run", "kinds.py:f", "--param", "y=2", "--param", "x=1"]) == 0
    assert main(["run", "kinds.py:g", "--param", "b=5"]) == 0
    assert main(["run", "kinds.py:g", "--param", "c=6", "--param", "a=4"]) == 0
    assert capsys.readouterr().out == "1 2\n1 5 () 3 {}\n4 2 () 6 {}\n"


def test_ctrl_c_while_converting() -> None:
    """It is no bad input."""
    assert main(["run", "constructors.py", "--param", "interrupts=1"]) == 130


@pytest.mark.parametrize(
    "param",
    ["n=1.5", "n=-0.5", "maybe=1.5", "old=1.5", "noted=1.5", "many=1.5", "many=[1,2.5]", "choice=1.5",
     "untyped=1.5", 'point={"x":1.5}'],
)  # fmt: skip
def test_a_whole_number_is_never_rounded(param: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever in an annotation it stands."""
    assert main(["run", "whole.py", "--param", param]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"creche: parameter {param.partition('=')[0]!r} of the flow: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("n=30.0", "30"),
        ("n=12345678901234567890.0", "12345678901234567890"),
        ("n=0x1F", "31"),
        ("n=1_000", "1000"),
        ("maybe=5", "5"),
        ("many=[1,2]", "[1, 2]"),
        ("said=1.5", "'1.5'"),
        ("both=1.5", "1.5"),
        ("floating=1.5", "1.5"),
        ('point={"x":2}', "Point(x=2)"),
    ],
)
def test_other_numbers_are_as_ever(param: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is whole is taken in any spelling; what may be another type becomes that."""
    assert main(["run", "whole.py", "--param", param]) == 0
    assert capsys.readouterr().out == f"{param.partition('=')[0]} {value}\n"


@pytest.mark.parametrize("param", ["maybe=none", "noted=none"])
def test_the_word_for_none(param: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is understood, if the library that reads it has one."""
    try:
        convert(int | None, ["none"])
    except CoercionError:
        pytest.skip("this cyclopts has no word for None")
    assert main(["run", "whole.py", "--param", param]) == 0
    assert capsys.readouterr().out == f"{param.partition('=')[0]} None\n"


def test_files_of_the_users_with_the_names_of_modules() -> None:
    """What the command needs to report bad input is imported before a folder of the user's counts."""
    run = "import sys; sys.path.pop(0); sys.argv[0] = 'creche'; from creche.__main__ import main; main()"
    for start, param in [
        (("-c", run), "n=x"),
        (("-c", run), "fruit=appel"),
        (("-c", run), "many=[1"),
        (("-m", "creche"), "n=x"),
    ]:
        command = [sys.executable, *start, "run", "beside/reads.py", "--param", param]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert ended.stderr.startswith("creche: parameter "), ended.stderr
        assert ended.stderr.count("\n") == 1
