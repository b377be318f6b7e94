"""A body that goes on submitting when a failure has ended its run: only what is news comes out."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from calls import fail, forever
from creche import ConcurrentTaskRunner, RunnerClosed

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("how", "came"),
    [
        ("plain", [ValueError]),
        ("wrapped", [ValueError, ExceptionGroup]),
        ("of another", [ValueError, RunnerClosed]),
    ],
)
async def test_what_only_follows_from_a_failure_is_not_in_the_group(
    how: str, came: list[type[Exception]]
) -> None:
    """The refusal of a submit that came too late; with something beside it, or of another run, it is."""
    runner, other = ConcurrentTaskRunner(on_error="cancel"), ConcurrentTaskRunner()
    with suppress(KeyError):
        async with other.start():
            raise KeyError
    with pytest.raises(ExceptionGroup) as caught:
        async with runner.start():
            slot = runner.submit_nowait("bad", fail)
            with anyio.CancelScope(shield=True):
                await runner.wait(slot)
            try:
                (other if how == "of another" else runner).submit_nowait("more", forever)
            except RunnerClosed as error:
                if how == "wrapped":
                    raise ExceptionGroup("wrapped", [error, KeyError("mine")]) from None
                raise
    assert [type(error) for error in caught.value.exceptions] == came
