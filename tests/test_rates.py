"""Rates of a runner, changing limits while it runs, and what is refused of both."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import anyio
import pytest
import trio

from calls import Gate, give, settle_down
from creche import (
    CallCancelled,
    ConcurrentTaskRunner,
    Limit,
    Rate,
    RunnerClosed,
    RunnerNotStarted,
    SequentialTaskRunner,
    State,
)
from creche._backends import by_name
from creche.instruments import Instrument, Summary
from limiting import limiter_of, running

pytestmark = pytest.mark.anyio


class Own:
    """A limiter of a user's own making, which brings no library along."""

    total_tokens = 1
    borrowed_tokens = 0

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """Give a token."""

    def release_on_behalf_of(self, borrower: object) -> None:
        """Take it back."""


def test_a_limiter_in_a_program_without_anyio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of anyio's is asked for."""
    monkeypatch.delitem(sys.modules, "anyio")
    assert by_name("trio").adopt_limiter("gpu", Own()) == (trio.WouldBlock,)


def test_a_deep_copy_in_a_program_that_pickles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pickler is there to refuse an instrument."""
    monkeypatch.delitem(sys.modules, "pickle")
    monkeypatch.delitem(sys.modules, "cloudpickle", raising=False)
    runner = ConcurrentTaskRunner(instruments=[Summary()])
    assert len(copy.deepcopy(runner)._options.instruments) == 1


# Rates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (10, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (Rate(2, per=60), [0, 30, 60, 90, 120, 150]),
        (Rate(10, burst=3), [0, 0, 0, 0.1, 0.2, 0.3]),
    ],
)
@pytest.mark.parametrize("where", ["runner", "limit", "pair"])
async def test_a_rate(rate: Any, expected: list[float], where: str, virtual_time: bool) -> None:
    """The first one at once, then as they are due; to the last bit, where time is virtual."""
    if not virtual_time and expected[-1] > 1:
        pytest.skip("this loop has only the real clock")
    limit = {"runner": None, "limit": rate, "pair": Limit(6, rate)}[where]
    if where == "limit" and not isinstance(rate, Rate):
        limit = Limit(rate=rate)
    runner = ConcurrentTaskRunner(
        rate=rate if where == "runner" else None, limits={} if limit is None else {"api": limit}
    )
    times: list[float] = []

    async def note() -> None:
        times.append(anyio.current_time())

    begin = anyio.current_time()
    async with runner.start():
        for n in range(6):
            runner.submit_nowait(n, note, limits=[] if limit is None else ["api"])
    if virtual_time:
        assert [time - begin for time in times] == pytest.approx(expected, abs=1e-9)
    else:
        assert all(time - begin >= at - 1e-6 for time, at in zip(times, expected, strict=True))


async def test_only_those_that_need_the_rate_wait_for_it() -> None:
    """Others pass; the exit waits for both."""
    async with ConcurrentTaskRunner(limits={"api": Rate(1, per=0.2)}).start() as runner:
        for n in range(3):
            runner.submit_nowait(n, give, limits=["api"])
        assert await (await runner.submit("free", give)) == 1
        await settle_down()
        assert not runner.slots[2].done
    assert runner.slots[2].state is State.COMPLETED


async def test_a_call_cancelled_while_it_waits_for_the_rate() -> None:
    """It costs no token, and nothing is left that waits for the clock."""
    begin = anyio.current_time()
    async with ConcurrentTaskRunner(rate=Rate(1, per=3)).start() as runner:
        runner.submit_nowait("a", give)
        slots = [runner.submit_nowait(n, give) for n in range(3)]
        await settle_down()
        for slot in slots:
            runner.cancel(slot)
    assert anyio.current_time() - begin < 2.5
    assert [slot.origin for slot in slots] == ["cancel"] * 3


async def test_a_rate_while_the_run_is_cut() -> None:
    """Nothing starts any more, and nobody waits for the clock."""
    with anyio.CancelScope() as scope:
        async with ConcurrentTaskRunner(rate=Rate(1, per=1000)).start() as runner:
            runner.submit_nowait("a", give)
            runner.submit_nowait("b", give)
            await runner.wait("a")
            scope.cancel()
            await anyio.sleep(1)
    assert runner.slots["b"].origin == "closed"


async def test_rates_and_calls_that_submit(virtual_time: bool) -> None:
    """A call may submit at the exit, though the one it submits has to wait for its rate."""

    async def chain(n: int) -> None:
        if n:
            runner.submit_nowait(n - 1, chain, n - 1)

    begin = anyio.current_time()
    async with ConcurrentTaskRunner(1, rate=20).start() as runner:
        runner.submit_nowait(5, chain, 5)
    assert [slot.state for slot in runner.slots.values()] == [State.COMPLETED] * 6
    if virtual_time:
        assert anyio.current_time() - begin == pytest.approx(5 / 20)


# Changing them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1, None])
async def test_max_workers_up_and_down(first: int | None) -> None:
    """Up: what waits starts at once. Down: what runs goes on, and nothing starts above it."""
    gates = [Gate() for _ in range(6)]
    async with ConcurrentTaskRunner(first).start() as runner:
        if first is None:
            runner.set_max_workers(1)
        for n, gate in enumerate(gates):
            runner.submit_nowait(n, gate)
        await settle_down()
        assert running(runner) == [0]
        runner.set_max_workers(4)
        assert runner.max_workers == runner.statistics().max_workers == 4
        assert "max_workers=4" in repr(runner)
        await settle_down()
        assert running(runner) == [0, 1, 2, 3]
        runner.set_max_workers(2)
        for n in (0, 1):
            gates[n].open.set()
            await settle_down()
        assert running(runner) == [2, 3]
        gates[2].open.set()
        await settle_down()
        assert running(runner) == [3, 4]
        runner.set_max_workers(None)
        await settle_down()
        assert running(runner) == [3, 4, 5]
        for gate in gates:
            gate.open.set()
    assert runner.max_workers == first


async def test_a_limit_on_a_run_that_has_none_counts_what_runs() -> None:
    """Calls that run have a place then, and lend it; those that wait have lent it."""
    gate = Gate()

    async def outer() -> Any:
        return await runner.submit_nowait("inner", gate)

    async with ConcurrentTaskRunner().start() as runner, ConcurrentTaskRunner().start() as another:
        another.submit_nowait("of another runner", gate)
        runner.submit_nowait("outer", outer)
        runner.submit_nowait("other", gate)
        await settle_down()
        runner.set_max_workers(None)
        runner.set_max_workers(2)
        runner.submit_nowait("next", give)
        await settle_down()
        assert running(runner) == ["outer", "other", "inner"]
        assert runner.slots["next"].state is State.PENDING
        gate.open.set()
    assert [slot.state for slot in runner.slots.values()] == [State.COMPLETED] * 4


async def test_more_places_for_those_that_come_back() -> None:
    """A call that waits to have its place back gets it when there are more."""
    gate = Gate()
    came_back: list[str] = []

    async def outer() -> None:
        slot = runner.reserve("later")
        with pytest.raises(CallCancelled):
            await slot
        came_back.append("outer")

    async with ConcurrentTaskRunner(1).start() as runner:
        runner.submit_nowait("outer", outer)
        await settle_down()
        runner.submit_nowait("blocks", gate)
        await settle_down()
        runner.cancel("later")
        await settle_down()
        assert came_back == []
        runner.set_max_workers(2)
        await settle_down()
        assert came_back == ["outer"]
        gate.open.set()


async def test_unbounded_means_40_threads_still(real_time: None) -> None:
    """A limit that is lifted does not let ten thousand plain functions have a thread each."""
    async with ConcurrentTaskRunner(2).start() as runner:
        runner.set_max_workers(None)
        values = await runner.map(abs, range(-50, 0))
    assert values == list(range(50, 0, -1))


async def test_set_limit() -> None:
    """Up and down, as for places."""
    gates = [Gate() for _ in range(4)]
    async with ConcurrentTaskRunner(limits={"db": 1}).start() as runner:
        for n, gate in enumerate(gates):
            runner.submit_nowait(n, gate, limits=["db"])
        await settle_down()
        runner.set_limit("db", 3)
        await settle_down()
        assert running(runner) == [0, 1, 2]
        runner.set_limit("db", 1)
        gates[0].open.set()
        await settle_down()
        assert running(runner) == [1, 2]
        for gate in gates:
            gate.open.set()


# Bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"limits": {"db": 0}}, ValueError, "limit 'db' must be at least 1, not 0"),
        ({"limits": {"db": -1}}, ValueError, "limit 'db' must be at least 1, not -1"),
        ({"limits": {"db": True}}, TypeError, "limit 'db' must be a whole number"),
        ({"limits": {"db": "2"}}, TypeError, "limit 'db' must be a whole number"),
        ({"limits": {"db": None}}, ValueError, "limit 'db' must have a size or a rate"),
        ({"limits": {"db": Limit()}}, ValueError, "limit 'db' must have a size or a rate"),
        (
            {"limits": {"db": Rate(0)}},
            ValueError,
            "starts of the rate of limit 'db' must be more than 0",
        ),
        ({"limits": {1: 2}}, TypeError, "name of a limit must be a string, not 1"),
        ({"limits": ["db"]}, TypeError, "limits must be a mapping"),
        ({"rate": 0}, ValueError, "starts of rate must be more than 0"),
        ({"rate": -1}, ValueError, "starts of rate must be more than 0"),
        ({"rate": float("nan")}, ValueError, "starts of rate must be more than 0"),
        ({"rate": Rate(1, per=0)}, ValueError, "per of rate must be more than 0"),
        ({"rate": Rate(1, burst=0)}, ValueError, "burst of rate must be at least 1"),
        ({"rate": Rate(1, burst=1.5)}, TypeError, "burst of rate must be a whole number"),  # type: ignore  # wrong on purpose
        ({"rate": "fast"}, TypeError, "rate must be a number of starts in a second"),
        ({"rate": True}, TypeError, "rate must be a number of starts in a second"),
    ],
)
async def test_bad_settings(options: dict[str, Any], error: type[Exception], match: str) -> None:
    """They are refused where the runner is made."""
    with pytest.raises(error, match=match):
        ConcurrentTaskRunner(**options)


@pytest.mark.parametrize(
    ("limits", "error", "match"),
    [
        (["dv"], ValueError, r"'k' needs limit 'dv', which the runner does not have \(it has 'db'\)"),
        ("db", TypeError, r"limits must be a list of names, \['db'\], not 'db'"),
        (5, TypeError, "limits must be a list of names"),
        (None, TypeError, "limits must be a list of names"),
        ([1], TypeError, "limits must be a list of names of the runner's limits"),
        ({"db": 1}, TypeError, "limits must be a list of names"),
    ],
)
async def test_bad_limits_of_a_call(limits: Any, error: type[Exception], match: str) -> None:
    """They are refused before anything was queued."""
    async with ConcurrentTaskRunner(limits={"db": 1}).start() as runner:
        with pytest.raises(error, match=match):
            runner.submit_nowait("k", give, limits=limits)
        with pytest.raises(error, match=match):
            await runner.submit("k", give, limits=limits)
        assert "k" not in runner
    async with SequentialTaskRunner().start() as sequential:
        with pytest.raises(ValueError, match=r"needs limit 'db'.*\(it has none\)"):
            await sequential.submit("k", give, limits=["db"])


async def test_a_limit_that_is_named_twice() -> None:
    """A call takes each limit once."""
    async with ConcurrentTaskRunner(limits={"db": 1}).start() as runner:
        assert await (await runner.submit("k", give, limits=["db", "db"])) == 1


async def test_bad_changes(anyio_backend_name: str) -> None:
    """The message names the option and the cure."""
    runner = ConcurrentTaskRunner(limits={"db": 1, "gpu": limiter_of(anyio_backend_name, 1)})
    with pytest.raises(RunnerNotStarted):
        runner.set_max_workers(2)
    async with runner.start():
        with pytest.raises(ValueError, match="max_workers must be at least 1"):
            runner.set_max_workers(0)
        with pytest.raises(TypeError, match="max_workers must be a whole number"):
            runner.set_max_workers("2")  # type: ignore  # wrong on purpose
        with pytest.raises(ValueError, match="limit 'db' must be at least 1"):
            runner.set_limit("db", 0)
        with pytest.raises(ValueError, match="limit 'dv', which the runner does not have"):
            runner.set_limit("dv", 1)
        with pytest.raises(ValueError, match="'gpu' is a limiter object.*set its total_tokens"):
            runner.set_limit("gpu", 2)
    with pytest.raises(RunnerClosed):
        runner.set_limit("db", 1)


# Pickling -------------------------------------------------------------------------------------------


async def test_pickles() -> None:
    """Numbers and rates are carried; a limiter object is refused, since a pickle is another one."""
    runner = ConcurrentTaskRunner(limits={"db": 2, "api": Limit(1, 5)}, rate=Rate(3, 2.0))
    assert pickle.loads(pickle.dumps(runner)) == runner
    shared = ConcurrentTaskRunner(limits={"gpu": trio.CapacityLimiter(1)})
    with pytest.raises(TypeError, match="limit 'gpu' is a limiter object"):
        pickle.dumps(shared)
    assert shared.duplicate() == shared
    assert copy.copy(shared) == shared


class Unpicklable(Instrument):
    """An instrument that refuses."""

    def call_finished(self, event: object) -> None:
        """Hear it."""

    def __repr__(self) -> str:
        return "<the instrument>"

    def __getstate__(self) -> dict[str, Any]:
        msg = "not me"
        raise ValueError(msg)


async def test_a_pickle_names_the_instrument() -> None:
    """Which of them refuses; one that does not is carried."""
    summary = ConcurrentTaskRunner(instruments=[Summary()])
    assert len(pickle.loads(pickle.dumps(summary))._options.instruments) == 1
    runner = ConcurrentTaskRunner(instruments=[Unpicklable()])
    with pytest.raises(TypeError, match=r"instrument <the instrument>.*\(not me\)"):
        pickle.dumps(runner)


@pytest.mark.parametrize("what", ["rate", "limiter"])
async def test_cut_while_nothing_runs(what: str, anyio_backend_name: str) -> None:
    """The exit waits for the clock, or in a line, when a scope around the run is cancelled."""
    limiter = limiter_of(anyio_backend_name, 1)
    await limiter.acquire_on_behalf_of("other code")
    with anyio.move_on_after(0.05) as scope:
        limits = {"it": limiter if what == "limiter" else Rate(1, per=1000)}
        async with ConcurrentTaskRunner(limits=limits).start() as runner:
            if what == "rate":
                await (await runner.submit("first", give, limits=["it"]))
            slots = [runner.submit_nowait(n, give, limits=["it"]) for n in range(2)]
    assert scope.cancelled_caught
    assert [slot.origin for slot in slots] == ["closed"] * 2
    assert limiter.statistics().tasks_waiting == 0
