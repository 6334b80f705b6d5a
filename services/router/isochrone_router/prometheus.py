"""Metrics as Prometheus reads them: text, made in small steps, so that a scrape holds up no request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from isochrone.telemetry import Family, Histogram, Instrument, Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
AT_ONCE = 16
"""Points between two turns of the others: a histogram takes some 20 µs."""
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


async def exposition(families: Iterable[Family]) -> bytes:
    """Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format"""
    lines: list[str] = []
    for instrument, points in families:
        name = instrument.prometheus_name
        lines += (f"# HELP {name} {instrument.description}", f"# TYPE {name} {instrument.kind}")
        for number, (labels, value) in enumerate(points, 1):
            lines += _point(name, instrument, labels, value)
            if not number % AT_ONCE:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
    lines.append("")
    return "\n".join(lines).encode()


def _point(name: str, instrument: Instrument, labels: Labels, value: float | Histogram) -> Iterator[str]:
    named = ",".join(
        f'{label}="{told.translate(_ESCAPED)}"' for label, told in zip(instrument.labels, labels, strict=True)
    )
    if not isinstance(value, Histogram):
        yield f"{name}{{{named}}} {value}" if named else f"{name} {value}"
        return
    before = f'{name}_bucket{{{named}{"," if named else ""}le="'
    seen = 0
    for bound, count in zip(value.bounds, value.counts, strict=False):  # the last count is of all that is over
        seen += count
        yield f'{before}{bound}"}} {seen}'
    seen += value.counts[-1]
    yield f'{before}+Inf"}} {seen}'
    yield f"{name}_sum{{{named}}} {value.sum}"
    yield f"{name}_count{{{named}}} {seen}"
