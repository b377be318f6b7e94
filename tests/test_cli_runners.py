"""The command and runners: that of the flow, and those that cannot be had: a sentence, and status 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask.config
import distributed  # noqa: F401 - else it would find its defaults taken by what is set below
import pytest

from creche.cli._app import main
from creche.cli._run import make_runner
from creche.cli._usage import UsageError
from creche.instruments import read_history

RAISES = """
from creche import flow
@flow
def one():
    raise ValueError("of the flow")
"""

OWN = """
from creche import *
from creche.instruments import Summary
heard = Summary()
@task(limits=["db"])
def query(n):
    return n
@task
def wrong():
    raise ValueError("of a call below")
@flow
def below():
    wrong.submit()
@flow(task_runner=ConcurrentTaskRunner(max_workers=3, limits={"db": 1}, instruments=[heard]))
def own():
    print([slot.result() for slot in query.map(range(2))])
@flow
def upper():
    below()
@flow(task_runner=SequentialTaskRunner())
def one_by_one():
    query.with_options(limits=[]).submit(1)
@flow(task_runner=ProcessTaskRunner)
def processes():
    query.submit(1)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A flow, in the current folder."""
    (tmp_path / "raises.py").write_text(RAISES)
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    # Not by an environment variable: Dask may have read those long before.
    with dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}):
        yield


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "--address must not be empty; leave it out"),
        ("http://127.0.0.1:8786", "--address http://127.0.0.1:8786: address must be one of a Dask"),
        ("tls://127.0.0.1:1", "--address tls://127.0.0.1:1: "),
        ("tcp://127.0.0.1:1", "--address tcp://127.0.0.1:1: no Dask scheduler answers"),
    ],
)
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_wrong_address(
    address: str, says: str, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence beside what is to run; no traceback, and no summary of what has not run."""
    command = ["run", "raises.py", "--runner", "dask", "--address", address, "--backend", backend]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    *before, last = err.splitlines()
    assert last.startswith(f"creche: {says}"), err
    # Whether a scheduler answers is known when the flow begins, which is said.
    begun = ["creche: running flow one of"] if address else []
    assert [line.rpartition(" ")[0] for line in before] == begun


@pytest.mark.parametrize("kind", ["thread", "process", "concurrent", "sequential"])
def test_address_of_another_runner(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told where it belongs."""
    assert main(["run", "raises.py", "--runner", kind, "--address", "tcp://host:1"]) == 2
    assert "it goes with --runner dask" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["thread", "process", "dask", "concurrent"])
def test_no_workers(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each of them."""
    assert main(["run", "raises.py", "--runner", kind, "--max-workers", "0"]) == 2
    assert "--max-workers must be at least 1" in capsys.readouterr().err


def test_an_address_that_is_none() -> None:
    """It is told of as the option that it is."""
    with pytest.raises(UsageError, match="^--address"):
        make_runner("dask", None, [], "")


def test_an_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said, with the option that asks for it."""

    def missing(*_: object, **__: object) -> None:
        raise ImportError("install it")

    monkeypatch.setattr("creche.cli._run.ProcessTaskRunner", missing)
    with pytest.raises(UsageError, match="^--runner process: install it"):
        make_runner("process", None, [])


@pytest.mark.parametrize(("options", "workers"), [([], 3), (["--max-workers", "2"], 2)])
def test_the_runner_that_the_flow_has(
    options: list[str], workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its limits and instruments, and as many workers as it has, unless that is said."""
    log = tmp_path / "log.jsonl"
    assert main(["run", "own.py:own", "--log-events", str(log), *options]) == 0
    out, err = capsys.readouterr()
    assert out == "[0, 1]\n"
    assert "2 COMPLETED" in err
    (run,) = read_history(log).runs
    assert (run.max_workers, run.limits) == (workers, {"db": 1})


def test_a_runner_that_is_named_takes_the_place_of_the_flows_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Which has no limit of that name."""
    assert main(["run", "own.py:own", "--runner", "thread"]) == 1
    assert "needs limit 'db'" in capsys.readouterr().err


def test_a_failure_in_a_flow_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is shown, written down and counted, although that flow has a runner of its own."""
    log = tmp_path / "log.jsonl"
    assert main(["run", "own.py:upper", "--log-events", str(log)]) == 1
    assert "below/wrong[0] FAILED ValueError: of a call below" in capsys.readouterr().err
    assert [call.key for call in read_history(log).calls] == ["below/wrong[0]"]


@pytest.mark.parametrize(
    ("flow", "says"),
    [
        ("one_by_one", "SequentialTaskRunner, which has one"),
        ("processes", "ProcessTaskRunner, or --runner process"),
    ],
)
def test_workers_of_a_runner_that_has_its_own(
    flow: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What to write instead is said."""
    assert main(["run", f"own.py:{flow}", "--max-workers", "2"]) == 2
    assert says in capsys.readouterr().err
