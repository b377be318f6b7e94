"""`AsyncRuleBasedStateMachine`: rules are steps of one run, in orders that hypothesis draws."""

from __future__ import annotations

import subprocess
import sys
import traceback
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import assume, settings, strategies
from hypothesis.stateful import Bundle, RuleBasedStateMachine, precondition, run_state_machine_as_test

from creche import ConcurrentTaskRunner
from creche.testing import leaks
from creche.testing.stateful import AsyncRuleBasedStateMachine, initialize, invariant, rule
from stepping import QUICK, Steps, on

both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


class Counter(AsyncRuleBasedStateMachine):
    """A counter with a lost update: it reads, waits, and writes."""

    @initialize()
    async def begin(self) -> None:
        self.group = await self.enter_async_context(anyio.create_task_group())
        self.count = self.asked = 0

    async def lose(self) -> None:
        found = self.count
        await anyio.lowlevel.checkpoint()
        self.count = found + 1

    @rule()
    def add(self) -> None:
        self.asked += 1
        self.group.start_soon(self.lose, name="lose")

    @rule()
    async def rest(self) -> None:
        await anyio.sleep(1)
        assert self.count == self.asked


@both
def test_a_planted_bug_is_found_and_printed_as_a_program_that_fails_again(backend: Any) -> None:
    """Rules and order are small, and the text that hypothesis prints does by hand what it did there."""
    machine = on(backend, Counter)
    with leaks(), pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(machine, settings=QUICK)
    lines = "\n".join(getattr(caught.value, "__notes__", [])).splitlines()
    program = [line for line in lines if line.startswith("state")]
    assert program[0] == "state = Counter()"
    assert program[1:] == [
        "state.begin()",
        "state.add()",
        "state.add()",
        "state.rest()",
        "state.teardown()",
    ]
    with pytest.raises(AssertionError) as again:
        exec("\n".join(program), {"Counter": machine})  # noqa: S102 - that is the point
    frames = traceback.extract_tb(again.value.__traceback__)
    assert frames[-1].line == "assert self.count == self.asked"


class OrderMatters(AsyncRuleBasedStateMachine):
    """Fails only if the second one goes before the first."""

    @initialize()
    async def begin(self) -> None:
        self.seen: list[str] = []

    async def one(self, name: str) -> None:
        await anyio.lowlevel.checkpoint()
        self.seen.append(name)

    @rule()
    async def both(self) -> None:
        async with anyio.create_task_group() as group:
            for name in ("first", "second"):
                group.start_soon(self.one, name, name=name)
        assert self.seen.index("first") < self.seen.index("second")


@both
def test_an_order_is_drawn_made_small_and_printed_before_its_step(backend: Any) -> None:
    """With who went before whom; by hand it fails with that line, and does not without it."""
    machine = on(backend, OrderMatters)
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(machine, settings=QUICK)
    lines = "\n".join(getattr(caught.value, "__notes__", [])).splitlines()
    program = [line for line in lines if line.startswith("state")]
    assert len(program) == 5
    assert program[2].startswith('state.order = "')
    assert program[2].endswith("# second before first")
    with pytest.raises(AssertionError):
        exec("\n".join(program), {"OrderMatters": machine})  # noqa: S102 - that is the point
    without = [line for line in program if "order" not in line]
    exec("\n".join(without), {"OrderMatters": machine})  # noqa: S102 - the same


class Pool(AsyncRuleBasedStateMachine):
    """A runner, and what is known of its calls."""

    slots: Bundle[Any] = Bundle("slots")

    @initialize(workers=strategies.integers(1, 3))
    async def begin(self, workers: int) -> None:
        self.workers = workers
        self.busy = 0
        self.runner = await self.enter_async_context(ConcurrentTaskRunner(max_workers=workers).start())

    async def work(self, seconds: int) -> int:
        self.busy += 1
        try:
            await anyio.sleep(seconds)
        finally:
            self.busy -= 1
        return seconds

    @rule(target=slots, seconds=strategies.integers(0, 5))
    def submit(self, seconds: int) -> Any:
        return self.runner.submit_nowait(None, self.work, seconds)

    @rule(slot=slots)
    async def wait(self, slot: Any) -> None:
        assert await self.runner.wait(slot) is not None

    @rule(slot=slots)
    def cancel(self, slot: Any) -> None:
        self.runner.cancel(slot)

    @rule(seconds=strategies.integers(0, 5))
    async def rest(self, seconds: int) -> None:
        assume(seconds != 4)
        await anyio.sleep(seconds)

    @precondition(lambda self: self.runner.statistics().running == 0)
    @rule(data=strategies.data())
    async def idle(self, data: Any) -> None:
        assert data.draw(strategies.just(self.busy)) == 0

    @invariant()
    async def never_too_many(self) -> None:
        assert self.busy <= self.workers

    async def teardown(self) -> None:  # type: ignore[override]  # async, as this machine allows
        await self.runner.drain()
        assert self.busy == 0


@both
def test_a_correct_system_passes(backend: Any) -> None:
    """With bundles, preconditions, draws within a rule, assumptions and async invariants."""
    with leaks():
        run_state_machine_as_test(on(backend, Pool), settings=QUICK)


def test_as_a_test_case() -> None:
    """`TestCase` is hypothesis's, and takes settings as ever."""
    case = Pool.TestCase
    case.settings = settings(QUICK, max_examples=3)
    case("runTest").debug()


def test_rules_of_a_class_beside_it() -> None:
    """One that is no machine of its own, or one of hypothesis's."""

    class Beside:
        @rule()
        async def rests(self) -> None:
            await anyio.sleep(1)

    class Plain(RuleBasedStateMachine):
        @rule()
        async def rests_too(self) -> None:
            await anyio.sleep(1)

    class Mixed(Beside, AsyncRuleBasedStateMachine, Plain):
        pass

    run_state_machine_as_test(Mixed, settings=settings(QUICK, max_examples=3))


def test_a_wrong_backend() -> None:
    """Is refused when the class is made."""
    with pytest.raises(ValueError, match="backend"):
        on("curio", Steps)


def test_without_hypothesis() -> None:
    """`creche.testing` and all its names do without it; only `creche.testing.stateful` needs it."""
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import creche.testing\n"
        "for name in creche.testing.__all__: getattr(creche.testing, name)\n"
        "try:\n    import creche.testing.stateful\n"
        "except ModuleNotFoundError as exc: print(exc.name)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["hypothesis"]
