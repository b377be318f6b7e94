"""State machines of hypothesis whose rules are async functions of one run.

What it is for: `AsyncRuleBasedStateMachine`, to be subclassed in place of hypothesis's own. It needs
hypothesis, and is the only module here that does without asking.

What it does not know: loops; `_acting` has one.

Invariant: what hypothesis prints of a run that fails is a program that fails in the same way when it is
run by hand: the order of tasks is drawn step by step, and is printed before the step that it was for.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Protocol, TypeVar, cast, final

from hypothesis import note, strategies
from hypothesis import stateful as theirs
from hypothesis.control import current_build_context, currently_in_test_context
from hypothesis.stateful import (
    INITIALIZE_RULE_MARKER,
    INVARIANT_MARKER,
    RULE_MARKER,
    RuleBasedStateMachine,
)
from hypothesis.strategies import SearchStrategy

from creche._checks import check_choice

from ._acting import Acting
from ._orders import Drawn, read, write
from ._stages import BackendName

__all__ = ["AsyncRuleBasedStateMachine", "initialize", "invariant", "rule"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class _Rule(Protocol):
    def __call__(
        self,
        *,
        target: Any = ...,  # noqa: ANN401 - a bundle of anything
        targets: Any = ...,  # noqa: ANN401 - the same
        **arguments: SearchStrategy[Any],
    ) -> Callable[[F], F]: ...


class _Invariant(Protocol):
    def __call__(self, *, check_during_init: bool = False) -> Callable[[F], F]: ...


# Hypothesis's own, whose types know nothing of async functions.
rule: _Rule = cast("Any", theirs.rule)
initialize: _Rule = cast("Any", theirs.initialize)
invariant: _Invariant = cast("Any", theirs.invariant)

_MARKERS = (RULE_MARKER, INITIALIZE_RULE_MARKER, INVARIANT_MARKER)
# Of the steps that have a choice, how many are not in the usual order. Arbitrary.
_UNUSUAL = 0.75
_AT_END = strategies.lists(strategies.integers(0, 3), max_size=12)
_LEFT_ALONE = "_creche_is_step"


@final
class _Nothing:
    """What may be awaited, or not."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


@final
class _Drawing:
    """Has hypothesis draw the order of tasks.

    That of a rule while it runs, since it is printed only when the rule has ended. Of the end of the run
    it is printed before, so that order is drawn ahead. An invariant is printed before, too, and has the
    usual order.
    """

    def __init__(self, decisions: int) -> None:
        self._left = decisions
        self._usual = True
        self._drawn = Drawn(self._draw)
        self.given: list[int] = []
        self.at_end: list[int] = []
        self.stopped: BaseException | None = None

    def order(self, names: Sequence[str]) -> Sequence[int]:
        return self._drawn.order(names)

    def draw_end(self) -> str:
        """Draw the order of the end of the run; written."""
        if self._left and currently_in_test_context():
            self.at_end = current_build_context().data.draw(_AT_END)
        return write(self.at_end)

    def begin(self, *, draws: bool) -> None:
        """A step."""
        self._drawn = Drawn(self._draw)
        self._usual = not draws or not self._left or not currently_in_test_context()
        self._asked = False

    def end(self) -> tuple[str, str]:
        """What the order of the step was, written, and in words."""
        self.given = []
        return write(self._drawn.decisions), "; ".join(words for _, words in self._drawn.told)

    def _draw(self, count: int) -> int:
        if self.given:
            return min(self.given.pop(0), count - 1)
        if self._usual or not self._left:
            return 0
        data: Any = current_build_context().data
        try:
            # A step in the usual order costs one draw: for hypothesis what is shorter is smaller.
            if not self._asked:
                self._asked = True
                self._usual = not data.draw_boolean(_UNUSUAL)
                return self._draw(count)
            self._left -= 1
            return int(data.draw_integer(0, count - 1))
        except BaseException as exc:  # noqa: BLE001 - it would break the loop; it is raised after the step
            self.stopped = exc
            self._usual = True
            return 0


class AsyncRuleBasedStateMachine(RuleBasedStateMachine):
    """A hypothesis state machine whose rules, invariants and `teardown` may be async functions.

    All of them run in one task of one loop. What a rule starts lives on while the next ones run, and
    does not move in between. Where several tasks can run, hypothesis draws which comes first, and makes
    the order small along with the rules. Time is virtual, as in `run_virtual`.

    A plain function runs in that task, too, between two steps of the tasks: what it sees does not
    change, and it may do what needs a running loop and does not wait. Preconditions, and what is before
    the first rule, such as `__init__`, run outside of the loop.

    A step that does not end raises a `HungError` with its name and a tree of what each task waits for:
    nothing can run any more, or it has taken 200,000 passes of the loop. If a context
    manager that was entered is cancelled, as a nursery is by a task that fails, what comes out of it is
    raised by the step in which that is seen. After a step that failed the context managers are left
    with its error, and nothing of the run stays behind.

    What hypothesis prints of a run that fails can be pasted and run. Where the order of the tasks
    matters, a line ``state.order = "0.1"`` is before the step that it was drawn for, and one
    ``state.order_at_end = "1"`` near the top. An invariant that waits has the usual order.

    Attributes:
        backend: ``"trio"`` or ``"asyncio"``.
        real_time: whether time is real. Orders are then those of a plain queue, and nothing is known to
            hang.
        decisions: how many decisions about the order of tasks are drawn in a run; then it is that of a
            plain queue.
    """

    backend: ClassVar[BackendName] = "trio"
    real_time: ClassVar[bool] = False
    decisions: ClassVar[int] = 200

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - of others
        super().__init_subclass__(**kwargs)
        check_choice("backend", cls.backend, ("trio", "asyncio"))
        for name in dir(cls):
            value = inspect.getattr_static(cls, name)
            if hasattr(value, _LEFT_ALONE):
                continue
            if name == "teardown":
                setattr(cls, name, _last(value))
            for marker in _MARKERS:
                if (found := getattr(value, marker, None)) is not None:
                    setattr(cls, name, _step(found, marker))

    def __init__(self) -> None:
        super().__init__()
        self._drawing = _Drawing(0 if self.real_time else self.decisions)
        self._acting: Acting | None = None
        self._over = False

    @property
    def order(self) -> str:
        """The order of the tasks in the next step, as a printed run has it; ``""`` is the usual one.

        Raises:
            ValueError: it is no order.
        """
        return write(self._drawing.given)

    @order.setter
    def order(self, order: str) -> None:
        self._drawing.given = read(order)

    @property
    def order_at_end(self) -> str:
        """The order of the tasks in `teardown` and while what was entered is left.

        Raises:
            ValueError: it is no order.
        """
        return write(self._drawing.at_end)

    @order_at_end.setter
    def order_at_end(self, order: str) -> None:
        self._drawing.at_end = read(order)

    async def enter_async_context(self, manager: AbstractAsyncContextManager[T]) -> T:
        """In a rule: enter a context manager that stays open until the end of the run.

        They are left in the reverse order, after `teardown`.

        Args:
            manager: such as ``runner.start()``.

        Returns:
            what ``async with manager as`` would give.

        Raises:
            RuntimeError: in another task than that of the rules, or outside of them.
        """
        if self._acting is None:
            msg = "enter_async_context is for rules; there is no loop before the first one"
            raise RuntimeError(msg)
        return await self._acting.enter(manager)

    def teardown(self) -> Any:  # noqa: ANN401 - plain or async, as it is overridden
        """After the last rule, also when one failed: to be overridden, by a plain or an async function.

        What was entered is still open.
        """

    def _act(self, marker: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - a rule's
        """A rule or an invariant."""
        __tracebackhide__ = True
        if self._acting is not None and self._acting.inside:
            return fn(self, *args, **kwargs)
        if self._over or (self._acting is not None and self._acting.hung):
            msg = f"the run of {type(self).__name__} is over; make another one"
            raise RuntimeError(msg)
        acting = self._begin()
        self._drawing.begin(draws=marker != INVARIANT_MARKER)
        try:
            value = acting.step(fn, self, *args, **kwargs)
        except BaseException:
            self._tell_order()
            if not currently_in_test_context():
                self.teardown()  # by hand: nobody else will do it
            raise
        self._tell_order()
        return value

    def _begin(self) -> Acting:
        if self._acting is None:
            at_end = self._drawing.draw_end()
            if at_end and currently_in_test_context():
                note(f'state.order_at_end = "{at_end}"')
            self._acting = Acting(self.backend, self._drawing, virtual=not self.real_time)
        return self._acting

    def _tell_order(self) -> None:
        """After a step: what its order was; and what drawing it has raised.

        Raises:
            BaseException: what hypothesis ends a test with of which it has seen enough.
        """
        order, words = self._drawing.end()
        if order and currently_in_test_context():
            note(f'state.order = "{order}"  # {words}')
        stopped, self._drawing.stopped = self._drawing.stopped, None
        if stopped is not None:
            raise stopped

    def _end(self, fn: Callable[..., Any]) -> Any:  # noqa: ANN401 - inside of it, what it returns
        __tracebackhide__ = True
        if self._acting is not None and self._acting.inside:
            return fn(self) or _Nothing()
        if not self._over:
            acting = self._begin()
            self._over = True
            self._drawing.begin(draws=False)
            self._drawing.given = self._drawing.at_end
            try:
                acting.end(functools.partial(fn, self))
            finally:
                _, words = self._drawing.end()
                if words and currently_in_test_context():
                    note(f"# at the end: {words}")
        return None


def _step(marked: Any, marker: str) -> Callable[..., Any]:  # noqa: ANN401 - a rule of hypothesis's
    """A method that is the same rule or invariant, and is carried out on the loop."""
    fn = marked.function

    @functools.wraps(fn)
    def step(self: AsyncRuleBasedStateMachine, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the rule's
        __tracebackhide__ = True
        return self._act(marker, fn, *args, **kwargs)

    changed = copy.copy(marked)
    object.__setattr__(changed, "function", step)
    setattr(step, marker, changed)
    setattr(step, _LEFT_ALONE, True)
    return step


def _last(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and then the end of the run."""

    @functools.wraps(fn)
    def teardown(self: AsyncRuleBasedStateMachine) -> Any:  # noqa: ANN401 - whatever it is
        __tracebackhide__ = True
        return self._end(fn)

    setattr(teardown, _LEFT_ALONE, True)
    return teardown


AsyncRuleBasedStateMachine.teardown = _last(AsyncRuleBasedStateMachine.teardown)  # type: ignore[method-assign]  # a method stands in for a method
