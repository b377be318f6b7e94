"""What is kept of calls that are sent to worker processes without a task: nothing."""

from __future__ import annotations

import gc
import os
import weakref
from typing import Any

import pytest

from calls import settle_down
from creche import ProcessTaskRunner

pytestmark = [pytest.mark.usefixtures("real_time"), pytest.mark.slow]


class Stubborn:
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise LookupError("it does not travel")


class Spoiled:
    """Cannot be loaded over here."""

    def __reduce__(self) -> Any:
        return refuse_here, (os.getpid(),)


def refuse_here(pid: int) -> int:
    if pid != os.getpid():
        raise LookupError("it does not arrive")
    return pid


@pytest.mark.anyio
async def test_nothing_is_kept() -> None:
    """Of those that were sent, and of those that could not be; and without the collector."""
    gc.collect()
    gc.disable()
    try:
        async with ProcessTaskRunner(1, prewarm=1).start() as runner:
            arg, stubborn = {1, 2}, Stubborn()
            kept: list[Any] = [weakref.ref(arg), weakref.ref(stubborn)]
            runner.submit_nowait("returns", set, arg)
            runner.submit_nowait("stubborn", type, stubborn)
            runner.submit_nowait("spoiled", Spoiled)
            del arg, stubborn
            kept.append(weakref.ref(await runner.result("returns")))
            await runner.until_idle()
            kinds = []
            for key in ("stubborn", "spoiled"):
                error: Any = runner.slots[key].peek_error()
                assert error.__context__ is None
                kinds.append(error.kind)
                kept.append(weakref.ref(error))
                del error
            assert kinds == ["serialize", "deserialize"]
            for key in ("returns", "stubborn", "spoiled"):
                runner.forget(key)
            await settle_down()
            assert [ref() for ref in kept] == [None] * 5
    finally:
        gc.enable()
