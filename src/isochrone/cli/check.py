"""`isochrone check`: whether a mesh's file can be used, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isochrone.cli.screen import err, examples, out
from isochrone.cli.where import mesh_file
from isochrone.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isochrone.cli.at_best import AtBest
    from isochrone.config import FallbackConfig, MeshConfig, ServerTls

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
    from isochrone.cli.at_best import lanes_at_best
    from isochrone.config import load_config, without_password

    path = mesh_file(config)
    loaded = load_config(path)
    found = service_problems(loaded, path)
    known = {} if found else lanes_at_best(loaded)
    found += problems(loaded, path, known)
    certificates = findings(loaded, now=today())
    found += [finding.at(path) for finding in certificates if finding.fatal]
    if found:
        raise ConfigError("\n".join(found))
    out.print(f"[bold green]OK[/] {path}: mesh {loaded.mesh}", soft_wrap=True)
    for finding in certificates:
        err.print(f"[yellow]warning:[/] {escape(finding.at(path))}", soft_wrap=True)
    for doubt in doubts(loaded, path, known):
        err.print(f"[yellow]warning:[/] {escape(doubt)}", soft_wrap=True)
    admin = f"{loaded.router.admin_scheme}://{loaded.router.admin}"
    out.print(f"  router   {loaded.router.listen}, admin {admin}", soft_wrap=True)
    if any((loaded.mesh_tls, loaded.router.tls, loaded.router.admin_tls)):
        out.print(f"  tls      {_tls(loaded)}", soft_wrap=True)
    out.print(f"  redis    {without_password(loaded.redis.resolved_url())}", soft_wrap=True)
    if loaded.remembers:
        out.print(f"  cache    {without_password(loaded.cache.resolved_url())}", soft_wrap=True)
    out.print(f"  nodes    {_nodes(loaded) or 'none'}", soft_wrap=True)
    for name, route in loaded.routes.items():
        lanes = ", ".join(route.lanes) + (f", smaller {', '.join(route.smaller)}" if route.smaller else "")
        promise = f"{route.target * 100:g} % within {route.objective_ms:g} ms, deadline {route.deadline_ms:g} ms"
        ways = ", then ".join(_in_words(way) for way in route.fallback)
        out.print(f"  {name}  {promise}, on {lanes}" + (f"; else {ways}" if ways else ""), soft_wrap=True)


def problems(config: MeshConfig, path: Path, known: Mapping[str, AtBest]) -> list[str]:
    """What the shape of the file can't tell: lanes nobody serves, and objectives that nobody could meet."""
    from isochrone.cli.at_best import broken_promise
    from isochrone.config import place_of

    found = []
    if config.router.callers_file is not None:
        try:
            _check_callers(config)
        except ConfigError as error:
            place = place_of(path, "router", "callers_file")
            found += [f"{place}: {line}" for line in error.message.splitlines()]
    devices = {node.device for node in config.nodes.values()}
    for name, route in config.routes.items():
        for key, lanes in (("lanes", route.lanes), ("smaller", route.smaller)):
            for lane in lanes:
                device = lane.rpartition("@")[2]
                if devices and device not in devices:
                    has = ", ".join(sorted(devices))
                    found.append(
                        f"{path}: routes.{name}.{key}: {lane}: no node group has device {device!r}; there is {has}"
                    )
        broken = broken_promise(route, known)
        if broken is not None:
            found.append(f"{place_of(path, 'routes', name, 'objective_ms')}: {broken}")
    return found


def _check_callers(config: MeshConfig) -> None:
    """Raises ConfigError."""
    from isochrone_router.callers_file import CallersFile

    assert config.router.callers_file is not None
    CallersFile(config.router.callers_file, others=config.callers)


def doubts(config: MeshConfig, path: Path, known: Mapping[str, AtBest]) -> list[str]:
    """What can be used as it is, and is hardly what was meant."""
    from isochrone.cli.at_best import doubtful_promise
    from isochrone.config import place_of
    from isochrone.ports import is_near

    found = []
    admin, tls = config.router.admin, config.router.admin_tls
    if not is_near(admin) and (tls is None or tls.clients == "none"):
        plain = ", in plain text" if tls is None else ""
        found.append(
            f"{place_of(path, 'router', 'admin')}: {admin}: whoever reaches it reads routes, nodes, callers and misses"
            f"{plain}: keep it inside, on the loopback or a network of its own, or have router.admin_tls ask for "
            "certificates"
        )
    devices = {node.device for node in config.nodes.values()}
    for device in config.devices:
        if devices and device not in devices:
            has = ", ".join(sorted(devices))
            found.append(f"{place_of(path, 'devices', device)}: no node group has this device; there is {has}")
    for name, route in config.routes.items():
        doubtful = doubtful_promise(route, known)
        if doubtful is not None:
            found.append(f"{place_of(path, 'routes', name, 'objective_ms')}: {doubtful}")
    return found


def service_problems(config: MeshConfig, path: Path) -> list[str]:
    """Services that are not there, options that they don't know, and devices that they can't have."""
    from isochrone.cli.installed import settings_of
    from isochrone.config import place_of
    from isochrone.config.placing import is_emulated
    from isochrone.stack import SERVICES, service_module

    found = []
    for group, node in config.nodes.items():
        try:
            settings = settings_of(node.service)
            if settings is not None:
                settings.options_of(node)
        except ConfigError as error:
            found += [f"{path}: nodes.{group}: {line}" for line in error.message.splitlines()]
        if is_emulated(node.device) and service_module(node.service) != SERVICES["toy"]:
            place = place_of(path, "nodes", group, "device")
            found.append(
                f"{place}: {node.device}: emulated devices are the toy's; {node.service} computes on real ones"
            )
    return found


def _nodes(config: MeshConfig) -> str:
    from isochrone.config.placing import is_emulated

    return ", ".join(
        f"{node.replicas} {name} on {node.device}" + (" (emulated)" if is_emulated(node.device) else "")
        for name, node in config.nodes.items()
    )


def _in_words(way: FallbackConfig) -> str:
    if way.last_good is not None:
        return f"its last good answer of {way.last_good.ttl_s:g} s"
    return "a static answer" if way.route is None else way.route


def _tls(config: MeshConfig) -> str:
    """Who shows a certificate to whom."""
    mesh = config.mesh_tls
    links = "without" if mesh is None else f"mutual, for {config.mesh_certificate_name!r}"
    admin = config.router.admin_tls
    told = f"callers: {_server_tls(config.router.tls)}; links: {links}"
    return told if admin is None else f"{told}; admin: {_server_tls(admin)}"


def _server_tls(tls: ServerTls | None) -> str:
    return "without" if tls is None else "mutual" if tls.clients == "required" else "of the router alone"
