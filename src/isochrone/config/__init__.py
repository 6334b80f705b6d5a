"""The one YAML file that describes a mesh, read into frozen objects before anything starts.

Every process gets the same file and takes its own section.
"""

from isochrone.config.cache import CacheConfig
from isochrone.config.callers import NOT_A_NAME, CallerConfig
from isochrone.config.fallback import FallbackConfig, LastGoodConfig, StaticConfig
from isochrone.config.fields import without_password
from isochrone.config.load import load_callers, load_config, load_file, place_of, validated
from isochrone.config.mesh import MeshConfig
from isochrone.config.node import NodeConfig
from isochrone.config.placing import DeviceConfig
from isochrone.config.redis import RedisConfig
from isochrone.config.route import RouteConfig
from isochrone.config.router import LimitsConfig, RouterConfig
from isochrone.config.telemetry import TelemetryConfig
from isochrone.config.tls import MeshTls, ServerTls

__all__ = [
    "NOT_A_NAME",
    "CacheConfig",
    "CallerConfig",
    "DeviceConfig",
    "FallbackConfig",
    "LastGoodConfig",
    "LimitsConfig",
    "MeshConfig",
    "MeshTls",
    "NodeConfig",
    "RedisConfig",
    "RouteConfig",
    "RouterConfig",
    "ServerTls",
    "StaticConfig",
    "TelemetryConfig",
    "load_callers",
    "load_config",
    "load_file",
    "place_of",
    "validated",
    "without_password",
]
