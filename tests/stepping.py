"""A state machine that does what a test asks of it, step by step, and quick settings for others.

What it does not know: tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings

from creche.testing.stateful import AsyncRuleBasedStateMachine, rule

QUICK = settings(
    max_examples=25,
    stateful_step_count=10,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)


def on(backend: Any, machine: type[AsyncRuleBasedStateMachine]) -> type[AsyncRuleBasedStateMachine]:
    return type(machine.__name__, (machine,), {"backend": backend})


class Steps(AsyncRuleBasedStateMachine):
    """Does what a test asks of it, step by step."""

    backend: ClassVar[Any] = "trio"

    @rule()
    async def unused(self) -> None:
        raise NotImplementedError

    @rule()
    async def do(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await fn(*args)

    @rule()
    def do_now(self, fn: Callable[..., Any], *args: Any) -> Any:
        return fn(*args)

    async def open(self, make: Callable[[], Any]) -> Any:
        return await self.enter_async_context(make())
