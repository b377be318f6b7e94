"""Random programs against a runner on a loop, each step of which the model of the contract follows.

What it does not know: how a runner does it. A run has a task of its own: what ends it ends no rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition

from creche import (
    ConcurrentTaskRunner,
    KeyTaken,
    NotSettled,
    Retry,
    RunnerClosed,
    RunnerFull,
    State,
    UnknownKey,
)
from creche._capture import leaves
from creche.testing.stateful import AsyncRuleBasedStateMachine, initialize, invariant, rule
from modelling import KEYS, SECONDS, WISHES, Died, Model, Plan, same


class LoopMachine(AsyncRuleBasedStateMachine):
    """Calls on the loop, in virtual time."""

    decisions = 120

    @initialize(
        workers=st.sampled_from([1, 2, 3, None]),
        pending=st.sampled_from([None, None, 0, 1, 3]),
        limit=st.integers(1, 2),
    )
    async def begin(self, workers: int | None, pending: int | None, limit: int) -> None:
        self.group = await self.enter_async_context(anyio.create_task_group())
        self.waiters: list[tuple[anyio.CancelScope, Plan, list[Any]]] = []
        self.settings = (workers, pending, limit)
        await self.open()

    async def open(self) -> None:
        workers, pending, limit = self.settings
        self.model = Model(workers, pending, limit)
        self.runner = ConcurrentTaskRunner(workers, pending, limits={"limit": limit}, retain=True)
        self.around = anyio.CancelScope()
        self.leave, self.up, self.over = anyio.Event(), anyio.Event(), anyio.Event()
        self.left: list[Any] = []
        self.raises: Exception | None = None
        self.group.start_soon(self.host, self.model, name="host")
        await self.up.wait()

    async def host(self, model: Model) -> None:
        came: Any = None
        try:
            with self.around:
                async with self.runner.start():
                    self.up.set()
                    await self.leave.wait()
                    if self.raises is not None:
                        raise self.raises
        except (SystemExit, Died, BaseExceptionGroup) as exc:
            came = exc
        assert came is None or all(isinstance(one, SystemExit | Died) for one in leaves(came))
        model.is_over()
        self.left.append(came)
        self.over.set()

    # Bodies --------------------------------------------------------------------------------------

    async def body(self, plan: Plan) -> int:
        model, how = self.model, "cancelled"
        what: Any = None
        model.begins(plan)
        try:
            try:
                if plan.waits is not None:
                    model.leaves(plan)
                    plan.lends = True  # for good if the wait is cancelled
                    outcome = await self.runner.wait(plan.waits.slot)
                    plan.lends = False
                    model.enters(plan)
                    assert same(outcome, plan.waits.slot.outcome)
                await anyio.sleep(plan.seconds if plan.kind != "endless" else 10**6)
            except BaseException:
                if plan.kind == "stubborn":
                    how, what = "returned", plan.begun
                    return plan.begun
                if plan.kind == "tidy":
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(1)
                raise
            if plan.kind == "fail" or (plan.kind == "flaky" and plan.begun == 1):
                how, what = "raised", Died(plan.key)
                raise what
            if plan.kind == "exit":
                how = "exited"
                raise SystemExit(str(plan.key))
            if plan.kind == "stray" and self.backend == "asyncio":
                how = "strayed"
                raise asyncio.CancelledError
            how, what = "returned", plan.begun
            return plan.begun
        finally:
            model.ends(plan, how, what)

    # Rules ---------------------------------------------------------------------------------------

    def some(self, n: int | None, *, slots: bool = True) -> Plan | None:
        """The nth last plan of this run."""
        plans = self.model.plans if slots else list(self.model.board.values())
        return plans[-1 - n % len(plans)] if n is not None and plans else None

    def open_plans(self) -> int:
        return sum(plan.open for plan in self.model.plans)

    @rule(asked=st.lists(WISHES, min_size=1, max_size=4))
    def submit(self, asked: list[dict[str, Any]]) -> None:
        for wishes in asked:
            self.submit_plan(**wishes)

    @rule(asked=st.lists(WISHES, min_size=1, max_size=4), seconds=SECONDS)
    async def submit_and_rest(self, asked: list[dict[str, Any]], seconds: float) -> None:
        self.submit(asked)
        await anyio.sleep(seconds)

    def submit_plan(
        self,
        key: Any,
        kind: str,
        seconds: float = 1,
        timeout: float | None = None,
        retries: int = 0,
        priority: int = 0,
        after: int | None = None,
        any_end: bool = False,
        waits: int | None = None,
        limited: bool = False,
        collision: Any = "raise",
        to: Any = None,
    ) -> Plan | None:
        model = self.model
        there = model.board.get(key)
        plan = Plan(key, kind, seconds, timeout, retries, any_end=any_end)
        fills = there is not None and there.reserved and there.open
        if not fills:
            plan.after = [one for one in [self.some(after)] if one is not None]
            plan.waits = self.some(waits)
        # What waits for one that needs a limit must not have it itself.
        plan.limited = limited and plan.waits is None
        if collision == "replace" and there is not None and there.open and not fills:
            plan.replaces = there
            if plan.waits is there:
                plan.waits = None
        taken = there is not None and not fills and collision == "raise"
        joins = there is not None and not fills and collision == "join"
        was_open = plan.replaces is not None
        begun_before = was_open and there is not None and there.begun
        try:
            slot = (to or self.runner).submit_nowait(
                key,
                self.body,
                plan,
                timeout=timeout,
                retry=Retry(retries, delay=1, jitter="none") if retries else None,
                priority=priority,
                after=[one.slot for one in plan.after],
                after_any_end=any_end,
                limits=["limit"] if plan.limited else [],
                on_collision=collision,
            )
        except KeyTaken:
            assert taken
            return None
        except RunnerClosed:
            assert model.closing or model.outer or self.leave.is_set()
            return None
        except RunnerFull:
            assert model.pending is not None
            return None
        assert not taken
        assert joins or not model.drained
        if joins:
            assert there is not None
            assert slot is there.slot
            return there
        if fills:
            assert there is not None
            assert slot is there.slot
            model.plans.remove(there)
            plan.asked = there.asked
        elif was_open:
            assert there is not None
            there.asked = True
            there.asked_before = there.asked_before or (not begun_before and there.slot.done)
        model.submitted(plan, slot)
        return plan

    @precondition(lambda self: not self.is_closed)
    @rule(key=KEYS)
    def reserve(self, key: Any) -> None:
        try:
            slot = self.runner.reserve(key)
        except KeyTaken:
            assert key in self.model.board
        else:
            self.model.submitted(Plan(key, reserved=True), slot)

    @precondition(lambda self: self.open_plans() > 0)
    @rule(n=st.integers(0, 5))
    def cancel(self, n: int) -> None:
        plan = self.some(n)
        if plan is not None:
            was_open = plan.open
            try:
                answer = self.runner.cancel(plan.slot)
            except UnknownKey:
                assert plan not in self.model.board.values()
            else:
                self.model.cancels(plan, was_open=was_open, answer=answer)

    @precondition(lambda self: self.open_plans() > 3)
    @rule()
    def cancel_all(self) -> None:
        was_open = [plan for plan in self.model.plans if plan.open]
        chosen = self.runner.cancel_all()
        for plan in was_open:
            if plan.slot in chosen:
                self.model.cancels(plan, was_open=True, answer=True)

    @precondition(lambda self: self.open_plans() > 0)
    @rule(n=st.integers(0, 5))
    async def starts_to_wait(self, n: int) -> None:
        if (plan := self.some(n)) is not None:
            scope, got = anyio.CancelScope(), list[Any]()
            self.waiters.append((scope, plan, got))
            self.group.start_soon(self.wait_for, scope, plan, got, self.runner, name="waiter")

    async def wait_for(self, scope: Any, plan: Plan, got: list[Any], runner: Any) -> None:
        with scope:
            got.append(await runner.wait(plan.slot))
            assert same(got[0], plan.slot.outcome)

    @precondition(lambda self: len(self.waiters) > 1)
    @rule(n=st.integers(0, 5))
    def stops_to_wait(self, n: int) -> None:
        if self.waiters:
            was = [plan.slot.state for _, plan, _ in self.waiters]
            self.waiters[n % len(self.waiters)][0].cancel()
            assert was == [plan.slot.state for _, plan, _ in self.waiters]

    @precondition(lambda self: len(self.model.board) > 1)
    @rule(key=KEYS, timeout=st.sampled_from([0, 1, 4]))
    async def waits(self, key: Any, timeout: float) -> None:
        plan = self.model.board.get(key)
        if plan is None:
            with pytest.raises(UnknownKey):
                await self.runner.wait(key, timeout)
            return
        was_done = plan.slot.done
        begin = anyio.current_time()
        outcome = await self.runner.wait(key, timeout)
        waited = anyio.current_time() - begin
        if outcome is None:
            assert not was_done
            assert waited == timeout
        else:
            assert same(outcome, plan.slot.outcome)
            assert waited <= timeout
            assert waited == 0 or not was_done

    @rule(seconds=st.sampled_from([0, 1, 2, 7]))
    async def rest(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    @precondition(lambda self: self.model.can_rest())
    @precondition(lambda self: self.open_plans() > 1)
    @rule()
    async def until_idle(self) -> None:
        await self.runner.until_idle()
        self.model.rested()
        assert self.model.busy == self.model.holding == 0
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
        for scope, plan, got in self.waiters:
            assert plan.open or got or scope.cancel_called

    @precondition(lambda self: len(self.model.board) > 2)
    @rule(key=KEYS, pops=st.booleans())
    def forget(self, key: Any, pops: bool) -> None:
        plan = self.model.board.get(key)
        take: Callable[[Any], Any] = self.runner.pop if pops else self.runner.forget
        if plan is None:
            with pytest.raises(UnknownKey):
                take(key)
        elif plan.open:
            with pytest.raises(NotSettled):
                take(key)
        else:
            assert take(key) is (plan.slot if pops else None)
            del self.model.board[key]

    @rule(
        stop_when=st.sampled_from([None, "first_success", "first_failure"]),
        seconds=st.lists(SECONDS, min_size=1, max_size=3),
        kinds=st.lists(st.sampled_from(["value", "fail", "stubborn"]), min_size=3, max_size=3),
    )
    async def group_of(self, stop_when: Any, seconds: list[float], kinds: list[str]) -> None:
        if self.is_closed or not self.model.can_rest():
            return
        mine: list[Plan] = []
        async with self.runner.group(stop_when=stop_when) as group:
            for each, kind in zip(seconds, kinds, strict=False):
                plan = self.submit_plan(None, kind, each, to=group)
                mine += [plan] if plan is not None else []
        assert all(not plan.open for plan in mine)
        for plan in mine:
            plan.asked = group.stopped_by is not None
        ended = [plan for plan in mine if plan.did and plan.did[-1][0] in ("returned", "raised")]
        assert len(ended) == len(mine) or group.stopped_by is not None or self.is_closed

    @precondition(lambda self: len(self.model.plans) > 2)
    @rule(number=st.integers(1, 3))
    def set_max_workers(self, number: int) -> None:
        if self.is_closed:
            return
        self.runner.set_max_workers(number)
        self.model.resized |= number != self.model.workers
        self.model.workers = number

    # Ends ----------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        return self.model.closing or self.model.outer or self.leave.is_set()

    @precondition(lambda self: not self.is_closed)
    @precondition(lambda self: len(self.model.plans) > 5)
    @rule(timeout=st.sampled_from([0, 1, 3, None]))
    async def drain(self, timeout: float | None) -> None:
        if timeout is None and not all(one.can_end() or one.reserved for one in self.model.plans):
            timeout = 2
        was_open = [plan for plan in self.model.plans if plan.open]
        self.model.closing = self.model.drained = True
        left = await (self.runner.drain(timeout) if timeout != 0 else self.runner.aclose())
        self.model.is_over()
        cut = {plan.key for plan in was_open if plan.slot.origin == "closed"}
        crashed = any(plan.slot.state is State.CRASHED for plan in self.model.plans)  # which cuts, too
        assert crashed or cut <= set(left)
        assert set(left) <= {plan.key for plan in was_open}
        with pytest.raises(RunnerClosed):
            self.runner.submit_nowait(None, self.body, Plan(None))

    @precondition(lambda self: not self.leave.is_set())
    @precondition(lambda self: len(self.model.plans) > 5)
    @rule(how=st.sampled_from(["scope", "body"]))
    async def end(self, how: str) -> None:
        if how == "scope":
            self.model.outer = True
            self.around.cancel()
        else:
            self.model.closing = True
            self.raises = Died("of the block")
            self.leave.set()

    @precondition(lambda self: bool(self.left))
    @rule()
    async def again(self) -> None:
        self.settle()
        await self.open()

    @invariant()
    def holds(self) -> None:
        self.model.look(dict(self.runner.slots))

    def settle(self) -> None:
        """The run has ended."""
        self.model.is_over()
        self.model.look(dict(self.runner.slots))

    async def teardown(self) -> None:  # type: ignore[override]  # async, as this machine allows
        if not hasattr(self, "runner"):
            return
        if not self.is_closed:
            self.cancel_all()
            await self.runner.drain(5)
            self.model.closing = True
        self.leave.set()
        with anyio.fail_after(100):
            await self.over.wait()
        self.settle()
        await anyio.wait_all_tasks_blocked()
        for scope, _, got in self.waiters:
            assert got or scope.cancel_called
