"""Places against a slow, obvious model: who has one, who has asked, in which order they are granted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from creche._places import Places


class Asking:
    """Somebody with a number."""

    def __init__(self, number: int, granted: list[int]) -> None:
        self.number = number
        self._granted = granted

    def grant(self) -> None:
        self._granted.append(self.number)


STEPS = st.lists(st.sampled_from(["take", "ask", "free", "withdraw"]), max_size=60)


@given(st.integers(1, 4), STEPS)
def test_places(limit: int, steps: list[str]) -> None:
    """The model: a list of those who have a place, a list of those who have asked."""
    places = Places(limit)
    granted: list[int] = []
    have: list[int] = []
    asked: list[Asking] = []
    for number, step in enumerate(steps):
        if step == "take":
            expected = len(have) < limit
            assert places.take() is expected
            have += [number] * expected
        elif step == "ask":
            asking = Asking(number, granted)
            expected = len(have) < limit
            assert places.ask(asking) is expected
            if expected:
                have.append(number)
            else:
                asked.append(asking)
        elif step == "free" and have:
            have.pop(0)
            places.free()
            if asked:
                have.append(asked.pop(0).number)
                assert granted[-1] == have[-1]
        elif step == "withdraw" and asked:
            places.withdraw(asked.pop())
        assert places.taken == len(have) <= limit


def test_no_limit() -> None:
    """There is always a place."""
    places = Places(None)
    assert all(places.take() for _ in range(100))
    assert places.taken == 100
