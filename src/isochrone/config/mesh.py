"""The whole file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from isochrone.config.callers import CallerConfig, refuse_doubles
from isochrone.config.fields import DEVICE, Name, RouteName, Section
from isochrone.config.node import NodeConfig
from isochrone.config.placing import CPU, CPU_COST, OTHER_COST, SHARES, DeviceConfig
from isochrone.config.redis import RedisConfig
from isochrone.config.route import RouteConfig
from isochrone.config.router import RouterConfig
from isochrone.config.telemetry import TelemetryConfig
from isochrone.keys import Tier

DeviceName = Annotated[str, Field(pattern=DEVICE)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class MeshConfig(Section):
    """The whole file."""

    mesh: Name = "isochrone"
    """Names the keys in Redis: meshes of different names share nothing."""
    models: Path = Path(".isochrone/models")
    """Where `isochrone models build` puts models and nodes look for them, from the working directory."""
    log: Literal["text", "json"] = "text"
    redis: RedisConfig = RedisConfig()
    router: RouterConfig = RouterConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    devices: dict[DeviceName, DeviceConfig] = Field(default_factory=dict)
    """What a node of a device class costs. Requests go to the cheapest that will be in time."""
    tiers: dict[Tier, Share] = Field(default_factory=lambda: dict(SHARES))
    """The least share of a node's time that each tier gets while it has work, however much the others want."""
    callers: dict[Name, CallerConfig] = Field(default_factory=dict)
    """Who may call. None here and no `router.callers_file`: everybody, without limits."""
    routes: dict[RouteName, RouteConfig] = Field(min_length=1)
    nodes: dict[Name, NodeConfig] = Field(default_factory=dict)

    def device(self, name: str) -> DeviceConfig:
        """What a device class costs."""
        given = self.devices.get(name)
        return given or DeviceConfig(cost_per_hour=CPU_COST if name == CPU else OTHER_COST)

    def share(self, tier: Tier) -> float:
        """The least share of a node's time that a tier gets."""
        return self.tiers.get(tier, SHARES[tier])

    @model_validator(mode="after")
    def _shares_within_the_whole(self) -> MeshConfig:
        total = sum(self.share(tier) for tier in Tier)
        if total > 1:
            told = ", ".join(f"{tier} {self.share(tier):g}" for tier in Tier)
            raise ValueError(f"tiers: {told} come to {total:g}; together they have 1 at most")
        return self

    @model_validator(mode="after")
    def _callers_told_apart(self) -> MeshConfig:
        refuse_doubles(self.callers)
        return self
