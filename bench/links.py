"""What TLS costs a link: messages echoed over one, with it and without, both ends in this process.

python -m bench.links
"""

from __future__ import annotations

import tempfile
import time
from datetime import timedelta
from pathlib import Path

import uvloop

from isochrone.certificates import today
from isochrone.issuing import Authority, write
from isochrone.link.stream import EOF, LinkServer, NodeEnd, dial
from isochrone.link.tls import LinkTls
from isochrone.v1 import link_pb2

NAME = "isochrone"
AT_ONCE = 32
SIZES = {2_000: 20_000, 100_000: 2_000}
"""Bytes of a message to how many are sent."""


async def echo(stream: NodeEnd) -> None:
    while (frames := await stream.read()) is not EOF:
        chunks = [link_pb2.Chunk(job=each.job, payload=each.data) for each in frames.payloads]
        await stream.write(link_pb2.NodeFrames(chunks=chunks))


async def run(tls: LinkTls | None, *, size: int, count: int) -> str:
    server = LinkServer(echo, tls=tls)
    address = await server.start("127.0.0.1:0")
    message = link_pb2.RouterFrames(payloads=[link_pb2.Payload(job=1, data=bytes(size))])
    async with dial(address, tls=tls) as stream:
        await stream.write(link_pb2.RouterFrames())
        await stream.read()
        began_s, cpu_s, sent = time.perf_counter(), time.process_time(), 0
        for _ in range(count):
            for _ in range(min(AT_ONCE, count - sent) if not sent else min(1, count - sent)):
                await stream.write(message)
                sent += 1
            await stream.read()
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    await server.close()
    return f"{count / took_s:8,.0f}/s, {cpu_s / count * 1e6:6.1f} µs of CPU, both ends together"


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, day = Path(name), timedelta(days=1)
        authority = Authority.made("CA", now=today(), lifetime=day)
        write(folder, "ca", authority.certificate, authority.key)
        write(folder, "mesh", *authority.issue("mesh", [NAME], begins=today(), lifetime=day))
        tls = LinkTls(certificate=folder / "mesh.crt", key=folder / "mesh.key", ca=folder / "ca.crt", name=NAME)
        for size, count in SIZES.items():
            for words, given in {"plain": None, "TLS": tls, "plain again": None, "TLS again": tls}.items():
                print(f"{size:>7} bytes, {words:<11} {await run(given, size=size, count=count)}")


if __name__ == "__main__":
    uvloop.run(main())
