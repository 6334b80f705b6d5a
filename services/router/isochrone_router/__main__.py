"""Runs a router: one process, or several that share a port."""

from __future__ import annotations

import argparse
import asyncio
import functools
import signal
from collections.abc import Callable
from pathlib import Path

from isochrone.certificates import Key, check_own
from isochrone.config import MeshConfig, ServerTls, load_config
from isochrone.link.stream import dial
from isochrone.link.tls import LinkTls
from isochrone.process import Ready, run_process, run_until_signalled
from isochrone.surroundings import answers_of, broker_of, export_of
from isochrone_router.crew import Crew
from isochrone_router.router import Router


def main() -> None:
    """Serves until SIGTERM or SIGINT drains it; a second one ends it at once."""
    parser = argparse.ArgumentParser(prog="python -m isochrone_router", description="A router of an Isochrone mesh.")
    parser.add_argument("--config", type=Path, required=True, help="the mesh's YAML file")
    parser.add_argument("--node-address", action="append", default=[], help="a node to link, besides the file's")
    parser.add_argument("--process", type=int, help="which of several processes this is; made by the first")
    parser.add_argument("--siblings", type=Path, help="a folder of sockets to reach the others; made by the first")
    parser.add_argument("--ready-fd", type=int, help="file descriptor that gets a line of JSON once it serves")
    arguments = parser.parse_args()

    async def serve(ready: Ready) -> None:
        config = load_config(arguments.config)
        servers: dict[Key, ServerTls | None] = {
            ("router", "tls"): config.router.tls,
            ("router", "admin_tls"): config.router.admin_tls,
        }
        check_own(config, arguments.config, servers)
        if config.router.processes > 1 and arguments.process is None:
            crew = Crew(config, arguments.config, nodes=arguments.node_address)
            _on_hangup(config, crew.read_callers_again)
            await crew.start()
            ready({"listen": crew.address, "admin": crew.admin_address})
            await run_until_signalled(crew, config.router.drain_s)
            return
        broker = broker_of(config)
        index = arguments.process or 0
        name = config.router.process_name(index)
        router = Router(
            config,
            broker=broker,
            nodes=arguments.node_address,
            index=index,
            dial=functools.partial(dial, tls=LinkTls.of(config)),
            export=export_of(config, service="isochrone-router", name=name),
            answers=answers_of(config),
            siblings=arguments.siblings,
        )
        _on_hangup(config, router.read_callers_again)
        await router.start()
        ready({"listen": router.address, "admin": router.admin_address})
        await run_until_signalled(router, config.router.drain_s)

    run_process(serve, log_format=lambda: load_config(arguments.config).log, ready_fd=arguments.ready_fd)


def _on_hangup(config: MeshConfig, read_again: Callable[[], None]) -> None:
    """Without a file to read again, SIGHUP is what it always was: the end."""
    if config.router.callers_file is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, read_again)


if __name__ == "__main__":
    main()
