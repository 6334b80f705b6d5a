"""The load generator for promises: an open loop over the product's client that keeps books of every request.

    python -m bench.promised_load --target 127.0.0.1:50051 --route isochrone.testing.v1.Toy/Sleep --rate 500 --mix 150

Requests come by a Poisson process, in bursts (`--cv 4`) or over a day (`--day`), whatever happens to those before them.
`--mix "150:5,600:3,5000:2"` says within how many milliseconds, counted from the scheduled arrival, an answer is in
time; so many is also the timeout that a request is sent with, unless `--timeout` sets one for all. Requests that are
still under way at the end, their limits past, are given up.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from google.rpc import code_pb2

from bench.arrivals import burst_arrivals_s, day_arrivals_s
from bench.books import Books, Entry
from bench.load import READY, Window, at_each, between, pids_of, read_payloads, summary
from bench.promises import drawn, promises_of
from isochrone.client import Client
from isochrone.client.budget import Budget
from isochrone.errors import IsochroneError
from isochrone.status import code_of

PATIENCE_S = 0.5
"""How long after the last limit answers are waited for."""


class Sender:
    """Sends requests to one mesh, or divides them over several in fixed shares."""

    def __init__(self, targets: Sequence[str], *, sessions: int, route: str, payloads: Iterator[bytes]) -> None:
        named = [target.partition("=") for target in targets]
        shares = np.array([float(share or 1) for _, _, share in named])
        self._clients = [Client(target, sessions=sessions) for target, _, _ in named]
        self._shares = shares / shares.sum()
        self._sent = np.zeros(len(self._clients))
        self._route = route
        self._payloads = payloads

    async def send(self, entry: Entry, *, timeout_s: float) -> None:
        """Sends one request and enters what became of it."""
        client = self._next()
        entry.sent_s = time.monotonic()
        try:
            answer = await client.call(self._route, next(self._payloads), timeout_s=timeout_s)
        except IsochroneError as error:
            entry.done_s = time.monotonic()
            entry.code = code_pb2.Code.Name(code_of(error))
            _account(entry, error.budget)
        else:
            entry.done_s = time.monotonic()
            entry.code = "OK"
            _account(entry, answer.budget)

    def _next(self) -> Client:
        """The one that is furthest behind its share."""
        place = int(np.argmin(self._sent - self._shares * (self._sent.sum() + 1))) if len(self._clients) > 1 else 0
        self._sent[place] += 1
        return self._clients[place]

    async def close(self) -> None:
        for client in self._clients:
            await client.close(grace_s=0)


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """One measurement. Raises TimeoutError where it doesn't end some seconds after its window."""
    payloads = itertools.cycle(read_payloads(args.payloads) if args.payloads else [b""])
    sender = Sender(args.target, sessions=args.session, route=args.route, payloads=payloads)
    promises = promises_of(args.mix)
    longest_s = max(promise.limit_s for promise in promises)
    async with asyncio.timeout(args.warmup + args.seconds + longest_s + 30):
        gc.collect()
        gc.freeze()
        if args.announce:
            print(READY, flush=True)
        start_s = time.monotonic()
        begin_s, end_s = start_s + args.warmup, start_s + args.warmup + args.seconds
        books = Books(begin_s=begin_s, end_s=end_s)
        window = Window(books, pids_of(args.pid))
        if args.day:
            arrivals_s = day_arrivals_s(args.rate, begin_s=begin_s, end_s=end_s, seed=args.seed)
        else:
            arrivals_s = burst_arrivals_s(args.rate, cv=args.cv, begin_s=start_s, end_s=end_s, seed=args.seed)
        limits = iter(drawn(promises, len(arrivals_s), seed=args.seed))

        async def one(at_s: float) -> None:
            promise = next(limits)
            entry = books.opened(at_s, promise)
            await sender.send(entry, timeout_s=args.timeout or promise.limit_s)
            books.finished += 1

        load = at_each(arrivals_s, one, patience_s=longest_s + PATIENCE_S)
        measured, _ = await asyncio.gather(between(window, begin_s, end_s), load)
        await sender.close()
    books.close()
    return {
        "closed": None,
        "offered_rate": args.rate,
        **measured,
        **summary(books),
        **books.summary([float(cut) for cut in args.cuts.split(",") if cut]),
    }


def _account(entry: Entry, budget: Budget | None) -> None:
    if budget is not None:
        entry.cost = budget.report.decision.cost
        entry.attempts = budget.report.attempts


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.promised_load", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--target",
        required=True,
        action="append",
        metavar="ADDRESS[=SHARE]",
        help="a router; of several, each its share",
    )
    parser.add_argument("--route", required=True, help="package.Service/Method")
    parser.add_argument("--rate", type=float, required=True, metavar="R", help="requests a second; a day's at its peak")
    parser.add_argument("--cv", type=float, default=1.0, help="of the gaps between requests: over 1 in bursts")
    parser.add_argument("--day", action="store_true", help="rise to the rate and fall again over the window")
    parser.add_argument("--mix", required=True, metavar="MS:WEIGHT,…", help="within how long answers are in time")
    parser.add_argument("--timeout", type=float, metavar="S", help="deadline of each request, in place of its limit")
    parser.add_argument("--cuts", default="", metavar="S,…", help="where to divide the window into parts")
    parser.add_argument("--payloads", type=Path, help="file of request bodies, sent in turn")
    parser.add_argument("--session", type=int, default=1, metavar="N", help="sessions to each router")
    parser.add_argument("--warmup", type=float, default=1.0, metavar="S")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals and limits")
    parser.add_argument("--pid", action="append", default=[], metavar="NAME=PID", help="process to account for")
    parser.add_argument("--announce", action="store_true", help=f"print {READY!r} before the first request")
    args = parser.parse_args(argv)
    try:
        promises_of(args.mix)
    except ValueError as error:
        parser.error(f"--mix: {error}")
    json.dump(uvloop.run(run(args)), sys.stdout)


if __name__ == "__main__":
    main()
