"""The demo's acts, one after the other: models, mesh, one ranking, load, and the mesh left to the user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import yaml
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isochrone import ports
from isochrone.cli import admin
from isochrone.cli.demo_view import load_summary, ranking_table
from isochrone.cli.load import Tally, capacity_per_s, offer
from isochrone.cli.models import variants_made_here
from isochrone.cli.screen import err, out
from isochrone.cli.shop import RANK, Shop, as_json
from isochrone.cli.signals import Signals, Stopped, handled
from isochrone.cli.supervisor import Supervisor
from isochrone.cli.waterfall import Waterfall
from isochrone.client import Budget, Client
from isochrone.config import MeshConfig
from isochrone.errors import ConfigError
from isochrone.stack import Stack, taken_addresses

_T = TypeVar("_T")
_BURST = 3
_CANDIDATES = 100
_TRIED_S, _AT_ONCE = 0.6, 8
_MOST_PER_S = 400.0
_ROOM = 0.25
"""The part of the machine's capacity that the load takes: it runs on the same cores as the mesh."""
_EXPLAINED = {"DeadlineExceeded", "Overloaded"}
"""Errors that only say that the machine has other things to do."""
_INTERRUPTED = 130
_CORES = os.cpu_count() or 1


class Show:
    """One run of the demo."""

    def __init__(
        self, config: MeshConfig, path: Path, *, seconds: float, rate_per_s: float | None, stays: bool
    ) -> None:
        if RANK not in config.routes:
            raise ConfigError(f"{path}: routes: the demo ranks, so it needs {RANK}")
        self._config = config
        self._path = path
        self._seconds = seconds
        self._rate_per_s = rate_per_s
        self._stays = stays
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
        shop = Shop.open(self._config.models / self._route.lanes[0].rpartition("@")[0])
        async with Client(stack.target) as client:
            _title(f"One ranking: {_CANDIDATES} candidates for a visitor, the best ten")
            await signals.unless_stopped(self._rank(client, shop))
            _title(f"Load: {self._seconds:g} s of pages that ask for {_BURST} rankings at a time")
            tally = await signals.unless_stopped(self._load(client, shop))
        worked = self._judge(tally)
        if self._stays:
            with contextlib.suppress(Stopped):
                await signals.unless_stopped(self._stay(stack, shop))
        return 0 if worked else 1

    def _judge(self, tally: Tally) -> bool:
        """Prints what came of the load. Whether the mesh worked: on however slow a machine, that is."""
        objective_ms, target = self._route.objective_ms, self._route.target
        out.print(Padding(load_summary(tally, objective_ms=objective_ms, target=target), (0, 2)))
        if tally.within(objective_ms) < target and self._load_before > 0.5 * _CORES:
            told = f"The machine was busy before: load average {self._load_before:.1f} on {_CORES} cores."
            out.print(f"  [dim]{told}[/]")
        if tally.answered > tally.sent / 2 and tally.errors.keys() <= _EXPLAINED:
            return True
        err.print(f"[bold red]the demo failed:[/] {tally.answered} of {tally.sent} requests were answered")
        return False

    async def _start(self, stack: Stack) -> None:
        with _waiting("starting"):
            await stack.start()
            await admin.wait_ready(stack.admin_url, timeout_s=20)

    async def _rank(self, client: Client, shop: Shop) -> None:
        request = shop.a_request(_CANDIDATES)
        for _ in range(20):  # the first requests of a process pay for what the later ones share
            ranking = await client.rank(request.user, request.item_ids, top_k=request.top_k)
        out.print(f"  [dim]The visitor[/] {escape(shop.about(request))}", soft_wrap=True)
        out.print(ranking_table(shop.titles(ranking.item_ids), ranking.scores))
        if ranking.budget is not None:
            out.print()
            out.print(Padding(Waterfall(ranking.budget.report), (0, 2)))

    async def _load(self, client: Client, shop: Shop) -> Tally:
        requests = shop.requests(_CANDIDATES)
        tally = Tally()

        async def send() -> Budget | None:
            return (await client.call(RANK, next(requests))).budget

        rate_per_s = self._rate_per_s
        if rate_per_s is None:
            room_per_s = await capacity_per_s(send, at_once=_AT_ONCE, seconds=_TRIED_S)
            rate_per_s = max(1.0, min(_ROOM * room_per_s, _MOST_PER_S))
        offering = asyncio.ensure_future(
            offer(send, rate_per_s=rate_per_s, burst=_BURST, seconds=self._seconds, tally=tally)
        )
        try:
            await self._follow(offering, tally)
        finally:
            offering.cancel()
        return tally

    async def _follow(self, offering: asyncio.Future[None], tally: Tally) -> None:
        """Shows how the load goes until it is over."""
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
        request.write_text(as_json(shop.a_request(_CANDIDATES)), encoding="utf-8")
        command = _command()
        _title("It stays up until Ctrl-C. In another terminal:")
        target = "" if stack.target == "127.0.0.1:50051" else f" --target {stack.target}"
        admin_option = "" if stack.admin_url == admin.DEFAULT_URL else f" --admin {stack.admin_url}"
        for line in (
            f"{command} status{admin_option}",
            f"{command} call Recsys/Rank --json @{request} --budget{target}",
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
