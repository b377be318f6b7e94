"""What stands for the value of a task that has not run, in a dry run.

What it is for: the body of a flow goes on with it as far as that is possible without the value: it
passes it on, takes a part of it, computes with it. What comes of that stands for a value, too.

What it does not know: who hands it out; what a key is.

Invariant: nothing is made up. Where the value itself is needed, to decide or to count, there is a
`NeedsValue`; only what is walked through gives one item, which stands for each of them.
"""

from __future__ import annotations

import dataclasses
import dis
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, cast, final

_UNPACK, _UNPACK_EX = dis.opmap["UNPACK_SEQUENCE"], dis.opmap["UNPACK_EX"]


@final
class NeedsValue(TypeError):  # noqa: N818 - it says what is the matter
    """The body of a flow needs a value that only running a task would give."""

    def __init__(self, sources: tuple[Any, ...], what: str) -> None:
        names = " and ".join(str(source) for source in sources)
        super().__init__(f"{what} of the value of {names}")


@final
class Placeholder:
    """Stands for a value. Its own attributes have names that no value of a user's has."""

    def __init__(
        self, sources: tuple[Any, ...], tell: Callable[[NeedsValue], object], *, is_each: bool = False
    ) -> None:
        self.__dict__["creche sources"] = sources
        self.__dict__["creche tell"] = tell
        self.__dict__["creche is each"] = is_each

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it would have been
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return _derived(self)

    def __setattr__(self, name: str, value: object) -> None:
        """It is not kept: nobody can tell."""

    def __call__(self, *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - it stands for whatever comes
        return _derived(self, *args, *kwargs.values())

    def __getitem__(self, key: object) -> Any:  # noqa: ANN401 - it stands for whatever comes
        return _derived(self, key)

    def __iter__(self) -> Iterator[Any]:
        # `a, b = value` says how many there are; a loop does not.
        frame = sys._getframe(1)  # noqa: SLF001 - the only way to it
        code, at = frame.f_code.co_code, frame.f_lasti
        if code[at] in (_UNPACK, _UNPACK_EX):
            return iter([_derived(self) for _ in range(code[at + 1])])
        return iter([_derived(self, each=True)])

    def __str__(self) -> str:
        return f"<value of {' and '.join(map(str, sources_of(self)))}>"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return str(self)

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:  # noqa: PLE0304 - it raises
        _need(self, "a decision is made because")

    def __len__(self) -> int:
        # Not told: `list` asks too, and goes on without an answer.
        raise NeedsValue(_sources(self), "a decision is made because of the length")

    def __index__(self) -> int:  # noqa: PLE0305 - it raises
        _need(self, "a whole number is made")

    __int__ = __index__

    def __float__(self) -> float:
        _need(self, "a number is made")

    def __contains__(self, item: object) -> bool:
        _need(self, "a decision is made because of the items")


def _compute(self: Placeholder, *others: object) -> Any:  # noqa: ANN401 - it stands for whatever comes
    return _derived(self, *others)


for _name in (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "xor", "or"),
):
    setattr(Placeholder, f"__{_name}__", _compute)
    setattr(Placeholder, f"__r{_name}__", _compute)
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert", "round"):
    setattr(Placeholder, f"__{_name}__", _compute)


def sources_of(value: object) -> tuple[Any, ...]:
    """The calls whose values a value stands for, in order; nothing for an ordinary one.

    Args:
        value: anything; lists, tuples, sets, dicts and dataclasses are looked into.

    Returns:
        the calls, each once.
    """
    return tuple(dict.fromkeys(one for found in placeholders_in(value) for one in _sources(found)))


def placeholders_in(value: object) -> Iterator[Placeholder]:
    """The placeholders in a value.

    Args:
        value: anything; a container that is a part of itself is looked into once.

    Yields:
        them, as often as they occur.
    """
    stack, seen = [value], set[int]()
    while stack:
        one = stack.pop()
        if isinstance(one, Placeholder):
            yield one
        elif id(one) not in seen:
            seen.add(id(one))
            stack += reversed(_parts(one))


def _parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(cast("Iterable[object]", value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, one.name, None) for one in dataclasses.fields(value)]
    return []


def is_each(placeholder: Placeholder) -> bool:
    """Whether it stands for each item of a value.

    Args:
        placeholder: any.

    Returns:
        whether it, or what it was made of, does.
    """
    return cast("bool", placeholder.__dict__["creche is each"])


def _sources(placeholder: Placeholder) -> tuple[Any, ...]:
    return cast("tuple[Any, ...]", placeholder.__dict__["creche sources"])


def _derived(given: Placeholder, *others: object, each: bool = False) -> Placeholder:
    parts = [given, *others]
    each = each or any(map(is_each, placeholders_in(parts)))
    return Placeholder(sources_of(parts), given.__dict__["creche tell"], is_each=each)


def _need(given: Placeholder, what: str) -> NoReturn:
    error = NeedsValue(_sources(given), what)
    given.__dict__["creche tell"](error)
    raise error
