"""The link, from both of its ends, over a stream in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from fakes import a_job
from isochrone.link import version
from isochrone.link.node_link import SILENT_S, LinkState, NodeLink
from isochrone.link.router_link import PING_S, RouterLink
from isochrone.link.stream import EOF, LinkBroken, RouterEnd
from isochrone.node.node import Node
from isochrone.testing.models import EchoModel
from isochrone.testing.network import Stream
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import link_pb2

AHEAD_S = 12_345.678
"""How far the router's clock is ahead of the node's."""
HOP_S = 0.0005


@dataclass
class Told:
    """What either end was told, in order: LinkEvents and RouterEvents."""

    of: list[tuple[object, ...]] = field(default_factory=list)
    payloads: dict[int, bytes] = field(default_factory=dict)

    # LinkEvents.

    def is_linked(self, node: int) -> bool:
        return False

    def link_up(self, link: NodeLink) -> None:
        self.of.append(("up",))

    def link_down(self, link: NodeLink) -> None:
        self.of.append(("down",))

    def link_changed(self, link: NodeLink) -> None:
        self.of.append(("changed", str(link.state), tuple(link.report.claiming)))

    def claimed(self, link: NodeLink, jobs: Sequence[int], finish_in_s: float) -> None:
        self.of.append(("claimed", tuple(jobs), finish_in_s))

    def batch_done(self, link: NodeLink, done: link_pb2.BatchDone) -> None:
        self.of.append(("done", *(reply.job for reply in done.replies)))

    def returned(self, link: NodeLink, jobs: Sequence[int]) -> None:
        self.of.append(("returned", *jobs))

    def reported(self, link: NodeLink) -> None: ...

    def payload_of(self, job: int) -> bytes | None:
        return self.payloads.get(job)

    # RouterEvents.

    def submitted(self, link: RouterLink, jobs: Sequence[link_pb2.Job]) -> None:
        self.of.append(("submitted", *(job.id for job in jobs)))

    def cancelled(self, link: RouterLink, jobs: Sequence[int]) -> None:
        self.of.append(("cancelled", *jobs))

    def router_gone(self, link: RouterLink) -> None:
        self.of.append(("gone",))

    def node_state(self) -> link_pb2.NodeState:
        return link_pb2.NodeState(claiming=["echo@cpu"], backlog_jobs=3)


def hello(**changes: object) -> link_pb2.Hello:
    fields = {"version_min": 1, "version_max": 1, "router": 0xA0, "name": "router", "epoch": 1, "mesh": "toys"}
    return link_pb2.Hello(**(fields | changes))  # type: ignore[arg-type]


class Pair:
    """Both ends of a link: what the router's was told, and what the node's was."""

    def __init__(self) -> None:
        self.router, self.node = Told(), Told()
        self.streams: list[Stream] = []
        self.router_links: list[RouterLink] = []
        self.nobody_there = False
        loop = asyncio.get_running_loop()
        self.link = NodeLink(
            "somewhere", hello=hello(), events=self.router, clock=lambda: loop.time() + AHEAD_S, dial=self._dial
        )

    @property
    def other_end(self) -> RouterLink:
        return self.router_links[-1]

    @asynccontextmanager
    async def _dial(self, address: str) -> AsyncIterator[RouterEnd]:
        if self.nobody_there:
            raise LinkBroken("nobody there")
        stream = Stream("router", address, hop_s=HOP_S)
        self.streams.append(stream)
        serving = asyncio.create_task(self._serve(stream))
        serving.add_done_callback(lambda _: stream.to_router.end())
        try:
            yield stream.router_end
        finally:
            stream.to_node.end()
            await asyncio.gather(serving, return_exceptions=True)

    async def _serve(self, stream: Stream) -> None:
        first = await stream.node_end.read()
        welcome = link_pb2.Welcome(version=1, node=7, name="toy-0", variants=[link_pb2.Variant(lane="echo@cpu")])
        await stream.node_end.write(link_pb2.NodeFrames(welcome=welcome))
        second = await stream.node_end.read()
        self.router_links.append(RouterLink(first.hello, events=self.node, clock=asyncio.get_running_loop().time))
        await self.other_end.run(stream.node_end, after=second)


@asynccontextmanager
async def linked() -> AsyncIterator[Pair]:
    pair = Pair()
    running = asyncio.create_task(pair.link.run())
    await asyncio.sleep(0.1)
    assert pair.link.state is LinkState.LINKED
    pair.router.of.clear()
    yield pair
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@virtual_time
async def test_a_router_dials_and_learns_who_is_there() -> None:
    """The node's name, boot id and lanes; and its state with the first ping."""
    pair = Pair()
    running = asyncio.create_task(pair.link.run())
    await asyncio.sleep(0.1)
    assert (pair.link.name, pair.link.node, list(pair.link.variants)) == ("toy-0", 7, ["echo@cpu"])
    assert pair.router.of == [("up",), ("changed", "linked", ("echo@cpu",))]
    assert pair.link.report.backlog_jobs == 3
    assert (pair.other_end.router, pair.other_end.name, pair.other_end.epoch) == (0xA0, "router", 1)
    running.cancel()


@virtual_time
async def test_jobs_and_answers_cross() -> None:
    """Each as a call at the other end, in the order they were sent."""
    async with linked() as at:
        at.link.submit(a_job(1))
        at.link.submit(a_job(2))
        at.link.cancel(1)
        await asyncio.sleep(2 * HOP_S)
        assert at.node.of == [("submitted", 1, 2), ("cancelled", 1)]
        at.other_end.claim([2], 0.25)
        at.other_end.batch_done().replies.add(job=2)
        at.other_end.return_jobs([3, 4])
        await asyncio.sleep(2 * HOP_S)
        assert at.router.of == [("claimed", (2,), 0.25), ("done", 2), ("returned", 3, 4)]


@virtual_time
async def test_work_of_years_is_claimed_like_any_other() -> None:
    """The router is told the most that the frame holds, and the link bears it."""
    async with linked() as at:
        at.other_end.claim([1], 1e9)
        at.other_end.claim([2], float("inf"))
        await asyncio.sleep(2 * HOP_S)
        assert at.router.of == [("claimed", (1,), (2**32 - 1) / 1e6), ("claimed", (2,), (2**32 - 1) / 1e6)]


@virtual_time
async def test_a_fault_of_a_nodes_own_ends_the_link_and_is_in_its_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that breaks is no fault, and isn't."""
    async with linked() as at:
        at.streams[-1].break_off()
        await asyncio.sleep(0.1)
        assert ("gone",) in at.node.of
        assert [record for record in caplog.records if record.exc_info] == []
        at.node.of.clear()
        monkeypatch.setattr(at.node, "cancelled", lambda link, jobs: {}[jobs[0]])
        at.link.cancel(5)
        await asyncio.sleep(0.1)
        assert ("gone",) in at.node.of
        [told] = [record for record in caplog.records if record.exc_info]
        assert (told.getMessage(), told.exc_info[0]) == ("link of router router", KeyError)  # type: ignore[index]


@virtual_time
async def test_times_cross_between_clocks() -> None:
    """Neither end knows what the other's clock shows; the pings tell, to half a round trip."""
    async with linked() as at:
        now_s = virtual_clock()()
        assert at.other_end.to_router_us(now_s) == pytest.approx((now_s + AHEAD_S) * 1e6, abs=HOP_S * 1e6)
        assert at.other_end.to_ours_s(int((now_s + AHEAD_S) * 1e6)) == pytest.approx(now_s, abs=HOP_S)


@virtual_time
async def test_a_payload_is_fetched() -> None:
    """Several may wait for it; one that the router has no more is None."""
    async with linked() as at:
        at.router.payloads[1] = b"large"
        assert await asyncio.gather(*(at.other_end.fetch(job) for job in (1, 1, 2))) == [b"large", b"large", None]


@virtual_time
async def test_a_fetch_ends_with_its_link() -> None:
    """Nobody waits for that job any more."""
    async with linked() as at:
        at.streams[-1].hold()
        fetching = asyncio.create_task(at.other_end.fetch(1))
        await asyncio.sleep(0.1)
        at.streams[-1].break_off()
        assert await fetching is None
        assert ("gone",) in at.node.of


@virtual_time
async def test_a_node_that_is_silent_gets_nothing_addressed() -> None:
    """Until it is heard again."""
    async with linked() as at:
        at.streams[-1].hold()
        await asyncio.sleep(SILENT_S - PING_S)
        at.link.check_silence()
        assert at.link.takes_jobs
        await asyncio.sleep(2 * PING_S)
        at.link.check_silence()
        assert (at.link.state, at.link.takes_jobs) == (LinkState.SILENT, False)
        at.streams[-1].release()
        await asyncio.sleep(2 * HOP_S)
        assert at.link.takes_jobs
        assert [told[1] for told in at.router.of if told[0] == "changed"] == ["silent", "linked"]


@virtual_time
async def test_a_broken_link_is_dialled_anew() -> None:
    """Soon, and again and again; its end and its beginning are told."""
    async with linked() as at:
        at.nobody_there = True
        at.streams[-1].break_off()
        await asyncio.sleep(0.01)
        assert at.router.of == [("down",)]
        assert (at.link.state, at.link.takes_jobs, list(at.link.report.claiming)) == (LinkState.DIALLING, False, [])
        await asyncio.sleep(5)
        at.nobody_there = False
        await asyncio.sleep(1.1)
        assert at.link.takes_jobs
        assert at.router.of[:2] == [("down",), ("up",)]


@virtual_time
async def test_what_a_node_that_is_gone_had_to_do_is_not_waited_for() -> None:
    """Who is at its address next is another, and free until he says otherwise."""
    async with linked() as at:
        at.other_end.claim([1], 10.0)
        await asyncio.sleep(2 * HOP_S)
        assert at.link.free_at_s > at.link._clock() + 9
        at.streams[-1].break_off()
        await asyncio.sleep(0.01)
        assert at.link.free_at_s <= at.link._clock()


@virtual_time
async def test_what_was_said_to_a_link_that_is_down_is_not_said_later() -> None:
    """Those jobs have been sent elsewhere."""
    async with linked() as at:
        at.nobody_there = True
        at.streams[-1].break_off()
        await asyncio.sleep(0.01)
        at.link.cancel(1)
        at.link.drain()
        at.node.of.clear()
        at.nobody_there = False
        await asyncio.sleep(1)
        assert at.node.of == []


@virtual_time
async def test_the_epoch_reaches_the_node() -> None:
    """At once, and with the next hello where the link is down."""
    async with linked() as at:
        at.link.tell_epoch(2)
        await asyncio.sleep(2 * HOP_S)
        assert at.other_end.epoch == 2
        at.nobody_there = True
        at.streams[-1].break_off()
        await asyncio.sleep(0.01)
        at.link.tell_epoch(3)
        at.nobody_there = False
        await asyncio.sleep(1)
        assert at.other_end.epoch == 3


@virtual_time
async def test_a_draining_node_gets_no_more_jobs() -> None:
    """What it still says is heard; and it may end the link once all of that has left."""
    async with linked() as at:
        at.other_end.drain()
        await asyncio.sleep(2 * HOP_S)
        assert (at.link.state, at.link.takes_jobs) == (LinkState.DRAINING, False)
        at.other_end.batch_done().replies.add(job=1)
        at.nobody_there = True
        at.other_end.finish()
        await asyncio.sleep(0.01)
        assert [told[0] for told in at.router.of] == ["changed", "done", "down"]


@virtual_time
async def test_a_link_that_is_closed_is_over_at_both_ends() -> None:
    """The node hears that its router has left."""
    async with linked() as at:
        pass
    await asyncio.sleep(2 * HOP_S)
    assert at.node.of[-1] == ("gone",)


# The first words, with a real node.


async def greet(said: link_pb2.RouterFrames) -> link_pb2.NodeFrames:
    """What a node answers to that."""
    node = Node([EchoModel()], name="toy-0", mesh="toys", device="cpu", listen="local", clock=virtual_clock())
    await node.load()
    stream = Stream("router", "local", hop_s=0.0)
    await stream.router_end.write(said)
    serving = asyncio.create_task(node.open_link(stream.node_end))
    serving.add_done_callback(lambda _: stream.to_router.end())
    answer = await stream.router_end.read()
    stream.to_node.end()
    await serving
    return answer


@virtual_time
async def test_a_node_welcomes_a_router_of_its_mesh() -> None:
    """With the version that both speak, and what it serves."""
    welcome = (await greet(link_pb2.RouterFrames(hello=hello(version_max=99)))).welcome
    assert (welcome.version, welcome.name, welcome.refusal) == (version.NEWEST, "toy-0", "")
    assert [variant.lane for variant in welcome.variants] == ["echo@cpu"]


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"mesh": "shop"}, "this node is of mesh 'toys', not 'shop'"),
        ({"version_min": 7, "version_max": 9}, "the router speaks link versions 7 to 9, this end 1 to 1"),
    ],
)
def test_a_router_that_does_not_belong_is_refused(said: dict[str, object], refusal: str) -> None:
    """And is told why, in words for its operator; the router then says so once, and goes on asking."""

    @virtual_time
    async def go() -> None:
        answer = await greet(link_pb2.RouterFrames(hello=hello(**said)))
        assert refusal in answer.welcome.refusal
        assert answer.welcome.node == 0

    go()


@virtual_time
async def test_who_says_no_hello_is_shown_the_door() -> None:
    """As a caller who has mistaken the method."""
    with pytest.raises(LinkBroken, match="Hello"):
        await greet(link_pb2.RouterFrames(epoch=3))


@virtual_time
async def test_a_refused_router_goes_on_asking() -> None:
    """The node may be upgraded; meanwhile the link takes no jobs."""
    pair = Pair()

    async def refuse(stream: Stream) -> None:
        await stream.node_end.read()
        await stream.node_end.write(link_pb2.NodeFrames(welcome=link_pb2.Welcome(refusal="not you")))

    serve, pair._serve = pair._serve, refuse  # type: ignore[method-assign]
    running = asyncio.create_task(pair.link.run())
    await asyncio.sleep(10)
    assert (pair.link.state, pair.link.takes_jobs, pair.router.of) == (
        LinkState.REFUSED,
        False,
        [("changed", "refused", ())],
    )
    pair._serve = serve  # type: ignore[method-assign]
    await asyncio.sleep(2)
    assert pair.link.takes_jobs
    running.cancel()


@virtual_time
async def test_a_node_too_new_for_us_is_refused_by_us() -> None:
    """Should it choose a version that this router does not speak."""
    pair = Pair()

    async def choose_wrongly(stream: Stream) -> None:
        await stream.node_end.read()
        await stream.node_end.write(link_pb2.NodeFrames(welcome=link_pb2.Welcome(version=99, node=7, name="new")))
        assert await stream.node_end.read() is EOF

    pair._serve = choose_wrongly  # type: ignore[method-assign]
    running = asyncio.create_task(pair.link.run())
    await asyncio.sleep(1)
    assert pair.link.state is LinkState.REFUSED
    running.cancel()
