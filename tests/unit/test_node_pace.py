"""Who stands back: never all, never for little, and not to and fro."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fakes import staged
from isochrone.latency import Latency
from isochrone.node.pace import LEAST_S, Pace, stands_back, too_late
from isochrone.node.staging import StagedJob
from isochrone.registry import LaneRecord

seconds = st.floats(min_value=0, max_value=10, allow_subnormal=False)
paces = st.builds(
    Pace,
    st.builds(Latency, base_s=seconds, per_unit_s=st.floats(min_value=0, max_value=0.1, allow_subnormal=False)),
    st.integers(min_value=1, max_value=512),
)
weights = st.floats(min_value=0, max_value=512)


def of(base_ms: float, unit_ms: float = 0.0, *, full: int = 64) -> Pace:
    return Pace(Latency(base_ms / 1e3, unit_ms / 1e3), full)


def round_of(nodes: list[Pace], claims: list[bool], *, weight: float) -> list[bool]:
    """Who claims after each has decided by what the others are and do now."""
    return [
        not stands_back(
            own,
            [other for place, other in enumerate(nodes) if place != at and claims[place]],
            weight=weight,
            was_back=not claims[at],
        )
        for at, own in enumerate(nodes)
    ]


@given(st.lists(paces, min_size=1, max_size=6), st.data(), weights)
def test_never_do_all_stand_back(nodes: list[Pace], data: st.DataObject, weight: float) -> None:
    """Whoever claimed before, and however fast they are: after every round somebody claims."""
    claims = data.draw(st.lists(st.booleans(), min_size=len(nodes), max_size=len(nodes)))
    for _ in range(3):
        claims = round_of(nodes, claims, weight=weight)
        assert any(claims)


@given(st.lists(paces.map(lambda pace: pace._replace(batch_units=64)), min_size=1, max_size=6), st.data(), weights)
def test_it_comes_to_rest(nodes: list[Pace], data: st.DataObject, weight: float) -> None:
    """While nobody's pace changes nobody goes to and fro for long."""
    claims = data.draw(st.lists(st.booleans(), min_size=len(nodes), max_size=len(nodes)))
    for _ in range(len(nodes) + 2):
        before, claims = claims, round_of(nodes, claims, weight=weight)
    assert claims == before


@given(paces, weights)
def test_alone_it_claims(own: Pace, weight: float) -> None:
    """However slow it is: as it does where no registry tells of others."""
    assert not stands_back(own, [], weight=weight, was_back=True)


def test_three_times_as_slow_stands_back_and_under_twice_comes_back() -> None:
    """In between it stays where it is."""
    fast = of(2)
    assert [stands_back(of(ms), [fast], weight=1, was_back=False) for ms in (3, 5.9, 6.1, 20)] == [
        False,
        False,
        True,
        True,
    ]
    assert [stands_back(of(ms), [fast], weight=1, was_back=True) for ms in (3.9, 4.1, 20)] == [False, True, True]


def test_one_that_is_much_faster_is_enough() -> None:
    """Whoever else is slow does not matter."""
    assert stands_back(of(20), [of(20), of(2), of(40)], weight=1, was_back=False)


def test_only_who_is_slow_at_small_and_at_large_batches_stands_back() -> None:
    """A device that is slow to begin and quick with many is worth having, and so is the other way round."""
    assert not stands_back(of(20, 0.1), [of(2, 0.5)], weight=1, was_back=False)
    assert not stands_back(of(2, 2), [of(2, 0.1)], weight=1, was_back=False)
    assert stands_back(of(2, 2), [of(2, 0.1)], weight=4, was_back=False)


def test_what_no_objective_notices_is_no_reason() -> None:
    """Ten times almost nothing is almost nothing, and may be jitter."""
    assert not stands_back(of(0.1), [of(0.01)], weight=1, was_back=False)
    assert stands_back(of(0.1 + 1e3 * LEAST_S), [of(0.01)], weight=1, was_back=False)


def test_others_are_as_they_have_published_it() -> None:
    """In microseconds."""
    record = LaneRecord(base_us=2000, per_unit_us=10, spread=0.1, batch_units=32)
    assert Pace.of_record(record) == Pace(Latency(0.002, 0.00001, 0.1), 32)


def due(number: int, at_s: float) -> StagedJob:
    return staged(number, deadline_s=at_s)


def test_what_is_too_late_here_is_found_in_the_order_of_urgency() -> None:
    """Each counts on those before it; who can't be in time holds up nobody."""
    latency = Latency(0.010, 0.010)
    jobs = [due(1, 0.200), due(2, 0.121), due(3, 0.115), due(4, 0.131), due(5, 0.139)]
    late = too_late(jobs, free_at_s=0.1, latency=latency)
    assert [job.key.job for job in late] == [3, 5]


@given(st.lists(st.floats(min_value=0, max_value=1), max_size=20), st.floats(min_value=0, max_value=0.1))
def test_what_is_kept_is_in_time(times: list[float], unit_s: float) -> None:
    """By the model's own prediction, in one batch after another."""
    jobs = [due(number, at_s) for number, at_s in enumerate(times)]
    latency = Latency(0.01, unit_s)
    late = too_late(jobs, free_at_s=0.2, latency=latency)
    kept = sorted((job for job in jobs if job not in late), key=lambda job: job.objective_s)
    for place, job in enumerate(kept, start=1):
        assert 0.2 + latency.of(place) <= job.objective_s
