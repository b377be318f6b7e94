"""Exceptions that may be groups: what is in them, and what of them is of a kind.

What it is for: what came out of a call is read by the same rule on both sides, which splits a group, and
never judges it by its type.

What it does not know: which kinds there are, and what they mean.

Invariant: each exception in a group is in one of its two parts; a part with none in it is `None`.
"""

from __future__ import annotations

from collections.abc import Iterator


def split(
    exc: BaseException,
    kind: type[BaseException] | tuple[type[BaseException], ...],
) -> tuple[BaseException | None, BaseException | None]:
    """Divide an exception into the part that is of a kind, and the rest; `None` for a part not there.

    Args:
        exc: an exception, or a group of them, nested as deep as you like.
        kind: what to look for; one class, or some.

    Returns:
        the part of that kind, and what is left. An exception that is all one or all the other is
        handed back itself, since `BaseExceptionGroup.split` would copy it, and lose a user's class.
    """
    of_kind = [isinstance(leaf, kind) for leaf in leaves(exc)]
    if all(of_kind):
        return exc, None
    if not any(of_kind):
        return None, exc
    assert isinstance(exc, BaseExceptionGroup)
    try:
        return exc.split(kind)
    except Exception:  # noqa: BLE001 - a user's own group that cannot `derive` another of its class
        parts = [[leaf for leaf in leaves(exc) if isinstance(leaf, kind) is of] for of in (True, False)]
        one, other = (
            BaseExceptionGroup(exc.message, part).with_traceback(exc.__traceback__) for part in parts
        )
        return one, other


def leaves(exc: BaseException) -> Iterator[BaseException]:
    """Every exception in an exception that may be a group, in order.

    Args:
        exc: an exception, or a group of them.

    Yields:
        each one that is no group itself.
    """
    stack = [exc]
    while stack:
        one = stack.pop()
        if isinstance(one, BaseExceptionGroup):
            stack += reversed(one.exceptions)
        else:
            yield one
