"""Metrics on their way out: what Prometheus reads and what a collector gets are the same numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2
from prometheus_client.parser import text_string_to_metric_families

from isochrone import metrics, node_metrics
from isochrone import telemetry as t
from isochrone.config import MeshConfig
from isochrone.errors import ConfigError, Overloaded, UnknownVariant
from isochrone.spans import resource
from isochrone.surroundings import export_of
from isochrone.telemetry import Family, Histogram, Instrument, Kind
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import REPEAT, SLEEP, RepeatModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import link_pb2
from isochrone_router import readings
from isochrone_router.prometheus import exposition

START_NS, NOW_NS = 1_000, 2_000
Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""By a sample's name and labels, as Prometheus has them."""


def scraped(text: bytes) -> Numbers:
    numbers: Numbers = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = {key: str(float(value)) if key == "le" else value for key, value in sample.labels.items()}
            at = (sample.name, frozenset(labels.items()))
            assert at not in numbers
            numbers[at] = sample.value
    return numbers


def received(message: bytes) -> Numbers:
    """As a collector would have Prometheus read them."""
    numbers: Numbers = {}
    for metric in metrics_of(message):
        instrument = DECLARED[metric.name]
        assert (metric.unit, metric.description) == (instrument.unit, instrument.description)
        for point in points_of(metric):
            labels = {one.key: one.value.string_value for one in point.attributes}
            for suffix, more, value in samples_of(point):
                at = (instrument.prometheus_name + suffix, frozenset((labels | more).items()))
                assert at not in numbers
                numbers[at] = value
    return numbers


def metrics_of(message: bytes) -> list[metrics_pb2.Metric]:
    (owned,) = ExportMetricsServiceRequest.FromString(message).resource_metrics
    (scoped,) = owned.scope_metrics
    assert scoped.scope.name == "isochrone"
    assert [(one.key, one.value.string_value) for one in owned.resource.attributes] == [("service.name", "router")]
    return list(scoped.metrics)


def points_of(metric: metrics_pb2.Metric) -> Any:
    kind, data = DECLARED[metric.name].kind, getattr(metric, str(metric.WhichOneof("data")))
    assert metric.WhichOneof("data") == {Kind.COUNTER: "sum"}.get(kind, str(kind))
    if kind is not Kind.GAUGE:
        assert data.aggregation_temporality == metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
    if kind is Kind.COUNTER:
        assert data.is_monotonic
    for point in data.data_points:
        assert (point.start_time_unix_nano, point.time_unix_nano) == (0 if kind is Kind.GAUGE else START_NS, NOW_NS)
    return data.data_points


def samples_of(point: Any) -> Iterator[tuple[str, dict[str, str], float]]:
    if isinstance(point, metrics_pb2.NumberDataPoint):
        yield "", {}, getattr(point, str(point.WhichOneof("value")))
        return
    seen = 0
    for bound, count in zip([*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True):
        seen += count
        yield "_bucket", {"le": str(bound)}, seen
    assert seen == point.count
    yield "_count", {}, point.count
    yield "_sum", {}, point.sum


DECLARED = {value.name: value for value in vars(t).values() if isinstance(value, Instrument)}
ROUTER = resource({"service.name": "router"})
ROUTES_OF_LANES = {SLEEP: {"objective_ms": 15, "deadline_ms": 100, "lanes": ["sleep@cpu"]}}
ROUTES = {SLEEP: {"objective_ms": 15, "deadline_ms": 100}, REPEAT: {"objective_ms": 50, "deadline_ms": 10_000}}


@asynccontextmanager
async def busy_mesh() -> AsyncIterator[LocalMesh]:
    """A mesh that has answered, refused and streamed, and that makes an answer now."""
    models = [SleepModel(sleep_ms=2, sleep=virtual_clock().advance), RepeatModel(step_ms=10, slots=4)]
    async with LocalMesh(models, routes=ROUTES, router={"limits": {"inflight": 8}}) as mesh:
        await asyncio.gather(*(mesh.call(SLEEP, b"") for _ in range(8)))
        with pytest.raises(UnknownVariant):
            await mesh.call(SLEEP, b"", variant="made-up")
        many = [asyncio.create_task(mesh.call(SLEEP, b"")) for _ in range(9)]
        with pytest.raises(Overloaded):
            await asyncio.gather(*many)
        await asyncio.wait(many)
        assert len([chunk async for chunk in mesh.stream(REPEAT, units(11))]) == 11
        going = mesh.stream(REPEAT, units(1000))
        await anext(going)
        await asyncio.sleep(1)  # virtual: nodes tell how they are some times a second
        yield mesh
        await going.aclose()  # type: ignore[attr-defined]


def units(count: int) -> bytes:
    return toy_pb2.ToyMessage(units=count).SerializeToString()


async def both(families: Any) -> tuple[Numbers, Numbers]:
    """What is exported the two ways. `families` is called for each."""
    message = await metrics.export_request(ROUTER, families(), start_ns=START_NS, now_ns=NOW_NS)
    return scraped(await exposition(families())), received(message)


@virtual_time
async def test_both_ways_tell_the_same() -> None:
    """Every number of a router that has done this and that, and of its nodes."""
    async with busy_mesh() as mesh:
        status = mesh.router._status
        prometheus, otlp = await both(lambda: readings.of_all(status))
        assert otlp == prometheus
        names = {name.rpartition("_")[0] if "_bucket" in name else name for name, _ in prometheus}
        assert len(names) > 30


@virtual_time
async def test_a_mesh_counts_what_it_does() -> None:
    """Answers by outcome, refusals by reason, batches, chunks, engines; and not a word that a caller made up."""
    async with busy_mesh() as mesh:
        text = await exposition(readings.of_all(mesh.router._status))
        assert b"made-up" not in text
        numbers = scraped(text)

    def told(name: str, **labels: str) -> float:
        """Of all that have these labels, together."""
        found = [value for (named, has), value in numbers.items() if named == name and labels.items() <= set(has)]
        assert found, (name, labels)
        return sum(found)

    ours = {"route": SLEEP, "tier": "standard"}
    assert told("isochrone_requests_total", **ours, outcome="OK") == 16
    assert told("isochrone_requests_total", **ours, outcome="NOT_FOUND") == 1
    assert told("isochrone_refusals_total", route=SLEEP, reason="INFLIGHT_FULL") == 1
    assert told("isochrone_refusals_total", route=SLEEP, reason="UNKNOWN_VARIANT") == 1
    assert told("isochrone_refusals_total", route=SLEEP) == 2
    assert told("isochrone_objectives_met_total", **ours) == 16
    for name in ("isochrone_stage_duration_seconds_count", "isochrone_request_duration_seconds_count"):
        assert told(name, route=SLEEP) >= 16
    assert told("isochrone_batch_jobs_count", route=SLEEP) == told("isochrone_batch_closed_total", route=SLEEP) == 16
    assert told("isochrone_finish_ratio_count", lane="sleep@cpu") == 16
    assert told("isochrone_requests_by_attempts_total", route=SLEEP, attempts="1") == 16
    sleeping = {"route": SLEEP, "lane": "sleep@cpu"}
    assert told("isochrone_plans_total", **sleeping) == 16
    assert told("isochrone_plan_answers_total", **sleeping) == told("isochrone_plan_ratio_count", **sleeping) == 16
    assert told("isochrone_plan_answers_within_total", **sleeping) <= 16
    assert told("isochrone_cost_total", **sleeping) > 0
    assert told("isochrone_lane_expected_seconds", **sleeping) == pytest.approx(0.002)
    assert 0 < told("isochrone_lane_spare_ratio", **sleeping) <= 1
    assert told("isochrone_hedges_total") == told("isochrone_hedges_won_total") == 0
    assert told("isochrone_first_chunk_seconds_count", route=REPEAT) == 1
    assert told("isochrone_chunk_interval_seconds_count", route=REPEAT) == 10
    assert told("isochrone_chunk_interval_seconds_sum", route=REPEAT) == pytest.approx(0.1, rel=0.05)
    assert told("isochrone_units_total", route=REPEAT) == 11
    assert told("isochrone_node_jobs_total", lane="sleep@cpu") == 16
    assert told("isochrone_engine_active", lane="repeat@cpu") == told("isochrone_inflight") == 1
    assert told("isochrone_engine_kv_used_ratio", lane="repeat@cpu") == 1 / 4
    assert told("isochrone_nodes", state="linked") == 1
    assert told("isochrone_objective_seconds", route=SLEEP) == 0.015
    assert told("isochrone_target_ratio", route=SLEEP) == 0.999


values = st.lists(st.floats(0, 1e6), max_size=50)


@given(
    st.dictionaries(st.tuples(st.text(max_size=5), st.text(max_size=5)), values, max_size=5), st.integers(0, 1 << 50)
)
def test_whatever_the_labels_and_the_numbers(points: dict[tuple[str, str], list[float]], count: int) -> None:
    """Quotes, line ends and backslashes come through, and so does an empty histogram."""
    histograms = []
    for labels, observed in points.items():
        histograms.append((labels, Histogram((0.5, 1.0, 100))))
        for value in observed:
            histograms[-1][1].observe(value)
    families = [
        Family(t.STAGE, histograms),
        Family(t.BY_ATTEMPTS, [(labels, count) for labels in points]),
        Family(t.TARGET, []),
    ]
    with asyncio.Runner() as runner:
        prometheus, otlp = runner.run(both(lambda: families))
    assert otlp == prometheus


def test_nodes_of_one_name_are_added_up() -> None:
    """Two hosts may have a `recsys-0` each; a set of labels that came twice would spoil the whole scrape."""
    engine = link_pb2.EngineState(active=2, waiting=1, kv_used=30, kv_room=120)
    lane = link_pb2.LaneState(lane="blurb@cpu", jobs=5, batches=4, units=60, engine=engine)
    other = link_pb2.LaneState(lane="ranker@cpu", jobs=1, batches=1, units=1)
    state = link_pb2.NodeState(backlog_jobs=3, lanes=[lane, other])
    told = {family.instrument: dict(family.points) for family in node_metrics.families([("a", state), ("a", state)])}
    assert told[t.NODE_BACKLOG] == {("a",): 6}
    assert told[t.NODE_JOBS] == {("a", "blurb@cpu"): 10, ("a", "ranker@cpu"): 2}
    assert told[t.ENGINE_ACTIVE] == {("a", "blurb@cpu"): 4}
    assert told[t.ENGINE_KV] == {("a", "blurb@cpu"): 0.25}


@pytest.mark.parametrize("told", ["0", "10s", "-5"])
async def test_an_interval_that_is_none_is_a_mistake(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said by the name of its variable."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", told)
    config = MeshConfig.model_validate({"routes": ROUTES_OF_LANES, "telemetry": {"otlp": "http://127.0.0.1:1"}})
    with pytest.raises(ConfigError, match=f"OTEL_METRIC_EXPORT_INTERVAL: should be milliseconds.*{told}"):
        export_of(config, service="isochrone-router", name="router")


async def test_others_have_their_turn_meanwhile() -> None:
    """However much there is to tell: after each family, and after some points of a large one."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    family = Family(t.STAGE, [((str(number), "compute"), Histogram(t.STAGE_BUCKETS_S)) for number in range(160)])
    for make in (
        lambda: exposition([family] * 3),
        lambda: metrics.export_request(ROUTER, [family] * 3, start_ns=1, now_ns=2),
    ):
        turns, watching = 0, asyncio.create_task(others())
        await make()
        watching.cancel()
        assert turns >= 30
