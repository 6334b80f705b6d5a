"""The requests of the last while, kept for whoever asks what became of one, and those that went wrong for longer."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from typing import NamedTuple

from isochrone.deadline import Clock
from isochrone_router.past import Past

IN_ORDER, IN_ORDER_S = 4096, 15 * 60.0
WRONG, WRONG_S = 2048, 60 * 60.0
TURNED_AWAY = 256
COUNTED_S = 2 * 60 * 60.0


class Miss(NamedTuple):
    """A request that had no answer in time, and the fan-out that it was a leg of; else itself."""

    past: Past
    whole: Past


class Misses(NamedTuple):
    """Those of a while."""

    newest: list[Miss]
    """As many as were asked for of those that ended last, by their arrival, the newest first."""
    kept: int
    """How many of them there still is something to tell of."""
    seen: int
    """How many there were."""
    turned_away: int
    """How many more were refused for who sent them, or for what that caller had sent already."""


class Recent:
    """A listener of the chronicle. What went right, what went wrong and what was turned away at the door is kept apart,
    so that none of them, come in floods, pushes the others out: anybody can send requests that are turned away. Those
    are found by their traces and counted, and are not told of among the misses. Legs of fan-outs count like requests by
    themselves."""

    def __init__(
        self, *, clock: Clock, in_order: int = IN_ORDER, wrong: int = WRONG, turned_away: int = TURNED_AWAY
    ) -> None:
        self._clock = clock
        self._in_order = _Ring(in_order, IN_ORDER_S)
        self._wrong = _Ring(wrong, WRONG_S)
        self._turned_away = _Ring(turned_away, WRONG_S)
        self._seconds: deque[tuple[int, Counter[tuple[str, bool]]]] = deque()
        """How many missed in a second, by route and whether they were turned away: also of those no longer kept."""

    def __repr__(self) -> str:
        kept = f"{len(self._in_order)} in order, {len(self._wrong)} not"
        return f"<Recent {kept}, {len(self._turned_away)} turned away>"

    def __call__(self, past: Past) -> None:
        if past.is_in_order:
            self._in_order.add(past)
            return
        is_turned_away = past.is_turned_away
        (self._turned_away if is_turned_away else self._wrong).add(past)
        self._count(past, is_turned_away)

    def of_trace(self, trace_id: int) -> list[Past]:
        """All that is kept of a trace, as it arrived. Legs are in their fan-outs, which have the same trace."""
        now_s = self._clock()
        found = [
            past
            for ring in (self._in_order, self._wrong, self._turned_away)
            for past in ring.since(now_s)
            if past.place.span.trace_id == trace_id
        ]
        return sorted(found, key=lambda past: past.received_s)

    def misses(self, since_s: float, *, limit: int, routes: Collection[str] | None = None) -> Misses:
        """Of the last `since_s`, at most COUNTED_S, in whole seconds; of some routes, or of all."""
        now_s = self._clock()
        first = int(now_s - since_s)
        kept = 0
        newest: list[Miss] = []
        for whole in reversed(self._wrong.since(now_s)):
            if ended_s(whole) < first:
                continue
            for past in whole.parts:
                if past.is_miss and (routes is None or past.route in routes):
                    kept += 1
                    if len(newest) < limit:
                        newest.append(Miss(past, whole))
        newest.sort(key=lambda miss: miss.past.received_s, reverse=True)
        seen: Counter[bool] = Counter()
        for second, missed in self._seconds:
            if second >= first:
                for (route, is_turned_away), count in missed.items():
                    if routes is None or route in routes:
                        seen[is_turned_away] += count
        return Misses(newest, kept, seen[False], seen[True])

    def _count(self, whole: Past, is_turned_away: bool) -> None:
        seconds, second = self._seconds, int(ended_s(whole))
        for past in whole.parts:
            if past.is_miss:
                if not seconds or seconds[-1][0] < second:
                    seconds.append((second, Counter()))
                    while seconds[0][0] < second - COUNTED_S:
                        seconds.popleft()
                seconds[-1][1][past.route, is_turned_away] += 1


class _Ring:
    """The last so many requests. Those that are too old go when somebody asks: what is added pays for no look back."""

    def __init__(self, most: int, most_s: float) -> None:
        self._most = most
        self._most_s = most_s
        self._pasts: deque[Past] = deque()
        self._size = 0
        """With their legs."""

    def __len__(self) -> int:
        return self._size

    def add(self, past: Past) -> None:
        self._pasts.append(past)
        self._size += _size(past)
        while self._size > self._most:
            self._drop_first()

    def since(self, now_s: float) -> deque[Past]:
        """Those that aren't too old by now."""
        while self._pasts and ended_s(self._pasts[0]) < now_s - self._most_s:
            self._drop_first()
        return self._pasts

    def _drop_first(self) -> None:
        self._size -= _size(self._pasts.popleft())


def _size(past: Past) -> int:
    return 1 if not past.legs else sum(1 for _ in past.parts)


def ended_s(past: Past) -> float:
    """On this process's clock."""
    return past.received_s + past.report.total_us / 1e6
