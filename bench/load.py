"""The load generator: a process of its own that sends one kind of request to one target, and prints JSON.

    python -m bench.load --target 127.0.0.1:50051 --method /isochrone.testing.v1.Toy/Echo --closed 64

Closed loop (`--closed N`): N callers, each sends its next request when its last one is answered; latency is
from the send. Open loop (`--rate R`): requests arrive by a Poisson process whatever happens to those before
them; latency is from the *scheduled* arrival, so a stall of the server, or of this process, is in it.

After `--warmup` seconds comes a window of `--seconds`, at both ends of which the CPU time of this process, of
those named by `--pid`, and of the whole machine is read. `--count N` sends so many requests in place of a window, and
reads over all of them. Messages are never parsed. bench/unary_http2.py sends them,
each as a call, or with `--session N` the product's own client, over so many sessions.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import ctypes
import gc
import itertools
import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import uvloop
from google.rpc import code_pb2

from bench.arrivals import poisson_arrivals_s
from bench.cpu import machine_cpu_s, process_cpu_s, stolen_cpu_s
from bench.unary_http2 import Connection
from isochrone.client import Client
from isochrone.errors import IsochroneError
from isochrone.status import code_of

_QUANTILES = (*np.linspace(0, 0.98, 50), 0.99, 0.995, 0.999, 1.0)

READY = "ready"
_NO_MORE = object()

Send: TypeAlias = Callable[[], Awaitable[int]]
"""Sends the next request; gives the status code of its answer."""


class Recorder:
    """What was answered, how late, and what failed."""

    def __init__(self) -> None:
        self.recording = False
        self.finished = 0
        """Requests that ended, well or badly, since the start: the CPU of a window is divided by their growth."""
        self.latencies_s: list[float] = []
        self.lags_s: list[float] = []
        """How long after its scheduled arrival each request was sent: this process's own lateness."""
        self.errors: collections.Counter[str] = collections.Counter()

    async def watch(self, send: Send, from_s: float) -> None:
        """Sends one request and records it, if it began in the window. `from_s`: where its latency begins."""
        counts = self.recording
        if counts:
            self.lags_s.append(time.monotonic() - from_s)
        status = await send()
        self.finished += 1
        if not counts:
            return
        if status == code_pb2.OK:
            self.latencies_s.append(time.monotonic() - from_s)
        else:
            self.errors[code_pb2.Code.Name(status)] += 1


async def closed_loop(
    send: Send, recorder: Recorder, *, callers: int, until_s: float, count: int | None = None
) -> None:
    """`callers` requests under way at any time, until then or until `count` were sent."""
    left = itertools.repeat(None) if count is None else itertools.repeat(None, count)

    async def caller() -> None:
        while (now_s := time.monotonic()) < until_s and next(left, _NO_MORE) is None:
            await recorder.watch(send, now_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())


async def open_loop(send: Send, recorder: Recorder, *, arrivals_s: Sequence[float]) -> None:
    """One request at each moment, and then the wait for those that are still under way."""
    await at_each(arrivals_s, partial(recorder.watch, send))


async def at_each(
    arrivals_s: Sequence[float], begin: Callable[[float], Coroutine[Any, Any, None]], *, patience_s: float | None = None
) -> None:
    """Begins something at each moment, and waits for what is still under way then; with `patience_s`, no longer, and
    ends what is left."""
    alarm = Alarm()
    under_way: set[asyncio.Task[None]] = set()
    for at_s in arrivals_s:
        if at_s > time.monotonic():
            await alarm.at(at_s)
        task = asyncio.create_task(begin(at_s))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    alarm.close()
    left = list(under_way)
    if patience_s is not None and left:
        _, late = await asyncio.wait(left, timeout=patience_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        left = [task for task in left if not task.cancelled()]
    await asyncio.gather(*left)


class Alarm:
    """Waits for a moment to some 50 µs. Timers of uvloop and asyncio are in whole milliseconds, which would
    be in every latency; a timerfd is not. (Python has its own from 3.13.)"""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = asyncio.get_running_loop()
        self._rang: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._fd, self._ring)

    async def at(self, moment_s: float) -> None:
        self._rang = self._loop.create_future()
        whole_s = int(moment_s)
        timer = struct.pack("qqqq", 0, 0, whole_s, int((moment_s - whole_s) * 1e9))  # struct itimerspec
        absolute = 1
        if self._libc.timerfd_settime(self._fd, absolute, timer, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        await self._rang

    def _ring(self) -> None:
        os.read(self._fd, 8)
        if not self._rang.done():
            self._rang.set_result(None)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


class Window:
    """What was used and done between its opening and its close."""

    def __init__(self, recorder: Recorder, pids: dict[str, int]) -> None:
        self._recorder = recorder
        self._pids = pids
        self._opened = self._reading()

    def open(self) -> None:
        self._opened = self._reading()
        self._recorder.recording = True

    def close(self) -> dict[str, Any]:
        self._recorder.recording = False
        from_s, from_count, from_machine_s, from_stolen_s, from_used_s = self._opened
        to_s, to_count, to_machine_s, to_stolen_s, to_used_s = self._reading()
        cpu_s = {name: to_used_s[name] - from_used_s[name] for name in self._pids}
        return {
            "from_s": from_s,
            "window_s": to_s - from_s,
            "requests": to_count - from_count,
            "rate": (to_count - from_count) / (to_s - from_s),
            "cpu_s": cpu_s,
            "elsewhere_cpu_s": to_machine_s - from_machine_s - sum(cpu_s.values()),
            "stolen_cpu_s": to_stolen_s - from_stolen_s,
        }

    def _reading(self) -> tuple[float, int, float, float, dict[str, float]]:
        used_s = {name: process_cpu_s(pid) for name, pid in self._pids.items()}
        return time.monotonic(), self._recorder.finished, machine_cpu_s(), stolen_cpu_s(), used_s


async def between(window: Window, begin_s: float, end_s: float) -> dict[str, Any]:
    """Sleeps to the window, opens it, sleeps to its end."""
    await asyncio.sleep(begin_s - time.monotonic())
    window.open()
    await asyncio.sleep(end_s - time.monotonic())
    return window.close()


def summary(recorder: Recorder) -> dict[str, Any]:
    """Latencies in milliseconds and errors by gRPC code."""
    latencies_ms = np.array(recorder.latencies_s) * 1e3
    lags_ms = np.array(recorder.lags_s) * 1e3
    found: dict[str, Any] = {"answered": len(recorder.latencies_s), "errors": dict(recorder.errors)}
    if not len(latencies_ms) and recorder.errors:  # later than anybody waited
        late = float("inf")
        found |= {"quantiles_ms": [[round(float(share), 4), late] for share in _QUANTILES]}
        found |= dict.fromkeys(("p50_ms", "p99_ms", "p999_ms", "mean_ms"), late)
    if len(latencies_ms):
        quantiles = np.quantile(latencies_ms, _QUANTILES)
        found["quantiles_ms"] = [
            [round(float(share), 4), float(value)] for share, value in zip(_QUANTILES, quantiles, strict=True)
        ]
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999)):
            found[name] = float(np.quantile(latencies_ms, share))
        found["mean_ms"] = float(latencies_ms.mean())
        found["send_lag_p99_ms"] = float(np.quantile(lags_ms, 0.99))
    return found


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """One measurement, ended at the latest some seconds after its window. Raises TimeoutError past that."""
    connections: list[Connection] = []
    client: Client | None = None
    if args.session:
        client = Client(args.target, sessions=args.session)
    else:
        connections = [await Connection.open(args.target) for _ in range(args.channels)]
    turns = itertools.cycle(connections)
    route = args.method.removeprefix("/")
    payloads = itertools.cycle(read_payloads(args.payloads) if args.payloads else [b"x" * args.bytes])

    def send() -> Awaitable[int]:
        if client is not None:
            return over_session(client, route, next(payloads), timeout_s=args.timeout)
        return next(turns).call(args.method, next(payloads), timeout_s=args.timeout)

    recorder = Recorder()
    window = Window(recorder, pids_of(args.pid))
    async with asyncio.timeout(args.warmup + args.seconds + 2 * args.timeout + 10):
        gc.collect()
        gc.freeze()
        if args.announce:
            print(READY, flush=True)
        start_s = time.monotonic()
        begin_s, end_s = start_s + args.warmup, start_s + args.warmup + args.seconds
        if args.count:
            window.open()
            await closed_loop(send, recorder, callers=args.closed, until_s=end_s, count=args.count)
            measured = window.close()
        elif args.closed:
            load = closed_loop(send, recorder, callers=args.closed, until_s=end_s)
            measured, _ = await asyncio.gather(between(window, begin_s, end_s), load)
        else:
            arrivals_s = poisson_arrivals_s(args.rate, begin_s=start_s, end_s=end_s, seed=args.seed)
            load = open_loop(send, recorder, arrivals_s=arrivals_s)
            measured, _ = await asyncio.gather(between(window, begin_s, end_s), load)
    for connection in connections:
        connection.close()
    if client is not None:
        await client.close()
    return {"closed": args.closed, "offered_rate": args.rate, **measured, **summary(recorder)}


async def over_session(client: Client, route: str, payload: bytes, *, timeout_s: float) -> int:
    """A request over the product's own client, whose answer is left as bytes."""
    try:
        await client.call(route, payload, timeout_s=timeout_s)
    except IsochroneError as error:
        return code_of(error)
    return int(code_pb2.OK)


def pids_of(named: Sequence[str]) -> dict[str, int]:
    """This process as "load", and those of "name=pid"."""
    return {"load": os.getpid(), **{name: int(pid) for name, _, pid in (each.partition("=") for each in named)}}


def write_payloads(path: Path, payloads: Sequence[bytes]) -> None:
    """Request bodies for `--payloads`, each behind its length as a little-endian uint32."""
    path.write_bytes(b"".join(struct.pack("<I", len(payload)) + payload for payload in payloads))


def read_payloads(path: Path) -> list[bytes]:
    """What write_payloads wrote."""
    data, at, payloads = path.read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        payloads.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return payloads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__.split("\n")[0])
    parser.add_argument("--target", required=True, help="gRPC target")
    parser.add_argument("--method", required=True, help="/package.Service/Method")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--closed", type=int, metavar="N", help="requests in flight")
    mode.add_argument("--rate", type=float, metavar="R", help="requests a second, Poisson")
    parser.add_argument("--count", type=int, metavar="N", help="requests in all, with --closed; no warm-up")
    parser.add_argument("--payloads", type=Path, help="file of request bodies, sent in turn")
    parser.add_argument("--bytes", type=int, default=2048, help="size of the one body without --payloads")
    parser.add_argument("--channels", type=int, default=4, help="connections")
    parser.add_argument("--session", type=int, default=0, metavar="N", help="so many sessions in their place")
    parser.add_argument("--warmup", type=float, default=1.0, metavar="S")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="deadline of each request")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")
    parser.add_argument("--pid", action="append", default=[], metavar="NAME=PID", help="process to account for")
    parser.add_argument("--announce", action="store_true", help=f"print {READY!r} before the first request")
    args = parser.parse_args(argv)
    if args.count and not args.closed:
        parser.error("--count goes with --closed")
    json.dump(uvloop.run(run(args)), sys.stdout)


if __name__ == "__main__":
    main()
