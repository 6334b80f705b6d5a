"""Links within one process: what gRPC is to a mesh of several, and what may happen to it."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from isochrone.link.stream import EOF, Dial, LinkBroken, RouterEnd
from isochrone.node.node import Node
from isochrone.v1 import link_pb2

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Network:
    """Nodes by address, and the streams that routers have to them."""

    def __init__(self, *, hop_s: float) -> None:
        self._hop_s = hop_s
        self._nodes: dict[str, Node] = {}
        self._streams: list[Stream] = []
        self._cut: set[tuple[str, str]] = set()

    def plug_in(self, node: Node) -> None:
        self._nodes[node.address] = node

    def unplug(self, node: Node) -> None:
        """Nobody is at that address any more; streams to it break."""
        self._nodes.pop(node.address, None)
        for stream in self._streams:
            if stream.address == node.address:
                stream.break_off()

    def cut(self, router: str, node: Node) -> None:
        """Holds whatever these two send to each other, until mended."""
        self._cut.add((router, node.address))
        for stream in self._streams:
            if (stream.router, stream.address) == (router, node.address):
                stream.hold()

    def mend(self, router: str, node: Node) -> None:
        """Lets pass what was held, in its order."""
        self._cut.discard((router, node.address))
        for stream in self._streams:
            if (stream.router, stream.address) == (router, node.address):
                stream.release()

    def slow_down(self, *, to_nodes_s: float, to_routers_s: float) -> None:
        """From now on messages of the links that there are take so long, in each direction."""
        for stream in self._streams:
            stream.to_node.hop_s, stream.to_router.hop_s = to_nodes_s, to_routers_s

    def dial_as(self, router: str) -> Dial:
        """How the router of that name dials nodes."""
        return functools.partial(self._dial, router)

    @asynccontextmanager
    async def _dial(self, router: str, address: str) -> AsyncIterator[RouterEnd]:
        node = self._nodes.get(address)
        if node is None or (router, address) in self._cut:
            raise LinkBroken(f"nobody answers at {address}")
        stream = Stream(router, address, hop_s=self._hop_s)
        self._streams.append(stream)
        serving = asyncio.create_task(node.open_link(stream.node_end), name=f"serve a link at {address}")
        serving.add_done_callback(lambda _: stream.to_router.end())
        try:
            yield stream.router_end
        finally:
            self._streams.remove(stream)
            stream.to_node.end()
            await asyncio.gather(serving, return_exceptions=True)


class Stream:
    """Two pipes and their ends."""

    def __init__(self, router: str, address: str, *, hop_s: float) -> None:
        self.router = router
        self.address = address
        self.to_node: _Pipe[link_pb2.RouterFrames] = _Pipe(hop_s)
        self.to_router: _Pipe[link_pb2.NodeFrames] = _Pipe(hop_s)
        self.router_end = _End(self.to_router, self.to_node)
        self.node_end = _End(self.to_node, self.to_router)

    def hold(self) -> None:
        self.to_node.held = self.to_router.held = True

    def release(self) -> None:
        self.to_node.release()
        self.to_router.release()

    def break_off(self) -> None:
        self.to_node.break_off()
        self.to_router.break_off()


class _End(Generic[_In, _Out]):
    """A FrameStream."""

    def __init__(self, incoming: _Pipe[_In], outgoing: _Pipe[_Out]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    async def read(self) -> _In:
        message: _In = await self._incoming.get()
        return message

    async def write(self, message: _Out, /) -> None:
        self._outgoing.put(message)


class _Pipe(Generic[_Out]):
    """One direction: messages arrive in order, `hop_s` after they were sent, unless they are held."""

    def __init__(self, hop_s: float) -> None:
        self.held = False
        self.hop_s = hop_s
        self._arrived: deque[_Out] = deque()
        self._ended = self._broken = False
        self._changed = asyncio.Event()

    def put(self, message: _Out) -> None:
        if self._ended or self._broken:
            raise LinkBroken("the other end is gone")
        if self.hop_s:
            asyncio.get_running_loop().call_later(self.hop_s, self._arrive, message)
        else:
            self._arrive(message)

    async def get(self) -> Any:
        while self.held or not self._arrived:
            if self._broken:
                raise LinkBroken("the other end is gone")
            if self._ended and not self.held:
                return EOF
            self._changed.clear()
            await self._changed.wait()
        return self._arrived.popleft()

    def end(self) -> None:
        """The sender has finished. What is on its way still arrives."""
        if self.hop_s:
            asyncio.get_running_loop().call_later(self.hop_s, self._finish)
        else:
            self._finish()

    def release(self) -> None:
        self.held = False
        self._changed.set()

    def break_off(self) -> None:
        """The connection is lost, with all that was on its way."""
        self._broken = True
        self._arrived.clear()
        self.held = False
        self._changed.set()

    def _arrive(self, message: _Out) -> None:
        self._arrived.append(message)
        self._changed.set()

    def _finish(self) -> None:
        self._ended = True
        self._changed.set()
