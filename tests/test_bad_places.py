"""What is no place, no options for one, or not installed: refused at once, in words that help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import pytest

from creche import ConcurrentTaskRunner, SequentialTaskRunner, ThreadTaskRunner
from creche.places import Host, OpenPlace, Place

pytestmark = pytest.mark.anyio

RUNNERS: list[Callable[[], Any]] = [ConcurrentTaskRunner, SequentialTaskRunner, ThreadTaskRunner]

MISSING = """
import sys, trio
from creche import ConcurrentTaskRunner, DaskTaskRunner, ProcessTaskRunner

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

if sys.argv[2] == "None":
    sys.modules[sys.argv[1]] = None
else:
    sys.meta_path.insert(0, Blocker())

async def main():
    async with ConcurrentTaskRunner().start() as runner:
        for name, make in (("process", ProcessTaskRunner), ("dask", DaskTaskRunner)):
            for way in (make, lambda: runner.submit_nowait("k", abs, 1, place=name)):
                try:
                    if sys.argv[3] == name:
                        way()
                except ImportError as exc:
                    print(exc)
        assert not runner.slots

trio.run(main)
"""


@pytest.mark.parametrize("make", RUNNERS)
@pytest.mark.parametrize("options", ["", [], 0, False, "x", [("a", 1)]])
async def test_place_options_of_the_wrong_type(make: Callable[[], Any], options: object) -> None:
    """Also those that are empty; nothing is submitted."""
    async with make().start() as runner:
        with pytest.raises(TypeError, match="place_options of call 'k' must be a mapping"):
            runner.submit_nowait("k", abs, 1, place_options=options)
        assert "k" not in runner


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"place": "nowhere"}, "^the call asks for place 'nowhere'"),
        ({"place": 5}, "^the place of the call must be a name or a Place object, not 5"),
        ({"place_options": 5}, "^place_options of the call must be a mapping"),
        ({"place_options": {"a": 1}}, "^the call runs in a thread, which takes no place_options"),
        ({"limits": ["db"]}, "^the call needs limit 'db'"),
    ],
)
async def test_calls_without_a_key(options: dict[str, Any], says: str) -> None:
    """No message calls them `None`."""
    async with ConcurrentTaskRunner().start() as runner:
        with pytest.raises((TypeError, ValueError), match=says):
            await runner.map(abs, [1], **options)
        with pytest.raises((TypeError, ValueError), match=says):
            runner.submit_nowait(None, abs, 1, **options)


class Odd(Place):
    """A place that nobody has looked over."""

    def __init__(self, name: object, capacity: object) -> None:
        if name is not ...:
            self.name = cast("str", name)
        self.capacity = cast("int", capacity)

    def open(self, host: Host) -> AbstractAsyncContextManager[OpenPlace]:
        raise AssertionError(host)


@pytest.mark.parametrize("make", RUNNERS)
@pytest.mark.parametrize(
    ("name", "capacity", "error", "says"),
    [
        (..., None, TypeError, "a place must have a name"),
        (5, None, TypeError, "a place must have a name, .* is 5"),
        ("odd", 0, ValueError, "the capacity of place 'odd' must be at least 1, not 0; None means"),
        ("odd", -1, ValueError, "the capacity of place 'odd' must be at least 1"),
        ("odd", "2", TypeError, "the capacity of place 'odd' must be a whole number"),
        ("odd", 1.5, TypeError, "the capacity of place 'odd' must be a whole number"),
        ("odd", True, TypeError, "the capacity of place 'odd' must be a whole number"),
    ],
)
async def test_places_of_ones_own(
    make: Callable[[], Any], name: object, capacity: object, error: type[Exception], says: str
) -> None:
    """One without room would be waited for without end."""
    async with make().start() as runner:
        for _ in range(2):
            with pytest.raises(error, match=says):
                runner.submit_nowait("k", abs, 1, place=Odd(name, capacity))
        assert "k" not in runner
        assert await (await runner.submit("k", abs, -1)) == 1


@pytest.mark.parametrize("how", ["None", "finder"])
@pytest.mark.parametrize(
    ("package", "extra"),
    [("cloudpickle", "process"), ("distributed", "dask"), ("dask", "dask"), ("cloudpickle", "dask")],
)
def test_extras_that_are_missing(package: str, extra: str, how: str) -> None:
    """Of the runner, and of the place by its name: what to install, however it shows."""
    command = [sys.executable, "-c", MISSING, package, how, extra]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert first == second
    assert first.endswith(
        f"the package {package}, which is not there; install it with: pip install 'creche[{extra}]'"
    )
