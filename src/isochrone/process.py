"""What every process of the mesh shares: event loop, log, ready line, and two signals: drain, then leave."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from isochrone.errors import ConfigError

log = logging.getLogger(__name__)

Ready = Callable[[Mapping[str, str]], None]
"""Tells whoever started us, by the ready-fd, that we serve, and at which addresses."""

EXIT_CONFIG = 2


class Drainable(Protocol):
    async def wait(self) -> None: ...
    async def drain(self, grace_s: float) -> None: ...
    async def close(self) -> None: ...


def run_process(
    serve: Callable[[Ready], Awaitable[None]],
    *,
    log_format: Callable[[], Literal["text", "json"]],
    ready_fd: int | None,
) -> None:
    """Runs `serve` on uvloop until it returns. A ConfigError becomes a readable line and exit code 2."""
    import uvloop

    def ready(addresses: Mapping[str, str]) -> None:
        # What start-up made stays for good: it needs no looking through at each collection.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        if ready_fd is not None:
            with os.fdopen(ready_fd, "w") as pipe:
                pipe.write(json.dumps(dict(addresses)) + "\n")

    try:
        set_up_log(log_format())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(ready))  # type: ignore[arg-type]
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CONFIG) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


async def run_until_signalled(service: Drainable, grace_s: float) -> None:
    """Runs until SIGTERM or SIGINT, then drains; a second signal ends it at once."""
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, None)
    running = asyncio.ensure_future(service.wait())
    told = asyncio.ensure_future(signals.get())
    await asyncio.wait((running, told), return_when=asyncio.FIRST_COMPLETED)
    if not told.done():
        told.cancel()
        try:
            running.result()
        finally:
            await service.close()
        return
    draining = asyncio.ensure_future(service.drain(grace_s))
    again = asyncio.ensure_future(signals.get())
    await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, again, running):
        task.cancel()
    await asyncio.gather(draining, again, running, return_exceptions=True)
    await service.close()


def set_up_log(form: Literal["text", "json"]) -> None:
    """One line an event on stderr: for people, or JSON for machines."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter(_TEXT))
    logging.basicConfig(level=os.environ.get("ISOCHRONE_LOG", "INFO").upper(), handlers=[handler], force=True)


_TEXT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"


class _TextFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        line, trace_id = super().formatMessage(record), getattr(record, "trace_id", "")
        return f"{line} (trace {trace_id})" if trace_id else line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace_id := getattr(record, "trace_id", ""):
            line["trace_id"] = trace_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
