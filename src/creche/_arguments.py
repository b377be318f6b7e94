"""Slots among the arguments of a call: finding them, and putting their values in their place.

What it is for: a slot that is passed to a task is a dependency, and arrives as its value, and so does
one that is passed to a call in another process; also inside lists, tuples, dicts, sets and
dataclasses, however deep. What stands in `allow_failure` arrives as its value, or as the exception
instead.

What it does not know: runners, loops. It waits for nothing; reading an open slot is the caller's affair.

Invariant: a container without a slot in it is handed on as the object that it is, and what was one
object before its slots were replaced is one afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast, final, overload

from outcome import Error

from ._containers import is_container, parts_of, with_parts
from ._slot import Slot
from ._states import State

T = TypeVar("T")

_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})


@final
class AllowFailure(Generic[T]):
    """What `allow_failure` gives: as an argument of a task, or to be read where it is.

    Attributes:
        given: a slot, or something with slots in it.
    """

    __slots__ = ("given",)

    def __init__(self, given: Any) -> None:  # noqa: ANN401 - whatever it is
        self.given: Any = given

    def result(self) -> T:
        """What a task would see: wait as `Slot.result` does, and raise nothing that a call has raised.

        Returns:
            the value of the slot, or the exception that there is instead.

        Raises:
            NotSettled: a call has not ended, and this thread runs an event loop: await this instead.
            RuntimeError: a call waits for itself, in its own thread.
        """
        return cast("T", with_values(self))

    def __await__(self) -> Generator[Any, Any, T]:
        return self._wait().__await__()

    def __repr__(self) -> str:
        return f"<creche.allow_failure {self.given!r}>"

    async def _wait(self) -> T:
        for slot in slots_in(self.given):
            await slot.wait(None)
        return self.result()


@overload
def allow_failure(slot: Slot[T]) -> AllowFailure[T | BaseException]: ...
@overload
def allow_failure(slot: Any) -> AllowFailure[Any]: ...  # noqa: ANN401 - a slot of whatever gives it, or its kin
def allow_failure(slot: Any) -> AllowFailure[Any]:
    """Have what becomes of a slot as a value, whatever it is: ``report.submit(allow_failure(slot))``.

    The task runs when the call of the slot has ended, in any way, and sees its value, or the exception
    that there is instead: what the call raised, or a `CallCancelled`. In the body of a flow,
    ``allow_failure(slot).result()`` and ``await allow_failure(slot)`` give the same.

    Args:
        slot: of a call; or lists, tuples, dicts, sets and dataclasses with slots in them.

    Returns:
        an argument for a task of a flow.
    """
    return AllowFailure(slot)


def slots_in(value: object) -> Iterator[Slot[Any]]:
    """Every slot in a value, in order, as often as it occurs.

    Args:
        value: anything; a container that is its own part, or a part twice, is looked into once.

    Yields:
        the value itself if it is a slot, or the slots inside its containers.
    """
    for one, _ in _found_in(value):
        if isinstance(one, Slot):
            yield one


def upstream_in(value: object) -> tuple[list[Slot[Any]], list[Slot[Any]]]:
    """The slots that a call depends on which is called with a value.

    Args:
        value: anything.

    Returns:
        all of them, each once, in order; and those that need not complete: they stand in
        `allow_failure`, and nowhere else.
    """
    strict: dict[Slot[Any], bool] = {}
    for one, is_allowed in _found_in(value):
        if isinstance(one, Slot):
            strict[one] = strict.get(one, False) or not is_allowed
    return list(strict), [slot for slot, is_strict in strict.items() if not is_strict]


def with_values(
    value: Any,  # noqa: ANN401 - whatever it is
    value_of: Callable[[Slot[Any]], Any] = Slot.result,
) -> Any:  # noqa: ANN401 - as above
    """The same value, with the result of each slot in the slot's place.

    Args:
        value: anything.
        value_of: gives what takes the place of a slot.

    Returns:
        the value, or a copy of its containers with the slots replaced. A dataclass is copied without
        its ``__init__`` and ``__post_init__``, which have seen the slots.

    Raises:
        BaseException: what the call of a slot raised that is not in `allow_failure`; see `Slot.result`.
        ValueError: a container with slots in it is a part of itself.
    """
    return _Replacing(value_of).in_place_of(value) if holds_slots(value) else value


def holds_slots(value: object) -> bool:
    """Whether there is a slot in a value, or an `allow_failure`, at any depth.

    Args:
        value: anything.
    """
    return next(_found_in(value), None) is not None


def _found_in(value: object) -> Iterator[tuple[object, bool]]:
    """Every slot and every `allow_failure` in a value, each with whether it stands inside of one."""
    stack: list[tuple[object, bool]] = [(value, False)]
    seen = set[tuple[int, bool]]()
    while stack:
        one, is_allowed = stack.pop()
        if isinstance(one, Slot):
            yield one, is_allowed
        elif isinstance(one, AllowFailure):
            yield one, is_allowed
            stack.append((one.given, True))
        elif is_container(type(one)) and (id(one), is_allowed) not in seen:
            seen.add((id(one), is_allowed))
            parts = parts_of(one)
            stack += ((parts[at], is_allowed) for at in reversed(_worth_a_look(parts)))


def _worth_a_look(parts: Sequence[object]) -> list[int]:
    """Where in them something may be found: of a million numbers with one slot, the slot's place."""
    kinds = {kind for kind in set(map(type, parts)) if _may_hold(kind)}
    return [at for at, part in enumerate(parts) if type(part) in kinds] if kinds else []


def _may_hold(kind: type) -> bool:
    if kind in _PLAIN:  # the usual case
        return False
    return issubclass(kind, (Slot, AllowFailure)) or is_container(kind)


@final
class _Replacing:
    """Puts values in the place of slots, once in each container, however deep and by however many ways.

    A container that is in two places is copied once, so what was the same object is one afterwards, and
    the time that it takes grows with what there is, not with the ways to it.
    """

    def __init__(self, value_of: Callable[[Slot[Any]], Any]) -> None:
        self._value_of = value_of
        self._value_or_error = _leniently(value_of)
        # By the identity of what is replaced, which is held on to, so that it is nothing else's
        # meanwhile, and whether it stands in `allow_failure`.
        self._replaced: dict[tuple[int, bool], tuple[object, object]] = {}
        self._being_replaced: set[tuple[int, bool]] = set()
        self._in_circles: set[tuple[int, bool]] = set()

    def in_place_of(self, value: object) -> object:
        """What takes its place.

        Raises:
            BaseException: see `with_values`.
        """
        root = _Inside(AllowFailure(value), [value], is_allowed=False)  # the only way in
        stack = [root]
        while stack:
            inside = stack[-1]
            deeper = next((one for at in inside.left if (one := self._next(inside, at))), None)
            if deeper is not None:
                stack.append(deeper)
                continue
            stack.pop()
            if stack:
                stack[-1].put(self._finished(inside))
        return root.parts[0]

    def _next(self, inside: _Inside, at: int) -> _Inside | None:
        """Replace a part; or give what has to be replaced before."""
        part = inside.parts[at]
        inside.at = at
        if isinstance(part, Slot):
            value_of = self._value_or_error if inside.is_allowed else self._value_of
            inside.put(value_of(part))
            return None
        name = (id(part), inside.is_allowed)
        if name in self._replaced:
            inside.put(self._replaced[name][1])
            return None
        if name in self._being_replaced:
            self._in_circles.add(name)
            return None
        self._being_replaced.add(name)
        if isinstance(part, AllowFailure):
            return _Inside(part, [part.given], is_allowed=True, name=name)
        return _Inside(part, parts_of(part), is_allowed=inside.is_allowed, name=name)

    def _finished(self, inside: _Inside) -> object:
        name = inside.name
        self._being_replaced.discard(name)
        if isinstance(inside.container, AllowFailure):
            new = inside.parts[0]
        elif not inside.is_changed:
            new = inside.container
        elif name in self._in_circles:
            msg = "a list with slots in it is a part of itself; pass a task the slots without the circle"
            raise ValueError(msg)
        else:
            new = with_parts(inside.container, inside.parts)
        self._replaced[name] = (inside.container, new)
        return new


@final
class _Inside:
    """A container while its parts are replaced."""

    __slots__ = ("at", "container", "is_allowed", "is_changed", "left", "name", "parts")

    def __init__(
        self,
        container: object,
        parts: list[Any],
        *,
        is_allowed: bool,
        name: tuple[int, bool] = (0, False),
    ) -> None:
        self.container, self.parts = container, parts
        self.is_allowed = is_allowed
        self.name = name
        self.is_changed = False
        self.at = 0
        self.left = iter(_worth_a_look(parts))

    def put(self, new: object) -> None:
        """What takes the place of the part that was looked at last."""
        self.is_changed = self.is_changed or new is not self.parts[self.at]
        self.parts[self.at] = new


def _leniently(value_of: Callable[[Slot[Any]], Any]) -> Callable[[Slot[Any]], Any]:
    """The same, with the exception in the place of the value where there is none."""

    def value_or_error(slot: Slot[Any]) -> Any:  # noqa: ANN401 - either
        try:
            return value_of(slot)
        except Exception:
            if not slot.done or slot.state is State.COMPLETED:
                raise  # not what the call has raised
            return cast("Error", slot.outcome).error

    return value_or_error
