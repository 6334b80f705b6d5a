"""Metrics as OTLP has them on the wire, made of plain numbers in small steps, so that no request waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import lru_cache

from opentelemetry.proto.metrics.v1 import metrics_pb2

from isochrone.spans import SCOPE, field, key_value
from isochrone.telemetry import Family, Histogram, Instrument, Kind, Labels

AT_ONCE = 16
"""Points between two turns of the others: one takes some 10 µs."""
_CUMULATIVE = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE


async def export_request(owner: bytes, families: Iterable[Family], *, start_ns: int, now_ns: int) -> bytes:
    """An ExportMetricsServiceRequest of a resource, encoded. Counts are cumulative, since `start_ns`."""
    metrics = [field(1, SCOPE.SerializeToString())]
    for instrument, points in families:
        encoded: list[bytes] = []
        for number, (labels, value) in enumerate(points, 1):
            encoded.append(field(1, _point(instrument, labels, value, start_ns, now_ns)))
            if not number % AT_ONCE:
                await asyncio.sleep(0)
        if encoded:
            metrics.append(field(2, _declared(instrument) + field(_KINDS[instrument.kind], b"".join(encoded))))
        await asyncio.sleep(0)
    return field(1, field(1, owner) + field(2, b"".join(metrics)))


def _point(instrument: Instrument, labels: Labels, value: float | Histogram, start_ns: int, now_ns: int) -> bytes:
    attributes = _attributes(instrument, labels)
    if isinstance(value, Histogram):
        made = metrics_pb2.HistogramDataPoint(
            start_time_unix_nano=start_ns,
            time_unix_nano=now_ns,
            count=value.total,
            sum=value.sum,
            bucket_counts=value.counts,
            explicit_bounds=value.bounds,
        )
        return made.SerializeToString() + b"".join(field(_HISTOGRAM_ATTRIBUTES, one) for one in attributes)
    number = metrics_pb2.NumberDataPoint(time_unix_nano=now_ns)
    if instrument.kind is Kind.COUNTER:
        number.start_time_unix_nano = start_ns
    if isinstance(value, int):
        number.as_int = value
    else:
        number.as_double = value
    return number.SerializeToString() + b"".join(field(_NUMBER_ATTRIBUTES, one) for one in attributes)


@lru_cache(maxsize=4096)
def _attributes(instrument: Instrument, labels: Labels) -> tuple[bytes, ...]:
    return tuple(
        key_value(label, value).SerializeToString() for label, value in zip(instrument.labels, labels, strict=True)
    )


@lru_cache(maxsize=256)
def _declared(instrument: Instrument) -> bytes:
    """A metric without its points."""
    metric = metrics_pb2.Metric(name=instrument.name, description=instrument.description, unit=instrument.unit)
    if instrument.kind is Kind.COUNTER:
        metric.sum.aggregation_temporality, metric.sum.is_monotonic = _CUMULATIVE, True
    elif instrument.kind is Kind.HISTOGRAM:
        metric.histogram.aggregation_temporality = _CUMULATIVE
    return metric.SerializeToString()


_fields = metrics_pb2.Metric.DESCRIPTOR.fields_by_name
_KINDS = {
    Kind.COUNTER: _fields["sum"].number,
    Kind.GAUGE: _fields["gauge"].number,
    Kind.HISTOGRAM: _fields["histogram"].number,
}
_HISTOGRAM_ATTRIBUTES = metrics_pb2.HistogramDataPoint.DESCRIPTOR.fields_by_name["attributes"].number
_NUMBER_ATTRIBUTES = metrics_pb2.NumberDataPoint.DESCRIPTOR.fields_by_name["attributes"].number
