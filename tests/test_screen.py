"""The lowest lines of a terminal as a view: what a screen shows that does what it is told."""

from __future__ import annotations

from typing import Any

import pyte
import pyte.modes
import pytest

from creche.instruments._screen import Screen, most_lines


class Shown:
    """A terminal, and a view on it."""

    def __init__(self, columns: int, lines: int) -> None:
        self.screen: Any = pyte.HistoryScreen(columns, lines, history=1000)
        self.screen.set_mode(pyte.modes.LNM)  # as a terminal's driver does
        self._stream: Any = pyte.Stream(self.screen)
        self.view = Screen()

    def write(self, text: str) -> None:
        self._stream.feed(text)

    def draw(self, *painted: str) -> None:
        self.write(self.view.draw(painted, (self.screen.columns, self.screen.lines)))

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]


def test_how_many_lines() -> None:
    """A half at most, a dozen at most, none of a very low terminal."""
    assert [most_lines(height) for height in (1, 3, 4, 9, 24, 100)] == [0, 0, 2, 4, 12, 12]


def test_output_goes_above() -> None:
    """The view stays in the lowest lines, whatever is written, with an end of line or without."""
    shown = Shown(20, 8)
    shown.write("$ creche run\n")
    shown.draw("one", "two")
    assert shown.lines() == ["$ creche run", "", "", "", "", "", "one", "two"]
    shown.write("unfinished")
    shown.draw("one", "two")
    shown.write(" line\n")
    assert shown.lines()[:2] == ["$ creche run", "unfinished line"]
    for number in range(10):
        shown.write(f"line {number}\n")
        shown.draw("one", str(number))
    assert shown.lines() == ["line 5", "line 6", "line 7", "line 8", "line 9", "", "one", "9"]
    assert len(shown.screen.history.top) == 7  # nothing was lost
    shown.write(shown.view.end())
    shown.write("after\n")
    assert shown.lines() == ["line 5", "line 6", "line 7", "line 8", "line 9", "after", "", ""]
    for number in range(4):
        shown.write(f"more {number}\n")
    assert shown.lines()[-2:] == ["more 3", ""]  # all of it scrolls again
    assert not shown.screen.cursor.hidden
    assert shown.view.end() == ""


def test_a_full_screen() -> None:
    """Room is made: what was in the lowest lines scrolls up."""
    shown = Shown(20, 6)
    shown.write("\n".join(map(str, range(20))))
    shown.draw("view", "of", "it")
    assert shown.lines() == ["17", "18", "19", "view", "of", "it"]
    shown.write("!\n")
    assert shown.lines()[:3] == ["18", "19!", ""]


def test_growing_and_shrinking() -> None:
    """It grows when there is more to show; what is not needed any more is left blank."""
    shown = Shown(20, 8)
    shown.write("a\nb\nc\nd\ne\n")
    shown.draw("1")
    assert shown.lines()[-1] == "1"
    shown.draw("1", "2", "3")
    assert shown.lines() == ["b", "c", "d", "e", "", "1", "2", "3"]
    shown.draw("1")
    assert shown.lines() == ["b", "c", "d", "e", "", "1", "", ""]
    shown.draw(*"123456789")
    assert shown.lines()[-4:] == ["1", "2", "3", "4"]  # a half is the most


@pytest.mark.parametrize("size", [(30, 12), (10, 6), (20, 5)])
def test_another_size(size: tuple[int, int]) -> None:
    """The old view is gone, the new one is in the lowest lines, and output goes on above."""
    columns, lines = size
    shown = Shown(20, 8)
    shown.write("out\n")
    shown.draw("one", "two")
    shown.screen.resize(lines, columns)
    shown.draw("one", "two")
    shown.write("more\n")
    seen = shown.lines()
    assert seen[-2:] == ["one", "two"]
    assert seen.count("one") == 1
    assert "more" in seen
    shown.write(shown.view.end())
    assert [line for line in shown.lines() if line] == [line for line in seen[:-2] if line]


def test_no_room() -> None:
    """A very low terminal is left alone."""
    shown = Shown(20, 3)
    assert shown.view.draw(["one"], (20, 3)) == ""
    assert shown.view.end() == ""
    shown.screen.resize(10, 20)
    shown.draw("one")
    assert shown.lines()[-1] == "one"
    shown.screen.resize(3, 20)
    shown.draw("one")
    assert "one" not in shown.lines()


def test_colours_do_not_leak() -> None:
    """What was set by others is as it was, and the view has its own."""
    shown = Shown(20, 6)
    shown.write("\x1b[31mred ")
    shown.draw("\x1b[1mbold")
    shown.write("still")
    assert [shown.screen.buffer[0][column].fg for column in (0, 4)] == ["red", "red"]
    assert not shown.screen.buffer[0][4].bold
    assert (shown.screen.buffer[5][0].fg, shown.screen.buffer[5][0].bold) == ("default", True)
