"""A dry run of a flow: its body runs, and no task does.

What it is for: what a flow would run can be drawn before it runs. Every call gets its key and its slot,
and settles with a `Placeholder` in the place of its value.

What it does not know: flows and flow runs, but for the few methods that it calls. What is drawn.

Invariant: while a dry run is the present one, no function of a task is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Any, Protocol, final

from creche._arguments import slots_in
from creche._slot import Slot
from creche.runners._concurrent import ConcurrentTaskRunner

from ._hooks import HOOKS
from ._placeholder import NeedsValue, Placeholder, is_each, placeholders_in, sources_of

DRY_RUN: ContextVar[DryRun | None] = ContextVar("creche dry run", default=None)
"""The dry run that the present code belongs to; `None` if it is in earnest."""

_BOX: ContextVar[Box | None] = ContextVar("creche box of a dry run", default=None)


@final
class Box:
    """One call of a flow.

    Attributes:
        name: of the flow.
        outer: the one that it is called in.
    """

    def __init__(self, name: str, outer: Box | None) -> None:
        self.name = name
        self.outer = outer


@final
class DryCall:
    """One call of a task.

    Attributes:
        name: of the task.
        key: of the call.
        box: the call of the flow that it is in.
        after: the calls whose values it is given.
        is_each: whether it stands for one call for each item of a value.
    """

    def __init__(self, name: str, box: Box, after: tuple[DryCall, ...], *, is_each: bool) -> None:
        self.name = name
        self.key: Hashable = name
        self.box = box
        self.after = after
        self.is_each = is_each

    def __str__(self) -> str:
        return str(self.key)


@final
class StandIn:
    """Is called in the place of the function of a task."""

    def __init__(self, value: Placeholder) -> None:
        self.value = value
        self.__name__ = "stand_in"

    def __call__(self, *args: object, **kwargs: object) -> Placeholder:
        """Give what stands for the value."""
        del args, kwargs
        return self.value


class _Order(Protocol):
    """What is looked at of an `Order`."""

    @property
    def name(self) -> str: ...
    @property
    def _replace(self) -> Callable[..., Any]: ...


class _Flow(Protocol):
    """What is called of a `Flow`."""

    name: str

    @property
    def is_async(self) -> bool: ...
    @property
    def with_options(self) -> Callable[..., Any]: ...


@final
class DryRun:
    """Takes note of what would be run.

    Attributes:
        calls: in the order in which they would be submitted.
        boxes: the calls of flows, the outermost first.
        needed: where the value of a task was needed; the first time only.
    """

    def __init__(self) -> None:
        self.calls: list[DryCall] = []
        self.boxes: list[Box] = []
        self.needed: NeedsValue | None = None
        self._calls_of: dict[Slot[Any], DryCall] = {}
        self._entered: set[int] = set()

    def run(self, flow: Callable[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - whatever the flow gives and takes
        """Call something that calls flows, in this dry run.

        Args:
            flow: what to call.
            *args: with what.
            **kwargs: likewise.

        Returns:
            what it returned.

        Raises:
            NeedsValue: a body needs a value that there is not, whatever it has made of that.
            BaseException: what a body raised.
        """
        token = DRY_RUN.set(self)
        try:
            value = flow(*args, **kwargs)
        finally:
            DRY_RUN.reset(token)
        if self.needed is not None:
            raise self.needed
        return value

    # What the flow layer asks it, before it does anything itself. ------------------------------

    def has_entered(self, flow: object) -> bool:
        """Whether it is one that this dry run has made, and is to be run as any."""
        return id(flow) in self._entered

    def call(self, flow: _Flow, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the flow gives and takes
        """Run a flow on a runner that starts no processes and waits for no rate.

        Args:
            flow: it.
            args: its arguments.
            kwargs: likewise.

        Returns:
            what it returns, or a coroutine of that.
        """
        box, made = self._enter(flow)
        if flow.is_async:
            return self._call_async(box, made, args, kwargs)
        token = _BOX.set(box)
        try:
            return made(*args, **kwargs)
        finally:
            _BOX.reset(token)
            self._entered.discard(id(made))

    async def call_async(self, flow: _Flow, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 - whatever the flow gives and takes
        """The same where a loop is running."""
        return await self._call_async(*self._enter(flow), args, kwargs)

    def _enter(self, flow: _Flow) -> tuple[Box, Any]:
        box = Box(flow.name, _BOX.get())
        self.boxes.append(box)
        hooks = dict.fromkeys(HOOKS, ())
        made = flow.with_options(task_runner=ConcurrentTaskRunner(), timeout=math.inf, **hooks)
        self._entered.add(id(made))
        return box, made

    async def _call_async(self, box: Box, made: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 - whatever the flow gives and takes
        token = _BOX.set(box)
        try:
            return await made.run_async(*args, **kwargs)
        finally:
            _BOX.reset(token)
            self._entered.discard(id(made))

    def submit(self, how: Callable[..., Slot[Any]], order: _Order, arguments: Any) -> Slot[Any]:  # noqa: ANN401 - whatever the flow gives and takes
        """Submit what stands for a task.

        Args:
            how: submits it, or runs it in line.
            order: what it is to do.
            arguments: of the call.

        Returns:
            the slot.
        """
        call, instead = self._note(order, arguments)
        slot = how(instead, arguments)
        call.key = slot.key
        self._calls_of[slot] = call
        return slot

    def _note(self, order: _Order, arguments: Any) -> tuple[DryCall, Any]:  # noqa: ANN401 - whatever the flow gives and takes
        box = _BOX.get()
        assert box is not None
        found = list(placeholders_in(arguments))
        upstream = [self._calls_of[slot] for slot in slots_in(arguments) if slot in self._calls_of]
        after = tuple(dict.fromkeys((*upstream, *sources_of(found))))
        repeated = any(map(is_each, found)) or any(one.is_each for one in upstream)
        call = DryCall(order.name, box, after, is_each=repeated)
        self.calls.append(call)
        stand_in = StandIn(Placeholder((call,), self._tell, is_each=repeated))
        # No place is opened, no limit asked for, and no hook told.
        return call, order._replace(fn=stand_in, wishes={}, when_done=None)

    def _tell(self, needed: NeedsValue) -> None:
        self.needed = self.needed or needed
