"""What is run to check creche: ``nox`` alone runs what CI runs.

What it is for: a session each for lint, types, tests, the lowest versions allowed, docs, and benchmarks;
and one that runs them in two lanes beside each other.

What it does not know: continuous integration. `.ci/run` is the command of the README.

Invariant: a session installs what it needs from `pyproject.toml` and from nowhere else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
ROOT = Path(__file__).parent


def answers(python: str, version: str) -> bool:
    """Whether this is a Python of that version: a shim may be there with nothing behind it."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        said = subprocess.run(  # noqa: S603 - a Python that was found on this machine
            [python, "-c", code], capture_output=True, text=True, check=False, timeout=30
        )
    except OSError:
        return False
    return said.stdout.strip() == version


def find_python(version: str) -> str | None:
    """A Python of this version: the one that runs nox, one on the path, or one of pyenv's."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}")]
    candidates += [str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    return next((python for python in candidates if python and answers(python, version)), None)


VERSIONS = nox.project.python_versions(PROJECT)
PYTHONS = [python for version in VERSIONS if (python := find_python(version))]
BASE = PYTHONS[0]

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["everything"]

# Two lanes that take as long as each other, with three Pythons.
HERE = ["lint", "types", "docs", "tests"]
BESIDE = ["lowest", *(["others"] if PYTHONS[1:] else [])]


def group(name: str) -> list[str]:
    """The packages of a dependency group."""
    return list(nox.project.dependency_groups(PROJECT, name))


@nox.session(venv_backend="none")
def everything(session: nox.Session) -> None:
    """All that CI runs, in two lanes; then what the tests of both have covered."""
    command = [sys.executable, "-m", "nox", "-s"]
    with tempfile.TemporaryFile("w+") as said:
        other = subprocess.Popen([*command, *BESIDE], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)  # noqa: S603 - ourselves
        try:
            session.run(*command, *HERE, external=True)
        except BaseException:
            other.terminate()
            raise
        finally:
            failed = other.wait()
            said.seek(0)
            sys.stderr.write(said.read())
    if failed:
        session.error(f"one of {', '.join(BESIDE)} has failed; what they said is above")
    session.run(*command, "coverage", external=True)


@nox.session(python=BASE)
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install("-q", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=BASE)
def types(session: nox.Session) -> None:
    """Mypy and pyright on everything; the public names completely typed."""
    # Not editable: the types of the installed package are what users see.
    session.install("-q", "--force-reinstall", "--no-deps", ".")
    session.install("-q", ".[cli]", *group("types"))
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "creche", "--ignoreexternal")


@nox.session(python=BASE)
def tests(session: nox.Session) -> None:
    """The tests under coverage, the slow ones too, on the first Python that is there."""
    session.install("-q", "-e", ".[cli]", *group("test"))
    session.run("coverage", "run", "-m", "pytest", *session.posargs)


if PYTHONS[1:]:

    @nox.session(python=PYTHONS[1:])
    def others(session: nox.Session) -> None:
        """The tests under coverage, without the slow ones, on each other Python that is there."""
        session.install("-q", "-e", ".[cli]", *group("test"))
        session.run("coverage", "run", "-m", "pytest", "-m", "not slow", *session.posargs)


@nox.session(python=BASE)
def coverage(session: nox.Session) -> None:
    """What the tests have covered, over all Pythons and loops; less than all of it fails."""
    session.install("-q", *group("test"))
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=BASE)
def lowest(session: nox.Session) -> None:
    """The tests with the lowest versions that `pyproject.toml` allows."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    bounds = project["dependencies"] + project["optional-dependencies"]["cli"]
    pins = [bound.replace(">=", "==") for bound in bounds]
    # An old anyio's plugin uses what a new pytest warns about, so pytest is the lowest, too.
    session.install("-q", *pins, *(one.replace("pytest>=", "pytest==") for one in group("test")))
    session.install("-q", "--no-deps", "-e", ".")
    session.run("pytest", "-m", "not slow", *session.posargs)


@nox.session(python=BASE)
def docs(session: nox.Session) -> None:
    """The docs as HTML; a warning fails. Their programs are run by tests/test_docs.py."""
    session.install("-q", "-e", ".[cli]", *group("docs"))
    session.run("sphinx-build", "-q", "-W", "-n", "-b", "html", "docs", "docs/_build/html")


@nox.session(python=BASE)
def bench(session: nox.Session) -> None:
    """The benchmarks; ``-- --quick`` takes two minutes."""
    session.install("-q", "-e", ".", *group("bench"))
    session.run("python", "tests/benchmarks/run.py", *session.posargs)
