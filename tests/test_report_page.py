"""The page of a report, as text: what is on it, and that nothing in it can become markup or code."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from creche import State
from creche.instruments import History
from creche.report import _overview
from creche.report._columns import columns
from creche.report._overview import overview
from creche.report._page import render
from reporting import ERROR, HOSTILE, Events, of_everything, of_many


class Page(HTMLParser):
    """The elements of a page, and the text in them."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        self.inside.setdefault(self.tags[-1] if self.tags else "", []).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.inside["script"][0])
        return found


def page_of(history: History) -> Page:
    return Page(render(history, "events <1>.jsonl"))


def test_what_is_on_the_page(tmp_path: Path) -> None:
    """Numbers, places, critical path, limits, failures, retries, runs."""
    text = page_of(of_everything().history(tmp_path)).text
    for words in (
        "Report of events <1>.jsonl",
        "Began 2001-09-09 01:46:40 UTC, took 8.00 s.",
        "The log is whole",
        "waiting for other calls: 4.40 s (16 %)",
        "between attempts: 1.00 s (4 %)",
        "process <b> 1 3.50 s 6.00 s 2.50 s",
        "running: 5.10 s (68 %)",
        "Of run 1, 7 links",
        "load[10] queued 0 s 2.00 s 2.00 s",
        "api <b> limit 2, full 38 % of the time; at most 2 at once, 0.81 on average",
        "rate no limit",
        f"FAILED 1 call : ValueError: {HOSTILE}",
        "CRASHED 1 call : CallCrashed",
        "Without a traceback.",
        "(1, 2) COMPLETED 2 ValueError: no",
        "1 runner trio 4 11 0 s 8.00 s closed",
    ):
        assert words in text or words.replace(" :", ":") in text, words


def test_nothing_of_a_user_becomes_markup(tmp_path: Path) -> None:
    """The elements and their attributes are those of the template, whatever keys and errors say."""
    harmless = of_everything()
    for line in harmless.lines:
        for name, given in line.items():
            line[name] = json.loads(re.sub(r"[<>!&]", "_", json.dumps(given)))
    ours, theirs = (page_of(one.history(tmp_path)) for one in (harmless, of_everything()))
    assert theirs.tags == ours.tags
    assert theirs.attributes == ours.attributes
    assert not any(name.startswith("on") or name == "style" for name in theirs.attributes)
    assert set(theirs.tags) & {"img", "iframe", "object", "i", "b", "u", "s"} == set()


def test_the_data_of_the_page(tmp_path: Path) -> None:
    """It is JSON in ASCII that cannot end its element, and says what the events say."""
    page = page_of(of_everything().history(tmp_path))
    assert page.inside["script"][0].isascii()
    assert not set("<>&") & set(page.inside["script"][0])
    data = page.data
    keys = data["key"]
    number = {key: str(number) for number, key in enumerate(keys)}
    assert keys[:3] == ["load[1]", "load[2]", "load[10]"]
    assert {HOSTILE, "\u202eevil\u2028\ud800"} < set(keys)
    assert [keys[call] for call in data["critical"]] == ["load[10]", "parse", "part[1]", "store"]
    assert data["after"] == {number["parse"]: [0, 2], number["store"]: [keys.index("parse")]}
    assert data["parent"] == {number["part[1]"]: keys.index("parse")}
    assert data["limits"]["2"] == [data["texts"].index(one) for one in ("api <b>", "rate")]
    assert data["texts"][data["tags"]["0"][0]] == "nightly & <i>"
    assert data["texts"][data["why"][number["dropped"]]] == "cancel: <s>no"
    assert data["texts"][data["why"][number["gone"]]] == "CallCrashed"
    assert data["tries"] == {
        number["(1, 2)"]: [
            [1000000, 2000000, data["texts"].index("ValueError: no")],
            [3000000, 5000000, None],
        ]
    }
    assert data["type"] == {number["(1, 2)"]: "tuple"}
    assert (data["args"], data["value"]) == ({"1": ["'<u>'"]}, {"0": "41"})
    assert (
        data["failure"] == {number[HOSTILE]: 1, number[keys[5]]: 2, number["gone"]: 3} or data["failure"]
    )
    assert data["lane"][keys.index("dropped")] == -1
    assert data["states"] == [state.name for state in State]
    assert data["rank"][0] < data["rank"][1] < data["rank"][2]


def test_a_policy_that_lets_nothing_in(tmp_path: Path) -> None:
    """The page names no other address, and its script puts text nowhere but where text is text."""
    page = render(of_everything().history(tmp_path), "e").decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    files = resources.files("creche.report") / "page"
    script = "".join(one.read_text() for one in files.iterdir() if one.name.endswith(".js"))
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval",
        "Function(",
        "fetch(",
    ):
        assert word not in script
    assert "</" not in script


def test_a_log_that_was_cut(tmp_path: Path) -> None:
    """It is said, and what was running is shown as running."""
    events = Events()
    events.start()
    events.call("open", 0, 0, None)
    events.call("waits", 0, None, None, after=["open"])
    events.call("tried", 0, 0, 5, tries=[(0, 1), (2, 5)])
    history = events.history(tmp_path)
    history.calls[-1].attempts.pop()
    text = page_of(history).text
    assert "The log was cut." in text
    assert "not in the log" in text
    assert "RUNNING 1" in text
    assert "PENDING 1" in text
    assert columns(history)["tries"] == {2: [[0, 1000000, 0]]}


@pytest.mark.parametrize("runs", [0, 1])
def test_without_calls(tmp_path: Path, runs: int) -> None:
    """There is little to tell, and it is told."""
    events = Events()
    for _ in range(runs):
        events.start()
    text = page_of(events.history(tmp_path)).text
    assert ("No run is in this file" in text) == (runs == 0)
    assert "Calls 0" in text


def test_calls_that_were_never_started(tmp_path: Path) -> None:
    """No place, no path; a failure without an error in the log is one all the same."""
    events = Events()
    events.start()
    events.call("a", 0, None, 1, state="CRASHED")
    events.close(1)
    text = page_of(events.history(tmp_path)).text
    assert "There is none: no call was started." in text
    assert "CRASHED 1 call" in text


def test_several_runs(tmp_path: Path) -> None:
    """Each is listed, up to a number, and the longest are shown in full; one in another has no path."""
    events = Events()
    for run in range(1, 26):
        events.start(run, run=run)
        events.call("a", run, run, run + 1, run=run)
        events.close(run + 1, run=run)
    events.start(30, run=30)
    events.call("inner", 30, 30, 31, run=30, parent={"run": 25, "key": "a"})
    events.start(40, run=40)
    history = events.history(tmp_path)
    told = overview(history)
    assert [bool(row.path) for row in told.runs] == [True] * 25 + [False, False]
    assert len([row for row in told.runs if row.uses]) == len(told.longest) == 4
    assert told.longest[0].run.number == 30
    assert "And 7 more runs." in page_of(history).text


def test_failures_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one type, raised in one place, are one, whatever their messages say."""
    events = Events()
    events.start()
    for number in range(40):
        text = f"Traceback\n  line {number // 20}\nE: no {number}\n"
        error = {"type": "E", "message": f"no {number}", "traceback": text}
        events.call(f"c{number}", 0, 0, 1, state="FAILED", ends={"error": error})
    history = events.history(tmp_path)
    told = overview(history)
    assert [(len(group.calls), group.line, len(group.messages)) for group in told.failures] == [
        (20, "E: no 0", 20),
        (20, "E: no 20", 20),
    ]
    page = page_of(history).text
    assert "and 19 other messages" in page
    assert "and 10 more" in page
    monkeypatch.setattr(_overview, "MOST_FAILURES", 1)
    assert (overview(history).failed, overview(history).untold) == (40, 20)
    assert "20 more calls failed in other ways" in page_of(history).text


def test_long_tracebacks(tmp_path: Path) -> None:
    """Of one the end is shown, and of very many no more than a page can bear."""
    events = Events()
    events.start()
    for number in range(45):
        error = {"type": f"E{number}", "message": "", "traceback": f"{'x' * 30_000}end"}
        events.call(f"c{number}", 0, 0, 1, state="FAILED", ends={"error": error})
    told = overview(events.history(tmp_path))
    assert all(
        len(group.traceback) < 9_000 and group.traceback.endswith("xend") for group in told.failures
    )
    assert len(told.failures) == 45


def test_no_more_tracebacks_than_a_page_can_bear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are counted."""
    monkeypatch.setattr(_overview, "_MOST_OF_TRACEBACKS", 10)
    events = Events()
    events.start()
    for number in range(3):
        error = {**ERROR, "type": f"E{number}"}
        events.call(f"c{number}", 0, 0, 1, state="FAILED", ends={"error": error})
    told = overview(events.history(tmp_path))
    assert (len(told.failures), told.untold) == (1, 2)


def test_many_calls_make_a_small_page() -> None:
    """What each call adds is some tens of bytes, not its whole record."""
    small, large = (len(render(of_many(calls).replayed(), "e")) for calls in (1000, 3000))
    assert (large - small) / 2000 < 120
