"""Device: one forward call at a time, and no bad member harms its batch-mates."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import Toy, staged
from isochrone.errors import DeadlineExceeded, Internal, IsochroneError
from isochrone.node.device import COLD_S, INLINE_S, Device
from isochrone.node.staging import StagedJob
from isochrone.testing.virtual_time import virtual_clock, virtual_time

LONG_S = 1.0
"""Expected to take so long that it runs beside the loop."""


def toy() -> Toy:
    clock = virtual_clock()
    return Toy(clock, clock.advance)


async def run(model: Toy, jobs: list[StagedJob], *, expected_s: float = LONG_S) -> dict[int, bytes | IsochroneError]:
    """By job number, its answer or its error; each job has exactly one."""
    device = Device("cpu", clock=virtual_clock())
    outcomes, _, _ = await device.run(model, jobs, expected_s=expected_s)
    device.close()
    assert sorted(outcome.job.key for outcome in outcomes) == sorted(job.key for job in jobs)
    return {outcome.job.key.job: outcome.error or outcome.payload for outcome in outcomes}


@virtual_time
async def test_a_batch_runs_together() -> None:
    """One forward call, an answer for each member."""
    model = toy()
    assert await run(model, [staged(1, b"a"), staged(2, b"b")]) == {1: b"A", 2: b"B"}
    assert model.batches == [[b"a", b"b"]]


@virtual_time
async def test_it_tells_when_the_call_began_and_how_long_it_took() -> None:
    """On the clock it was given."""
    model, clock = toy(), virtual_clock()
    model.takes_s = 0.010
    began_s = clock()
    device = Device("cpu", clock=clock)
    _, started_s, compute_s = await device.run(model, [staged(1)], expected_s=LONG_S)
    assert (started_s, compute_s) == (began_s, pytest.approx(0.010))
    assert clock() == pytest.approx(began_s + 0.010)


@virtual_time
async def test_short_batches_run_on_the_loop_and_long_ones_beside_it() -> None:
    """A thread's hand-over would cost a short one more than it is worth."""
    device = Device("cpu", clock=virtual_clock())
    assert device.run(toy(), [staged(1)], expected_s=INLINE_S / 2).done()
    beside = device.run(toy(), [staged(1)], expected_s=INLINE_S * 2)
    assert not beside.done()
    await beside


@pytest.mark.parametrize("trouble", [b"raise", b"short"])
def test_only_the_culprit_pays(trouble: bytes) -> None:
    """A forward that raises, or answers too few, is split until the bad member stands alone."""

    @virtual_time
    async def go() -> None:
        model = toy()
        jobs = [staged(number, trouble if number == 3 else b"ok") for number in range(8)]
        outcomes = await run(model, jobs)
        assert isinstance(outcomes.pop(3), Internal)
        assert outcomes == dict.fromkeys({0, 1, 2, 4, 5, 6, 7}, b"OK")
        assert [len(batch) for batch in model.batches] == [8, 4, 2, 2, 1, 1, 4]

    go()


@given(st.lists(st.sampled_from([b"ok", b"raise", b"short", b"unencodable"]), min_size=1, max_size=12))
def test_whoever_is_well_is_answered(items: list[bytes]) -> None:
    """However many bad members there are, and wherever they stand."""

    @virtual_time
    async def go() -> None:
        model = toy()
        outcomes = await run(model, [staged(number, item) for number, item in enumerate(items)])
        for number, item in enumerate(items):
            assert isinstance(outcomes[number], Internal) if item != b"ok" else outcomes[number] == b"OK"
        assert len(model.batches) <= 2 * len(items)

    logging.disable(logging.CRITICAL)
    try:
        go()
    finally:
        logging.disable(logging.NOTSET)


@virtual_time
async def test_an_answer_that_cannot_be_encoded_fails_alone() -> None:
    """Without a second forward call: the batch was well."""
    model = toy()
    outcomes = await run(model, [staged(1), staged(2, b"unencodable"), staged(3)])
    assert isinstance(outcomes[2], Internal)
    assert (outcomes[1], outcomes[3]) == (b"OK", b"OK")
    assert len(model.batches) == 1


def test_the_text_of_a_fault_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Under the incident's id, which is all that the caller gets."""

    @virtual_time
    async def go() -> None:
        outcomes = await run(toy(), [staged(1, b"raise")])
        error = outcomes[1]
        assert isinstance(error, Internal)
        assert "secret" not in str(error)
        [record] = [record for record in caplog.records if error.incident in record.getMessage()]
        assert "a secret of the model" in (record.exc_text or str(record.exc_info))

    go()


@virtual_time
async def test_a_deadline_that_passes_between_the_splits_is_kept() -> None:
    """No forward call begins with a job that has expired by then, and its mates go on without it."""
    model, now_s = toy(), virtual_clock()()
    model.takes_s = 0.010
    jobs = [staged(1, b"raise"), staged(2), staged(3, deadline_s=now_s + 0.015), staged(4)]
    outcomes = await run(model, jobs)
    assert isinstance(outcomes[1], Internal)
    assert isinstance(outcomes[3], DeadlineExceeded)
    assert (outcomes[2], outcomes[4]) == (b"OK", b"OK")
    assert [len(batch) for batch in model.batches] == [4, 2, 1, 1, 1]


@virtual_time
async def test_a_batch_that_waited_for_its_thread_drops_the_expired() -> None:
    """Between the decision to run it and the call itself time may pass, in a process that was stopped, say."""
    model, clock = toy(), virtual_clock()
    ticks = iter([clock(), clock() + 0.5])
    device = Device("cpu", clock=lambda: next(ticks, clock() + 0.5))
    jobs = [staged(1, deadline_s=clock() + 0.1), staged(2)]
    outcomes, _, _ = await device.run(model, jobs, expected_s=LONG_S)
    assert {outcome.job.key.job: type(outcome.error) for outcome in outcomes} == {1: DeadlineExceeded, 2: type(None)}
    assert model.batches == [[b"ok"]]


async def test_in_real_time_the_loop_goes_on_while_a_batch_runs() -> None:
    """The forward call has a thread to itself."""
    loop = asyncio.get_running_loop()
    entered, leave = asyncio.Event(), asyncio.Event()

    class Slow(Toy):
        def forward(self, batch):  # type: ignore[no-untyped-def]
            loop.call_soon_threadsafe(entered.set)
            asyncio.run_coroutine_threadsafe(leave.wait(), loop).result(5)
            return batch

    device = Device("cpu", clock=loop.time)
    running = device.run(Slow(loop.time), [staged(1)], expected_s=LONG_S)
    await asyncio.wait_for(entered.wait(), 5)
    assert not running.done()
    leave.set()
    outcomes, _, _ = await running
    assert outcomes[0].payload == b"OK"
    device.close()


@virtual_time
async def test_an_example_is_run_twice_where_that_is_quick() -> None:
    """A first call after a pause takes longer than those that follow; of slow ones, one is enough."""
    model, clock = toy(), virtual_clock()
    device = Device("cpu", clock=clock)
    model.takes_s = 0.9 * COLD_S
    assert await device.rehearse(model, 3, expected_s=LONG_S) == (3, pytest.approx(model.takes_s))
    assert len(model.batches) == 2
    model.takes_s = 1.1 * COLD_S
    assert await device.rehearse(model, 3, expected_s=0.0) == (3, pytest.approx(model.takes_s))
    assert len(model.batches) == 3


@virtual_time
async def test_an_example_that_raises_harms_nobody() -> None:
    """It only tells nothing."""
    model = toy()
    model.example = lambda units: b"nothing"  # type: ignore[method-assign]
    model.forward = lambda batch: 1 / 0  # type: ignore[method-assign,assign,return-value]
    assert await Device("cpu", clock=virtual_clock()).rehearse(model, 1, expected_s=LONG_S) is None
