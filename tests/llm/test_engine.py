"""Text comes as it is made, every prompt ends once, and nothing a caller does costs another caller anything."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from torch import Tensor

from isochrone.deadline import Deadline, monotonic
from isochrone.errors import ConfigError, Internal, InvalidRequest, Overloaded, Unavailable
from isochrone_llm.engine import Delta, Engine, EngineStats, Finish, Limits, SamplingParams
from isochrone_llm.folder import LlamaFolder
from isochrone_llm.stream import Mailbox
from isochrone_llm.torch_engine import TorchEngine

MakeEngine = Callable[..., TorchEngine]
GREEDY = SamplingParams(max_tokens=30)
NEVER = Deadline.never()
THROUGH = (Finish.STOP, Finish.LENGTH)
"""How a text ends that nothing came in the way of; which of the two is the model's business."""


async def heard(stream: AsyncIterator[Delta]) -> list[Delta]:
    """All deltas. Only the last has a finish, and it has one."""
    deltas = [delta async for delta in stream]
    assert [delta.finish is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    return deltas


def whole(deltas: list[Delta]) -> Delta:
    """All of them in one."""
    one = deltas[0]
    for delta in deltas[1:]:
        one = one.followed_by(delta)
    return one


async def idle(engine: TorchEngine) -> None:
    """Waits until nothing is being answered."""
    while engine.stats().active or engine.stats().waiting:
        await asyncio.sleep(0.001)


class Gate:
    """Holds the forwards of a model back until they are let go on, so that a test knows what runs."""

    def __init__(self, llama: LlamaFolder) -> None:
        self._forward = llama.model.forward
        self._go_on = threading.Semaphore(0)
        self.open = False
        self.entered = threading.Event()

    def __call__(self, *args: object, **others: object) -> Tensor:
        self.entered.set()
        if not self.open:
            self._go_on.acquire()
        out: Tensor = self._forward(*args, **others)  # type: ignore[arg-type]
        return out

    def let(self, forwards: int) -> None:
        self._go_on.release(forwards)

    def let_all(self) -> None:
        self.open = True
        self._go_on.release()

    async def is_reached(self) -> None:
        await asyncio.to_thread(self.entered.wait)


@pytest.fixture
def gate(llama: LlamaFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Before the session's model."""
    gate = Gate(llama)
    monkeypatch.setattr(llama.model, "forward", gate)
    yield gate
    gate.let_all()


async def test_torch_engine_is_an_engine(make_engine: MakeEngine, prompts: list[list[int]]) -> None:
    """Text and tokens belong together, and the last delta counts them."""
    engine: Engine = make_engine()
    await engine.start()
    text = whole(await heard(engine.submit("a", prompts[0], SamplingParams(max_tokens=80), NEVER)))
    assert text.text.endswith(".")
    assert (text.finish, text.error, text.completion_tokens) == (Finish.STOP, None, len(text.token_ids))
    assert engine.stats() == EngineStats(active=0, waiting=0, kv_used=0)


async def test_many_at_a_time_are_answered_as_each_alone(make_engine: MakeEngine, prompts: list[list[int]]) -> None:
    """Whatever they share their steps with."""
    engine = make_engine()
    await engine.start()
    alone = [whole(await heard(engine.submit("a", prompt, GREEDY, NEVER))) for prompt in prompts[:10]]
    streams = [engine.submit(str(k), prompt, GREEDY, NEVER) for k, prompt in enumerate(prompts[:10])]
    together = await asyncio.gather(*map(heard, streams))
    assert list(map(whole, together)) == alone


async def test_text_comes_while_it_is_made(make_engine: MakeEngine, gate: Gate, prompts: list[list[int]]) -> None:
    """The first delta is there after the first forward."""
    engine = make_engine()
    await engine.start()
    stream = engine.submit("a", prompts[0], GREEDY, NEVER)
    gate.let(1)
    first = await anext(stream)
    assert (first.completion_tokens, first.finish) == (1, None)
    gate.let_all()
    assert (await heard(stream))[-1].finish in THROUGH


async def test_slow_listener_hears_everything_at_once(make_engine: MakeEngine, prompts: list[list[int]]) -> None:
    """What it has not heard is one delta, so it holds up nobody and takes no memory."""
    engine = make_engine()
    await engine.start()
    stream = engine.submit("a", prompts[0], GREEDY, NEVER)
    await idle(engine)
    (delta,) = await heard(stream)
    assert delta == whole(await heard(engine.submit("b", prompts[0], GREEDY, NEVER)))


async def test_cancelled_prompt_ends(make_engine: MakeEngine, gate: Gate, prompts: list[list[int]]) -> None:
    """At the next step, once however often it is cancelled; ids that nobody knows are nobody's."""
    engine = make_engine()
    await engine.start()
    stream = engine.submit("a", prompts[0], GREEDY, NEVER)
    gate.let(1)
    assert (await anext(stream)).finish is None
    engine.cancel("a")
    engine.cancel("a")
    engine.cancel("unknown")
    gate.let_all()
    assert (await heard(stream))[-1].finish is Finish.CANCELLED
    engine.cancel("a")
    assert engine.stats().active == 0


async def test_dropped_listener_cancels(make_engine: MakeEngine, gate: Gate, prompts: list[list[int]]) -> None:
    """Whoever breaks out of the loop is done with it: its slot comes free without another word."""
    engine = make_engine()
    await engine.start()
    stream = engine.submit("a", prompts[0], GREEDY, NEVER)
    gate.let(1)
    async for _ in stream:
        break
    generation, _ = engine._live["a"]
    del stream
    gc.collect()
    assert generation.cancelled
    gate.let_all()
    await idle(engine)
    assert generation.finish is Finish.CANCELLED


async def test_cancelled_listener_cancels(make_engine: MakeEngine, gate: Gate, prompts: list[list[int]]) -> None:
    """As when a caller's connection is gone."""
    engine = make_engine()
    await engine.start()
    stream = engine.submit("a", prompts[0], GREEDY, NEVER)
    listener = asyncio.ensure_future(heard(stream))
    await gate.is_reached()
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    gate.let_all()
    await idle(engine)
    assert (await heard(stream))[-1].finish is Finish.CANCELLED


async def test_deadline_is_kept_while_waiting(make_engine: MakeEngine, gate: Gate, prompts: list[list[int]]) -> None:
    """A prompt that never got a slot ends with no text."""
    engine = make_engine(max_seqs=1)
    await engine.start()
    first = engine.submit("a", prompts[0], GREEDY, NEVER)
    await gate.is_reached()
    late = engine.submit("b", prompts[1], GREEDY, Deadline.after(0, now_s=monotonic()))
    gate.let_all()
    (delta,) = await heard(late)
    assert (delta.finish, delta.text, delta.completion_tokens) == (Finish.DEADLINE, "", 0)
    await heard(first)


async def test_flood_is_refused_past_a_bound(make_engine: MakeEngine, gate: Gate, prompts: list[list[int]]) -> None:
    """Those that were taken are all answered; the rest are told when to come back, and cost nothing."""
    engine = make_engine(max_seqs=2, max_waiting=6)
    await engine.start()
    taken = [engine.submit(str(k), prompts[k], GREEDY, NEVER) for k in range(8)]
    for k in range(8, 100):
        with pytest.raises(Overloaded, match="8 prompts run or wait") as refused:
            engine.submit(str(k), prompts[0], GREEDY, NEVER)
        assert refused.value.retry_after_s > 0
    assert engine.stats().waiting == 8
    gate.let_all()
    assert all(deltas[-1].finish in THROUGH for deltas in await asyncio.gather(*map(heard, taken)))
    assert whole(await heard(engine.submit("next", prompts[0], GREEDY, NEVER))).finish in THROUGH


async def test_prompt_that_does_not_fit_is_refused(make_engine: MakeEngine, prompts: list[list[int]]) -> None:
    """At once, and so is one under an id that is being answered."""
    engine = make_engine()
    await engine.start()
    for token_ids, params in (([], GREEDY), ([1] * 128, GREEDY), ([1], SamplingParams(max_tokens=128))):
        with pytest.raises(InvalidRequest):
            engine.submit("a", token_ids, params, NEVER)
    stream = engine.submit("a", prompts[0], GREEDY, NEVER)
    with pytest.raises(ValueError, match="a: a prompt of that id is still being answered"):
        engine.submit("a", prompts[1], GREEDY, NEVER)
    await heard(stream)
    await heard(engine.submit("a", prompts[1], GREEDY, NEVER))


async def test_closing_lets_prompts_finish(make_engine: MakeEngine, prompts: list[list[int]]) -> None:
    """Within the time for it; no new ones are taken."""
    engine = make_engine(max_seqs=2)
    await engine.start()
    streams = [engine.submit(str(k), prompts[k], GREEDY, NEVER) for k in range(5)]
    closing = asyncio.ensure_future(engine.close(drain_s=60))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        engine.submit("late", prompts[0], GREEDY, NEVER)
    await closing
    assert {deltas[-1].finish for deltas in await asyncio.gather(*map(heard, streams))} <= set(THROUGH)


async def test_closing_ends_what_is_left(make_engine: MakeEngine, gate: Gate, prompts: list[list[int]]) -> None:
    """Those who ran and those who waited hear of it, and closing again does nothing."""
    engine = make_engine(max_seqs=2)
    await engine.start()
    streams = [engine.submit(str(k), prompts[k], GREEDY, NEVER) for k in range(5)]
    await gate.is_reached()
    closing = asyncio.ensure_future(engine.close(drain_s=0))
    while not engine._stopped:
        await asyncio.sleep(0)
    gate.let_all()
    await closing
    await engine.close(drain_s=0)
    assert {deltas[-1].finish for deltas in await asyncio.gather(*map(heard, streams))} == {Finish.CLOSED}
    assert not any(thread.name == "llm-engine" for thread in threading.enumerate())


async def test_engine_that_was_not_started_takes_nothing(make_engine: MakeEngine, prompts: list[list[int]]) -> None:
    """And can be closed."""
    engine = make_engine()
    with pytest.raises(Unavailable):
        engine.submit("a", prompts[0], GREEDY, NEVER)
    await engine.close(drain_s=0)


async def test_model_that_raises_fails_its_prompt_alone(
    make_engine: MakeEngine, llama: LlamaFolder, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is given an incident; the others are answered, and the engine goes on."""
    forward = llama.model.forward

    def faulty(tokens: Tensor, **others: object) -> Tensor:
        if (tokens == 599).any():
            raise RuntimeError("the model's own words")
        return forward(tokens, **others)  # type: ignore[arg-type]

    engine = make_engine()
    await engine.start()
    expected = [whole(await heard(engine.submit("a", prompt, GREEDY, NEVER))) for prompt in prompts[:3]]
    monkeypatch.setattr(llama.model, "forward", faulty)
    streams = [engine.submit(str(k), prompt, GREEDY, NEVER) for k, prompt in enumerate([*prompts[:3], [599]])]
    *others, failed = map(whole, await asyncio.gather(*map(heard, streams)))
    assert others == expected
    assert failed.finish is Finish.FAILED
    assert isinstance(failed.error, Internal)


async def test_fault_of_the_loop_ends_everyone_and_not_the_engine(
    make_engine: MakeEngine, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever nobody foresaw: all who were there hear of it, and who comes next is answered."""
    engine = make_engine(max_seqs=2)
    await engine.start()

    def broken(*_: object) -> list[int]:
        raise MemoryError("nobody foresaw this")

    with monkeypatch.context() as patch:
        patch.setattr("isochrone_llm.step_loop.sample", broken)
        streams = [engine.submit(str(k), prompts[k], GREEDY, NEVER) for k in range(5)]
        ended = list(map(whole, await asyncio.gather(*map(heard, streams))))
        assert {delta.finish for delta in ended} == {Finish.FAILED}
        assert all(isinstance(delta.error, Internal) for delta in ended)
    assert whole(await heard(engine.submit("next", prompts[0], GREEDY, NEVER))).finish in THROUGH
    assert engine.stats() == EngineStats(active=0, waiting=0, kv_used=0)


async def test_thread_that_dies_leaves_nobody_waiting(
    make_engine: MakeEngine, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When even ending everyone fails, as on a device that is lost: all hear of it, and no more are taken."""
    engine = make_engine(max_seqs=2)
    await engine.start()

    def broken(*_: object, **__: object) -> list[object]:
        raise MemoryError("nobody foresaw this")

    monkeypatch.setattr(engine._loop, "step", broken)
    monkeypatch.setattr(engine._loop, "end_all", broken)
    streams = [engine.submit(str(k), prompts[k], GREEDY, NEVER) for k in range(5)]
    ended = list(map(whole, await asyncio.gather(*map(heard, streams))))
    assert {delta.finish for delta in ended} == {Finish.FAILED}
    with pytest.raises(Unavailable):
        engine.submit("next", prompts[0], GREEDY, NEVER)
    await engine.close(drain_s=60)


async def test_anything_at_once(make_engine: MakeEngine, prompts: list[list[int]]) -> None:
    """Listeners that stay, leave and are late, on few slots: every prompt ends, and nothing is left behind."""
    engine = make_engine(max_seqs=3)
    await engine.start()

    async def caller(k: int) -> Finish | None:
        deadline = Deadline.after(0.02, now_s=monotonic()) if k % 5 == 1 else NEVER
        params = SamplingParams(max_tokens=1 + k, temperature=float(k % 3), seed=k, stop=(" ",) if k % 7 == 3 else ())
        last = None
        async for delta in engine.submit(str(k), prompts[k % len(prompts)], params, deadline):
            last = delta.finish
            if k % 5 == 2:
                break
            if k % 5 == 3:
                engine.cancel(str(k))
        return last

    finishes = await asyncio.gather(*(caller(k) for k in range(60)))
    assert all(finish is not None for k, finish in enumerate(finishes) if k % 5 != 2)
    await idle(engine)
    assert (engine.stats(), engine._live) == (EngineStats(active=0, waiting=0, kv_used=0), {})


async def test_limits_are_those_of_the_model(llama: LlamaFolder) -> None:
    with pytest.raises(ConfigError, match="max_context: 129 tokens; the model has 128 positions"):
        TorchEngine(llama, limits=Limits(max_context=129, kv_tokens=1000, max_seqs=1))


async def test_engine_says_how_it_is(make_engine: MakeEngine) -> None:
    engine = make_engine()
    await engine.start()
    of = "<TorchEngine of <LlamaFolder blurb.fp32 of 112,448 parameters>"
    stats = "<EngineStats 0 active, 0 waiting, 0 tokens held>"
    assert repr(engine) == f"{of}, open, {stats}>"
    await engine.close(drain_s=0)
    assert repr(engine) == f"{of}, closed, {stats}>"


async def test_nothing_is_lost_between_two_listens() -> None:
    """Deltas that come before the listener is there, and after it looked, are heard in order, the last one once."""
    mailbox = Mailbox()
    mailbox.put(Delta("a", (1,), 1))
    mailbox.put(Delta("b", (2, 3), 3))
    assert await mailbox.take() == Delta("ab", (1, 2, 3), 3)
    mailbox.put(Delta("", (), 3, Finish.STOP))
    assert await mailbox.take() == Delta("", (), 3, Finish.STOP)
    assert await mailbox.take() is None
