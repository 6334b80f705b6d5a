"""The whole file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from isochrone.config.cache import CacheConfig, database_of
from isochrone.config.callers import CallerConfig, refuse_doubles
from isochrone.config.fields import DEVICE, Name, RouteName, Section
from isochrone.config.node import NodeConfig
from isochrone.config.placing import CPU, CPU_COST, OTHER_COST, SHARES, DeviceConfig
from isochrone.config.redis import RedisConfig
from isochrone.config.route import RouteConfig
from isochrone.config.router import RouterConfig
from isochrone.config.telemetry import TelemetryConfig
from isochrone.config.tls import HOST, MeshTls, ServerTls
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
    cache: CacheConfig = CacheConfig()
    router: RouterConfig = RouterConfig()
    mesh_tls: MeshTls | None = None
    """TLS on the links between routers and nodes; unset: none."""
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

    @property
    def remembers(self) -> bool:
        """Whether last good answers are kept for any route."""
        return any(way.last_good is not None for route in self.routes.values() for way in route.fallback)

    @model_validator(mode="after")
    def _cache_apart_from_lanes(self) -> MeshConfig:
        database = database_of(self.cache.url)
        if database is not None and database == database_of(self.redis.url):
            raise ValueError(
                "cache.url: is the database of the lanes, redis.url. Answers would take their memory: give the cache a "
                "server of its own, or another database at least"
            )
        return self

    @model_validator(mode="after")
    def _fallbacks_make_sense(self) -> MeshConfig:
        if any(route.fallback for route in self.routes.values()):
            from isochrone.config.fallback_check import problems  # knows all services' messages

            found = [
                InitErrorDetails(type=PydanticCustomError("fallback", "{told}", {"told": told}), loc=place, input=given)
                for place, told, given in problems(self.routes)
            ]
            if found:
                raise ValidationError.from_exception_data("MeshConfig", found)
        return self

    @property
    def mesh_certificate_name(self) -> str:
        """What the certificates of this mesh's processes name."""
        return (self.mesh_tls and self.mesh_tls.name) or self.mesh

    def api_tls(self, group: str) -> ServerTls | None:
        """For the own API of a group's nodes: its `tls`, or the mesh's certificate, for callers that have one too."""
        own, mesh = self.nodes[group].tls, self.mesh_tls
        if own is not None or mesh is None:
            return own
        return ServerTls(certificate=mesh.certificate, key=mesh.key, client_ca=mesh.ca, clients="required")

    @model_validator(mode="after")
    def _certificates_name_a_host(self) -> MeshConfig:
        if self.mesh_tls is not None and not HOST.match(self.mesh_certificate_name):
            raise ValueError(f"mesh_tls.name is required: no certificate can name the mesh, {self.mesh!r}")
        return self

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
