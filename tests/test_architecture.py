"""The floors of creche: each module stands on one, and imports only what is below it.

The table is the map. It fails on an import upwards or sideways, on one that hides in a function, on an
event loop that is named where it must not be, and on a file that has grown too long.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "creche"

# Floor by floor, from the ground up.
FLOORS: list[set[str]] = [
    {"_tracebacks"},
    {"_spelling"},
    {
        "_bell",
        "_errors",
        "_latch",
        "_live",
        "_states",
        "_ki",
        "_log",
        "_printable",
        "_rates",
        "_statistics",
    },  # words, and no state
    {"_current", "_events", "_place", "_stacks"},
    {"logging", "notebook"},
    {"_checks", "_home", "_backends._kept"},
    {"_retry"},
    {
        "_backend",
        "_backends._inside",
        "_backends._limiters",
        "_backends._threads",
        "_call",
        "_capture",
        "_containers",
        "_fresh_keys",
        "_growth",
        "_parking",
        "_places",
        "_far",
        "_far._pickling",
        "_far._stop",
    },  # records and pure functions
    {"_far._frames", "_far._loops", "_far._orphans", "_far._raised", "places._depth"},
    {"_far._body", "places._process", "places._requests", "places._spawning"},
    {"_far._worker", "places._answers", "places._dask_threads", "places._dask_worker"},
    {"places._dask_client", "places._dask_flight", "places._ticket"},
    {"places._dask_cluster"},
    {"places._dask_faults", "places._worker"},
    {"places._dask_traffic", "places._crew"},
    {"places._dask_stopping", "places._pool"},
    {"places._dask_open"},
    {
        "_limits",
        "_news",
        "_thread_job",
        "_backends._daemons",
        "_backends._kept_trio",
        "_backends._nursery",
    },
    {"_options", "_thread_queue", "_backends._primitives"},
    {"_backends._trio", "_backends._asyncio", "_slot", "_announce"},
    {"_arguments", "_telling", "_unread"},
    {"_backends", "_carrier", "_inputs", "_lanes", "_board", "_portal"},
    {"places._opening", "places._dask"},
    {"places"},
    {"_queue"},
    {"_lending", "_circles", "_waiting_room"},  # waiting, from inside a call
    {"_blocking", "_callers"},
    {"_waiting", "_dependencies"},
    {"_halting", "_lingering", "_together", "_thread_loops"},
    {"_grace", "_guests", "_seats", "_checking"},
    {"_guards", "_returning"},
    {"_bodies"},
    {"_retrying"},
    {"_performing", "_pacing"},  # one call
    {"_thread_pool", "_thread_call"},
    {"_sent_calls", "_thread_calls"},
    {"_dispatching", "_exit"},
    {"_carriers"},
    {"_intake", "_place_names"},
    {"_opening"},
    {"_hosting"},  # one run
    {"_submitting"},
    {
        "_afar",
        "_base",
        "_dump",
        "_pulling",
        "_draining",
        "_group",
        "facades",
        "facades._child",
        "facades._scope",
    },
    {"_mapping"},
    {"_reading", "_thread_mapping", "facades._children", "facades._future", "facades._handle"},
    {"_from_thread", "_steering", "facades._block"},
    {"_keyed"},
    {"facades._executor", "facades._task_group"},
    {"_bulk"},
    {"_adaptable"},
    {"_queueing"},  # a runner as what others know
    {
        "runners",
        "runners._concurrent",
        "runners._dask",
        "runners._processes",
        "runners._sequential",
        "runners._threads",
    },
    {"flows", "flows._foreign", "flows._hooks", "flows._naming", "flows._placeholder", "flows._prints"},
    {"flows._bodies", "flows._dry_run", "flows._options"},
    {"flows._flow_run", "flows._mapping"},
    {"flows._beside", "flows._deadline", "flows._task"},
    {"flows._course"},
    {"flows._running"},
    {
        "flows._flow",
        "instruments._call_context",
        "instruments._fields",
        "instruments._otel_span",
        "instruments._records",
        "instruments._screen",
    },
    {"instruments._history"},
    {"instruments._event_log", "instruments._reading", "instruments._tally", "instruments._trace"},
    {"instruments._summary", "instruments._words"},
    {"instruments._painting"},
    {"instruments._progress"},
    {"instruments"},
    {"instruments.otel"},
    {"report", "report._lanes", "report._phases", "report._words"},
    {"report._columns", "report._critical", "report._use"},
    {"report._charts", "report._overview"},
    {"report._page"},
    {""},  # creche itself: the public names
    {"afterwards", "afterwards._places_held"},
    {"afterwards._causes"},
    {"afterwards._replaying"},
    {"afterwards._simulate", "afterwards._graph"},
    {"afterwards._drawing"},
    {"afterwards._svg"},
    {"cli", "cli._last_resort", "cli._usage", "cli._text", "cli._stopping"},
    {"cli._event_files", "cli._event_rows", "cli._loading", "cli._parameters", "cli._signals"},
    {"cli._events", "cli._report"},
    {"cli._run", "cli._simulate", "cli._trace"},
    {"cli._graph"},
    {"cli._app"},
    {"__main__"},
    {
        "testing._contract_calls",
        "testing._contract_signs",
        "testing._naming",
        "testing._orders",
        "testing._present",
        "testing._schedules",
        "testing._stage",
        "testing._where",
    },  # what users test with
    {
        "testing._clock",
        "testing._ending",
        "testing._findings",
        "testing._in_order",
        "testing._locks",
        "testing._outcomes",
    },
    {"testing._hung_asyncio"},
    {"testing._inputs", "testing._on_asyncio", "testing._trio_clock"},
    {"testing._on_trio"},
    {"testing._stages", "testing._stepped_asyncio", "testing._stepped_trio"},
    {"testing._acting"},
    {
        "testing._explore",
        "testing._leaks",
        "testing._placed",
        "testing._virtual",
        "testing._walk",
        "testing.plugin",
        "testing.stateful",
    },
    {"testing._contract_watch"},
    {"testing._contract_terms"},
    {"testing._contract_keys", "testing._contract_stops", "testing._contract_values"},
    {"testing.contract"},
    {"testing._choosing", "testing._scripted"},
    {"testing._everywhere"},
    {"testing"},
]
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}

# Who may name an event loop, and why.
MAY_NAME = {
    "_backends._trio": {"trio"},
    "_backends._kept_trio": {"trio"},
    "_backends._asyncio": {"asyncio", "anyio"},
    "_backends._inside": {"asyncio", "anyio"},
    "_backends._nursery": {"asyncio"},
    "_backends._primitives": {"asyncio", "anyio"},
    "notebook": {"asyncio"},  # the loop of IPython's shell, which no run has begun on
    "afterwards._replaying": {"trio"},  # a loop of its own, in virtual time
    "_adaptable": {"anyio"},  # for the type of what it gives, and only when types are checked
    "_ki": {"trio"},  # protection from Ctrl-C, which every floor may need
    # Sockets and processes, of which the backends have nothing; anyio is the same on both loops.
    "places._crew": {"anyio"},
    "places._spawning": {"anyio"},
    # What stands in for things of anyio's is of their classes; no loop is named.
    "facades._child": {"anyio"},
    "facades._handle": {"anyio"},
    "facades._scope": {"anyio"},
    "facades._task_group": {"anyio"},
    # The test kit looks into loops and their locks; its two stages are what its other modules know of
    # them.
    "testing._contract_calls": {"anyio"},
    "testing._contract_keys": {"anyio"},
    "testing._contract_signs": {"anyio"},
    "testing._contract_stops": {"anyio"},
    "testing._contract_values": {"asyncio", "anyio"},
    "testing._contract_watch": {"anyio", "trio"},
    "testing._hung_asyncio": {"asyncio", "anyio"},
    "testing._in_order": {"asyncio", "anyio"},
    "testing._leaks": {"anyio"},
    "testing._locks": {"asyncio", "trio", "anyio"},
    "testing._on_asyncio": {"asyncio", "anyio"},
    "testing._on_trio": {"trio"},
    "testing._scripted": {"anyio"},
    "testing._stepped_asyncio": {"asyncio"},
    "testing._stepped_trio": {"trio"},
    "testing._trio_clock": {"trio"},
}

# Who may import by name, and late: not to hide a cycle, but because it costs, or may be missing.
MAY_IMPORT_LATE = {
    "",
    "__main__",
    "_adaptable",
    "_backends",
    "_backends._primitives",
    "_backends._trio",
    "_current",
    "_far._body",
    "_far._loops",
    "_far._orphans",
    "_far._pickling",
    "_place_names",
    "instruments._event_log",
    "instruments._progress",
    "places._dask_client",
    "places._dask_cluster",
    "places._dask_traffic",
    "places._process",
    "report._page",
    "runners._dask",
    "runners._processes",
    "testing",
    "testing._schedules",
    "testing.plugin",
}

LONGEST = 400


def modules() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


MODULES = modules()


# The string in it is for an interpreter of its own.
IMPORTS_FOR_OTHERS = {"places._spawning"}


def imports_of(module: str, path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Every import statement's module, with ``creche`` written in full."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                yield str(node.module), node
                continue
            base = package.split(".") if package else []
            base = base[: len(base) - node.level + 1]
            stem = ".".join(["creche", *base, *([node.module] if node.module else [])])
            for name in {f"{stem}.{alias.name}" for alias in node.names}:
                yield (name if name.removeprefix("creche.") in MODULES else stem), node


def test_every_module_has_a_floor() -> None:
    """The map is whole, and names nothing that is gone."""
    assert set(FLOOR_OF) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    """Never up, never sideways."""
    for name, _ in imports_of(module, MODULES[module]):
        if name == "creche" or name.startswith("creche."):
            target = name.removeprefix("creche").removeprefix(".")
            assert FLOOR_OF[target] < FLOOR_OF[module], f"{module or 'creche'} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_at_the_top(module: str) -> None:
    """No import inside a function, and `importlib` only where the table says why."""
    path = MODULES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                assert not isinstance(node, (ast.Import, ast.ImportFrom)), f"line {node.lineno}"
    uses = "import_module(" in path.read_text(encoding="utf-8") and module not in IMPORTS_FOR_OTHERS
    assert uses == (module in MAY_IMPORT_LATE)


@pytest.mark.parametrize("module", MODULES)
def test_loops_are_named_in_backends_only(module: str) -> None:
    """Code above the backends is the same on every loop."""
    named = {name.partition(".")[0] for name, _ in imports_of(module, MODULES[module])}
    assert named & {"trio", "anyio", "asyncio", "sniffio", "uvloop"} == MAY_NAME.get(module, set())


def test_files_are_short() -> None:
    """A file that needs more lines is two files."""
    files = [*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_files_say_what_they_are_for() -> None:
    """Each begins with a docstring."""
    silent = [
        name
        for name, path in MODULES.items()
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_there_is_no_other_folder_with_code() -> None:
    """Sources, tests, docs; nothing beside them."""
    ignored = {"build", "dist", "__pycache__"}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."} - ignored
    assert folders == {"src", "tests", "docs"}


def test_importing_creche_is_light() -> None:
    """No package of an extra, no asyncio, no anyio: only what trio brings along."""
    code = (
        "import sys, trio; before = set(sys.modules); import creche; import creche.instruments\n"
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before} - {'creche'}))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "anyio",
        "asyncio",
        "cyclopts",
        "jinja2",
        "rich",
        "uvloop",
        "prefect",
        "dask",
        "distributed",
    }
    assert not heavy & set(ast.literal_eval(said.stdout))
