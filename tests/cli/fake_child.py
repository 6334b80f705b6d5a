"""A router or node of a stack, as far as a stack can tell: announces itself, drains on SIGTERM, misbehaves on request.

`FAKE_TROUBLE` names what goes wrong: "die" at start, "silent" never announces, "garbage" announces nonsense, "deaf"
ignores SIGTERM. `FAKE_RECORD` is a folder where it notes its arguments and its end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--node", default="router")
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--node-address", action="append", default=[])
    given = parser.parse_args()
    trouble = os.environ.get("FAKE_TROUBLE", "")
    name = f"{given.node}-{given.index}"
    record = Path(os.environ["FAKE_RECORD"]) if "FAKE_RECORD" in os.environ else None
    if record is not None:
        noted = {
            "arguments": sys.argv[1:],
            "redis": os.environ.get("ISOCHRONE_REDIS_URL"),
            "pid": os.getpid(),
        }
        (record / f"{name}.json").write_text(json.dumps(noted))
    print(f"{name} says hello", file=sys.stderr, flush=True)
    if trouble == f"die {name}":
        print("the model file is gone", file=sys.stderr, flush=True)
        sys.exit(3)
    if trouble == "silent":
        time.sleep(60)
    if trouble == "garbage":
        os.write(given.ready_fd, b"ready!\n")
        time.sleep(60)

    server, address = _listen(given.listen)
    drained: list[int] = []
    signal.signal(signal.SIGTERM, signal.SIG_IGN if trouble == "deaf" else lambda number, _: drained.append(number))
    admin = "127.0.0.1:1" if given.node == "router" else ""
    os.write(given.ready_fd, json.dumps({"listen": address, "admin": admin}).encode() + b"\n")
    os.close(given.ready_fd)
    while not drained:
        time.sleep(0.01)
    server.close()
    if record is not None:
        (record / f"{name}.drained").write_text(str(time.monotonic()))


def _listen(address: str) -> tuple[socket.socket, str]:
    if address.startswith("unix:"):
        server = socket.socket(socket.AF_UNIX)
        server.bind(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, int(port)))
        address = f"{host}:{server.getsockname()[1]}"
    server.listen()
    return server, address


if __name__ == "__main__":
    main()
