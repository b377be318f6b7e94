"""What is made of the benchmarks' figures: ratios, tables, files, the page; and the command."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path

import pages
import pytest
import run
from comparing import changes, compared
from report import glance, lines, number
from results import Results, Series, Spread, load, spread_of, this_machine, versions
from workloads import WORKLOADS

ROOT = Path(__file__).parent.parent


def series(
    ours: list[float],
    theirs: list[float],
    *,
    workload: str = "W1",
    measure: str = "cpu",
    loop: str = "trio",
) -> Series:
    """A series of two contenders, with these values in each round."""
    rounds = [
        {"nursery + dict": {measure: their}, "creche": {measure: our}}
        for our, their in zip(ours, theirs, strict=True)
    ]
    names = ["nursery + dict", "creche"]
    return Series(workload, "submit", loop, 1000, {measure: f"µs, {measure}"}, names, rounds=rounds)


def results(*series: Series, **options: object) -> Results:
    machine = {"system": "Linux", "architecture": "x86_64", "processor": "fast", "cores": 2}
    return Results(machine, {"python": "CPython 3.11.7", "trio": "0.35.0"}, options, list(series))


def test_a_ratio_is_taken_inside_a_round() -> None:
    """The machine was ten times as slow in one of the rounds: that changes no ratio."""
    one = series([1, 10, 2], [2, 20, 2])
    assert one.ratio("cpu", "creche", "nursery + dict") == Spread(0.5, 0.5, 1.0)
    assert one.ratio("cpu", "nursery + dict", "creche") == Spread(2.0, 1.0, 2.0)
    assert one.values("cpu", "creche") == Spread(2, 1, 10)


def test_a_ratio_to_nothing() -> None:
    """So many bytes where another one has none."""
    assert series([1], [0]).ratio("cpu", "creche", "nursery + dict").median == float("inf")


def test_the_median_of_an_even_number() -> None:
    """Between the two in the middle."""
    assert spread_of([4, 1, 3, 2]) == Spread(2.5, 1, 4)


@pytest.mark.parametrize(
    ("value", "said"), [(0.5, "0.50"), (12.345, "12.35"), (123.45, "123.5"), (41_712.3, "41,712")]
)
def test_digits(value: float, said: str) -> None:
    """As many as mean something."""
    assert number(value) == said


def test_the_lines_of_a_series() -> None:
    """Each contender against the first, and ours against each."""
    said = lines(series([1, 3, 2], [4, 4, 4]))
    assert said[0] == "W1 on trio, n = 1,000, 3 rounds: submit"
    assert [line.split() for line in said[2:]] == [
        ["nursery", "+", "dict", "4.00", "1.00", "[1.00..1.00]", "0.50", "[0.25..0.75]"],
        ["creche", "2.00", "0.50", "[0.25..0.75]"],
    ]


def test_a_ratio_has_no_ratios() -> None:
    """W7's growth is shown alone."""
    said = lines(series([1.2], [1.1], measure="growth", workload="W7"))
    assert [line.split() for line in said[2:]] == [["nursery", "+", "dict", "1.10"], ["creche", "1.20"]]


def test_aims_are_shown_and_nothing_more() -> None:
    """Met or not; a series without an aim is not among them, nor is a loop without one."""
    good, bad = series([1], [2]), series([9], [10], loop="asyncio")
    bad.contenders[0] = "TaskGroup + dict"
    bad.rounds[0]["TaskGroup + dict"] = bad.rounds[0].pop("nursery + dict")
    for one in (good, bad):
        one.contenders.append("anyio TaskHandle")
        one.rounds[0]["anyio TaskHandle"] = {"cpu": 10}
    table = [line.split("  ")[-1].strip() for line in glance(results(good, bad))]
    assert table == ["met", "yes", "yes", "yes", "no"]
    assert glance(results(series([1], [2], loop="uvloop"))) == []


# Files ------------------------------------------------------------------------------------------------


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Every round of every series."""
    file = tmp_path / "results.json"
    written = results(series([1, 2], [3, 4]), series([5.5], [6.25], loop="asyncio"), quick=True)
    written.save(file)
    assert load(file) == written
    assert load(file).find("W1", "asyncio", 1000) == written.series[1]
    assert load(file).find("W1", "asyncio", 1001) is None


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 0}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    """With the cure."""
    file = tmp_path / "results.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="measure again"):
        load(file)


def test_what_is_said_of_the_machine() -> None:
    """Neither its name nor a path."""
    said = json.dumps([this_machine(), versions()])
    assert socket.gethostname() not in said
    assert str(Path.home()) not in said
    assert versions()["python"].endswith(sys.version.split()[0])
    assert {"trio", "anyio", "creche"} <= set(versions())
    assert "nonesuch" not in versions()


# Two runs ---------------------------------------------------------------------------------------------


def test_the_change_of_a_ratio() -> None:
    """Not of a time: the second machine is slower, and the ratio has halved."""
    before, after = series([8, 8], [10, 11]), series([40, 44], [100, 110])
    (change,) = changes(before, after, "cpu")
    assert change.name == "creche"
    assert change.new == Spread(0.4, 0.4, 0.4)
    assert change.percent == pytest.approx((0.4 / ((8 / 10 + 8 / 11) / 2) - 1) * 100)
    assert change.is_clear


def test_an_unclear_change() -> None:
    """The ranges overlap."""
    (change,) = changes(series([1, 5], [10, 10]), series([2, 6], [10, 10]), "cpu")
    assert not change.is_clear


def test_counts_compare_as_they_are() -> None:
    """The first contender's, too, since nothing is a ratio there."""
    before, after = (
        series([count], [9], measure="instructions", workload="W1-instructions") for count in (100, 50)
    )
    assert [(one.name, one.percent) for one in changes(before, after, "instructions")] == [
        ("nursery + dict", 0),
        ("creche", -50),
    ]


def test_another_base_is_not_compared() -> None:
    """A ratio to somebody else is another ratio."""
    other = series([1], [2])
    other.contenders.reverse()
    assert changes(other, series([1], [2]), "cpu") == []


def test_the_lines_of_a_comparison() -> None:
    """What is in one run only is named, and so is what the runs differ in."""
    old = results(series([1, 1], [2, 2]), series([1], [2], loop="asyncio"), seed=1)
    new = results(series([1, 1], [4, 4]), series([1], [2], loop="uvloop"), seed=2)
    new.versions["trio"] = "0.36.0"
    said = list(compared(old, new))
    assert said[0] == "versions differ: trio was 0.35.0, is 0.36.0"
    assert sum("differ" in line for line in said) == 1
    (line,) = [line.split() for line in said if line.startswith("    creche")]
    assert line == ["creche", "0.50", "[0.50..0.50]", "->", "0.25", "[0.25..0.25]", "-50.0", "%", "*"]
    assert [line for line in said if "not measured" in line] == [
        "W1 on uvloop, n = 1,000, 1 round: submit: not measured before",
        "W1 on asyncio, n = 1,000, 1 round: submit: not measured again",
    ]


# The page ---------------------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "performance.md"
    file.write_text(f"before\n{pages.BEGIN}old\n{pages.END}after\n", encoding="utf-8")
    return file


def test_tables_are_put_between_the_markers(page: Path) -> None:
    """And nothing else changes; a second time gives the same."""
    measured = results(series([1], [2]), series([3], [4], loop="uvloop"))
    measured.series[1].contenders[0] = "TaskGroup + dict"
    measured.series[1].rounds[0]["TaskGroup + dict"] = measured.series[1].rounds[0].pop("nursery + dict")
    pages.put(measured, page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{pages.BEGIN}\nMeasured on Linux, x86_64, 2 cores (fast), ")
    assert text.endswith(f"\n{pages.END}after\n")
    assert "old" not in text
    table = text[text.index("| µs, cpu") :].splitlines()[:5]
    assert table == [
        "| µs, cpu | trio | creche ÷ this | uvloop | creche ÷ this |",
        "| --- | --- | --- | --- | --- |",
        "| nursery + dict | 2.00 | 0.50 [0.50..0.50] |  |  |",
        "| TaskGroup + dict |  |  | 4.00 | 0.75 [0.75..0.75] |",
        "| **creche** | 1.00 |  | 3.00 |  |",
    ]
    pages.put(measured, page)
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("text", ["", pages.BEGIN, pages.END, pages.END + pages.BEGIN, pages.BEGIN * 2])
def test_a_page_without_markers_is_left_alone(page: Path, text: str) -> None:
    """Nothing is written over what people wrote."""
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="once each"):
        pages.put(results(series([1], [2])), page)
    assert page.read_text(encoding="utf-8") == text


def test_the_page_of_the_docs() -> None:
    """It has the markers, says by which command it is written, and every workload is explained."""
    text = pages.PAGE.read_text(encoding="utf-8")
    assert text.count(pages.BEGIN) == text.count(pages.END) == 1
    assert "nox -s bench -- --docs" in text
    named = re.findall(r"^\| ([\w-]+) \| [a-zWo`]", text, re.MULTILINE)
    assert [name for name in named if name in WORKLOADS] == list(WORKLOADS)


# The command ------------------------------------------------------------------------------------------


def test_the_command(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measures what it is told to, writes it, shows it again, compares it, fills the page."""
    monkeypatch.setattr(run, "PAGE", page)
    file = tmp_path / "results.json"

    def command(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
        run.main()
        return capsys.readouterr().out

    said = command("W1", "--loop", "trio", "-n", 20, "--rounds", 2, "--seed", 7, "--json", file)
    assert said.startswith("W1 on trio, n = 20, 2 rounds: submit")
    assert "shuffled with seed 7" in said
    (measured,) = load(file).series
    assert len(measured.rounds) == 2
    assert measured.name == ("W1", "trio", 20)
    shown = command("--from", file, "--docs")
    assert lines(measured) == shown.splitlines()[: len(lines(measured))]
    assert pages.markdown(load(file)) in page.read_text(encoding="utf-8")
    assert "+0.0 %" in command("compare", file, file)


@pytest.mark.parametrize("wrong", [["W99"], ["--rounds", "0"], ["-n", "0"], ["--loop", "curio"]])
def test_a_wrong_command_line(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is measured."""
    with pytest.raises(SystemExit):
        run.parse(wrong)
    assert "usage" in capsys.readouterr().err


def test_instructions_alone() -> None:
    """The option is short for the workload of that name."""
    assert run.parse(["--instructions"]).workloads == ["instructions"]
    assert run.parse(["--quick"]).workloads == []
