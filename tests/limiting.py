"""What the tests of limits share."""

from __future__ import annotations

from typing import Any

import anyio
import trio

from calls import Gate, settle_down
from creche import ConcurrentTaskRunner, State


def running(runner: ConcurrentTaskRunner) -> list[Any]:
    """The keys of what runs now."""
    return [key for key, slot in runner.slots.items() if slot.state is State.RUNNING]


def limiter_of(name: str, tokens: int) -> Any:
    """A limiter object of the loop's own kind."""
    return trio.CapacityLimiter(tokens) if name == "trio" else anyio.CapacityLimiter(tokens)


class Submitters:
    """Tasks that submit, each under one key, to a call that waits for its gate."""

    def __init__(self, runner: ConcurrentTaskRunner, group: anyio.abc.TaskGroup) -> None:
        self.runner = runner
        self.group = group
        self.gates: dict[Any, Gate] = {}
        self.scopes: dict[Any, anyio.CancelScope] = {}
        self.through: list[Any] = []
        self.errors: dict[Any, Exception] = {}

    async def submit(self, *keys: Any, **options: Any) -> None:
        """Begin to submit, one after the other; the gate of each call is under its key."""
        for key in keys:
            self.gates[key] = Gate()
            self.group.start_soon(self._submit, key, options)
            await settle_down()

    async def _submit(self, key: Any, options: dict[str, Any]) -> None:
        with anyio.CancelScope() as self.scopes[key]:
            try:
                slot = await self.runner.submit(key, self.gates[key], **options)
            except (ValueError, RuntimeError) as exc:
                self.errors[key] = exc
            else:
                assert slot.key == key
                self.through.append(key)
