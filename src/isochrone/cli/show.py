"""The demo's acts, one after the other: models, mesh, one page, load, and the mesh left to the user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isochrone import ports
from isochrone.cli import admin
from isochrone.cli.demo_view import beside, load_summary
from isochrone.cli.load import Tally
from isochrone.cli.mixed_load import CANDIDATES, MixedLoad
from isochrone.cli.models import variants_made_here
from isochrone.cli.product_page import RANK, page_legs, turn
from isochrone.cli.screen import err, out
from isochrone.cli.shop import Shop, as_json, photos
from isochrone.cli.show_page import show_page
from isochrone.cli.signals import Signals, Stopped, handled
from isochrone.cli.supervisor import Supervisor
from isochrone.cli.token import token_of_environment
from isochrone.cli.trust import context_of_environment
from isochrone.cli.waterfall import Waterfall
from isochrone.client import Client, Tls
from isochrone.config import MeshConfig
from isochrone.errors import ConfigError
from isochrone.stack import Stack, taken_addresses

_PAGE_S = 10.0
_EXPLAINED = {"DeadlineExceeded", "Overloaded"}
"""Errors that only say that the machine has other things to do."""
_INTERRUPTED = 130
_CORES = os.cpu_count() or 1


class Show:
    """One run of the demo."""

    def __init__(
        self,
        config: MeshConfig,
        path: Path,
        *,
        seconds: float,
        rate_per_s: float | None,
        stays: bool,
        tls: Tls | bool = False,
    ) -> None:
        if RANK not in config.routes:
            raise ConfigError(f"{path}: routes: the demo ranks, so it needs {RANK}")
        self._config = config
        self._path = path
        self._seconds = seconds
        self._rate_per_s = rate_per_s
        self._stays = stays
        self._tls = tls
        self._route = config.routes[RANK]
        self._load_before = os.getloadavg()[0]

    def build_models(self) -> None:
        """Those that routes use, in a process that takes torch along when it goes. Raises SystemExit if it fails."""
        used = {lane.rpartition("@")[0] for route in self._config.routes.values() for lane in route.lanes}
        variants = sorted(used & variants_made_here())
        if not variants:
            return
        options = ("--models", str(self._config.models))
        command = (sys.executable, "-m", "isochrone.cli", "models", "build", *variants, *options)
        code = subprocess.run(command, check=False).returncode
        if code:
            raise SystemExit(code)

    async def run(self) -> int:
        """The rest. Returns the exit code."""
        began_s = time.monotonic()
        with _free_ports(self._config, self._path) as (config, path):
            stack = Stack(config, path, say=lambda line: out.print(f"  [dim]{escape(line)}[/]", soft_wrap=True))
            with handled(stack.kill_all) as signals:
                try:
                    return await self._acts(stack, signals, began_s)
                except Stopped:
                    return _INTERRUPTED
                finally:
                    await stack.stop()

    async def _acts(self, stack: Stack, signals: Signals, began_s: float) -> int:
        _title("The mesh")
        await signals.unless_stopped(self._start(stack))
        out.print(f"  [green]up in {time.monotonic() - began_s:.1f} s[/]")
        shop = Shop.of(self._config)
        async with Client(stack.target, tls=self._tls, token=token_of_environment()) as client:
            _title("One product page, in one call")
            await signals.unless_stopped(self._page(client, shop))
            load = MixedLoad(client, self._config, shop, seconds=self._seconds, rate_per_s=self._rate_per_s)
            _title(f"Load: {self._seconds:g} s of {load.told}")
            await signals.unless_stopped(self._follow(load))
        worked = self._judge(load)
        if self._stays:
            with contextlib.suppress(Stopped):
                await signals.unless_stopped(self._stay(stack, shop))
        return 0 if worked else 1

    def _judge(self, load: MixedLoad) -> bool:
        """Prints what came of the load. Whether the mesh worked: on however slow a machine, that is."""
        objective_ms, target = self._route.objective_ms, self._route.target
        tally = load.rankings
        out.print(Padding(load_summary(tally, objective_ms=objective_ms, target=target), (0, 2)))
        for name, (other, route) in load.others.items():
            line = beside(name, other, objective_ms=self._config.routes[route].objective_ms)
            out.print(Padding(line, (0, 2)))
        if tally.within(objective_ms) < target and self._load_before > 0.5 * _CORES:
            told = f"The machine was busy before: load average {self._load_before:.1f} on {_CORES} cores."
            out.print(f"  [dim]{told}[/]")
        for tally in load.tallies:
            if tally.answered <= tally.sent / 2 or not tally.errors.keys() <= _EXPLAINED:
                told = f"{tally.answered} of {tally.sent} requests were answered"
                err.print(f"[bold red]the demo failed:[/] {told}: {dict(tally.errors)}")
                return False
        return True

    async def _start(self, stack: Stack) -> None:
        with _waiting("starting"):
            await stack.start()
            await admin.wait_ready(stack.admin_url, timeout_s=20, trust=context_of_environment())

    async def _page(self, client: Client, shop: Shop) -> None:
        """A visitor comes to a product: what they may like besides, what is on its photo, and a text about it."""
        request = shop.a_request(CANDIDATES)
        found = photos(self._config)
        legs = page_legs(self._config.routes, ranking=request, image=found[0] if found else None)
        for _ in range(10):  # the first requests of a process pay for what the later ones share
            await turn(client, legs)
        out.print(f"  [dim]The visitor[/] {escape(shop.about(request))}", soft_wrap=True)
        page = await show_page(client, legs, shop.titles, timeout_s=_PAGE_S)
        if (budget := page.ended["ranking"].budget) is not None:
            out.print("\n  [dim]The ranking, stage by stage[/]")
            out.print(Padding(Waterfall(budget.report), (0, 2)))

    async def _follow(self, load: MixedLoad) -> None:
        """Shows how the load goes until it is over."""
        offering, tally = asyncio.ensure_future(load.run()), load.rankings
        try:
            await self._follow_it(offering, tally)
        finally:
            offering.cancel()

    async def _follow_it(self, offering: asyncio.Future[None], tally: Tally) -> None:
        columns = (
            TextColumn("  "),
            BarColumn(30),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=out, transient=True, auto_refresh=False) as progress:
            task = progress.add_task("", total=self._seconds, told="")
            while not offering.done():
                await asyncio.wait({offering}, timeout=0.2)
                told = f"{tally.answered:,} answered, p99 {tally.percentile_ms(99):.1f} ms"
                progress.update(task, completed=tally.took_s, told=told, refresh=True)
        offering.result()

    async def _stay(self, stack: Stack, shop: Shop) -> None:
        """Until Ctrl-C, with what there is to try."""
        request = self._config.models.parent / "request.json"
        request.write_text(as_json(shop.a_request(CANDIDATES)), encoding="utf-8")
        command = _command()
        _title("It stays up until Ctrl-C. In another terminal:")
        target = "" if stack.target == "127.0.0.1:50051" else f" --target {stack.target}"
        admin_option = "" if stack.admin_url == admin.DEFAULT_URL else f" --admin {stack.admin_url}"
        for line in (
            f"{command} status{admin_option}",
            f"{command} call Recsys/Rank --json @{request} --budget{target}",
            f"{command} page {self._path} --image PHOTO.jpg --user 17{target}",
            f"curl -s {stack.admin_url}/metrics",
            *(f"kill -9 {node.pid}   # and look at status again" for node in stack.nodes[:1]),
        ):
            out.print(f"  [cyan]{escape(line)}[/]", soft_wrap=True)
        await Supervisor(stack, say=lambda line: out.print(f"  [yellow]{escape(line)}[/]")).run()


@contextlib.contextmanager
def _free_ports(config: MeshConfig, path: Path) -> Iterator[tuple[MeshConfig, Path]]:
    """The configuration, with other ports in place of any that somebody has, and a file that says the same."""
    taken = dict(taken_addresses(config))
    if not taken:
        yield config, path
        return
    changes = {key: ports.a_free_one() for key in ("listen", "admin") if f"router.{key}" in taken}
    router = config.router.model_copy(update=changes)
    changed = config.model_copy(update={"router": router})
    for key, address in changes.items():
        busy = taken[f"router.{key}"]
        out.print(f"[yellow]{busy} is in use, so router.{key} is {address} this time ({path} has the usual one)[/]")
    file = config.models.parent / "demo.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(changed.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    try:
        yield changed, file
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _waiting(for_what: str) -> Iterator[None]:
    """A spinner, in a terminal."""
    with out.status(for_what) if out.is_terminal else contextlib.nullcontext():
        yield


def _title(text: str) -> None:
    out.print(f"\n[bold]{escape(text)}[/]", soft_wrap=True)


def _command() -> str:
    """How the user called us, to be typed again."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "isochrone" and called.parent != Path() else "isochrone"
