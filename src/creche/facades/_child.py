"""A child of a task group: a coroutine, carried out as a call of the runner.

What it is for: what a call does not have and a child must: the deadline of its group's scope, a
coroutine to be closed if it never begins, and, for `start()`, the report that it is ready.

What it does not know: how a group waits, what it raises; runners.

Invariant: a coroutine that was made a child is awaited or closed by the time its slot has settled.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, final

from anyio.abc import TaskStatus

from creche._backend import Backend, Scope
from creche._call import Call
from creche._ki import await_openly, protected
from creche._parking import Parking
from creche._slot import Slot


class Family(Protocol):
    """A task group, as far as its children must know."""

    def has_joined(self, child: Child, /) -> None:
        """A child that was being started has reported that it is ready."""
        ...

    def has_ended(self, child: Child, /) -> None:
        """The slot of a child has settled."""
        ...

    def has_expired(self) -> None:
        """The deadline of the group's scope has passed."""
        ...

    def deadline(self) -> float:
        """Of the group's scope."""
        ...


@final
class Starting(Parking, TaskStatus[Any]):
    """What a child that `start()` has begun reports to; and where `start()` waits for that.

    Attributes:
        is_started: whether it has reported.
        is_decided: whether there is nothing to wait for any more: it has reported, or has ended.
        value: what it has reported.
        child: whose it is, from when there is a coroutine to its end. Not longer: frames of the child's
            hold this, and a failure holds the frames.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_started = self.is_decided = False
        self.value: Any = None
        self.child: Child | None = None

    @protected
    def started(self, value: Any = None) -> None:  # noqa: ANN401 - whatever it is to hand over
        """Report that the child is ready.

        Args:
            value: what `start()` is to return.

        Raises:
            RuntimeError: it was called before.
        """
        if self.is_started:
            msg = "called 'started' twice on the same task status; a child reports once that it is ready"
            raise RuntimeError(msg)
        self.is_started, self.value = True, value
        if self.child is not None:
            self.child.join()
        self._decide()

    def end(self) -> None:
        """The child has ended."""
        self.child = None
        self._decide()

    def _decide(self) -> None:
        self.is_decided = True
        self._wake_all()

    def enroll(self, wake: Callable[[], object]) -> bool:
        """Park; part of the protocol between a loop and what is waited for."""
        return not self.is_decided and super().enroll(wake)


@final
class Child:
    """One child.

    Attributes:
        coro: the coroutine.
        starting: for one that `start()` has begun, what it reports to.
        slot: of its call; `None` before it is submitted.
    """

    __slots__ = ("_backend", "_call", "_family", "_has_begun", "_scope", "coro", "slot", "starting")

    def __init__(
        self,
        family: Family,
        backend: Backend,
        coro: Coroutine[Any, Any, Any],
        starting: Starting | None,
    ) -> None:
        self.coro = coro
        self.starting = starting
        self._family = family
        self._backend = backend
        self._call: Call | None = None
        self._scope: Any = None
        self._has_begun = False
        self.slot: Any = None

    @property
    def is_member(self) -> bool:
        """Whether it belongs to the group; one that is being started still belongs to who starts it."""
        return self.starting is None or self.starting.is_started

    def as_call(self, *, contained: bool) -> Call:
        """The call that carries it out, in a copy of the present context.

        Args:
            contained: whether its failure is the group's affair, and not the run's.

        Returns:
            the call.
        """
        call = self._call = Call(self._body, (), is_async=True)
        call.wishes = call.wishes._replace(contained=contained or not self.is_member)
        return call

    def join(self) -> None:
        """It is ready, and belongs to the group from now on."""
        self._family.has_joined(self)
        self.set_deadline(self._family.deadline())

    def hand_over(self) -> None:
        """Its failure is the run's affair from now on."""
        assert self._call is not None
        self._call.wishes = self._call.wishes._replace(contained=False)

    def set_deadline(self, deadline: float) -> None:
        """Give it the deadline of the group's scope."""
        if self._scope is not None:
            self._scope.deadline = deadline

    @protected
    def settled(self, slot: Slot[Any]) -> None:
        """Its slot has settled; what is called back then."""
        self.slot = slot
        self._call = None
        if not self._has_begun:
            self.coro.close()
        self._family.has_ended(self)
        if self.starting is not None:
            self.starting.end()

    @protected
    async def _body(self) -> Any:  # noqa: ANN401 - whatever the coroutine gives
        scope: Scope = self._backend.open_scope()
        self._scope = scope
        if self.is_member:
            self._scope.deadline = self._family.deadline()
        try:
            with scope:
                return await await_openly(self._begun, ())
            # Nobody else has the scope: its deadline has passed. The group cancels this call, too.
            self._family.has_expired()
            await self._backend.checkpoint()
        finally:
            del self, scope  # the traceback of a failure leads back to this frame

    def _begun(self) -> Coroutine[Any, Any, Any]:
        self._has_begun = True
        return self.coro
