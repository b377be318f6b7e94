"""A slow, obvious model of what a runner promises: what was asked of each call, and how it may end.

What it does not know: queues, carriers, loops. It is told what was asked and what bodies did, looks at
slots from outside, and says what is wrong.

Invariant: it never says how something is to be brought about, only what must not be seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from outcome import Error, Value

from creche import CallCancelled, Slot, State

KINDS = ("value", "value", "fail", "flaky", "stubborn", "tidy", "stray", "exit", "endless")
KEYS = st.sampled_from("abcdefgh")
SECONDS = st.sampled_from([0, 0, 1, 2, 5])
WISHES = st.fixed_dictionaries(
    {"key": st.one_of(KEYS, st.none()), "kind": st.sampled_from(KINDS)},
    optional={
        "seconds": SECONDS,
        "timeout": st.sampled_from([0, 1, 3]),
        "retries": st.integers(1, 2),
        "priority": st.integers(0, 2),
        "after": st.integers(0, 5),
        "any_end": st.booleans(),
        "waits": st.integers(0, 5),
        "limited": st.booleans(),
        "collision": st.sampled_from(["join", "replace", "replace"]),
    },
)


class Died(Exception):  # noqa: N818 - what a call of the model raises
    """What a call raises that fails."""


@dataclass(eq=False)
class Plan:
    """One call: what was asked of it, and what has become of it."""

    key: Any
    kind: str = "value"
    seconds: float = 0
    timeout: float | None = None
    retries: int = 0
    after: list[Plan] = field(default_factory=list)
    any_end: bool = False
    replaces: Plan | None = None
    waits: Plan | None = None
    limited: bool = False
    reserved: bool = False
    slot: Any = None

    begun: int = 0
    lends: bool = False
    inside: int = 0
    did: list[tuple[str, Any]] = field(default_factory=list)
    asked: bool = False  # to be cancelled, while it was open
    asked_before: bool = False  # and it had not begun
    seen: State | None = None
    outcome: Any = None

    @property
    def open(self) -> bool:
        return not self.slot.done

    @property
    def upstream(self) -> list[Plan]:
        """Whose end it waits for."""
        return [*self.after, *([self.replaces] if self.replaces is not None else [])]

    @property
    def is_blocked(self) -> bool:
        """Whether it will never run, for what it was after has not completed."""
        return not self.any_end and any(
            not one.open and one.slot.state is not State.COMPLETED for one in self.after
        )

    def can_end(self) -> bool:
        """Whether it ends by itself, sooner or later."""
        if not self.open or self.is_blocked:
            return True
        if self.reserved or not all(one.can_end() for one in self.upstream):
            return False
        if self.timeout is not None:
            return True
        return self.kind != "endless" and (self.waits is None or self.waits.can_end())


class Model:
    """Every call of a run."""

    def __init__(self, workers: int | None, pending: int | None, limit: int) -> None:
        self.workers = workers
        self.pending = pending
        self.limit = limit
        self.plans: list[Plan] = []
        self.board: dict[Any, Plan] = {}
        self.closing = False  # drained, or closed, or it crashed, or its block raised
        self.outer = False  # a scope around it was cancelled
        self.drained = False
        self.busy = 0
        self.holding = 0
        self.resized = False  # the number of workers was another one
        self.watched = True  # what bodies do is seen
        self.wrong: list[AssertionError] = []  # as it was seen in a body, where it would be a failure

    # What is told ----------------------------------------------------------------------------------

    def submitted(self, plan: Plan, slot: Slot[Any]) -> None:
        plan.slot = slot
        assert slot.key == plan.key or plan.key is None
        plan.key = slot.key
        self.plans.append(plan)
        self.board[plan.key] = plan

    def enters(self, plan: Plan) -> None:
        """A body has begun, or goes on after a wait."""
        self.busy += 1
        assert self.workers is None or self.resized or self.busy <= self.workers, f"{self.busy} at work"

    def leaves(self, plan: Plan) -> None:
        self.busy -= 1

    def begins(self, plan: Plan) -> None:
        try:
            self._begins(plan)
        except AssertionError as exc:
            self.wrong.append(exc)
            raise

    def _begins(self, plan: Plan) -> None:
        assert not plan.asked_before, f"{plan.key} was cancelled before it began, and began"
        assert plan.inside == 0, f"{plan.key} runs twice at once"
        assert plan.begun <= plan.retries, f"{plan.key} began {plan.begun + 1} times"
        assert not plan.is_blocked, f"{plan.key} began though what it was after has not completed"
        assert not any(one.open for one in plan.upstream), f"{plan.key} began before its turn"
        assert plan.slot is None or plan.slot.state is State.RUNNING
        plan.begun += 1
        plan.inside += 1
        if plan.limited:
            self.holding += 1
            assert self.holding <= self.limit, f"{self.holding} have the limit"
        self.enters(plan)

    def ends(self, plan: Plan, how: str, what: Any = None) -> None:
        plan.inside -= 1
        plan.did.append((how, what))
        if plan.limited:
            self.holding -= 1
        if not plan.lends:
            self.leaves(plan)
        plan.lends = False
        if how == "exited":
            self.closing = True

    def cancels(self, plan: Plan, *, was_open: bool, answer: bool) -> None:
        assert answer == was_open, f"cancel of {plan.key} says {answer}"
        if not was_open:
            return
        plan.asked = True
        if not plan.begun and self.watched and (plan.slot.state is not State.RUNNING):
            plan.asked_before = True
            assert plan.slot.done, f"{plan.key} was pending, was cancelled, and is open"

    # What is seen ----------------------------------------------------------------------------------

    def look(self, slots: dict[Any, Slot[Any]]) -> None:
        """At any time."""
        if self.wrong:
            raise self.wrong[0]
        assert {key: plan.slot for key, plan in self.board.items()} == slots
        for plan in self.plans:
            self._look_at(plan)
        waiting = [
            plan
            for plan in self.plans
            if plan.slot.state is State.PENDING and not plan.reserved and not plan.upstream
        ]
        # Those that have a place and have not begun yet are pending, too.
        if self.pending is not None and self.workers is not None and not self.resized:
            assert len(waiting) <= self.pending + self.workers, "more are pending than may be"

    def _look_at(self, plan: Plan) -> None:
        state = plan.slot.state
        if plan.seen is not None and plan.outcome is not None:
            assert state is plan.seen, f"{plan.key} was {plan.seen} and is {state}"
            assert same(plan.outcome, plan.slot.outcome)
            return
        assert not (plan.seen is State.RUNNING and state is State.PENDING)
        plan.seen = state
        if plan.slot.done:
            plan.outcome = plan.slot.outcome
            self._judge(plan)
        elif self.watched:
            assert state is State.RUNNING or not plan.begun

    def _judge(self, plan: Plan) -> None:
        """One that has just ended: is it what its body did, or what was asked?"""
        state, origin, outcome = plan.slot.state, plan.slot.origin, plan.outcome
        told = f"{plan}, which ended {state} {origin} {outcome!r}"
        assert plan.inside == 0, f"the body goes on of {told}"
        if state is State.CANCELLED:
            assert isinstance(outcome, Error), told
            assert isinstance(outcome.error, CallCancelled), told
            assert (outcome.error.key, outcome.error.origin) == (plan.key, origin), told
            assert origin in self._origins(plan), told
        else:
            assert origin is None, told
        if not plan.did:
            expected = {State.CANCELLED}
        else:
            how, what = plan.did[-1]
            expected = {
                "returned": {State.COMPLETED},
                "raised": {State.FAILED},
                "exited": {State.CRASHED},
                "strayed": {State.CANCELLED},
                "cancelled": {State.CANCELLED, *({State.FAILED} if plan.timeout is not None else ())},
            }[how]
            # Between two attempts it may be cancelled, too.
            if how == "raised" and len(plan.did) <= plan.retries:
                expected |= {State.CANCELLED}
            if how == "returned" and state is State.COMPLETED:
                assert same(outcome, Value(what)), told
            elif how == "raised" and state is State.FAILED:
                assert outcome.error is what, told
                assert len(plan.did) == plan.retries + 1 or self.closing or plan.asked, told
            elif state is State.FAILED:
                assert isinstance(outcome.error, TimeoutError), told
        assert state in expected, told

    def _origins(self, plan: Plan) -> set[str]:
        if plan.asked_before:
            return {"cancel"}
        found = set()
        if plan.asked:
            found.add("cancel")
        if plan.is_blocked:
            found.add("upstream")
        if self.closing:
            found |= {"closed", "lost", "upstream"}
        if self.outer:
            found |= {"outer", "closed", "lost", "upstream"}
        if plan.did and plan.did[-1][0] == "strayed":
            found.add("foreign")
        return found

    def rested(self) -> None:
        """Nothing goes on any more: all that can end has ended."""
        for plan in self.plans:
            assert not plan.open or plan.reserved or not plan.can_end(), f"{plan} is open"

    def is_over(self) -> None:
        """The run has ended: each key once, with an outcome, and no body goes on."""
        assert self.busy == self.holding == 0
        for plan in self.plans:
            assert not plan.open, f"{plan} is open"
            assert not plan.inside, f"{plan} goes on"

    def can_rest(self, plans: Iterable[Plan] | None = None) -> bool:
        """Whether all of these end by themselves."""
        return all(plan.can_end() or plan.reserved for plan in plans or self.plans)


def same(one: Any, other: Any) -> bool:
    """Whether two readers have read the same."""
    if isinstance(one, Value):
        return isinstance(other, Value) and bool(one.value == other.value)
    if isinstance(one.error, CallCancelled):
        theirs = other.error
        return isinstance(theirs, CallCancelled) and (one.error.key, one.error.origin) == (
            theirs.key,
            theirs.origin,
        )
    return isinstance(other, Error) and one.error is other.error
