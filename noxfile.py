"""What is run to check creche: ``nox`` alone runs what CI runs.

What it is for: a session each for lint, types, tests, the lowest versions allowed, docs, and benchmarks;
and one that runs them in three lanes beside each other.

What it does not know: continuous integration. `.ci/run` is the command of the README.

Invariant: a session installs what it needs from `pyproject.toml` and from nowhere else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import nox

# Every program that a test starts, and every worker process, would compile all that it imports anew. And
# of what is installed most is never imported: it is compiled when it is.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PIP_NO_COMPILE"] = "1"

PROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = f"[{','.join(PROJECT['project']['optional-dependencies'])}]"
ROOT = Path(__file__).parent
TESTS = ROOT / "tests"


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


TRY_UV = ["pip", "install", "--quiet", "--dry-run", "--reinstall", "--no-deps", "outcome", "--target"]


def uv_installs() -> bool:
    """Whether uv is there and reaches a package index: it does not read pip's settings."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    uv = shutil.which("uv", path=beside)
    if uv is None:
        return False
    with suppress(subprocess.TimeoutExpired), tempfile.TemporaryDirectory() as folder:
        words = [uv, *TRY_UV, folder]
        tried = subprocess.run(words, capture_output=True, check=False, timeout=30)  # noqa: S603 - uv
        return tried.returncode == 0
    return False


VERSIONS = nox.project.python_versions(PROJECT)
PYTHONS = [python for version in VERSIONS if (python := find_python(version))]
BASE = PYTHONS[0]

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "venv"
# Of what CI runs: pip takes a minute for what uv installs in seconds. The session that starts the others
# asks whether it does, and tells them; else each `nox -l` would ask an index.
QUICK = os.environ.get("CRECHE_VENV_BACKEND", "venv")
nox.options.reuse_venv = "yes"
nox.options.sessions = ["everything"]

# Three lanes that take about as long as each other, with three Pythons; each of them often waits.
HERE = ["lint", "types", "docs", "lowest", *(["others"] if PYTHONS[1:] else [])]
BESIDE = [["slow"], ["tests"]]

# What differs between Pythons, and between versions of what creche needs, does so on these.
TWO_LOOPS = ["--loops", "trio,asyncio"]
UVLOOP = ["--loops", "uvloop"]
ON_UVLOOP = ["tests/test_runners_agree.py", "tests/test_process_place_cancel.py"]


def tests_of(*names: str) -> list[str]:
    """The files of tests whose names begin so."""
    return [str(path) for name in names for path in sorted(TESTS.glob(f"test_{name}*.py"))]


OF_TASKS = tests_of("nursery", "inside", "carriers", "checkpoints")
OF_DEPENDENCIES = [
    *OF_TASKS,
    *tests_of("concurrent", "thread", "limits", "task_group", "executor", "capture", "far_", "flows"),
    *tests_of("cli", "graph", "progress", "report", "otel", "testing"),
]


# Each line of creche is covered by others; these do the same thing many times, or measure, and take a
# third of the time when nobody counts the lines.
UNCOUNTED = [
    *tests_of("structure", "hammering", "growth", "benchmarks", "stress", "workflows"),
    *tests_of("everywhere_functions", "everywhere_p", "interrupts_everywhere", "schedules"),
    *tests_of("process_place_hammering", "random_kills", "soak", "theirs", "mutation"),
]
# And these start whole programs, whose lines other slow tests go through as well.
SLOW_UNCOUNTED = [
    *UNCOUNTED,
    *tests_of("census", "cli_terminal", "dask_place_tls", "escapes", "flow_dependencies", "notebook"),
    *tests_of("pipeline", "process_place_order", "report_browser", "retrying_places", "runners_agree"),
    *tests_of("security", "simulate", "wf_replay"),
]


def without(paths: list[str]) -> list[str]:
    """Options that leave these files out."""
    return [f"--ignore={path}" for path in paths]


def run_tests(session: nox.Session, uncounted: list[str], *options: str) -> None:
    """Pytest under coverage, and of what need not be under it, without."""
    if session.posargs:
        session.run("coverage", "run", "-m", "pytest", *options, *session.posargs)
        return
    session.run("coverage", "run", "-m", "pytest", *options, *without(uncounted))
    session.run("pytest", *options, *uncounted)


def group(name: str) -> list[str]:
    """The packages of a dependency group."""
    return list(nox.project.dependency_groups(PROJECT, name))


def install_for_tests(session: nox.Session) -> None:
    """Creche with all its extras, as it is here, and what its tests need."""
    session.install("-q", "-e", f".{EXTRAS}", *group("test"))


@nox.session(venv_backend="none")
def everything(session: nox.Session) -> None:
    """All that CI runs, in three lanes; then what the tests of all have covered."""
    command = [sys.executable, "-m", "nox", "-s"]
    os.environ["CRECHE_VENV_BACKEND"] = "uv" if uv_installs() else "venv"
    with ExitStack() as files:
        lanes = []
        for sessions in BESIDE:
            said = files.enter_context(tempfile.TemporaryFile("w+"))
            words = [*command, *sessions]
            lane = subprocess.Popen(words, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)  # noqa: S603 - ourselves
            lanes.append((sessions, lane, said))
        try:
            session.run(*command, *HERE, external=True)
        except BaseException:
            for _, lane, _ in lanes:
                lane.terminate()
            raise
        finally:
            failed = [sessions for sessions, lane, _ in lanes if lane.wait()]
            for _, _, said in lanes:
                said.seek(0)
                sys.stderr.write(said.read())
    if failed:
        names = ", ".join(name for sessions in failed for name in sessions)
        session.error(f"failed: {names}; what they said is above")
    session.run(*command, "coverage", external=True)


@nox.session(python=BASE, venv_backend=QUICK)
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install("-q", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=BASE, venv_backend=QUICK)
def types(session: nox.Session) -> None:
    """Mypy and pyright on everything; the public names completely typed."""
    # Not editable: the types of the installed package are what users see.
    session.install("-q", "--force-reinstall", "--no-deps", ".")
    session.install("-q", f".{EXTRAS}", *group("types"))
    session.run("mypy")
    # Not the tests, which mypy has just looked at: they take it more than a minute.
    session.run("pyright", "src", "docs", "noxfile.py", "tests/typing")
    session.run("pyright", "--verifytypes", "creche", "--ignoreexternal")


@nox.session(python=BASE, venv_backend=QUICK)
def tests(session: nox.Session) -> None:
    """The tests under coverage, without the slow ones, on the first Python that is there.

    On uvloop they are run by another Python, if there is one: both differ in the tasks of asyncio.
    """
    install_for_tests(session)
    loops = TWO_LOOPS if PYTHONS[1:] else []
    run_tests(session, UNCOUNTED, "-m", "not slow", *loops)


@nox.session(python=BASE, venv_backend=QUICK)
def slow(session: nox.Session) -> None:
    """The slow tests under coverage: processes, clusters, whole programs, Ctrl-C at any line.

    On uvloop those of them that the other loops cannot stand for: each loop would add minutes.
    """
    install_for_tests(session)
    run_tests(session, SLOW_UNCOUNTED, "-m", "slow", *TWO_LOOPS)
    if not session.posargs:
        session.run("coverage", "run", "-m", "pytest", "-m", "slow", *UVLOOP, *ON_UVLOOP)


if PYTHONS[1:]:

    @nox.session(python=PYTHONS[1:], venv_backend=QUICK)
    def others(session: nox.Session) -> None:
        """The tests, without the slow ones and those that repeat, on the last other Python, on uvloop.

        On the first one what there is code of ours for that differs between Pythons: the tasks
        of asyncio.
        """
        install_for_tests(session)
        if session.python == PYTHONS[-1]:
            session.run("pytest", "-m", "not slow", *UVLOOP, *without(UNCOUNTED), *session.posargs)
        elif session.python == PYTHONS[1]:
            session.run("pytest", "-m", "not slow", "--loops", "asyncio", *OF_TASKS)


@nox.session(python=BASE, venv_backend=QUICK)
def coverage(session: nox.Session) -> None:
    """What the tests have covered, over all Pythons and loops; less than all of it fails."""
    session.install("-q", *group("test"))
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=BASE)
def mutation(session: nox.Session) -> None:
    """Plant faults in the source, one at a time; each must be noticed by a test. Not a part of CI.

    Names of faults as arguments: these only. `--all-tests`: every test that is not slow, for each.
    """
    install_for_tests(session)
    session.run("python", "tests/mutation/mutate.py", *session.posargs)


@nox.session(python=BASE, venv_backend=QUICK)
def lowest(session: nox.Session) -> None:
    """With the lowest versions that `pyproject.toml` allows, the tests of what needs them, on asyncio.

    There anyio's insides matter. Tests of trio alone run here, too.
    """
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    bounds = dict.fromkeys([*project["dependencies"], *(bound for extra in extras for bound in extra)])
    pins = [bound.replace(">=", "==") for bound in bounds]
    # An old anyio's plugin uses what a new pytest warns about, so pytest is the lowest, too.
    session.install("-q", *pins, *(one.replace("pytest>=", "pytest==") for one in group("test")))
    session.install("-q", "--no-deps", "-e", ".")
    session.run("pytest", "-m", "not slow", "--loops", "asyncio", *OF_DEPENDENCIES, *session.posargs)


@nox.session(python=BASE, venv_backend=QUICK)
def docs(session: nox.Session) -> None:
    """The docs as HTML; a warning fails. Their programs are run by tests/test_docs.py."""
    session.install("-q", "-e", f".{EXTRAS}", *group("docs"))
    session.run("sphinx-build", "-q", "-W", "-n", "-b", "html", "docs", "docs/_build/html")


@nox.session(python=BASE)
def everywhere(session: nox.Session) -> None:
    """What is cancelled or interrupted everywhere, at every point and not at a few; takes long."""
    install_for_tests(session)
    files = tests_of(
        "everywhere_functions", "everywhere_programs", "everywhere_places", "interrupts_every"
    )
    session.run("pytest", "--every-point", *files, *session.posargs)


@nox.session(python=BASE)
def schedules(session: nox.Session) -> None:
    """What creche promises under a million orders of its tasks, in about an hour; ``-- --help``."""
    install_for_tests(session)
    session.run("python", "tests/schedules.py", *session.posargs)


@nox.session(python=BASE)
def bench(session: nox.Session) -> None:
    """The benchmarks; ``-- --quick`` takes two minutes."""
    session.install("-q", "-e", ".", *group("bench"))
    session.run("python", "tests/benchmarks/run.py", *session.posargs)


@nox.session(python=PYTHONS)
def theirs(session: nox.Session) -> None:
    """Other people's tests on creche: anyio's, trio's, aioresult's, CPython's; see tests/theirs.

    Not in CI: it takes minutes, and fetches source distributions. CPython's tests are those that a
    Python has brought along, which not each one has.
    """
    suites = nox.project.load_toml("tests/theirs/suites.toml")
    pins = [suite["source"] for suite in suites.values() if "source" in suite]
    session.install("-q", "-e", ".[process]", *pins, *group("theirs"))
    session.run("python", "tests/theirs/run_theirs.py", *session.posargs)


@nox.session(python=BASE)
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what creche depends on, by pip-audit, which asks PyPI's own service.

    Where that does not answer this fails, since nothing was audited then; ``-- --may-be-offline`` makes
    that a warning.
    """
    session.install("-q", f".{EXTRAS}")
    installed = Path(session.create_tmp(), "installed.txt")
    frozen = str(session.run("python", "-m", "pip", "freeze", "--exclude", "creche", silent=True))
    installed.write_text("".join(f"{line}\n" for line in frozen.splitlines() if "==" in line))
    session.install("-q", *group("audit"))
    words = [word for word in session.posargs if word != "--may-be-offline"]
    # What is installed, exactly: nothing is to be resolved. Strictly: else what it got no answer for
    # would count as having no vulnerability.
    command = ["pip-audit", "--strict", "--disable-pip", "--no-deps", "-r", str(installed), *words]
    if len(words) == len(session.posargs):
        session.run(*command)
        return
    said = str(session.run(*command, silent=True, success_codes=[0, 1]))
    session.log(said)
    if any(word in said for word in NO_ANSWER):
        session.warn("nothing was audited: PyPI's service for vulnerabilities does not answer from here")
    elif "No known vulnerabilities found" not in said:
        session.error("what was found is above")


# How pip-audit says that it has not got an answer.
NO_ANSWER = ("could not be audited", "Could not connect", "ConnectionError", "Max retries exceeded")


@nox.session(python=BASE)
def sbom(session: nox.Session) -> None:
    """What creche with all its extras is made of, as CycloneDX: ``dist/creche.cdx.json``."""
    session.install("-q", f".{EXTRAS}")
    python = str(Path(session.bin, "python"))
    (ROOT / "dist").mkdir(exist_ok=True)
    output = "dist/creche.cdx.json"
    # From an environment of its own, so that it is not among what it lists.
    with tempfile.TemporaryDirectory() as folder:
        session.run(sys.executable, "-m", "venv", folder, external=True)
        tool = str(Path(folder, "bin", "python"))
        session.run(tool, "-m", "pip", "install", "-q", *group("audit"), external=True)
        words = ["environment", python, "--pyproject", "pyproject.toml", "--output-reproducible"]
        session.run(tool, "-m", "cyclonedx_py", *words, "-o", output, external=True)
    session.log(f"written to {output}")


@nox.session(python=BASE)
def reproducible(session: nox.Session) -> None:
    """Two builds of this commit, in different folders at different times, are the same byte for byte."""
    session.install("-q", *PROJECT["build-system"]["requires"])
    session.run("python", "tests/two_builds.py", *session.posargs)


@nox.session(python=BASE)
def soak(session: nox.Session) -> None:
    """An hour of mixed load, and a verdict; or ``-- --minutes 10 --backend asyncio``."""
    session.install("-q", "-e", f".{EXTRAS}", *group("test"))
    session.run("python", "tests/soak/soak.py", *session.posargs)
