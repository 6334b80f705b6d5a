"""What a budget is worth, in whole meshes: the cheapest device in time, refusals at once, second copies, costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from isochrone.client.budget import Budget
from isochrone.errors import DeadlineExceeded, IsochroneError, Overloaded
from isochrone.testing.mesh import Group, LocalMesh
from isochrone.testing.models import REPEAT, SLEEP, RepeatModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock, virtual_time

GPU = "emulated-gpu"
PRICES = {"cpu": {"cost_per_hour": 1.0, "watts": 36.0}, GPU: {"cost_per_hour": 360.0}}


def sleeper(sleep_ms: float = 10.0, **options: Any) -> SleepModel:
    """A batch of eight takes so long, on the clock of the test."""
    return SleepModel(sleep_ms=sleep_ms, sleep=virtual_clock().advance, **options)


class Stalling(SleepModel):
    """Takes so much longer for the next batch."""

    stuck_s = 0.0

    def forward(self, batch: Sequence[toy_pb2.ToyMessage]) -> Sequence[toy_pb2.ToyMessage]:
        stuck_s, self.stuck_s = self.stuck_s, 0.0
        virtual_clock().advance(stuck_s)
        return super().forward(batch)


def route(**sla: Any) -> dict[str, Any]:
    return {SLEEP: {"objective_ms": 50, "deadline_ms": 50, **sla}}


@dataclass
class Sent:
    """What became of requests sent at a steady rate, whatever was answered."""

    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    """"in time", "late", or the reason of a refusal."""
    why: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the planner's word, and the lane."""
    budgets: list[Budget] = field(default_factory=list)
    refused_after_s: list[float] = field(default_factory=list)
    errors: list[IsochroneError] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Answers in time."""
        return self.outcomes["in time"] / self.seconds

    def lanes(self) -> set[str]:
        return {lane for _, lane in self.why if lane}


async def send(mesh: LocalMesh, *, per_s: float, seconds: float = 0.5, **how: Any) -> Sent:
    sent, clock, began_s = Sent(seconds), virtual_clock(), virtual_clock()()

    async def one() -> None:
        asked_s = clock()
        try:
            budget = (await mesh.call(SLEEP, b"", **how)).budget
            assert budget is not None
            sent.outcomes["late" if budget.missed else "in time"] += 1
        except IsochroneError as error:
            budget = error.budget
            sent.outcomes[error.reason] += 1
            sent.errors.append(error)
            if isinstance(error, Overloaded):
                sent.refused_after_s.append(clock() - asked_s)
        sent.budgets.append(budget)
        sent.why[budget.report.decision.why, budget.lane] += 1

    async with asyncio.TaskGroup() as calls:
        for number in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, began_s + number / per_s - clock()))
            calls.create_task(one())
    return sent


@virtual_time
async def test_the_cheapest_device_that_makes_it() -> None:
    """The dear one is used for what the cheap one can't have done in time, and no longer than that."""
    gpu = Group(GPU, [sleeper(1)])
    routes = route(objective_ms=40, deadline_ms=80)
    async with LocalMesh([sleeper()], routes=routes, more=[gpu], devices=PRICES) as mesh:
        assert (await send(mesh, per_s=300)).lanes() == {"sleep@cpu"}
        crowd = await send(mesh, per_s=2500)
        assert crowd.lanes() == {"sleep@cpu", f"sleep@{GPU}"}
        assert crowd.outcomes["in time"] > 0.99 * sum(crowd.outcomes.values())
        on_cpu = sum(budget.lane == "sleep@cpu" for budget in crowd.budgets)
        assert on_cpu > 0.5 * 800 * crowd.seconds, "the cheap one still works at most of what it can"
        await asyncio.sleep(5)
        assert (await send(mesh, per_s=300)).lanes() == {"sleep@cpu"}


@virtual_time
async def test_company_for_the_dear_device() -> None:
    """What the cheap one has no time for waits in the router for others, as long as it can spare the time: the dear one
    runs fewer and larger batches, and as many are in time. Reports say how long."""
    spent: dict[float, float] = {}
    for hold in (0.0, 0.5):
        gpu = Group(GPU, [sleeper(4)])
        routes = route(objective_ms=60, deadline_ms=90, hold=hold)
        async with LocalMesh([sleeper()], routes=routes, more=[gpu], devices=PRICES) as mesh:
            crowd = await send(mesh, per_s=1000, seconds=1.0)
            assert mesh.under_way.requests == 0
        assert crowd.outcomes["in time"] > 0.99 * sum(crowd.outcomes.values())
        waited = [budget.decision.held_ms for budget in crowd.budgets if budget.decision.held_ms]
        assert bool(waited) == bool(hold)
        assert all(0 < held_ms < 30 for held_ms in waited)
        spent[hold] = sum(budget.cost for budget in crowd.budgets)
    assert spent[0.5] < 0.75 * spent[0.0]


@virtual_time
async def test_whoever_is_held_may_leave() -> None:
    """Then it is planned for nowhere, and nothing of it is left."""
    gpu = Group(GPU, [sleeper(1)])
    routes = route(objective_ms=250, deadline_ms=500, hold=0.9)
    async with LocalMesh([sleeper(300)], routes=routes, more=[gpu], devices=PRICES) as mesh:
        call = asyncio.create_task(mesh.call(SLEEP, b""))
        await asyncio.sleep(0.1)
        assert (mesh.under_way.requests, mesh.under_way.in_lanes) == (1, 0)
        call.cancel()
        await asyncio.wait([call])
        assert mesh.under_way.requests == 0
        await asyncio.sleep(2)
        whole = await mesh.call(SLEEP, b"")
        assert whole.budget is not None
        assert whole.budget.decision is not None
        assert whole.budget.decision.held_ms > 150
        assert not whole.budget.missed


@virtual_time
async def test_a_tight_objective_goes_to_whom_can_meet_it() -> None:
    """A caller that has less time than the cheap device takes is answered by the dear one."""
    async with LocalMesh([sleeper(20)], routes=route(), more=[Group(GPU, [sleeper(1)])], devices=PRICES) as mesh:
        easy, tight = await mesh.call(SLEEP, b""), await mesh.call(SLEEP, b"", timeout_s=0.010)
        assert easy.budget is not None
        assert tight.budget is not None
        assert (easy.budget.lane, tight.budget.lane) == ("sleep@cpu", f"sleep@{GPU}")


@virtual_time
async def test_an_answer_says_what_it_cost() -> None:
    """Its share of its batch's time on its device, by the prices configured; how it was planned; and on what."""
    async with LocalMesh([sleeper(unit_ms=1)], routes=route(), devices=PRICES) as mesh:
        first = asyncio.create_task(mesh.call(SLEEP, b""))
        await asyncio.sleep(0.001)
        both = await asyncio.gather(
            *(mesh.call(SLEEP, toy_pb2.ToyMessage(units=units).SerializeToString()) for units in (1, 3))
        )
        await first
        reports = [answer.budget.report for answer in both if answer.budget]
        assert [report.batch.jobs for report in reports] == [2, 2]
        seconds = 0.010 + 4 * 0.001
        for report, share in zip(reports, (0.25, 0.75), strict=True):
            decision = report.decision
            assert decision.device == "cpu"
            assert decision.cost == pytest.approx(share * seconds / 3600, rel=0.01)
            assert decision.joules == pytest.approx(share * seconds * 36, rel=0.01)
            assert 0 < decision.expected_us <= decision.quantile_us <= 50_000


@virtual_time
async def test_a_smaller_variant_before_a_refusal() -> None:
    """It takes what the others have no time for, and says that it did."""
    small = Group("cpu", [sleeper(2, variant="sleep.small")])
    routes = route(deadline_ms=60, lanes=["sleep@cpu"], smaller=["sleep.small@cpu"])
    async with LocalMesh([sleeper()], routes=routes, more=[small]) as mesh:
        assert (await send(mesh, per_s=300)).lanes() == {"sleep@cpu"}
        crowd = await send(mesh, per_s=1600)
        assert crowd.why["smaller", "sleep.small@cpu"] > 100
        assert not crowd.refused_after_s
        assert crowd.outcomes["in time"] > 0.95 * sum(crowd.outcomes.values())


@pytest.mark.parametrize("per_s", [900, 1600, 3000])
@virtual_time
async def test_variants_of_one_node_share_its_time(per_s: float) -> None:
    """What waits for the one keeps the device from the other: so many go to the smaller one that all can be answered in
    time, and next to none waits in vain."""
    routes = route(deadline_ms=60, lanes=["sleep@cpu"], smaller=["sleep.small@cpu"])
    async with LocalMesh([sleeper(), sleeper(2, variant="sleep.small")], routes=routes) as mesh:
        crowd = await send(mesh, per_s=per_s, seconds=1.0)
    assert crowd.outcomes["in time"] > 0.93 * per_s
    assert crowd.outcomes["DEADLINE_EXCEEDED"] < 0.02 * per_s


@pytest.mark.parametrize("deadline_ms", [50, 200])
@virtual_time
async def test_goodput_holds_at_two_and_three_times_what_there_is_room_for(deadline_ms: float) -> None:
    """The rest is refused at once and told when to come back; of those admitted next to none wait in vain. Also where
    the deadline leaves time to be late in: that is for time that nobody else wants."""
    capacity = 2 * 8 / 0.010
    for times in (1.0, 2.0, 3.0):
        async with LocalMesh([sleeper()], routes=route(deadline_ms=deadline_ms), nodes=2) as mesh:
            sent = await send(mesh, per_s=times * capacity, seconds=1.0)
        assert sent.per_s > 0.95 * capacity, times
        admitted = sum(sent.outcomes.values()) - sent.outcomes["OVERLOAD"]
        # Some are let in to be late before it is known how much comes.
        assert sent.outcomes["DEADLINE_EXCEEDED"] < (0.05 if deadline_ms == 50 else 0.15) * admitted
        assert max(sent.refused_after_s, default=0.0) == 0.0
        if times > 1:
            assert sent.outcomes["OVERLOAD"] > 0.8 * (times - 1) * capacity
        for error in sent.errors:
            if isinstance(error, Overloaded):
                assert error.retry_after_s is not None
                assert 0 < error.retry_after_s < 1


@virtual_time
async def test_next_to_nothing_is_computed_for_nobody() -> None:
    """At three times what there is room for, hardly a batch holds a job that nobody waits for any more."""
    model = sleeper()
    async with LocalMesh([model], routes=route()) as mesh:
        before = model.forwards
        sent = await send(mesh, per_s=2400, seconds=1.0)
        answered = sent.outcomes["in time"] + sent.outcomes["late"]
        assert answered > 0.95 * 8 * (model.forwards - before)


@virtual_time
async def test_a_deadline_that_nobody_could_meet_is_refused_with_the_numbers() -> None:
    """At once, by what the quickest node takes with nothing else to do."""
    async with LocalMesh([sleeper(20)], routes=route()) as mesh:
        with pytest.raises(Overloaded, match=r"takes 20\.0 ms with nothing else to do, and has 14\.5") as caught:
            await mesh.call(SLEEP, b"", timeout_s=0.015)
        assert caught.value.reason == "INFEASIBLE_DEADLINE"
        assert caught.value.budget.report.decision.why == "INFEASIBLE_DEADLINE"
        assert caught.value.budget.total_ms == pytest.approx(0, abs=0.01)


@virtual_time
async def test_gold_gets_through_a_flood_of_batch() -> None:
    """Three times as much as there is room for: the rest of it is refused, and the tiers above don't notice."""
    async with LocalMesh([sleeper()], routes=route(), nodes=2) as mesh:
        flood, gold = await asyncio.gather(
            send(mesh, per_s=4800, tier="batch"), send(mesh, per_s=200, seconds=0.45, tier="gold")
        )
        assert set(gold.outcomes) == {"in time"}
        assert flood.outcomes["OVERLOAD"] > 1000
        assert flood.per_s > 0.7 * (1600 - 200)


@virtual_time
async def test_a_node_that_stalls_costs_its_callers_no_more_than_a_second_copy() -> None:
    """Another that is free answers: the second attempt wins, and the report says so."""
    stalling = Stalling(sleep_ms=10, sleep=virtual_clock().advance)
    async with LocalMesh([stalling], routes=route(deadline_ms=200), more=[Group("cpu", [sleeper()])]) as mesh:
        await send(mesh, per_s=100)
        sending = asyncio.create_task(send(mesh, per_s=100))
        stalling.stuck_s = 0.15
        sent = await sending
        assert set(sent.outcomes) == {"in time"}
        [again] = [budget for budget in sent.budgets if budget.attempts > 1]
        assert (again.attempts, again.report.won, again.node) == (2, 2, "node-1")
        attempts = mesh.router.dispatcher.second_attempts
        assert (attempts.hedges, attempts.hedges_won) == (1, 1)


@virtual_time
async def test_whoever_wants_one_variant_gets_no_second_copy_of_another() -> None:
    """However late it is: who names a variant wants that one's answer."""
    stalling = Stalling(sleep_ms=10, sleep=virtual_clock().advance)
    small = Group("cpu", [sleeper(2, variant="sleep.small")])
    routes = route(deadline_ms=400, lanes=["sleep@cpu"], smaller=["sleep.small@cpu"])
    async with LocalMesh([stalling], routes=routes, more=[small]) as mesh:
        await send(mesh, per_s=50, variant="sleep")
        lanes = []
        for variant in (None, "sleep"):
            stalling.stuck_s = 0.2
            answer = await mesh.call(SLEEP, b"", variant=variant)
            assert answer.budget is not None
            lanes.append(answer.budget.lane)
            await asyncio.sleep(0.5)
        assert lanes == ["sleep.small@cpu", "sleep@cpu"]


@virtual_time
async def test_no_second_copies_while_jobs_wait() -> None:
    """A node that stalls under overload is left to it: a copy would take the place of another's work."""
    stalling = Stalling(sleep_ms=10, sleep=virtual_clock().advance)
    async with LocalMesh([stalling], routes=route(deadline_ms=200), more=[Group("cpu", [sleeper()])]) as mesh:
        sending = asyncio.create_task(send(mesh, per_s=3200, seconds=1.0))
        await asyncio.sleep(0.3)
        before = mesh.router.dispatcher.second_attempts.hedges
        stalling.stuck_s = 0.15
        await sending
        assert mesh.router.dispatcher.second_attempts.hedges == before


@virtual_time
async def test_second_copies_stay_within_five_percent() -> None:
    """However often a node stalls, and however free the other is."""
    stalling = Stalling(sleep_ms=10, sleep=virtual_clock().advance)
    async with LocalMesh([stalling], routes=route(deadline_ms=300), more=[Group("cpu", [sleeper()])]) as mesh:
        dispatcher = mesh.router.dispatcher
        while dispatcher._attempts.take_spare():  # what was saved up for a node's death is for hedges no longer
            pass
        rounds, jobs = 40, 10
        for _ in range(rounds):
            stalling.stuck_s = 0.1
            await asyncio.gather(*(mesh.call(SLEEP, b"") for _ in range(jobs)))
            await asyncio.sleep(0.3)
        assert 0 < dispatcher.second_attempts.hedges <= 0.05 * rounds * jobs + 1
        assert dispatcher.second_attempts.hedges_won >= 0.8 * dispatcher.second_attempts.hedges


@virtual_time
async def test_a_node_that_dies_without_a_word_is_worked_around() -> None:
    """What the router knew of it is stale from then on: some are sent again, and soon all go elsewhere."""
    stalling = Stalling(sleep_ms=10, sleep=virtual_clock().advance)
    async with LocalMesh([stalling], routes=route(deadline_ms=150), more=[Group("cpu", [sleeper()], 2)]) as mesh:
        await send(mesh, per_s=400)
        stalling.stuck_s = 1000.0
        mesh.partition(mesh.nodes[0])
        dying = await send(mesh, per_s=400, seconds=1.0)
        assert dying.outcomes["in time"] > 0.9 * sum(dying.outcomes.values())
        after = await send(mesh, per_s=400)
        assert set(after.outcomes) == {"in time"}
        assert {budget.node for budget in after.budgets} == {"node-1", "node-2"}


@virtual_time
async def test_what_the_last_cheap_node_had_is_answered_by_a_dear_one() -> None:
    """It dies with jobs that another lane of the route has the time for: none of them fails."""
    gpu = Group(GPU, [sleeper(1)])
    async with LocalMesh([sleeper(20)], routes=route(deadline_ms=200), more=[gpu], devices=PRICES) as mesh:
        sending = asyncio.create_task(send(mesh, per_s=200, seconds=0.4))
        await asyncio.sleep(0.2)
        await mesh.kill_node(mesh.nodes[0])
        sent = await sending
        assert set(sent.outcomes) <= {"in time", "late"}
        again = [budget.lane for budget in sent.budgets if budget.attempts > 1]
        assert again
        assert set(again) == {f"sleep@{GPU}"}


@virtual_time
async def test_an_emulated_device_is_called_so_wherever_it_is_seen() -> None:
    """In what an answer says of itself, and in the router's status."""
    async with LocalMesh(
        [], routes={SLEEP: {"objective_ms": 50, "deadline_ms": 50}}, more=[Group(GPU, [sleeper()])], nodes=0
    ) as mesh:
        budget = (await mesh.call(SLEEP, b"")).budget
        assert budget is not None
        assert (budget.lane, budget.report.decision.device) == (f"sleep@{GPU}", GPU)


@virtual_time
async def test_streams_keep_no_batch_waiting() -> None:
    """A node that makes long answers step by step is free for batches meanwhile, and its routers know that."""
    sleeper = SleepModel(sleep_ms=5, sleep=virtual_clock().advance)
    routes = {
        REPEAT: {"objective_ms": 100, "deadline_ms": 60_000},
        SLEEP: {"objective_ms": 50, "deadline_ms": 50},
    }
    async with LocalMesh([sleeper, RepeatModel(step_ms=10)], routes=routes) as mesh:
        long = toy_pb2.ToyMessage(units=1000).SerializeToString()
        assert len([chunk async for chunk in mesh.stream(REPEAT, long)]) == 1000  # now it is known how long they are
        streams = [mesh.stream(REPEAT, long) for _ in range(4)]
        for stream in streams:
            await anext(stream)
        for _ in range(20):
            answer = await mesh.call(SLEEP, b"")
            assert answer.budget is not None
            assert not answer.budget.missed
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]


@virtual_time
async def test_who_is_never_run_keeps_nobody_waiting() -> None:
    """A node that is given what it can't do in time tells nobody that it will be busy with it."""
    async with LocalMesh([sleeper(1, unit_ms=1, max_units=300)], routes=route(), lanes=False) as mesh:
        heavy = toy_pb2.ToyMessage(units=300).SerializeToString()
        hopeless = asyncio.create_task(mesh.call(SLEEP, heavy, timeout_s=0.04))
        await asyncio.sleep(0.001)
        light = await mesh.call(SLEEP, b"", timeout_s=0.04)
        assert light.budget is not None
        assert not light.budget.missed
        with pytest.raises((DeadlineExceeded, Overloaded)):
            await hopeless
