"""When calls that waited for calls had their places, from what was admitted meanwhile.

What it is for: the own time of a call that waits begins when it has its place back, and its place is
somebody else's from when that one was admitted. Neither is an event.

What it does not know: calls, histories; spans of time only.

Invariant: of what it finds, no more places are held at any time than there are, as far as the admissions
that were measured allow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, final

# Seconds between the end of a call and what comes of it, at most: a thread must be woken for it.
AT_ONCE = 0.005

# At one instant, in this order: who ends, who wants back, who has gone on, who waits, who is admitted.
_ENDS, _WANTS, _GOES_ON, _WAITS, _BEGINS = range(5)


@dataclass(eq=False)
class Span:
    """What a script did from one mark to the next.

    Attributes:
        previous: the time of the mark before, or of its beginning.
        mark: the time of this one.
        submits: what it submitted then; `None` at its end.
        order: with which event, counted in the history.
        waits: what it waited for, if anything; also to be found out, if `perhaps` is not empty.
        perhaps: what it waited for if it is seen to have lent its place.
        wanted: when that was there.
        ready: of the first one of a script, since when nothing but a place was missing; `None` if that
            cannot be told.
        lent: when its place was needed by somebody else; `None` if it was not. Or, without that, up to
            when it had its place still, since others waited for one.
        resumed: when it had its place back; `None` if that was when it wanted it.
    """

    previous: float
    mark: float
    submits: Any
    order: int = 0
    waits: tuple[Any, ...] = ()
    perhaps: tuple[Any, ...] = ()
    wanted: float = 0.0
    ready: float | None = None
    lent: float | None = None
    resumed: float | None = None


def find_places_held(spans: Iterable[Span], places: int) -> None:
    """Find out when places were lent and had back.

    Args:
        spans: of those that had places, script by script, and there in order.
        places: how many there are.
    """
    events: list[tuple[float, int, int, Span]] = []
    begins = True
    for number, span in enumerate(spans):
        if begins:
            events.append((span.previous, _BEGINS, number, span))
        begins = span.submits is None
        if (span.waits or span.perhaps) and span.wanted > span.previous:
            events.append((span.previous, _WAITS, number, span))
            events.append((span.wanted, _WANTS, number, span))
        events.append((span.mark, _ENDS if begins else _GOES_ON, number, span))
    places_held = _Places(places)
    for now, group in groupby(sorted(events, key=itemgetter(0, 1, 2)), key=itemgetter(0)):
        for _, what, _, span in group:
            places_held.step(now, what, span)
        places_held.end_instant(now)


@final
class _Places:
    """The places, at one instant after another."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._held = 0
        # Those that wait, and have not lent their place yet; the one that began first is the first.
        self._waiting: dict[Span, None] = {}
        self._perhaps: dict[Span, None] = {}
        # Those that have ceased to wait at the present instant.
        self._left: list[Span] = []
        self._lent: set[Span] = set()
        self._wanting: deque[Span] = deque()
        self._latest: Span | None = None
        # Since when no place is free.
        self._full: float | None = None

    def step(self, now: float, what: int, span: Span) -> None:
        """Something happens to one of them."""
        if what == _BEGINS:
            self._see_who_has_one(now, span)
            if self._held >= self._places:
                self._make_room(now)
            self._held += 1
        elif what == _WAITS:
            (self._waiting if span.waits else self._perhaps)[span] = None
        elif what == _WANTS:
            if span in self._lent:
                self._wanting.append(span)
            else:
                self._leave(span)
        else:
            self._pass_mark(now, span)
            if what == _ENDS:
                self._held -= 1

    def _give_back(self, now: float) -> None:
        """Who wants a place back has it, if there is one; they wait in line."""
        while self._wanting and self._held < self._places:
            self._latest = span = self._wanting.popleft()
            self._lent.discard(span)
            span.resumed = now
            self._held += 1

    def end_instant(self, now: float) -> None:
        """Nothing else happens at this time."""
        self._left.clear()
        self._give_back(now)
        if self._held < self._places:
            self._full = None
        elif self._full is None:
            self._full = now

    def _leave(self, span: Span) -> None:
        """It waits no longer, and has not lent its place, if it waited."""
        self._perhaps.pop(span, None)
        if span in self._waiting:
            del self._waiting[span]
            self._left.append(span)

    def _see_who_has_one(self, now: float, begins: Span) -> None:
        """Whoever had lent his place would have lent it to one that has had to wait for it."""
        if begins.ready is not None and self._full is not None:
            since = max(begins.ready, self._full)
            for span in (*self._waiting, *self._left):
                if now - max(since, span.previous) > AT_ONCE:
                    span.lent = now

    def _make_room(self, now: float) -> None:
        lenders = self._waiting or self._perhaps
        if lenders:
            span = next(iter(lenders))
            del lenders[span]
            span.waits = span.waits or span.perhaps
            span.lent = now
            self._lent.add(span)
            self._held -= 1
        elif (
            self._latest is not None
            and self._latest.resumed is not None
            and now - self._latest.resumed <= AT_ONCE
            and self._latest.mark > now
        ):
            # It was not that one that had the place.
            self._lent.add(self._latest)
            self._wanting.appendleft(self._latest)
            self._latest = None
            self._held -= 1

    def _pass_mark(self, now: float, span: Span) -> None:
        """By now it must have had its place."""
        self._leave(span)
        if span in self._lent:
            self._lent.remove(span)
            if span in self._wanting:
                self._wanting.remove(span)
            span.resumed = now
            self._held += 1
