"""The router's /status as tables. A field that an older router lacks, or a newer one has besides, does no harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from isochrone.cli.plan_in_words import plain

_NONE = Text("-", style="dim")
_GOOD = {"up", "linked", "lane", "shared"}
_BAD = {"down", "silent", "stalled", "refused"}


def view(status: Mapping[str, Any]) -> RenderableType:
    """All of it, one below the other."""
    routes = _list(status, "routes")
    parts: list[RenderableType] = [_headline(status), *_second_attempts(status), "", _routes(routes)]
    if any(_list(route, "lanes") for route in routes):
        parts += ["", _plans(routes)]
    parts += ["", _lanes(_list(status, "lanes")), "", _nodes(_list(status, "nodes"))]
    if callers := _list(status, "callers"):
        parts += ["", _callers(callers)]
    return Group(*parts)


def _headline(status: Mapping[str, Any]) -> Text:
    router, redis = _section(status, "router"), _section(status, "redis")
    up_s = router.get("uptime_s")
    head = Text.assemble(
        (str(status.get("mesh", "mesh")), "bold"),
        f"  router {router.get('name', '?')}",
        f", pid {router['pid']}" if "pid" in router else "",
        f", up {_duration(up_s)}" if _is_number(up_s) else "",
        f", {router.get('inflight', 0)} requests under way",
        f" ({_size(router['inflight_bytes'])})" if _is_number(router.get("inflight_bytes")) else "",
        "  redis ",
        _state(redis.get("state", "?")),
    )
    if router.get("draining"):
        head.append("  draining", "bold yellow")
    return head


def _second_attempts(status: Mapping[str, Any]) -> list[Text]:
    """ "second attempts  12 made, 2 denied · 9 of them hedges, 7 won, 1 denied"; nothing where there were none."""
    found = _section(_section(status, "router"), "second_attempts")
    made, denied, hedges, won, hedges_denied = (
        found.get(key) if _is_number(found.get(key)) else 0
        for key in ("made", "denied", "hedges", "hedges_won", "hedges_denied")
    )
    if not made and not denied:
        return []
    said = f"second attempts  {made:,} made, {denied:,} denied"
    if hedges or hedges_denied:
        said += f" · of these hedges: {hedges:,} made, {won:,} won, {hedges_denied:,} denied"
    return [Text(said)]


def _routes(routes: list[Mapping[str, Any]]) -> Table:
    refuse = any(_section(route, "refused") for route in routes)
    columns = ("in time", "aim", "p50", "p99", "objective", "rate", "requests", "missed", "cost of 1,000", "errors")
    table = _table("route", *columns, *(["refused"] if refuse else []))
    for route in routes:
        attainment, target = route.get("attainment"), route.get("target")
        kept = not (_is_number(attainment) and _is_number(target)) or attainment >= target
        errors, refused = _section(route, "errors"), _section(route, "refused")
        table.add_row(
            str(route.get("route", "?")),
            Text(_percent(attainment), style="green" if kept else "bold red") if _is_number(attainment) else _NONE,
            _percent(target) if _is_number(target) else _NONE,
            _ms(route.get("p50_ms")),
            _ms(route.get("p99_ms")),
            _ms(route.get("objective_ms")),
            _figure(route.get("rate_per_s"), "/s"),
            _figure(route.get("requests")),
            _figure(route.get("missed")),
            _cost(route.get("cost_per_1000")),
            Text(", ".join(f"{n} {code}" for code, n in errors.items()), style="red") if errors else _NONE,
            *([Text(", ".join(f"{n} {reason}" for reason, n in refused.items()) or "-")] if refuse else []),
        )
    return table


def _plans(routes: list[Mapping[str, Any]]) -> Table:
    """Where each route's requests were sent and why, what came of that, and what a request may expect now."""
    table = _table("plans", "lane", "sent there", "why", "took / expected", "as foretold", "expected now", "or less")
    for route in routes:
        name, ways = str(route.get("route", "?")).rpartition(".")[2], _list(route, "lanes")
        sent = sum(_number(way.get("requests")) for way in ways)
        for number, way in enumerate(ways):
            why = _section(way, "why")
            requests = _number(way.get("requests"))
            reasons = [(str(one), f"{100 * _number(count) / requests:.0f} %") for one, count in why.items() if requests]
            table.add_row(
                "" if number else name,
                str(way.get("lane", "?")),
                f"{100 * requests / sent:.1f} %" if sent else _NONE,
                ", ".join(one if len(reasons) == 1 else f"{one} {share}" for one, share in reasons) or _NONE,
                _figure(way.get("took_ratio"), digits=2),
                _percent(way["within"]) if _is_number(way.get("within")) else _NONE,
                _ms(way.get("expected_ms")),
                _ms(way.get("within_ms")),
            )
    return table


def _lanes(lanes: list[Mapping[str, Any]]) -> Table:
    table = _table("lane", "waiting", "wait", "requests a batch", "units a batch", "nodes", "standing back", "way")
    for lane in lanes:
        table.add_row(
            str(lane.get("lane", "?")),
            _figure(lane.get("depth")),
            _ms(lane.get("wait_ms")),
            _figure(lane.get("mean_jobs"), digits=1),
            _figure(lane.get("mean_units"), digits=1),
            _figure(_count(lane.get("nodes"))),
            _figure(lane.get("standing_back")) if lane.get("standing_back") else _NONE,
            _state({"links": "over the links"}.get(lane.get("mode", "?"), lane.get("mode", "?"))),
        )
    return table


def _nodes(nodes: list[Mapping[str, Any]]) -> Table:
    table = _table("node", "state", "device", "batches", "requests", "under way", "round trip", "latency of a batch")
    for node in nodes:
        latencies = _section(node, "latency")
        fits = [f"{lane}  {_latency(fit)}" for lane, fit in latencies.items() if isinstance(fit, Mapping)]
        table.add_row(
            str(node.get("name", "?")),
            _state_and_why(node),
            str(node.get("device", "-")),
            _figure(node.get("batches")),
            _figure(node.get("jobs")),
            _figure(node.get("inflight")),
            _figure(node.get("rtt_us"), " µs"),
            "\n".join(fits) or _NONE,
        )
    return table


def _callers(callers: list[Mapping[str, Any]]) -> Table:
    """Of this router alone; the limits are for all together."""
    table = _table("caller", "tiers", "rate", "of", "under way", "of", "quotas", "refused here")
    for caller in callers:
        quotas, refused = _section(caller, "quotas"), _section(caller, "refused")
        rate, slots = _section(quotas, "rate"), _section(quotas, "concurrency")
        tiers = caller.get("tiers")
        table.add_row(
            str(caller.get("caller", "?")),
            ", ".join(map(str, tiers)) if isinstance(tiers, list) else _NONE,
            _figure(caller.get("rate_per_s"), "/s", digits=1),
            _figure(rate.get("limit"), "/s"),
            _figure(slots.get("used")),
            _figure(slots.get("limit")),
            _state("shared" if caller.get("shared") else "by share") if quotas else _NONE,
            Text(", ".join(f"{n} {reason}" for reason, n in refused.items()), style="red") if refused else _NONE,
        )
    return table


def _latency(fit: Mapping[str, Any]) -> str:
    """ "0.12 ms + 7.9 µs a unit ± 20 %"."""
    base, unit, spread = (fit.get(key) for key in ("base_us", "per_unit_us", "spread"))
    text = f"{base / 1e3:.2f} ms" if _is_number(base) else "?"
    text += f" + {unit:.1f} µs a unit" if _is_number(unit) else ""
    return text + (f" ± {spread * 100:.0f} %" if _is_number(spread) else "")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for index, column in enumerate(columns):
        words = column in (
            "state",
            "device",
            "way",
            "errors",
            "refused",
            "lane",
            "why",
            "latency of a batch",
            "tiers",
            "quotas",
            "refused here",
        )
        table.add_column(column, justify="left" if index == 0 or words else "right", no_wrap=index == 0)
    return table


def _list(of: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = of.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _section(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = of.get(key)
    return found if isinstance(found, Mapping) else {}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(value: object) -> object:
    """How many: of a list, its length."""
    return len(value) if isinstance(value, list | tuple) else value


def _number(value: object) -> float:
    return value if _is_number(value) else 0


def _cost(value: Any) -> Text:
    """Per 1,000 answers in time."""
    return Text(plain(value)) if _is_number(value) else _NONE


def _figure(value: Any, unit: str = "", *, digits: int = 0) -> Text:
    return Text(f"{value:,.{digits}f}{unit}") if _is_number(value) else _NONE


def _ms(value: Any) -> Text:
    return Text(f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms") if _is_number(value) else _NONE


def _percent(value: float) -> str:
    """Never rounded up to a promise that was not kept."""
    digits = 10 if value < 0.99 else 1000
    return f"{int(value * 100 * digits + 1e-6) / digits:g} %"


def _state(value: object) -> Text:
    word = str(value)
    return Text(word, style="green" if word in _GOOD else "bold red" if word in _BAD else "yellow")


def _state_and_why(node: Mapping[str, Any]) -> Text:
    """Why there is no link comes below the state."""
    state, why = _state(node.get("state", "?")), str(node.get("reason") or "")
    return Text.assemble(state, "\n", (why, "dim")) if why else state


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1024:.0f} kB" if size_bytes < 2**20 else f"{size_bytes / 2**20:.1f} MB"
