"""The YAML file that describes a simulation, read into frozen objects: the mesh's own words where it has them."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from isochrone.batching import Limits
from isochrone.config import DeviceConfig, MeshConfig, RouteConfig, RouterConfig, load_file
from isochrone.config.fields import DEVICE, Name, RouteName, Section
from isochrone.config.mesh import DeviceName, Share
from isochrone.config.placing import SHARES
from isochrone.keys import Tier
from isochrone.model import lane_name
from isochrone.simulator.contender import Contender

Seconds = Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)]
Weight = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1e4, allow_inf_nan=False)]


def _rises(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(points)):
        raise ValueError("the moments should rise from point to point")
    if points and (any(factor < 0 for _, factor in points) or not any(factor for _, factor in points)):
        raise ValueError("factors should be at least 0, and one of them more")
    return points


Curve = Annotated[tuple[tuple[float, float], ...], AfterValidator(_rises)]
"""Points (moment, factor), straight lines between them."""


class UnitsConfig(Section):
    """How heavy requests are, in their model's units."""

    mean: float = Field(default=1.0, ge=1, le=1e6)
    cv: float = Field(default=0.0, ge=0, le=20)
    """Standard deviation over mean, of a log-normal distribution; 0: all are alike."""
    most: int = Field(default=1_000_000, ge=1)


class LoadedRoute(RouteConfig):
    """A route, as a mesh's file has it, and what is asked of it."""

    share: Weight = 1.0
    """Of the requests, beside the other routes' shares."""
    tier: Tier = Tier.STANDARD
    units: UnitsConfig = UnitsConfig()


class ArrivalsConfig(Section):
    """When requests come."""

    kind: Literal["poisson", "gamma", "recorded"] = "poisson"
    rate_per_s: float | None = Field(default=None, gt=0, le=1e7)
    """Mean rate; in place of it:"""
    of_capacity: float | None = Field(default=None, gt=0, le=100)
    """Mean rate as a multiple of what all nodes do with full batches."""
    cv: float = Field(default=1.0, gt=0, le=20)
    """Of the gaps between requests, for gamma: 1 is Poisson, 4 comes in bursts."""
    curve: Curve = ()
    """Points (second, factor): how the rate rises and falls, repeated from its last point on. The mean rate is that
    of the factor 1."""
    file: Path | None = None
    """Recorded: CSV with the columns at_s and, as far as it has them, route, units and tier, or JSON lines with the
    same keys. Relative to the scenario's file."""
    speed: Factor = 1.0
    """Recorded: so many times as fast as it was."""

    @model_validator(mode="after")
    def _one_rate(self) -> ArrivalsConfig:
        given = [self.rate_per_s is not None, self.of_capacity is not None, self.file is not None]
        if self.kind == "recorded":
            if given != [False, False, True]:
                raise ValueError("recorded arrivals take 'file', and no rate")
        elif sum(given[:2]) != 1 or given[2]:
            raise ValueError(f"{self.kind} arrivals take either 'rate_per_s' or 'of_capacity'")
        if self.kind == "poisson" and self.cv != 1:
            raise ValueError("cv is for gamma: poisson arrivals have 1")
        return self


class ServiceConfig(Section):
    """A variant as a pool's nodes run it: a batch takes base + per_unit x its units, give or take."""

    base_ms: float = Field(ge=0, le=600_000, allow_inf_nan=False)
    per_unit_ms: float = Field(ge=0, le=600_000, allow_inf_nan=False)
    spread: float = Field(default=0.05, ge=0, le=1)
    """Mean absolute deviation of a batch, as a fraction of its time."""
    batch_units: int = Field(default=64, ge=1)
    batch_jobs: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _takes_time(self) -> ServiceConfig:
        if self.base_ms + self.per_unit_ms <= 0:
            raise ValueError("base_ms and per_unit_ms are both 0: a batch takes some time")
        return self

    @property
    def limits(self) -> Limits:
        return Limits(units=self.batch_units, jobs=self.batch_jobs)

    def seconds(self, units: float) -> float:
        """What a batch takes, as a rule."""
        return (self.base_ms + self.per_unit_ms * units) / 1e3

    def seconds_a_job(self, units: float) -> float:
        """Of jobs of that many units each, in full batches."""
        jobs = max(1.0, min(self.batch_jobs, self.batch_units // max(1.0, units)))
        return self.seconds(jobs * units) / jobs


class PoolConfig(Section):
    """Equal nodes."""

    device: str = Field(default="cpu", pattern=DEVICE)
    nodes: int = Field(ge=1, le=100_000)
    serves: dict[Name, ServiceConfig] = Field(min_length=1)
    """By variant; lanes are named variant@device."""


class EventConfig(Section):
    """Something happens to nodes of a pool."""

    at_s: float = Field(ge=0, le=1e7)
    pool: Name
    does: Literal["fail", "return", "slow"]
    """Fail: its process dies, with what it has. Return: it is there again, at its own pace. Slow: it takes `factor`
    times as long from now on."""
    nodes: int = Field(default=1, ge=1)
    """How many, counted from the pool's first."""
    factor: Factor = 1.0


class NetworkConfig(Section):
    """What lies between the parts."""

    hop_us: float = Field(default=150.0, ge=0, le=1e6)
    """One way between router, lane and node, with what their event loops add."""
    router_us: float = Field(default=200.0, ge=0, le=1e6)
    """What a router takes for a request on its way in, and again for the answer."""


class SweepConfig(Section):
    """The same at several rates, as multiples of capacity."""

    of_capacity: tuple[Factor, ...] = Field(min_length=1)


class SearchConfig(Section):
    """The highest rate that still has so many answers in time."""

    within: float = Field(default=0.99, gt=0, lt=1)
    """The fraction of the requests answered within their objective."""
    precision: float = Field(default=0.01, gt=0, le=0.2)
    """Of the rate found."""


class Scenario(Section):
    """The whole file."""

    scenario: Name
    about: str = ""
    """In a sentence, for those who read the table."""
    seed: int = 1
    duration_s: Seconds
    warmup_s: float = Field(default=0.0, ge=0, le=1e7)
    """Requests that come before are not counted."""
    routes: dict[RouteName, LoadedRoute] = Field(min_length=1)
    arrivals: ArrivalsConfig
    pools: dict[Name, PoolConfig] = Field(min_length=1)
    devices: dict[DeviceName, DeviceConfig] = Field(default_factory=dict)
    tiers: dict[Tier, Share] = Field(default_factory=lambda: dict(SHARES))
    router: RouterConfig = RouterConfig()
    network: NetworkConfig = NetworkConfig()
    events: tuple[EventConfig, ...] = ()
    compare: tuple[Contender, ...] = (Contender(),)
    best_by: Literal["goodput", "cost"] = "goodput"
    """What tells the best of a contender's settings: answers in time, or what 1,000 of them cost."""
    sweep: SweepConfig | None = None
    search: SearchConfig | None = None

    @cached_property
    def mesh(self) -> MeshConfig:
        """The same as a mesh's own file would say it, for the parts that read that."""
        names = set(RouteConfig.model_fields)
        routes = {name: route.model_dump(include=names) for name, route in self.routes.items()}
        data = {"routes": routes, "devices": self.devices, "tiers": self.tiers, "router": self.router}
        return MeshConfig.model_validate(data)

    def lanes_of(self, pool: str) -> dict[str, ServiceConfig]:
        """What a pool's nodes serve, by lane."""
        config = self.pools[pool]
        return {lane_name(variant, config.device): service for variant, service in config.serves.items()}

    @property
    def capacity_per_s(self) -> float:
        """Requests a second that all nodes do with full batches, of the routes whose `lanes` they serve, mixed as they
        come. Lesser variants are not counted."""
        total = 0.0
        for pool, config in self.pools.items():
            lanes = self.lanes_of(pool)
            served = [
                (route.share, lanes[lane].seconds_a_job(route.units.mean))
                for route in self.routes.values()
                for lane in route.lanes
                if lane in lanes
            ]
            if served:
                mean_s = sum(share * seconds for share, seconds in served) / sum(share for share, _ in served)
                total += config.nodes / mean_s
        return total

    @property
    def rate_per_s(self) -> float:
        """Requests a second, where the curve is at 1; 0 for recorded ones."""
        if self.arrivals.of_capacity is not None:
            return self.arrivals.of_capacity * self.capacity_per_s
        return self.arrivals.rate_per_s or 0.0

    def at_rate(self, rate_per_s: float) -> Scenario:
        """The same under another load."""
        arrivals = self.arrivals.model_copy(update={"rate_per_s": rate_per_s, "of_capacity": None})
        return self.model_copy(update={"arrivals": arrivals})

    def with_seed(self, seed: int) -> Scenario:
        return self.model_copy(update={"seed": seed})

    @model_validator(mode="after")
    def _lanes_are_served(self) -> Scenario:
        served = {lane for pool in self.pools for lane in self.lanes_of(pool)}
        for name, route in self.routes.items():
            for lane in route.all_lanes:
                if lane not in served:
                    raise ValueError(f"routes.{name}: no pool serves lane {lane}; there is {', '.join(sorted(served))}")
        devices: dict[str, str] = {}
        for pool in self.pools:
            for lane in self.lanes_of(pool):
                if lane in devices:
                    raise ValueError(
                        f"pools {devices[lane]} and {pool} both serve {lane}: give their devices two names"
                    )
                devices[lane] = pool
        return self

    @model_validator(mode="after")
    def _events_have_pools(self) -> Scenario:
        for event in self.events:
            if event.pool not in self.pools:
                raise ValueError(f"events: no pool {event.pool!r}; there is {', '.join(self.pools)}")
            if event.nodes > self.pools[event.pool].nodes:
                raise ValueError(
                    f"events: pool {event.pool} has {self.pools[event.pool].nodes} nodes, not {event.nodes}"
                )
        return self

    @model_validator(mode="after")
    def _shares_name_pools(self) -> Scenario:
        for contender in self.compare:
            for shares in contender.splits:
                for pool in shares:
                    if pool not in self.pools:
                        raise ValueError(f"compare: no pool {pool!r}; there is {', '.join(self.pools)}")
        return self

    @model_validator(mode="after")
    def _rate_can_vary(self) -> Scenario:
        if self.arrivals.kind == "recorded" and (self.sweep or self.search):
            raise ValueError("recorded arrivals have the rate that they have: leave sweep and search out")
        if self.warmup_s >= self.duration_s:
            raise ValueError(f"warmup_s ({self.warmup_s:g}) should be less than duration_s ({self.duration_s:g})")
        return self


def load_scenario(path: Path) -> Scenario:
    """Reads and checks a scenario. Raises ConfigError with file, line and key."""
    scenario = load_file(path, Scenario, required="routes")
    recorded = scenario.arrivals.file
    if recorded is not None and not recorded.is_absolute():
        arrivals = scenario.arrivals.model_copy(update={"file": path.parent / recorded})
        scenario = scenario.model_copy(update={"arrivals": arrivals})
    return scenario
