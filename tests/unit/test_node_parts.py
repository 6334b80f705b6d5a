"""The node's loop, a model as it is served, and the node's own API."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fakes import LANE, ROUTE, URGENT_ROUTE, Collector, FakeRouterLink, Looping, Toy, a_job, looping
from isochrone.batching import ClosedBy
from isochrone.errors import DeadlineExceeded, InvalidRequest, UnknownVariant
from isochrone.keys import Tier
from isochrone.lane import Claimed, Entry, Wants
from isochrone.node.own_api import OwnApi
from isochrone.node.served import WARM_UP_REPEATS, BatchServed
from isochrone.node.staging import JobKey
from isochrone.rpc import Call
from isochrone.testing.virtual_time import virtual_clock, virtual_time

# Served.


@virtual_time
async def test_warming_up_learns_how_long_batches_take() -> None:
    """By examples of growing size, the first of each left out: it allocates."""

    class Linear(Toy):
        def forward(self, batch: Sequence[bytes]) -> Sequence[bytes]:
            self._advance(0.002 + 0.0005 * sum(map(self.weigh, batch)))
            return super().forward(batch)

    clock = virtual_clock()
    model = Linear(clock, clock.advance)
    served = BatchServed.warmed_up(model, device="cuda", filled=asyncio.Event(), clock=clock)
    line = served.latency.current
    assert (line.base_s, line.per_unit_s) == (pytest.approx(0.002), pytest.approx(0.0005))
    assert served.lane == "toy@cuda"
    sizes = {sum(map(model.weigh, batch)) for batch in model.batches}
    assert sizes == {1, 4, model.batch_units}
    assert len(model.batches) == len(sizes) * (1 + WARM_UP_REPEATS)


@virtual_time
async def test_a_model_that_answers_too_few_examples_does_not_start() -> None:
    """Better known before anybody asks it."""

    class Short(Toy):
        def forward(self, batch: Sequence[bytes]) -> Sequence[bytes]:
            return batch[1:]

    with pytest.raises(ValueError, match="answered 0 items for 1"):
        BatchServed.warmed_up(Short(virtual_clock()), device="cpu", filled=asyncio.Event(), clock=virtual_clock())


@virtual_time
async def test_it_introduces_itself() -> None:
    """To routers, with all that they need to plan; and says how it is doing later."""
    served = BatchServed.warmed_up(Toy(virtual_clock()), device="cpu", filled=asyncio.Event(), clock=virtual_clock())
    variant = served.as_variant()
    assert (variant.lane, variant.variant, list(variant.routes), variant.unit) == (LANE, "toy", [ROUTE], "bytes")
    assert (variant.max_units, variant.batch_units, variant.batch_jobs) == (8, 16, 4)
    for _ in range(200):
        served.ran(jobs=4, units=12, compute_s=0.010)
    state = served.as_state()
    assert (state.jobs, state.batches, state.units) == (800, 200, 2400)
    assert (state.mean_jobs, state.mean_units) == (pytest.approx(4, rel=0.01), pytest.approx(12, rel=0.01))
    assert served.mean_weight == pytest.approx(3, rel=0.01)


# NodeLoop.


@virtual_time
async def test_a_batch_is_run_and_answered() -> None:
    """Claim, close, forward, reply; with the batch's size and why it closed."""
    async with looping() as at:
        at.give(1, 2, 3)
        await asyncio.sleep(0.011)
        assert at.answered == [1, 2, 3]
        [done] = at.link.frames.batches
        assert (done.lane, done.batch.jobs, done.batch.units, done.batch.closed_by) == (LANE, 3, 3, str(ClosedBy.ALL))
        assert done.compute_us == pytest.approx(10_000, abs=1)


@virtual_time
async def test_a_batch_that_ends_early_leaves_the_device_free() -> None:
    """And the node says so, not when it was to end: else routers would take their jobs elsewhere meanwhile."""
    async with looping() as at:
        at.model.takes_s = 0.002
        at.give(1)
        await asyncio.sleep(0.003)
        assert at.answered == [1]
        assert at.loop.busy_until_s <= virtual_clock()()
        at.give(2)
        assert at.link.claims[-1] == ([2], pytest.approx(at.served[LANE].latency.current.of(1)))


@virtual_time
async def test_the_lane_with_the_most_urgent_job_goes_first() -> None:
    """Lanes share the device; none has it for itself."""
    async with looping() as at:
        at.give(1)
        await asyncio.sleep(0.001)
        at.give(2, timeout_s=10.0)
        at.give(3, lane="urgent@cpu", route=URGENT_ROUTE, timeout_s=1.0)
        await asyncio.sleep(0.030)
        assert at.answered == [1, 3, 2]


@virtual_time
async def test_who_cannot_be_answered_in_time_is_told_so_and_not_run() -> None:
    """Without costing the device anything."""
    async with looping() as at:
        at.give(1)
        await asyncio.sleep(0.001)
        at.give(2, timeout_s=0.012)
        at.give(3)
        await asyncio.sleep(0.030)
        assert at.answered == [1, 3]
        assert isinstance(at.link.errors[2], DeadlineExceeded)
        assert at.model.batches == [[b"ok"], [b"ok"]]


@virtual_time
async def test_a_failed_batch_teaches_no_latency() -> None:
    """Its halves took several calls, and say nothing of one."""
    async with looping() as at:
        at.give(1, 2)
        at.give(3, payload=b"raise")
        before = at.served[LANE].latency.current
        await asyncio.sleep(0.1)
        assert at.answered == [1, 2]
        assert at.served[LANE].latency.current is before
        assert at.served[LANE].batches == 0


@virtual_time
async def test_the_next_batch_is_claimed_before_the_running_one_ends() -> None:
    """About a millisecond ahead: late enough to take the most urgent, soon enough not to wait."""
    async with looping() as at:
        await at.claimer.start()
        at.claimer.allow({LANE})
        await asyncio.sleep(0.001)
        for number in (1, 2):
            job = a_job(number)
            at.broker.lanes.add(LANE, Tier.STANDARD, [Entry(1.0, job.SerializeToString())])
            await asyncio.sleep(0.001)
        assert at.model.batches == [[b"ok"]]
        await asyncio.sleep(0.0065)
        assert len(at.served[LANE].staging) == 0
        await asyncio.sleep(0.001)
        assert len(at.served[LANE].staging) == 1
        await asyncio.sleep(0.012)
        assert at.answered == [1, 2]


@virtual_time
async def test_a_claim_that_is_late_is_waited_for() -> None:
    """What it brings goes along with what was left, and doesn't sit out a batch of one. Next time it is sent sooner."""
    async with looping() as at:
        await at.claimer.start()
        at.claimer.allow({LANE})
        lanes = at.claimer._lanes
        assert lanes is not None
        claim = lanes.claim

        async def slow_claim(wants: Wants) -> list[Claimed]:
            await asyncio.sleep(0.003)
            return await claim(wants)

        lanes.claim = slow_claim  # type: ignore[method-assign]
        at.give(1)
        await asyncio.sleep(0.001)
        at.broker.lanes.add(LANE, Tier.STANDARD, [Entry(1.0, a_job(2).SerializeToString())])
        at.give(3)
        await asyncio.sleep(0.025)
        assert at.model.batches == [[b"ok"], [b"ok", b"ok"]]
        assert at.claimer.lead_s > 0.001


@virtual_time
async def test_behind_the_dead_a_whole_batch_is_looked_for() -> None:
    """They come up first in a lane: what is claimed with them may be all that is left of a batch worth running."""
    async with looping() as at:
        await at.claimer.start()
        at.claimer.allow({LANE})
        at.give(1)
        await asyncio.sleep(0.001)
        hopeless = [a_job(number, timeout_s=0.012) for number in range(2, 5)]
        alive = [a_job(number) for number in range(5, 9)]
        entries = [Entry(job.objective_us / 1e6, job.SerializeToString()) for job in (*hopeless, *alive)]
        at.broker.lanes.add(LANE, Tier.STANDARD, entries)
        await asyncio.sleep(0.022)
        assert at.model.batches[1:] == [[b"ok"] * 4]
        assert sorted(at.link.errors) == [2, 3, 4]


@virtual_time
async def test_a_job_may_be_cancelled_while_more_are_claimed() -> None:
    """The batch is closed anew then: what was to run may be gone, and the loop goes on."""
    async with looping() as at:
        await at.claimer.start()
        at.claimer.allow({LANE})
        slow = at.claimer._lanes

        class SlowLanes:
            async def claim(self, wants: object) -> list[object]:
                await asyncio.sleep(0.002)
                return []

            def __getattr__(self, name: str) -> object:
                return getattr(slow, name)

        at.claimer._lanes = SlowLanes()  # type: ignore[assignment]
        at.give(1)
        await asyncio.sleep(0.001)
        at.give(2, timeout_s=0.012)
        at.give(3, 4)
        asyncio.get_running_loop().call_later(0.010, at.intake.cancel, at.link.router, [3])
        await asyncio.sleep(0.05)
        assert sorted(at.answered) == [1, 4]
        at.give(5)
        await asyncio.sleep(0.02)
        assert 5 in at.answered


@virtual_time
async def test_a_loop_that_is_to_leave_answers_what_it_has() -> None:
    """And then ends by itself; one with nothing to do ends at once."""
    at = Looping()
    running = asyncio.create_task(at.loop.run())
    await asyncio.sleep(0.001)
    at.give(*range(10))
    at.loop.leave()
    await asyncio.wait_for(running, 1)
    assert sorted(at.answered) == list(range(10))
    idle = Looping()
    running = asyncio.create_task(idle.loop.run())
    await asyncio.sleep(0.001)
    idle.loop.leave()
    await asyncio.wait_for(running, 0.001)


@virtual_time
async def test_callers_of_one_batch_each_get_their_own() -> None:
    """A router's jobs over its link, a call of the node's own in its future."""
    async with looping() as at:
        other, own = FakeRouterLink(0xB0), Collector()
        at.intake.link_up(other)  # type: ignore[arg-type]
        at.give(1)
        at.intake.from_link(other, [a_job(1, router=0xB0)])  # type: ignore[arg-type]
        deadline_s = virtual_clock()() + 60
        at.intake.from_caller(at.served[LANE], ROUTE, b"mine", key=JobKey(9, 1), reply_to=own, deadline_s=deadline_s)
        await asyncio.sleep(0.011)
        assert at.model.batches == [[b"ok", b"ok", b"mine"]]
        assert [len(link.frames.batches) for link in (at.link, other)] == [1, 1]
        assert own.outcomes == {1: b"MINE"}


# OwnApi.


def call(payload: bytes, *, timeout_s: float | None = None, variant: str | None = None) -> Call:
    now_s = virtual_clock()()
    return Call(ROUTE, payload, received_s=now_s, deadline_s=timeout_s and now_s + timeout_s, variant=variant)


def own_api(at: Looping) -> OwnApi:
    return OwnApi(at.served, at.intake, boot=9, name="toy-0", clock=virtual_clock())


@virtual_time
async def test_a_node_answers_its_own_callers() -> None:
    """As a router would, budget and all."""
    async with looping() as at:
        answered = await own_api(at).serve(call(b"hello", timeout_s=1.0))
        assert answered.payload == b"HELLO"
        assert (answered.budget.node, answered.budget.lane, answered.budget.direct) == ("toy-0", LANE, True)
        assert answered.budget.total_us == pytest.approx(10_000, abs=2)
        assert answered.budget.batch.jobs == 1


@virtual_time
async def test_a_nodes_own_callers_get_errors_with_a_budget() -> None:
    """A wrong request, one that can't be in time, a variant that isn't here."""
    async with looping() as at:
        api = own_api(at)
        with pytest.raises(InvalidRequest) as caught:
            await api.serve(call(b"bad"))
        assert caught.value.budget.lane == LANE
        assert not caught.value.budget.HasField("batch")
        with pytest.raises(DeadlineExceeded):
            await api.serve(call(b"hello", timeout_s=0.001))
        assert (await api.serve(call(b"hello", variant="toy"))).payload == b"HELLO"
        with pytest.raises(UnknownVariant, match="there is toy"):
            await api.serve(call(b"hello", variant="nope"))


@virtual_time
async def test_a_caller_of_the_node_that_leaves_leaves_nothing() -> None:
    """Its job is taken out again, and its mates run without it."""
    async with looping() as at:
        api = own_api(at)
        at.give(1)
        await asyncio.sleep(0.001)
        leaving = asyncio.create_task(api.serve(call(b"gone")))
        staying = asyncio.create_task(api.serve(call(b"here")))
        await asyncio.sleep(0.001)
        leaving.cancel()
        assert (await staying).payload == b"HERE"
        assert at.model.batches == [[b"ok"], [b"here"]]
        assert len(at.served[LANE].staging) == 0
