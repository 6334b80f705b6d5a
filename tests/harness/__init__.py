"""A mesh of real processes for tests: its parts, the mesh itself, load on it, and what the machine withheld from it."""

from .load import Load, Sent, new_body, replayed, send
from .mesh import ONE_BY_ONE, PATIENT, Mesh, goes_over_links, goes_through_redis, settings, start_mesh
from .parts import HANGS_S, KEYS, MESH, SLEEP_LANE, Proxy, RedisServer, Status, until
from .starvation import Starvation

__all__ = [
    "HANGS_S",
    "KEYS",
    "MESH",
    "ONE_BY_ONE",
    "PATIENT",
    "SLEEP_LANE",
    "Load",
    "Mesh",
    "Proxy",
    "RedisServer",
    "Sent",
    "Starvation",
    "Status",
    "goes_over_links",
    "goes_through_redis",
    "new_body",
    "replayed",
    "send",
    "settings",
    "start_mesh",
    "until",
]
