"""What runs other people's tests: `nox -s theirs`. Here on a small suite that is written for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exclusions import Exclusions

pytestmark = pytest.mark.slow

THEIRS = Path(__file__).parent / "theirs"

SUITE = """
import anyio, pytest, re
from anyio import create_task_group

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request):
    return request.param


async def test_holds():
    async with create_task_group() as group:
        assert type(group).__name__ == "RunnerTaskGroup"
        group.start_soon(anyio.sleep, 0)


async def helper():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)


def test_opens_a_loop():
    anyio.run(helper)


class TestInClass:
    @pytest.mark.parametrize("word", ["good", "bad"])
    async def test_word(self, word):
        await helper()
        assert word == "good"


async def test_hangs():
    async with create_task_group():
        await anyio.sleep_forever()


async def test_other_words():
    async with create_task_group() as group:
        pass
    with pytest.raises(RuntimeError, match="^closed$") as caught:
        group.start_soon(anyio.sleep, 0)
    caught.match("clos")
    assert re.match("<TaskHandle ", "<creche.ChildHandle ")


def test_of_something_else():
    assert not "of ours"
"""

LISTED = """
[small]
words = {"^closed$" = "its block has been left", "clos" = "left$", "<TaskHandle" = "<creche.ChildHandle"}
[[small.excluded]]
tests = ["TestInClass::test_word[*bad*]"]
reason = "bad"
[[small.excluded]]
tests = ["test_hangs"]
reason = "it hangs"
runs = false
"""


def run(folder: Path, listed: str) -> tuple[int, str, dict[str, str]]:
    """The exit status, what was said, and how each test has ended."""
    (folder / "test_small.py").write_text(SUITE)
    (folder / "suites.toml").write_text(listed)
    told = folder / "told.json"
    given = ["--suite", "small", "--suites", str(folder / "suites.toml"), "--told", str(told)]
    plugins = [word for name in ("no:cacheprovider", "anyio", "standing_in") for word in ("-p", name)]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, *plugins, *given, "test_small.py"],
        cwd=folder,
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(THEIRS), *sys.path])),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr, json.loads(told.read_text())["ended"]


def test_what_is_excluded_fails_and_the_rest_holds(tmp_path: Path) -> None:
    """Ours is where theirs was; messages are compared in our words; the others are not looked at."""
    status, said, ended = run(tmp_path, LISTED)
    assert status == 0, said
    assert ended == {
        "test_holds[trio]": "passed",
        "test_holds[asyncio]": "passed",
        "test_opens_a_loop": "passed",
        "TestInClass::test_word[trio-good]": "passed",
        "TestInClass::test_word[asyncio-good]": "passed",
        "TestInClass::test_word[trio-bad]": "excluded",
        "TestInClass::test_word[asyncio-bad]": "excluded",
        "test_hangs[trio]": "not run",
        "test_hangs[asyncio]": "not run",
        "test_other_words[trio]": "passed",
        "test_other_words[asyncio]": "passed",
    }


def test_what_makes_it_fail(tmp_path: Path) -> None:
    """A test that fails and is not on the list, one that is and holds, an entry that is of no test."""
    listed = LISTED.replace("*bad*", "trio-bad")
    for test in ("test_holds[trio]", "test_gone"):
        listed += f'[[small.excluded]]\ntests = ["{test}"]\nreason = "none"\n'
    status, said, ended = run(tmp_path, listed)
    assert status == 1
    assert {test for test, how in ended.items() if how == "failed"} == {
        "TestInClass::test_word[asyncio-bad]",
        "test_holds[trio]",
    }
    assert "it is excluded (none), but holds" in said
    assert "needs this entry any more: 'test_gone'" in said


def test_an_entry_without_a_reason() -> None:
    """There is none."""
    with pytest.raises(AssertionError, match="no reason"):
        Exclusions({"excluded": [{"tests": ["test_one"], "reason": " "}]})
