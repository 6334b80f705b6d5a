"""What a node service's `__main__` does: read the settings once, build the models, serve, drain on SIGTERM."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from isochrone.certificates import check_own
from isochrone.config import MeshConfig, NodeConfig, load_config
from isochrone.errors import ConfigError
from isochrone.keys import Tier
from isochrone.link.tls import LinkTls
from isochrone.model import Model, StreamModel
from isochrone.node.node import Node
from isochrone.ports import nth
from isochrone.process import Ready, run_process, run_until_signalled
from isochrone.surroundings import broker_of, export_of

MakeModels = Callable[[MeshConfig, NodeConfig], Sequence[Model | StreamModel]]
"""The service's part: its models, from the file and the node's own section. Raises ConfigError."""


def main(service: str, make_models: MakeModels, *, make_node: Callable[..., Node] = Node) -> None:
    """Runs one node of that service until SIGTERM or SIGINT; a second one ends it at once. `make_node`: for one that
    is run otherwise, as the benchmark's peers are."""
    parser = argparse.ArgumentParser(prog=f"python -m {service}", description=f"A node of the {service} service.")
    parser.add_argument("--config", type=Path, required=True, help="the mesh's YAML file")
    parser.add_argument("--node", required=True, help="which of the file's node groups this is")
    parser.add_argument("--index", type=int, default=0, help="which replica of the group")
    parser.add_argument("--listen", help="address at which routers link to it, in place of the file's")
    parser.add_argument("--ready-fd", type=int, help="file descriptor that gets a line of JSON once it serves")
    arguments = parser.parse_args()

    async def serve(ready: Ready) -> None:
        config = load_config(arguments.config)
        group = config.nodes.get(arguments.node)
        if group is None:
            known = ", ".join(config.nodes) or "none"
            raise ConfigError(f"{arguments.config}: nodes.{arguments.node}: no such group; there is {known}")
        check_own(config, arguments.config, {("nodes", arguments.node, "tls"): group.tls})
        os.nice(group.nice)
        listen = arguments.listen or nth(group.listen or "127.0.0.1:0", arguments.index)
        api = nth(group.api, arguments.index) if group.api else None
        advertise = nth(group.advertise, arguments.index) if group.advertise else None
        name = f"{arguments.node}-{arguments.index}"
        named = service.rpartition(".")[2].replace("isochrone_", "isochrone-")
        node = make_node(
            make_models(config, group),
            name=name,
            mesh=config.mesh,
            device=group.device,
            listen=listen,
            api=api,
            advertise=advertise,
            broker=broker_of(config),
            tls=LinkTls.of(config),
            api_tls=config.api_tls(arguments.node),
            service=named,
            shares={tier: config.share(tier) for tier in Tier},
            export=export_of(config, service=named, name=name, device=group.device),
        )
        await node.start()
        ready({"listen": node.address, "api": node.api_address})
        await run_until_signalled(node, group.drain_s)

    run_process(serve, log_format=lambda: load_config(arguments.config).log, ready_fd=arguments.ready_fd)
