"""What a router admits without asking: all of them together never much more than the quota, nor less than there is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isochrone.errors import Overloaded
from isochrone.keys import SLOTS_TTL_MS
from isochrone.quotas import Bucket, Slots, Told
from isochrone_router.allowance import Allowance, Quota
from isochrone_router.token_lease import LEASE_S, NEVER_S, Pace


class Mesh:
    """Routers with an allowance each, and the quotas they share; nothing happens unless it is told to."""

    def __init__(self, routers: int, quota: Quota) -> None:
        self.now_s = 100.0
        self.quota = quota
        self.routers = [Allowance("shop", quota) for _ in range(routers)]
        self.bucket = Bucket(quota.burst, self.now_s)
        self.slots = Slots()
        self.under_way = [0] * routers
        self.away = False
        """Whether the quotas can't be asked."""

    def take(self, router: int) -> bool:
        refusal = self.routers[router].take(self.now_s, len(self.routers))
        assert refusal is None or (isinstance(refusal, Overloaded) and refusal.reason == "QUOTA")
        self.under_way[router] += refusal is None
        return refusal is None

    def end(self, router: int) -> None:
        if self.under_way[router]:
            self.under_way[router] -= 1
            slots = self.routers[router].slots
            if slots is not None:
                slots.put_back()

    def settle(self, router: int, *, lost: bool = False) -> None:
        """As the lessor does where something is due; `lost`: the answer doesn't come."""
        allowance = self.routers[router]
        if self.away:
            allowance.lose(self.now_s, len(self.routers))
            return
        if not allowance.is_due(self.now_s):
            allowance.find(self.now_s, len(self.routers))
            return
        ask = allowance.ask(self.now_s)
        granted = self.bucket.settle(ask, self.now_s) if ask.rate_per_s is not None else 0
        held, free = 0, 0
        if ask.limit is not None:
            held, free = self.slots.settle(router, ask, self.now_s, ttl_s=SLOTS_TTL_MS / 1e3)
        if lost:
            allowance.lose(self.now_s, len(self.routers))
        else:
            allowance.find(self.now_s, len(self.routers))
            allowance.told(Told(granted, self.bucket.level, held, free), self.now_s)

    @property
    def most_ahead(self) -> float:
        """Of tokens, that all of them may hold or owe."""
        [lease] = {router.tokens.largest for router in self.routers if router.tokens is not None}
        return len(self.routers) * (lease + max(1, self.quota.burst / len(self.routers)))


rates = st.floats(0.5, 500)
turns = st.lists(
    st.tuples(st.sampled_from(["take", "take", "take", "settle", "wait"]), st.integers(0, 3), st.integers(1, 30)),
    max_size=150,
)


@given(st.integers(1, 4), rates, st.integers(1, 40), turns)
def test_all_routers_together_admit_no_more_than_the_rate(
    routers: int, rate: float, burst: int, turns: list[tuple[str, int, int]]
) -> None:
    """The burst, what the time gave, and for each router what it may hold and owe: whoever asks whom, and whenever."""
    mesh = Mesh(routers, Quota(rate, burst))
    began_s, admitted = mesh.now_s, 0
    for what, router, number in turns:
        if what == "take":
            admitted += sum(mesh.take(router % routers) for _ in range(number))
        elif what == "settle":
            mesh.settle(router % routers)
        else:
            mesh.now_s += number / 100
        assert admitted <= burst + rate * (mesh.now_s - began_s) + mesh.most_ahead + 1e-6


@given(st.floats(0.5, 100), st.integers(2, 40), st.integers(1, 4), st.booleans())
@settings(max_examples=20)
def test_what_was_admitted_too_much_is_made_up_for(rate: float, more: int, routers: int, floods: bool) -> None:
    """Over many seconds under a flood it is the rate, but for one burst and what is held: to all routers or to one."""
    burst = more + math.ceil(rate / 10)
    mesh = Mesh(routers, Quota(rate, burst))
    admitted = 0
    for turn in range(1000):
        for router in range(routers if floods else 1):
            admitted += sum(mesh.take(router) for _ in range(3 + int(rate / 20)))
        mesh.settle(turn % routers)
        mesh.now_s += 0.02
    due = rate * 20
    assert admitted <= burst + due + mesh.most_ahead
    assert admitted >= 0.85 * due - 1


@given(st.integers(1, 4), st.integers(1, 200))
def test_a_burst_is_admitted_at_once(routers: int, burst: int) -> None:
    """Spread over the routers, before any of them has asked anybody; and then no more."""
    mesh = Mesh(routers, Quota(1.0, burst))
    admitted = sum(mesh.take(number % routers) for number in range(2 * burst + routers))
    assert burst <= admitted <= burst + routers


def test_the_first_request_waits_for_nobody() -> None:
    """Nor does the next one, when what the first spent on credit has been settled, and some more leased."""
    mesh = Mesh(2, Quota(100.0, 100))
    for _ in range(10):
        assert mesh.take(0)
        mesh.settle(0)
        mesh.now_s += 0.01
    tokens = mesh.routers[0].tokens
    assert tokens is not None
    assert tokens.debt == 0
    assert 0 < tokens.held <= math.ceil(100 * LEASE_S)


def test_an_idle_lease_is_given_back() -> None:
    """Others can have it then, and nothing is due any more."""
    mesh = Mesh(1, Quota(100.0, 100))
    for _ in range(20):
        assert mesh.take(0)
        mesh.settle(0)
    mesh.now_s += 10
    mesh.settle(0)
    tokens = mesh.routers[0].tokens
    assert tokens is not None
    assert tokens.held == 0
    assert mesh.bucket.level == 100
    assert not mesh.routers[0].is_due(mesh.now_s)


def test_a_refusal_says_when_to_come_back() -> None:
    """When there is a token; it is admitted then."""
    mesh = Mesh(1, Quota(2.0, 1))
    assert mesh.take(0)
    mesh.settle(0)
    refusal = mesh.routers[0].take(mesh.now_s, 1)
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(0.5)
    mesh.now_s += refusal.retry_after_s
    assert mesh.take(0)


@pytest.mark.parametrize("quota", [Quota(0.0, 1), Quota(None, 1, 0), Quota(0.0, 1, 0)])
def test_a_quota_of_zero_admits_nothing(quota: Quota) -> None:
    """Not the first one either, and nobody is asked for more; it is long till anything could have changed."""
    allowance = Allowance("shop", quota)
    for _ in range(3):
        refusal = allowance.take(100.0, 2)
        assert refusal is not None
        assert (refusal.reason, refusal.retry_after_s) == ("QUOTA", NEVER_S)
        assert "shop may" in refusal.message
        assert "no requests" in refusal.message
    assert not allowance.is_due(200.0)


@given(st.integers(1, 4), st.integers(1, 20), turns, st.booleans())
def test_all_routers_together_have_no_more_under_way(
    routers: int, limit: int, turns: list[tuple[str, int, int]], ends: bool
) -> None:
    """Than the limit, and for each router its share of it once more, or one."""
    mesh = Mesh(routers, Quota(None, 1, limit))
    for what, router, number in turns:
        router %= routers
        if what == "take":
            mesh.take(router)
        elif what == "settle":
            mesh.settle(router)
        elif ends:
            mesh.end(router)
        else:
            mesh.now_s += number / 20
        assert sum(mesh.under_way) <= limit + routers * max(1, limit // routers)


def test_slots_that_come_free_are_used_by_another_router() -> None:
    """It is refused while the first has them all, asks again, and has them when the first has ended its requests."""
    mesh = Mesh(2, Quota(None, 1, 4))
    while mesh.take(0):
        mesh.settle(0)
        mesh.now_s += 0.1
    assert mesh.under_way == [4, 0]
    assert mesh.take(1), "on credit: it has heard of nothing"
    mesh.settle(1)
    assert not mesh.take(1)
    mesh.end(1)
    assert not mesh.take(1)
    mesh.now_s += 0.1
    mesh.settle(1)
    for _ in range(4):
        mesh.end(0)
    for _ in range(40):
        mesh.now_s += 0.1
        mesh.settle(0)
        mesh.take(1)
        mesh.settle(1)
    assert mesh.under_way == [0, 4]


@given(st.integers(1, 4), st.floats(0.5, 100), st.integers(2, 40))
@settings(max_examples=20)
def test_a_router_alone_keeps_to_its_share(routers: int, rate: float, more: int) -> None:
    """All of them together admit what they should; one by itself its part."""
    burst = more + math.ceil(rate / 10)
    mesh = Mesh(routers, Quota(rate, burst, 8))
    for router in mesh.routers:
        router.lose(mesh.now_s, routers)
    admitted = [0] * routers
    for _ in range(500):
        for router in range(routers):
            for _ in range(2 + int(rate / 20)):
                admitted[router] += mesh.take(router)
                assert mesh.under_way[router] <= math.ceil(8 / routers)
                mesh.end(router)
        mesh.now_s += 0.02
    share = rate * 10 / routers
    assert all(0.8 * share - 1 <= one <= share + max(1, burst / routers) + 1 for one in admitted)


@given(st.integers(1, 4), st.floats(0.5, 100), st.integers(2, 40))
@settings(max_examples=10)
def test_quotas_that_come_and_go_give_nothing_away(routers: int, rate: float, more: int) -> None:
    """What a flood had while they could not be asked is owed when they can be, and not to be had once more: after many
    times it is the rate all the same, and no less."""
    burst = more + math.ceil(rate / 10)
    mesh = Mesh(routers, Quota(rate, burst))
    admitted = 0
    for _ in range(20):
        for mesh.away in (True, False):
            for turn in range(40):
                for router in range(routers):
                    admitted += sum(mesh.take(router) for _ in range(2 + math.ceil(rate / 20)))
                mesh.settle(turn % routers)
                mesh.now_s += burst / rate / 40
    due = rate * (mesh.now_s - 100.0)
    assert admitted <= burst + due + mesh.most_ahead + 1e-6
    assert admitted >= 0.8 * due - 1


def test_long_without_quotas_a_caller_owes_no_more_than_its_share() -> None:
    """What the time gave it has spent rightly: it goes on at its rate, and doesn't wait for hours' worth of debt."""
    mesh = Mesh(2, Quota(10.0, 20))
    mesh.away = True
    for router in range(2):
        mesh.settle(router)
    for _ in range(3600):
        mesh.take(0)
        mesh.now_s += 0.25
    mesh.away = False
    assert mesh.take(0)
    mesh.settle(0)
    mesh.settle(0)
    tokens = mesh.routers[0].tokens
    assert tokens is not None
    assert tokens.debt <= 10
    assert mesh.bucket.level >= 0
    assert mesh.take(0)


def test_other_quotas_hold_at_once() -> None:
    """What is under way counts for them, what is owed is still owed, and none at all is no limit."""
    allowance = Allowance("shop", Quota(1.0, 2, 2))
    assert [allowance.take(100.0, 1) is None for _ in range(3)] == [True, True, False]
    allowance.change(Quota(1.0, 10, 3))
    assert allowance.tokens is not None
    assert allowance.tokens.debt == 2
    assert [allowance.take(100.0, 1) is None for _ in range(2)] == [True, False]
    allowance.change(Quota())
    assert all(allowance.take(100.0, 1) is None for _ in range(50))
    assert repr(allowance) == "<Allowance of shop: no limits>"


def test_a_debt_that_is_being_settled_is_not_settled_again_by_other_quotas() -> None:
    """They may come while the quotas are asked."""
    allowance = Allowance("shop", Quota(1.0, 4))
    assert allowance.take(100.0, 1) is None
    assert allowance.ask(100.0).debt == 1
    allowance.change(Quota(2.0, 8))
    assert allowance.take(100.0, 1) is None
    allowance.told(Told(0, 3.0, 0, 0), 100.0)
    assert allowance.tokens is not None
    assert allowance.tokens.debt == 1, "of the one that came meanwhile"


def test_a_pace_follows_what_comes() -> None:
    """Within a second or two it is the rate, and soon after the last event next to nothing."""
    pace = Pace()
    for number in range(300):
        pace.add(number / 100)
    assert pace.at(3.0) == pytest.approx(100, rel=0.05)
    assert pace.at(8.0) < 0.01
