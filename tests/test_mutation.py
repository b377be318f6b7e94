"""Faults that are planted: each still has its place in the source. `nox -s mutation` plants them all.

What it does not know: whether they are caught; what plants them is tried with two of our own.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from faults import FAULTS
from mutate import main
from planting import CannotPlantError, Fault, plant
from trying import PACKAGE, ROOT, Terms, files_of

# It knows of no state of a call.
ARITHMETIC = "retry::test_the_delays_grow_up_to_the_cap"

WRONG = Fault(
    name="nothing-is-ever-settled",
    file="_states",
    where="State.final",
    old="self not in TRANSITIONS",
    new="False",
    breaks="there are final states",
    tests=(ARITHMETIC,),
)
HARMLESS = Fault(
    name="nothing-at-all",
    file="_states",
    where="State.final",
    old="self not in TRANSITIONS",
    new="not (self in TRANSITIONS)",
    breaks="nothing",
    tests=(ARITHMETIC,),
)
SOURCE = '''
class Gate:
    def open(self):
        """Says ä before it opens."""
        if (
            self.is_shut  # why
        ):
            self.open_it()

    def shut(self): return "ö" + self.name
'''


def source_of(fault: Fault) -> str:
    return (ROOT / PACKAGE / f"{fault.file}.py").read_text(encoding="utf-8")


def in_gate(where: str, old: str, new: str = "") -> str:
    return plant(
        SOURCE, Fault(name="f", file="gate", where=where, old=old, new=new, breaks="", tests=("x",))
    )


def test_each_fault_has_its_place() -> None:
    """It is in the source once, and what comes of it is another program."""
    for fault in FAULTS:
        source = source_of(fault)
        assert plant(source, fault) != source


def test_each_fault_says_what_it_is() -> None:
    """Names are told apart, and the files of tests that are meant for it are there."""
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []
    assert all(fault.tests and fault.breaks for fault in FAULTS)
    meant = {name for fault in FAULTS for name in files_of(fault.tests)}
    for name in meant:
        file, _, test = name.partition("::")
        assert (
            f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
            if test
            else (ROOT / file).exists()
        )


def test_faults_are_of_all_the_heart() -> None:
    """So many, and in each of these files."""
    files = Counter(fault.file for fault in FAULTS)
    heart = {"_capture", "_slot", "_queue", "_carriers", "_carrier", "_halting", "_grace", "_places"}
    assert heart <= set(files)
    assert sum(files.values()) >= 60


def test_a_fault_is_planted_by_what_it_means() -> None:
    """Expressions and statements are found however they are laid out; what is around stays."""
    there = "if (\n            self.is_shut  # why\n        ):\n            self.open_it()"
    assert in_gate("Gate.open", "self.is_shut", "not self.is_shut") == SOURCE.replace(
        "self.is_shut", "(not self.is_shut)"
    )
    assert in_gate("Gate.open", "if self.is_shut: self.open_it()") == SOURCE.replace(there, "pass")
    assert in_gate("Gate.open", "self.open_it()") == SOURCE.replace("self.open_it()", "pass")
    assert in_gate("Gate.open", "self.open_it()", "self.a()\nself.b()") == SOURCE.replace(
        "self.open_it()", "self.a()\n            self.b()"
    )
    assert in_gate("Gate.shut", "self.name", "self") == SOURCE.replace("self.name", "(self)")


@pytest.mark.parametrize(
    ("where", "old", "new", "why"),
    [
        ("Gate.shut", "self.is_shut", "True", "0 times in Gate.shut"),
        ("Gate", "self", "None", "3 times in Gate of gate"),
        ("Gate.close", "self", "None", "there is no Gate.close"),
        ("Gate.shut", "self.name", "self .name", "changes nothing"),
        ("Gate.shut", "return 'ö' + self.name", "yield; def", "makes no Python"),
    ],
)
def test_a_fault_without_a_place_is_refused(where: str, old: str, new: str, why: str) -> None:
    """Nothing is planted where it is not known what that does."""
    with pytest.raises(CannotPlantError, match=why):
        in_gate(where, old, new)


@pytest.mark.slow
def test_faults_are_tried(capfd: pytest.CaptureFixture[str]) -> None:
    """One that the tests meant for it let pass has a second chance; one that none notices is named."""
    before = source_of(WRONG)
    terms = Terms(jobs=2, loops="trio", everything=files_of(["wakers"]))
    assert main([], [WRONG, HARMLESS], terms) == 1
    said = capfd.readouterr().out
    assert "1 of 2 faults caught" in said
    assert "(all) test_wakers.py::test_" in said
    assert f"not by the tests meant for it, but by others: {WRONG.name}" in said
    assert f"not caught: {HARMLESS.name}, which breaks: nothing" in said
    assert source_of(WRONG) == before


@pytest.mark.slow
def test_tests_that_hang_have_caught_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A fault is caught by a test that fails, and by no time limit of ours."""
    terms = Terms(jobs=1, loops="trio", seconds=0.1, everything=None)
    assert main([WRONG.name], [WRONG], terms) == 1
    assert "NOT CAUGHT: hung" in capfd.readouterr().out


@pytest.mark.slow
def test_nothing_is_tried_when_tests_fail_anyhow(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Else every fault would look as if it were caught."""
    (tmp_path / "test_fails.py").write_text("def test_it():\n    assert False\n", encoding="utf-8")
    terms = Terms(everything=[str(tmp_path / "test_fails.py")])
    assert main(["--all-tests"], [WRONG], terms) == 1
    said = capfd.readouterr().out
    assert "do not pass without a fault" in said
    assert WRONG.name not in said
