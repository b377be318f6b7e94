"""A scope that is entered here and left there, by what every loop documents.

What it is for: a carrier enters a scope with one call and leaves it after another, so that no `with`
block can hold it; and whoever leaves it wants to know what is still on its way outside. Each loop has a
quicker way for the usual case, by what is not public: see `_kept_trio` and `_inside`. What is not usual
goes this way there, too.

What it does not know: any loop.

Invariant: what is swallowed, and what goes on, is for the loop's own scope to say.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, final


class _Scope(Protocol):
    def cancel(self) -> None: ...

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None: ...


def leave(scope: _Scope, raised: BaseException | None) -> BaseException | None:
    """Leave a scope of the running task.

    Args:
        scope: the innermost.
        raised: what is on its way out.

    Returns:
        what still is, outside.
    """
    try:
        swallowed = scope.__exit__(type(raised) if raised else None, raised, None)
    except BaseException as exc:  # noqa: BLE001 - handed on
        return exc
    finally:
        del scope
    return None if swallowed else raised


@final
class KeptByTheBook:
    """A scope of the running task."""

    __slots__ = ("_scope",)

    def __init__(self, scope: _Scope) -> None:
        """Enter it.

        Args:
            scope: new.
        """
        scope.__enter__()
        self._scope = scope

    def cancel(self) -> None:
        """Cancel what runs inside."""
        self._scope.cancel()

    def leave(self, raised: BaseException | None) -> BaseException | None:
        """Leave it; see `leave`."""
        return leave(self._scope, raised)
