"""`isochrone up`: the processes of one mesh file on this machine, kept running until told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isochrone.cli.screen import err, examples, out
from isochrone.cli.where import mesh_file

if TYPE_CHECKING:
    from isochrone.config import MeshConfig
    from isochrone.stack import Stack

EPILOG = examples(
    ("the mesh of this folder", "isochrone up"),
    ("another one, its logs in files", "isochrone up shop.yaml --logs /var/log/shop"),
    ("with a Redis that runs already", "ISOCHRONE_REDIS_URL=redis://10.0.0.5:6379/0 isochrone up"),
)
_COLOURS = ("cyan", "green", "magenta", "blue", "yellow")


def up(
    config: Annotated[Path | None, typer.Argument(help="The mesh's file; deploy/mesh.yaml or mesh.yaml.")] = None,
    logs: Annotated[Path | None, typer.Option(help="A folder for the logs, one file a process; else shown.")] = None,
    restart: Annotated[bool, typer.Option(help="Start a process that crashed again, or end everything.")] = True,
) -> None:
    """Start every process that a mesh's file describes, and keep it running until Ctrl-C.

    Ctrl-C, or SIGTERM, drains: what is under way is answered first. A second one ends everything at once.
    """
    import asyncio

    from isochrone.config import load_config

    path = mesh_file(config)
    loaded = load_config(path)
    code = asyncio.run(_up(loaded, path, logs, restart))
    raise typer.Exit(code)


async def _up(config: MeshConfig, path: Path, logs: Path | None, restart: bool) -> int:
    from isochrone.cli.signals import Stopped, handled
    from isochrone.stack import Stack

    stack = Stack(config, path, run_dir=logs, log=logs or Prefixed(), say=_say)
    with handled(stack.kill_all) as signals:
        try:
            await signals.unless_stopped(stack.start())
            routes = ", ".join(config.routes)
            out.print(
                f"[bold]{config.mesh}[/] serves {routes} on [bold]{stack.target}[/]; Ctrl-C ends it", soft_wrap=True
            )
            await signals.unless_stopped(_watch(stack, restart))
        except Stopped:
            _say("draining; once more to end at once")
            await stack.stop()
            return 0
        except BaseException:
            await stack.stop(0)
            raise
    await stack.stop(0)
    return 1


async def _watch(stack: Stack, restart: bool) -> None:
    """Returns, without restarts, when the first child has ended by itself."""
    from isochrone.cli.supervisor import Supervisor

    if restart:
        await Supervisor(stack, say=_say).run()
    _say(f"{await stack.next_exit()}; ending everything")


def _say(line: str) -> None:
    err.print(line, style="bold", markup=False, soft_wrap=True)


class Prefixed:
    """Shows each line of a child behind its name, in a colour of its own."""

    def __init__(self) -> None:
        self._colours: dict[str, str] = {}

    def __call__(self, name: str, line: str) -> None:
        from rich.text import Text

        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        err.print(Text.assemble((f"{name:<10} │ ", colour), line), soft_wrap=True)
