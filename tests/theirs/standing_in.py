"""A pytest plugin: other people's tests, with creche's task groups where they open theirs.

What it is for: ``pytest -p standing_in --suite anyio --told told.json``. Each test runs inside a runner,
and what it calls to open a nursery or a task group gives `runner.as_task_group()`. Tests that open none
are left out: they say nothing of ours.

What it does not know: where the tests come from, which of them are excluded and why.

Invariant: nothing but the namespace of the test's module is changed, so that trio, anyio and creche go
on with what they have. A test that is excluded is run all the same, and must fail.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, final

import pytest
from exclusions import SUITES, Exclusions
from trio._core import _run as trio_run

from creche import ConcurrentTaskRunner

OPENERS = frozenset({"create_task_group", "open_nursery"})
LIBRARIES = frozenset({"anyio", "trio"})

# A module that has this stands in for something by itself, and tells how often that was used.
USED = "used"

# How a test has ended: these, and pytest's own "passed", "failed" and "skipped".
EXCLUDED, NOT_RUN, WITHOUT = "excluded", "not run", "without ours"


@final
class StandIn:
    """Gives task groups of the runner of the test that runs.

    Attributes:
        made: how many it has given, since somebody set it to 0.
    """

    def __init__(self) -> None:
        self.made = 0
        self._runner: ConcurrentTaskRunner | None = None

    async def around(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call an async function inside a runner."""
        before = self._runner
        try:
            # What stays on a board is in the way of tests that look for what is left of a failure.
            async with ConcurrentTaskRunner(retain=False).start() as runner:
                self._runner = runner
                return await fn(*args, **kwargs)
        finally:
            self._runner = before

    def open_group(self, *_: Any, **__: Any) -> Any:
        """In the place of `anyio.create_task_group` and `trio.open_nursery`."""
        assert self._runner is not None, "the test opens its task group outside of any runner"
        self.made += 1
        return self._runner.as_task_group()

    def run(self, theirs: Callable[..., Any]) -> Callable[..., Any]:
        """In the place of `anyio.run` and `trio.run`."""

        @functools.wraps(theirs)
        def run(fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
            return theirs(functools.partial(self.around, fn, *args), **options)

        return run


@final
class Instead:
    """A module as a test sees it: some names are ours, the rest is its own."""

    def __init__(self, theirs: Any, ours: dict[str, Any]) -> None:
        self._theirs = theirs
        self._ours = ours

    def __getattr__(self, name: str) -> Any:
        return self._ours[name] if name in self._ours else getattr(self._theirs, name)


def names_in(code: CodeType) -> Iterator[str]:
    """All names that a function uses, those of the functions in it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def opens_group(fn: Any) -> bool:
    """Whether a function opens task groups, itself or by another one of its module."""
    todo, seen = [fn], set[object]()
    while todo:
        one = inspect.unwrap(todo.pop())
        one = getattr(one, "__func__", one)
        if not isinstance(one, FunctionType) or one in seen:
            continue
        seen.add(one)
        names = set(names_in(one.__code__))
        if not OPENERS.isdisjoint(names | inspect.signature(one).parameters.keys()):
            return True
        there = (one.__globals__.get(name) for name in names)
        todo += [other for other in there if getattr(other, "__module__", None) == one.__module__]
    return False


def name_of(item: pytest.Item) -> str:
    """Of a test: its class, if it has one, its function and its parameters."""
    return item.nodeid.partition("::")[2]


@final
class Plugin:
    """Changes what is collected, and keeps account of it."""

    def __init__(self, exclusions: Exclusions, told: Path, *, is_part: bool) -> None:
        self._exclusions = exclusions
        self._is_part = is_part
        self._failed: list[str] = []
        self._told = told
        self._stand_in = StandIn()
        self._ended: dict[str, str] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what has no task group; put ours into the rest."""
        found = [item for item in items if isinstance(item, pytest.Function)]
        ours = [item for item in found if hasattr(item.module, USED) or opens_group(item.obj)]
        for item in ours:
            exclusion = self._exclusions.find(name_of(item))
            if exclusion is not None and not exclusion.runs:
                self._ended[name_of(item)] = NOT_RUN
        kept = [item for item in ours if name_of(item) not in self._ended]
        left = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in left])
        items[:] = kept
        for module in {item.module for item in kept if not hasattr(item.module, USED)}:
            self._change(vars(module))
        for item in kept:
            if inspect.iscoroutinefunction(item.obj):
                around = functools.partial(self._stand_in.around, item.obj)
                item.obj = functools.wraps(item.obj)(around)

    def _change(self, space: dict[str, Any]) -> None:
        stand_in, words = self._stand_in, self._exclusions.in_our_words
        for name, theirs in list(space.items()):
            if name in OPENERS and callable(theirs):
                space[name] = stand_in.open_group
            elif name == "run" and getattr(theirs, "__module__", "").partition(".")[0] in LIBRARIES:
                space[name] = stand_in.run(theirs)
            elif name in LIBRARIES or name == "_core":
                ours = dict.fromkeys(OPENERS, stand_in.open_group)
                space[name] = Instead(theirs, {**ours, "run": stand_in.run(theirs.run)})
            elif name == "re":
                space[name] = Instead(theirs, {"match": _in_words(theirs.match, words)})
            elif name == "pytest":
                ours = {one: _in_words(getattr(theirs, one), words) for one in ("raises", "RaisesExc")}
                space[name] = Instead(theirs, ours)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Any:
        """Count the task groups of each test; whose turn it is on trio is drawn from the same seed."""
        self._stand_in.made = 0
        trio_run._r.seed(1)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        """A test that is excluded is expected to fail; one that made no group of ours says nothing."""
        report: Any = yield
        if report.when != "call" and report.outcome == "passed":
            return report
        name = name_of(item)
        ended = report.outcome
        used = getattr(item.module, USED, lambda: self._stand_in.made)  # type: ignore[attr-defined]  # a test item of a module has it
        if ended == "passed" and not used():
            ended = WITHOUT
        excluded = self._exclusions.find(name)
        if excluded is not None and ended == "failed":
            report.outcome, report.wasxfail = "skipped", excluded.reason
            ended = EXCLUDED
        elif excluded is not None and ended != "skipped":
            report.outcome = ended = "failed"
            report.longrepr = f"it is excluded ({excluded.reason}), but holds: strike it off the list"
        self._ended[name] = ended
        if ended == "failed":
            self._failed.append(f"{item.path}::{name}")
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write down how each test has ended; an entry of the list that nothing needed is a failure."""
        unused = [] if self._is_part else self._exclusions.unused()
        told = {"ended": self._ended, "failed": self._failed, "unused": unused}
        self._told.write_text(json.dumps(told, indent=1), encoding="utf-8")
        if unused:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name those entries."""
        for entry in [] if self._is_part else self._exclusions.unused():
            terminalreporter.write_line(f"no test needs this entry any more: {entry!r}")


def _in_words(theirs: Callable[..., Any], words: Callable[[str], str]) -> Callable[..., Any]:
    """The same, with a pattern that is a message of ours."""

    @functools.wraps(theirs, updated=())
    def compare(*args: Any, **kwargs: Any) -> Any:
        if isinstance(kwargs.get("match"), str):
            kwargs["match"] = words(kwargs["match"])
        if args and isinstance(args[0], str):
            args = (words(args[0]), *args[1:])
        return theirs(*args, **kwargs)

    return compare


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which suite it is, where it is listed, and where to write down how its tests have ended."""
    parser.addoption("--suite", required=True)
    parser.addoption("--suites", type=Path, default=SUITES)
    parser.addoption("--told", type=Path, required=True)
    parser.addoption("--part", action="store_true", help="of the suite, so that entries may be unused")


def pytest_configure(config: pytest.Config) -> None:
    """Begin."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # as trio's own tests set it
    option: Any = config.option
    exclusions = Exclusions.of(option.suite, option.suites)
    config.pluginmanager.register(
        Plugin(exclusions, option.told, is_part=option.part), "creche stands in"
    )
    matched = pytest.ExceptionInfo.match

    def match(self: Any, regexp: Any) -> Any:
        __tracebackhide__ = True
        return matched(self, exclusions.in_our_words(regexp) if isinstance(regexp, str) else regexp)

    pytest.ExceptionInfo.match = match  # type: ignore[method-assign]  # replaced for the test
