"""Fields of a router's /status in words: whatever is missing, or isn't what it should be, is a dash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from rich.text import Text

from isochrone.cli.plan_in_words import plain

NONE = Text("-", style="dim")
_GOOD = {"up", "linked", "Redis", "shared"}
_BAD = {"down", "silent", "stalled", "refused"}


def list_of(of: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = of.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def section(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = of.get(key)
    return found if isinstance(found, Mapping) else {}


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_number(value: object) -> float:
    """0 where it is none."""
    return value if is_number(value) else 0


def as_count(value: object) -> object:
    """How many: of a list, its length."""
    return len(value) if isinstance(value, list | tuple) else value


def short(route: object) -> str:
    """ "isochrone.v1.Recsys/Rank" is "Recsys/Rank" to people."""
    service, slash, method = str(route or "?").partition("/")
    return service.rpartition(".")[2] + slash + method


def figure(value: Any, unit: str = "", *, digits: int = 0) -> Text:
    return Text(f"{value:,.{digits}f}{unit}") if is_number(value) else NONE


def cost(value: Any) -> Text:
    """Per 1,000 answers in time."""
    return Text(plain(value)) if is_number(value) else NONE


def ms(value: Any) -> Text:
    return Text(f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms") if is_number(value) else NONE


def promise(value: Any) -> Text:
    """Milliseconds as somebody wrote them."""
    return Text(f"{value:g} ms") if is_number(value) else NONE


def percent(value: Any) -> Text:
    """Never rounded up to a promise that was not kept."""
    if not is_number(value):
        return NONE
    digits = 10 if value < 0.99 else 1000
    return Text(f"{int(value * 100 * digits + 1e-6) / digits:g} %")


def counts(of: Mapping[str, Any]) -> str:
    """ "4 OVERLOAD", "1 QUOTA", a line each; empty where there are none."""
    return "\n".join(f"{how_many} {what}" for what, how_many in of.items())


def state(value: object) -> Text:
    word = str(value)
    return Text(word, style="green" if word in _GOOD else "bold red" if word in _BAD else "yellow")


def state_and_why(node: Mapping[str, Any]) -> Text:
    """Why there is no link comes below the state."""
    told, why = state(node.get("state", "?")), str(node.get("reason") or "")
    return Text.assemble(told, "\n", (why, "dim")) if why else told


def latency(fit: Mapping[str, Any]) -> str:
    """ "0.12 ms + 7.9 µs a unit ± 20 %"."""
    base, unit, spread = (fit.get(key) for key in ("base_us", "per_unit_us", "spread"))
    text = f"{base / 1e3:.2f} ms" if is_number(base) else "?"
    if is_number(unit):
        text += f" + {unit / 1e3:.2f} ms a unit" if unit >= 1000 else f" + {unit:.1f} µs a unit"
    return text + (f" ± {spread * 100:.0f} %" if is_number(spread) else "")


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(size_bytes: float) -> str:
    return f"{size_bytes / 1024:.0f} kB" if size_bytes < 2**20 else f"{size_bytes / 2**20:.1f} MB"
