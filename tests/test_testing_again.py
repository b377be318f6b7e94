"""The line of a report that goes there again has what was given, and can be read."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from creche.testing import ExploreError, cancel_everywhere, explore


class Shop:
    """What is sold is counted twice."""

    def __init__(self) -> None:
        self.stock, self.sold = 1, 0

    async def sell(self) -> None:
        self.stock -= 1
        await anyio.sleep(1)
        self.sold += 1

    @classmethod
    async def opens(cls) -> None:
        raise OSError

    async def __call__(self) -> None:
        raise OSError


async def sell(shop: Shop) -> None:
    await shop.sell()


def is_right(shop: Shop) -> bool:
    return shop.stock + shop.sold == 1


async def fails(*_: Any, **__: Any) -> None:
    raise OSError


def test_the_line_has_all_that_was_given() -> None:
    """Pasted, it finds the same."""
    report = cancel_everywhere(
        sell, setup=Shop, invariant=is_right, within=0.5, allow=["slow", "held"], check=False
    )
    point = report.failures[-1]
    options = "setup=Shop, invariant=is_right, within=0.5, allow=['held', 'slow']"
    call = f'cancel_everywhere(sell, backend="trio", how="scope", {options}'
    assert point.again == f"{call}, only={point.number})"
    again = eval(point.again.replace("only=", "check=False, only="))  # noqa: S307 - a program of this test's own
    assert [one.findings for one in again.points] == [point.findings]
    assert report.title == 'cancel_everywhere(sell, backend="trio", how="scope")'
    assert report.points[0].again == f"{call})"


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (fails, "fails"),
        (partial(fails, 1, to="a"), "partial(fails, 1, to='a')"),
        (partial(fails, fails, object()), "partial(fails, fails, <object object>)"),
        (partial(fails, "a" * 99), "partial(fails, <str object>)"),
        (Shop().__call__, "<Shop object>.__call__"),
        (Shop.opens, "Shop.opens"),
        (Shop(), "<Shop object>"),
        (lambda: fails(1), "<lambda at tests/test_testing_again.py:70>"),
    ],
)
def test_how_a_function_is_written(fn: Any, words: str) -> None:
    """By its name, if it has one; no address, which would be another one next time."""
    with pytest.raises(ExploreError) as caught:
        explore(fn)
    assert str(caught.value).startswith(f'explore({words}, backend="trio") fails:')
    assert str(caught.value).endswith(f'again: explore({words}, backend="trio", replay="")')
