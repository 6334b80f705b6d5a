"""This mesh's placement: the real planner, fed with just what a real router is told, when it would be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from isochrone.keys import TIERS
from isochrone.simulator.job import Job
from isochrone.simulator.lane import Fifo, SharedLane
from isochrone.simulator.router import Hold, Node
from isochrone.simulator.seen import SeenNode, SeenState, SeenVariant
from isochrone_router.dispatch import LEAST_JOB_S
from isochrone_router.forecast import Forecast
from isochrone_router.hedging import Promises, hedge_to
from isochrone_router.holding import hold_s
from isochrone_router.lane_view import LaneView, LinkedNode, see_each_other
from isochrone_router.planner import Ask, Plan, Refused, Why, late_due_s
from isochrone_router.plans import HOLDS_S, Option, Plans
from isochrone_router.prices import Prices
from isochrone_router.waiting import RANK

if TYPE_CHECKING:
    from isochrone.link.node_link import NodeLink
    from isochrone.simulator.scenario import Scenario
    from isochrone_router.flight import Flight


class _SeenFlight(NamedTuple):
    """A request, as far as hedging looks at it (isochrone_router.flight.Flight)."""

    id: int
    expires_at_s: float
    alternatives: Sequence[LaneView]
    holders: Sequence[SeenNode]
    job: _Weight
    streams_from: None = None


class _Weight(NamedTuple):
    weight: int


class Planned:
    """One router's planner, with what it knows of lanes and nodes."""

    def __init__(self, scenario: Scenario, lanes: Mapping[str, SharedLane], *, routers: int) -> None:
        config = scenario.mesh
        prices = Prices(config.device)
        shares = tuple(config.share(tier) for tier in TIERS)
        self._lanes = lanes
        self.views = {
            lane: LaneView(lane, Forecast(cost_per_s=prices.of(lane.rpartition("@")[2])[0], shares=shares))
            for lane in lanes
        }
        for view in self.views.values():
            view.is_open = True
            view.forecast.routers = routers
        routes = list(scenario.routes.values())
        self._plans = [
            Plans([self.views[lane] for lane in route.lanes], [self.views[lane] for lane in route.smaller])
            for route in routes
        ]
        self._targets = [route.target for route in routes]
        self._hold = [route.hold if len(route.lanes) > 1 else 0.0 for route in routes]
        self._cap = config.router.limits.lane_jobs
        self._inflight = config.router.limits.inflight
        self._margin_s = config.router.answer_margin_ms / 1e3
        self._seen: dict[Node, SeenNode] = {}
        self._holders: dict[Job, list[SeenNode]] = defaultdict(list)
        self._promises = Promises()
        self._told: dict[Job, tuple[float, float]] = {}
        """When a node promised a job, and how soon."""
        self._kept: tuple[float, float] | None = None
        """The promise that counted last."""
        self._plan_of: dict[Job, tuple[Plan, Option | None, float]] = {}
        """And how long it had waited for company."""
        self._just_asked: tuple[Job, Ask, Plan | Refused] | None = None
        """For a job that is placed in this moment."""
        self._held: dict[Job, tuple[Plan, float]] = {}
        """Who waits for company, with which plan and since when."""

    def __repr__(self) -> str:
        return f"<Planned over {', '.join(map(repr, self.views.values()))}>"

    # What nodes tell.

    def linked(self, nodes: Mapping[Node, Mapping[str, SeenVariant]]) -> None:
        """Nodes are there."""
        for node, variants in nodes.items():
            self._seen[node] = seen = SeenNode(node, variants)
            for lane in variants:
                self.views[lane].nodes.append(LinkedNode(cast("NodeLink", seen), lane))
        for lane in {lane for variants in nodes.values() for lane in variants}:
            self.views[lane].changes += 1
            self.views[lane].renew()
        see_each_other(self.views.values())

    def link_down(self, node: Node) -> None:
        """It is gone."""
        seen = self._seen.pop(node, None)
        for view in self.views.values():
            kept = [each for each in view.nodes if cast("SeenNode", each.link) is not seen]
            if len(kept) < len(view.nodes):
                view.nodes[:] = kept
                view.changes += 1
                view.renew()
        see_each_other(self.views.values())

    def reported(self, node: Node, state: SeenState, now_s: float) -> None:
        """It has said how it is."""
        seen = self._seen.get(node)
        if seen is not None:
            seen.report = state
            seen.free_at_s = now_s + state.busy_us / 1e6
            for lane in seen.variants:
                self.views[lane].renew_soon(cast("NodeLink", seen))

    def others_are(self, lane: SharedLane, job: Job, jobs: int) -> None:
        """So many jobs of other routers wait in the queue of that one."""
        self.views[lane.name].forecast.waiting.others_are(job.tier, jobs)

    # What the router asks (router.Placer).

    def hold(self, job: Job, now_s: float) -> Hold | None:
        share = self._hold[job.route]
        if not share or len(self._plan_of) >= self._inflight:
            return None
        plans = self._plans[job.route]
        ask = self._ask(job, now_s)
        plan = plans.plan(ask)
        self._just_asked = job, ask, plan
        if isinstance(plan, Refused):
            return None
        forecast = plans.options[plan.lane].forecast
        due_in_s = job.promised_s - now_s
        seconds = hold_s(plan, due_in_s=due_in_s, share=share, forecast=forecast, cheapest=plans.cheapest)
        if not seconds:
            return None
        self._held[job] = plan, now_s
        self._just_asked = None
        return Hold(plan.lane, now_s + seconds, forecast.batch_units)

    def place(self, job: Job, now_s: float) -> SharedLane | Fifo | Node | str:
        plans = self._plans[job.route]
        let_in, held_from_s = self._held.pop(job, (None, now_s))
        if len(self._plan_of) >= self._inflight:
            return "INFLIGHT_FULL"
        just_asked, self._just_asked = self._just_asked, None
        if just_asked is not None and just_asked[0] is job:
            _, ask, plan = just_asked
        else:
            ask = self._ask(job, now_s)
            plan = plans.plan(ask)
        is_new = isinstance(plan, Plan) and now_s - plan.made_s < HOLDS_S
        if isinstance(plan, Refused):
            if let_in is None:
                return plan.reason
            plan = let_in
        if plan.why is Why.LATE:
            job.due_s = late_due_s(ask)
        job.lane = plan.lane
        self._plan_of[job] = (plan, plans.options[plan.lane] if is_new else None, now_s - held_from_s)
        job.spare_s = job.promised_s - now_s - plan.quantile_s
        if isinstance(plan.node, LinkedNode):
            return self._address(job, plan.node, now_s)
        self.views[job.lane].forecast.submitted(
            job.tier, units=job.units, due_s=job.due_s, late=plan.why is Why.LATE, now_s=now_s
        )
        return self._lanes[job.lane]

    def _ask(self, job: Job, now_s: float) -> Ask:
        return Ask(
            units=job.units,
            rank=RANK[job.tier],
            now_s=now_s,
            due_s=job.promised_s,
            end_s=job.worthless_s - self._margin_s,
            target=self._targets[job.route],
            lane_cap=self._cap,
        )

    def left_lane(self, job: Job) -> None:
        self.views[job.lane].forecast.left(job.tier, job.due_s)

    def another(self, job: Job, now_s: float, *, but: Node | None) -> Node | None:
        held = self._holders.get(job, ())
        nodes = [
            node
            for node in self.views[job.lane].nodes
            if _node(node) is not but and cast("SeenNode", node.link) not in held
        ]
        if not nodes:
            return None
        return self._address(job, min(nodes, key=lambda node: node.done_in_s(job.units, now_s=now_s)), now_s)

    def hedge(self, job: Job, now_s: float) -> Node | None:
        # Who is asked for a copy that the attempt budget has none for keeps it in his count until the job is over.
        held = self._holders.get(job, [])
        flight = _SeenFlight(
            job.number, job.worthless_s - self._margin_s, self._plans[job.route].views, held, _Weight(job.units)
        )
        node = hedge_to(cast("Flight", flight), now_s=now_s)
        if node is None:
            return None
        job.lane = node.lane
        return self._address(job, node, now_s)

    def overdue_after_s(self, lane: str, finish_in_s: float, now_s: float) -> float:
        return self._promises.overdue_after_s(lane, finish_in_s, now_s=now_s)

    def claimed(self, node: Node, jobs: Sequence[Job], finish_in_s: float, now_s: float) -> None:
        seen = self._seen.get(node)
        if seen is None:
            return
        seen.free_at_s = now_s + finish_in_s
        for job in jobs:
            if job.end is None:
                held = self._holders[job]
                if seen not in held:
                    held.append(seen)
                    seen.given += 1
                self._told[job] = (now_s, finish_in_s)

    def answered(self, job: Job, now_s: float) -> None:
        told = self._told.get(job)
        if told is not None and job.attempts == 1 and told != self._kept:  # those claimed together had one promise
            self._kept = told
            self._promises.kept(job.lane, promised_s=told[1], took_s=now_s - told[0], now_s=now_s)

    def over(self, job: Job, took_s: float, now_s: float, *, teaches: bool) -> None:
        for seen in self._holders.pop(job, ()):
            seen.given -= 1
        self._told.pop(job, None)
        planned = self._plan_of.pop(job, None)
        if planned is not None and teaches and planned[0].why is not Why.LATE and job.attempts == 1:
            plan, option, held_s = planned
            if option is not None:  # it was foretold just then
                foretold_s = plan.finish.foretold_s
                option.correction.observe(foretold_s=foretold_s, took_s=took_s - held_s, now_s=now_s)

    def _address(self, job: Job, node: LinkedNode, now_s: float) -> Node:
        seen = cast("SeenNode", node.link)
        seen.free_at_s = max(seen.free_at_s, now_s) + LEAST_JOB_S
        self._holders[job].append(seen)
        seen.given += 1
        return seen.node


def _node(node: LinkedNode) -> Node:
    return cast("SeenNode", node.link).node
