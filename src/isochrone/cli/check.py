"""`isochrone check`: whether a mesh's file can be used, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isochrone.cli.screen import err, examples, out
from isochrone.cli.where import mesh_file
from isochrone.errors import ConfigError

if TYPE_CHECKING:
    from isochrone.config import FallbackConfig, MeshConfig

EPILOG = (
    examples(
        ("the file of this folder", "isochrone check"),
        ("in a deployment's pipeline", "isochrone check shop.yaml && kubectl apply …"),
    )
    + "\n\n[bold]Exit code[/]  0 can be used · 2 can't: "
    + "each problem is said with file, line and key, and with what would be right"
)


def check(
    config: Annotated[Path | None, typer.Argument(help="The mesh's file; deploy/mesh.yaml or mesh.yaml.")] = None,
) -> None:
    """Read a mesh's file as every process would, its services' own options included, and say what is wrong."""
    from rich.markup import escape

    from isochrone.certificates import findings, today
    from isochrone.config import load_config

    path = mesh_file(config)
    loaded = load_config(path)
    found = problems(loaded, path)
    certificates = findings(loaded, now=today())
    found += [finding.at(path) for finding in certificates if finding.fatal]
    if found:
        raise ConfigError("\n".join(found))
    nodes = ", ".join(f"{node.replicas} {name} on {node.device}" for name, node in loaded.nodes.items()) or "none"
    out.print(f"[bold green]OK[/] {path}: mesh {loaded.mesh}", soft_wrap=True)
    for finding in certificates:
        err.print(f"[yellow]warning:[/] {escape(finding.at(path))}", soft_wrap=True)
    out.print(f"  router   {loaded.router.listen}, admin http://{loaded.router.admin}", soft_wrap=True)
    if loaded.mesh_tls is not None or loaded.router.tls is not None:
        out.print(f"  tls      {_tls(loaded)}", soft_wrap=True)
    out.print(f"  redis    {_without_password(loaded.redis.resolved_url())}", soft_wrap=True)
    if loaded.remembers:
        out.print(f"  cache    {_without_password(loaded.cache.resolved_url())}", soft_wrap=True)
    out.print(f"  nodes    {nodes}", soft_wrap=True)
    for name, route in loaded.routes.items():
        lanes = ", ".join(route.lanes)
        promise = f"{route.target * 100:g} % within {route.objective_ms:g} ms, deadline {route.deadline_ms:g} ms"
        ways = ", then ".join(_in_words(way) for way in route.fallback)
        out.print(f"  {name}  {promise}, on {lanes}" + (f"; else {ways}" if ways else ""), soft_wrap=True)


def problems(config: MeshConfig, path: Path) -> list[str]:
    """What the shape of the file can't tell: services that are not there, their options, lanes nobody serves."""
    found = []
    for group in config.nodes:
        try:
            _check_options(group, config, path)
        except ConfigError as error:
            found += [f"{path}: nodes.{group}: {line}" for line in error.message.splitlines()]
    if config.router.callers_file is not None:
        try:
            _check_callers(config)
        except ConfigError as error:
            found += [f"router.callers_file: {line}" for line in error.message.splitlines()]
    devices = {node.device for node in config.nodes.values()}
    for name, route in config.routes.items():
        for lane in route.lanes:
            device = lane.rpartition("@")[2]
            if devices and device not in devices:
                has = ", ".join(sorted(devices))
                found.append(
                    f"{path}: routes.{name}.lanes: {lane}: no node group has device {device!r}; there is {has}"
                )
    return found


def _check_callers(config: MeshConfig) -> None:
    """Raises ConfigError."""
    from isochrone_router.callers_file import CallersFile

    assert config.router.callers_file is not None
    CallersFile(config.router.callers_file, others=config.callers)


def _check_options(group: str, config: MeshConfig, path: Path) -> None:
    """A service's module may offer `settings.options_of(node)`. Raises ConfigError."""
    from importlib import import_module
    from importlib.util import find_spec

    from isochrone.stack import SERVICES, service_module

    node = config.nodes[group]
    module = service_module(node.service)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        known = ", ".join(SERVICES)
        raise ConfigError(f"service: no module {module!r} is installed; known: {known}, or a module's dotted name")
    if spec.submodule_search_locations is not None and find_spec(f"{module}.settings"):
        import_module(f"{module}.settings").options_of(node)


def _in_words(way: FallbackConfig) -> str:
    if way.last_good is not None:
        return f"its last good answer of {way.last_good.ttl_s:g} s"
    return "a static answer" if way.route is None else way.route


def _tls(config: MeshConfig) -> str:
    """Who shows a certificate to whom."""
    router, mesh = config.router.tls, config.mesh_tls
    callers = "without" if router is None else "mutual" if router.clients == "required" else "of the router alone"
    links = "without" if mesh is None else f"mutual, for {config.mesh_certificate_name!r}"
    return f"callers: {callers}; links: {links}"


def _without_password(url: str) -> str:
    """The URL with what stands before its last @ hidden, but for the user's name."""
    scheme, found, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}{found}{credentials.partition(':')[0]}:…@{place}" if at else url
