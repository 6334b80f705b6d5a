"""The router's /status as tables. A field that an older router lacks, or a newer one has besides, does no harm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from isochrone.cli.status_fields import (
    NONE,
    as_count,
    as_number,
    cost,
    counts,
    duration,
    figure,
    is_number,
    latency,
    list_of,
    ms,
    percent,
    promise,
    section,
    short,
    size,
    state,
    state_and_why,
)

_ROOM = 140
"""Columns of a terminal where each table has all that it has to say side by side; 80 do for what is shown else."""
_WORDS = frozenset(
    {
        *("state", "device", "through", "errors", "refused", "lane", "why", "latency of a batch", "tiers", "quotas"),
        "refused here",
    }
)


@dataclass(frozen=True, slots=True)
class StatusView:
    """All of it, one below the other, in the room that there is."""

    status: Mapping[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_wide = options.max_width >= _ROOM
        yield _headline(self.status)
        yield from _second_attempts(self.status)
        for table in self._tables(is_wide=is_wide):
            yield ""
            yield table

    def _tables(self, *, is_wide: bool) -> Iterator[RenderableType]:
        routes, nodes = list_of(self.status, "routes"), list_of(self.status, "nodes")
        yield _routes(routes, is_wide=is_wide)
        if (failures := _failures(routes, is_wide=is_wide)) is not None:
            yield failures
        if any(list_of(route, "lanes") for route in routes):
            yield _plans(routes) if is_wide else _plans_below(routes)
        yield _lanes(list_of(self.status, "lanes"))
        yield _nodes(nodes, is_wide=is_wide)
        if not is_wide and any(section(node, "latency") for node in nodes):
            yield _latencies(nodes)
        if callers := list_of(self.status, "callers"):
            yield _callers(callers)


def _headline(status: Mapping[str, Any]) -> Text:
    router, redis = section(status, "router"), section(status, "redis")
    up_s = router.get("uptime_s")
    head = Text.assemble(
        (str(status.get("mesh", "mesh")), "bold"),
        f"  router {router.get('name', '?')}",
        f", pid {router['pid']}" if "pid" in router else "",
        f", up {duration(up_s)}" if is_number(up_s) else "",
        f", {router.get('inflight', 0)} under way",
        f" ({size(router['inflight_bytes'])})" if is_number(router.get("inflight_bytes")) else "",
        "  redis ",
        state(redis.get("state", "?")),
    )
    if router.get("draining"):
        head.append("  draining", "bold yellow")
    return head


def _second_attempts(status: Mapping[str, Any]) -> list[Text]:
    """ "second attempts  12 made, 2 denied · hedges 9 made, 7 won, 1 denied"; nothing where there were none."""
    found = section(section(status, "router"), "second_attempts")
    made, denied, hedges, won, hedges_denied = (
        as_number(found.get(key)) for key in ("made", "denied", "hedges", "hedges_won", "hedges_denied")
    )
    if not made and not denied:
        return []
    said = f"second attempts  {made:,} made, {denied:,} denied"
    if hedges or hedges_denied:
        said += f" · hedges {hedges:,} made, {won:,} won, {hedges_denied:,} denied"
    return [Text(said)]


def _routes(routes: list[Mapping[str, Any]], *, is_wide: bool) -> Table:
    """Each against its target."""
    more = ("requests", "missed", "cost of 1,000") if is_wide else ("missed",)
    table = _table("route", "in time", "target", "p50", "p99", "objective", "rate", *more)
    for route in routes:
        attainment, target = route.get("attainment"), route.get("target")
        kept = not (is_number(attainment) and is_number(target)) or attainment >= target
        in_time = percent(attainment).copy()
        if is_number(attainment):
            in_time.stylize("green" if kept else "bold red")
        table.add_row(
            str(route.get("route", "?")) if is_wide else short(route.get("route")),
            in_time,
            percent(target),
            ms(route.get("p50_ms")),
            ms(route.get("p99_ms")),
            promise(route.get("objective_ms")),
            figure(route.get("rate_per_s"), "/s"),
            *([figure(route.get("requests"))] if is_wide else []),
            figure(route.get("missed")),
            *([cost(route.get("cost_per_1000"))] if is_wide else []),
        )
    return table


def _failures(routes: list[Mapping[str, Any]], *, is_wide: bool) -> Table | None:
    """What went wrong; with little room also what answers cost. None where there is nothing to say."""
    table = (
        _table("failures", "errors", "refused") if is_wide else _table("route", "cost\nof 1,000", "errors", "refused")
    )
    for route in routes:
        errors, refused = counts(section(route, "errors")), counts(section(route, "refused"))
        spent = route.get("cost_per_1000")
        if errors or refused or (spent and not is_wide):
            wrongs = (Text(errors, "red") if errors else NONE, Text(refused) if refused else NONE)
            table.add_row(short(route.get("route")), *([] if is_wide else [cost(spent)]), *wrongs)
    return table if table.row_count else None


_OUTLOOK = ("took / expected", "as foretold", "expected now", "at the target")
"""What came of a lane's plans; and when a request that came now would be answered, in the mean and at the target's
quantile."""


def _plans(routes: list[Mapping[str, Any]]) -> Table:
    """Where each route's requests were sent and why, what came of that, and what a request may expect now."""
    table = _table("plans", "lane", "sent there", "why", *_OUTLOOK)
    for route in routes:
        ways = list_of(route, "lanes")
        for number, way in enumerate(ways):
            name = "" if number else short(route.get("route"))
            table.add_row(name, str(way.get("lane", "?")), _share(way, ways), _why(way) or NONE, *_outlook(way))
    return table


def _plans_below(routes: list[Mapping[str, Any]]) -> Table:
    """The same with each lane in a row below its route, and why below the lane."""
    heads = ("sent there", *_OUTLOOK)
    table = _table("plans", *("\n".join(head.rsplit(maxsplit=1)) for head in heads))
    table.columns[0].no_wrap = False
    for route in routes:
        if ways := list_of(route, "lanes"):
            table.add_row(Text(short(route.get("route")), "bold"))
        for way in ways:
            why = [Text(told, "dim")] if (told := _why(way)) else []
            lane = Padding(Group(str(way.get("lane", "?")), *why), (0, 0, 0, 2))
            table.add_row(lane, _share(way, ways), *_outlook(way))
    return table


def _share(way: Mapping[str, Any], ways: list[Mapping[str, Any]]) -> Text:
    sent = sum(as_number(one.get("requests")) for one in ways)
    return Text(f"{100 * as_number(way.get('requests')) / sent:.1f} %") if sent else NONE


def _why(way: Mapping[str, Any]) -> str:
    """ "cheapest 90 %, late 10 %"; without a share where it is the only reason."""
    why, requests = section(way, "why"), as_number(way.get("requests"))
    reasons = [(str(one), f"{100 * as_number(times) / requests:.0f} %") for one, times in why.items() if requests]
    return ", ".join(one if len(reasons) == 1 else f"{one} {share}" for one, share in reasons)


def _outlook(way: Mapping[str, Any]) -> tuple[Text, ...]:
    """Nothing is expected of a lane whose nodes foretell nothing, before the first answers came."""
    known = as_number(way.get("expected_ms")) > 0
    return (
        figure(way.get("took_ratio"), digits=2),
        percent(way.get("within")),
        ms(way.get("expected_ms")) if known else NONE,
        ms(way.get("within_ms")) if known else NONE,
    )


def _lanes(lanes: list[Mapping[str, Any]]) -> Table:
    back = any(as_number(lane.get("standing_back")) for lane in lanes)
    more = ["standing\nback"] if back else []
    table = _table("lane", "waiting", "wait", "requests\na batch", "units\na batch", "nodes", *more, "through")
    for lane in lanes:
        mode = lane.get("mode", "?")
        table.add_row(
            str(lane.get("lane", "?")),
            figure(lane.get("depth")),
            ms(lane.get("wait_ms")),
            figure(lane.get("mean_jobs"), digits=1) if lane.get("mean_jobs") else NONE,
            figure(lane.get("mean_units"), digits=1) if lane.get("mean_units") else NONE,
            figure(as_count(lane.get("nodes"))),
            *([figure(lane.get("standing_back")) if lane.get("standing_back") else NONE] if back else []),
            state("Redis" if mode == "lane" else mode),
        )
    return table


def _nodes(nodes: list[Mapping[str, Any]], *, is_wide: bool) -> Table:
    more = ("latency of a batch",) if is_wide else ()
    table = _table("node", "state", "device", "batches", "requests", "under way", "round trip", *more)
    for node in nodes:
        fits = "\n".join(f"{lane}  {fit}" for lane, fit in _fits(node))
        table.add_row(
            str(node.get("name", "?")),
            state_and_why(node),
            str(node.get("device", "-")),
            figure(node.get("batches")),
            figure(node.get("jobs")),
            figure(node.get("inflight")),
            figure(node.get("rtt_us"), " µs"),
            *([fits or NONE] if is_wide else []),
        )
    return table


def _latencies(nodes: list[Mapping[str, Any]]) -> Table:
    """How long batches take at each node, where there is no room for it beside."""
    table = _table("node", "lane", "latency of a batch")
    for node in nodes:
        for number, (lane, fit) in enumerate(_fits(node)):
            table.add_row("" if number else str(node.get("name", "?")), lane, fit)
    return table


def _fits(node: Mapping[str, Any]) -> list[tuple[str, str]]:
    fits = section(node, "latency").items()
    return [(str(lane), latency(fit)) for lane, fit in fits if isinstance(fit, Mapping)]


def _callers(callers: list[Mapping[str, Any]]) -> Table:
    """Of this router alone; the limits are for all together."""
    table = _table("caller", "tiers", "rate", "of", "under way", "of", "quotas", "refused here")
    for caller in callers:
        quotas, refused = section(caller, "quotas"), counts(section(caller, "refused"))
        rate, slots = section(quotas, "rate"), section(quotas, "concurrency")
        tiers = caller.get("tiers")
        table.add_row(
            str(caller.get("caller", "?")),
            ", ".join(map(str, tiers)) if isinstance(tiers, list) else NONE,
            figure(caller.get("rate_per_s"), "/s", digits=1),
            figure(rate.get("limit"), "/s"),
            figure(slots.get("used")),
            figure(slots.get("limit")),
            state("shared" if caller.get("shared") else "by share") if quotas else NONE,
            Text(refused, style="red") if refused else NONE,
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for index, column in enumerate(columns):
        left = index == 0 or column in _WORDS
        table.add_column(column, justify="left" if left else "right", no_wrap=index == 0, vertical="top")
    return table
