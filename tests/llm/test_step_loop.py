"""Prompts join and leave between steps, each as if it were alone, and whatever happens their slots come free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from isochrone.deadline import Deadline
from isochrone.errors import Internal
from isochrone_llm.engine import Delta, Finish, Limits, SamplingParams
from isochrone_llm.folder import LlamaFolder
from isochrone_llm.generation import Generation
from isochrone_llm.runner import Runner
from isochrone_llm.step_loop import StepLoop

GREEDY = SamplingParams(max_tokens=30)
WARM = SamplingParams(max_tokens=30, temperature=1.0, top_p=0.9, seed=7)


class Bench:
    """A step loop on a clock that is turned by hand, and what was said to each prompt."""

    def __init__(
        self, llama: LlamaFolder, runner: Runner | None = None, *, max_seqs: int = 4, say_every_s: float = 0.0
    ) -> None:
        self.now_s = 0.0
        self.llama = llama
        self.limits = Limits(max_context=128, kv_tokens=400, max_seqs=max_seqs)
        self.loop = StepLoop(
            runner or Runner(llama.model, slots=max_seqs, context=128),
            limits=self.limits,
            prefill_tokens=64,
            end_tokens=llama.end_tokens,
            clock=lambda: self.now_s,
            say_every_s=say_every_s,
        )
        self.said: dict[str, list[Delta]] = {}

    def add(
        self, name: str, prompt: Sequence[int], params: SamplingParams = GREEDY, *, within_s: float = 1e9
    ) -> Generation:
        deadline = Deadline.after(within_s, now_s=self.now_s)
        generation = Generation(name, prompt, params, deadline, decode=self.llama.codec.decode)
        self.loop.add(generation)
        return generation

    def step(self) -> None:
        for generation, delta in self.loop.step():
            self.said.setdefault(generation.request_id, []).append(delta)

    def run(self) -> None:
        while not self.loop.idle:
            self.step()

    def tokens(self, name: str) -> list[int]:
        return [token for delta in self.said[name] for token in delta.token_ids]

    def text(self, name: str) -> str:
        return "".join(delta.text for delta in self.said[name])

    def finish(self, name: str) -> Finish | None:
        """Of the last delta. No other has one."""
        *before, last = self.said[name]
        assert all(delta.finish is None for delta in before)
        return last.finish


@pytest.fixture
def bench(llama: LlamaFolder) -> Bench:
    return Bench(llama)


def alone(llama: LlamaFolder, prompt: Sequence[int], params: SamplingParams = GREEDY) -> list[int]:
    """What the prompt is answered in an engine of its own."""
    bench = Bench(llama)
    bench.add("alone", prompt, params)
    bench.run()
    return bench.tokens("alone")


@torch.no_grad()
def reference(llama: LlamaFolder, prompt: Sequence[int], count: int = 30) -> list[int]:
    """The likeliest tokens by forwards of the whole text, without batch or memory."""
    text = list(prompt)
    while len(text) < len(prompt) + count:
        token = int(llama.model(torch.tensor([text]))[0, -1].argmax())
        if token in llama.end_tokens:
            break
        text.append(token)
    return text[len(prompt) :]


def test_batched_greedy_is_the_plain_models(bench: Bench, prompts: list[list[int]]) -> None:
    """Twelve prompts on four slots, coming and going, get the tokens of unbatched forwards without a cache."""
    for k, prompt in enumerate(prompts[:12]):
        bench.add(str(k), prompt)
    bench.run()
    for k, prompt in enumerate(prompts[:12]):
        assert bench.tokens(str(k)) == reference(bench.llama, prompt)
        assert bench.text(str(k)) == bench.llama.codec.decode(bench.tokens(str(k)))


@pytest.mark.parametrize("params", [GREEDY, WARM])
@pytest.mark.parametrize("gap", [1, 3])
def test_who_joins_later_changes_nothing(
    bench: Bench, prompts: list[list[int]], params: SamplingParams, gap: int
) -> None:
    """Each gets what it gets alone, though another joins every few steps; also drawn ones, by their seeds."""
    for k, prompt in enumerate(prompts[:8]):
        bench.add(str(k), prompt, params)
        for _ in range(gap):
            bench.step()
    bench.run()
    for k, prompt in enumerate(prompts[:8]):
        assert bench.tokens(str(k)) == alone(bench.llama, prompt, params)


def test_those_who_run_share_one_forward(llama: LlamaFolder, prompts: list[list[int]]) -> None:
    """A step has at most two: one over those who run, one over those who join."""
    calls: list[int] = []

    class Counted(Runner):
        def forward(self, first_slot: int, chunks: Sequence[Sequence[int]], seen: Sequence[int]) -> Tensor:
            calls.append(len(chunks))
            return super().forward(first_slot, chunks, seen)

    bench = Bench(llama, Counted(llama.model, slots=4, context=128))
    bench.add("a", prompts[0])
    bench.add("b", prompts[1])
    bench.step()
    bench.add("c", prompts[2])
    bench.step()
    bench.step()
    assert calls == [2, 2, 1, 3]


def test_same_seed_same_text(llama: LlamaFolder, prompts: list[list[int]]) -> None:
    """And another seed gives another."""
    first, again, other = (alone(llama, prompts[0], replace(WARM, temperature=3.0, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_what_comes_soon_after_is_said_together(llama: LlamaFolder, prompts: list[list[int]]) -> None:
    """The first token at once, then a delta for each while; the text is the same."""
    each, together = Bench(llama), Bench(llama, say_every_s=0.02)
    for bench in (each, together):
        bench.add("a", prompts[0], replace(GREEDY, max_tokens=13))
        while not bench.loop.idle:
            bench.step()
            bench.now_s += 0.0075
    assert together.text("a") == each.text("a")
    assert together.tokens("a") == each.tokens("a")
    assert [len(delta.token_ids) for delta in together.said["a"]] == [1, 3, 3, 3, 3]


def test_length_is_kept(bench: Bench, prompts: list[list[int]]) -> None:
    bench.add("a", prompts[0], SamplingParams(max_tokens=3))
    bench.run()
    assert len(bench.tokens("a")) == bench.said["a"][-1].completion_tokens == 3
    assert bench.finish("a") is Finish.LENGTH


def test_context_can_be_filled_to_its_end(bench: Bench) -> None:
    """The last token of the last position, beside others."""
    params = SamplingParams(max_tokens=28, temperature=50.0)  # too hot to end by itself
    bench.add("a", [5] * 100, params)
    bench.add("b", [6] * 10, params)
    bench.run()
    assert bench.said["a"][-1].completion_tokens in range(1, 29)
    assert bench.loop.idle


def test_model_ends_the_text(bench: Bench, prompts: list[list[int]]) -> None:
    """The token that says so is not part of it."""
    bench.add("a", prompts[0], SamplingParams(max_tokens=80))
    bench.run()
    assert bench.finish("a") is Finish.STOP
    assert bench.text("a").endswith(".")
    assert not set(bench.llama.end_tokens) & set(bench.tokens("a"))


def test_stop_string_ends_the_text_before_it(bench: Bench, prompts: list[list[int]]) -> None:
    """Wherever in the text it stands, across however many tokens."""
    whole = bench.llama.codec.decode(alone(bench.llama, prompts[0]))
    for start in range(0, len(whole) - 5, 3):
        stop = whole[start : start + 5]
        bench.add(str(start), prompts[0], replace(GREEDY, stop=("nowhere", stop)))
        bench.run()
        assert bench.text(str(start)) == whole[: whole.index(stop)]
        assert bench.finish(str(start)) is Finish.STOP


def test_half_a_stop_string_is_said_in_the_end(bench: Bench, prompts: list[list[int]]) -> None:
    """What was held back isn't lost when the text ends another way."""
    whole = bench.llama.codec.decode(alone(bench.llama, prompts[0], SamplingParams(max_tokens=5)))
    bench.add("a", prompts[0], SamplingParams(max_tokens=5, stop=(whole[-2:] + "!",)))
    bench.run()
    assert bench.text("a") == whole


@pytest.mark.parametrize("seed", range(10))
def test_characters_are_never_split(bench: Bench, seed: int) -> None:
    """A model that makes random bytes says only whole characters, and replacement characters for what is none."""
    bench.add("a", [5], SamplingParams(max_tokens=60, temperature=100.0, seed=seed))
    bench.run()
    assert bench.text("a") == bench.llama.codec.decode(bench.tokens("a"))


@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_cancelled_at_any_point(bench: Bench, prompts: list[list[int]], after: int) -> None:
    """While it waits, after its prompt was read, and later: it ends at the next step, and the others go on."""
    bench.add("other", prompts[1])
    cancelled = bench.add("a", prompts[0])
    for _ in range(after):
        bench.step()
    cancelled.cancel()
    cancelled.cancel()
    bench.step()
    assert bench.finish("a") is Finish.CANCELLED
    assert (bench.said["a"][-1].completion_tokens, bench.loop.active) == (after, 1)
    bench.run()
    assert bench.tokens("other") == alone(bench.llama, prompts[1])


def test_cancelled_behind_a_full_batch(llama: LlamaFolder, prompts: list[list[int]]) -> None:
    """Who waits for a slot needs none to be let go."""
    bench = Bench(llama, max_seqs=1)
    bench.add("runs", prompts[0])
    waits = bench.add("waits", prompts[1])
    bench.step()
    waits.cancel()
    bench.step()
    assert bench.finish("waits") is Finish.CANCELLED
    assert bench.loop.active == 1


@pytest.mark.parametrize("after", [0, 1, 4])
def test_deadline_ends_the_text_with_what_there_is(bench: Bench, prompts: list[list[int]], after: int) -> None:
    """At the first step past it; the deadline of another is another's."""
    bench.add("a", prompts[0], within_s=1.0)
    bench.add("b", prompts[1], within_s=1.5)
    for _ in range(after):
        bench.step()
    bench.now_s = 1.0
    bench.step()
    assert bench.finish("a") is Finish.DEADLINE
    assert len(bench.tokens("a")) == after
    bench.run()
    assert bench.tokens("b") == alone(bench.llama, prompts[1])


class Slow(Runner):
    """Each of its steps takes half a second, on a clock that is turned by hand."""

    bench: Bench

    def forward(self, *of: object) -> Tensor:
        self.bench.now_s += 0.5
        return super().forward(*of)  # type: ignore[arg-type]


def test_no_step_takes_a_text_past_its_deadline(llama: LlamaFolder, prompts: list[list[int]]) -> None:
    """Once it is known how long steps take, the last one before the deadline ends it."""
    runner = Slow(llama.model, slots=4, context=128)
    runner.bench = bench = Bench(llama, runner)
    bench.add("a", prompts[0], within_s=2.2)
    bench.run()
    assert bench.finish("a") is Finish.DEADLINE
    assert len(bench.tokens("a")) == 4
    assert bench.now_s == 2.0


def test_tokens_are_reserved(llama: LlamaFolder) -> None:
    """Three sequences of 120 tokens fit into 400, a fourth waits until one is through."""
    bench = Bench(llama, max_seqs=8)
    for k in range(4):
        bench.add(str(k), [5] * 60, SamplingParams(max_tokens=60))
    for _ in range(5):
        bench.step()
    assert bench.loop.active == 3
    assert bench.loop.kv_used == 360
    bench.run()
    assert bench.loop.kv_used == 0
    assert len(bench.said) == 4


class Faulty(Runner):
    """Raises, or gives no numbers, wherever a chunk has a given token."""

    def __init__(self, llama: LlamaFolder, *, culprit: int, raises: bool) -> None:
        super().__init__(llama.model, slots=4, context=128)
        self._culprit = culprit
        self._raises = raises

    def forward(self, first_slot: int, chunks: Sequence[Sequence[int]], seen: Sequence[int]) -> Tensor:
        wrong = [row for row, chunk in enumerate(chunks) if self._culprit in chunk]
        if wrong and self._raises:
            raise RuntimeError("the model's own words")
        logits = super().forward(first_slot, chunks, seen)
        for row in wrong:
            self.cache._kept[:, :, first_slot + row] = torch.nan
            logits[row] = torch.nan
        return logits


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_only_the_culprit_fails(
    llama: LlamaFolder, prompts: list[list[int]], caplog: pytest.LogCaptureFixture, raises: bool, place: int
) -> None:
    """A prompt that the model fails on ends with an incident; those beside it, or next in its slot, go on."""
    bench = Bench(llama, Faulty(llama, culprit=599, raises=raises))
    for k in range(8):
        bench.add(str(k), [599] * 40 if k == place else prompts[k])
    bench.run()
    assert bench.finish(str(place)) is Finish.FAILED
    error = bench.said[str(place)][-1].error
    assert isinstance(error, Internal)
    assert "own words" not in error.message
    assert f"incident {error.incident}" in caplog.text
    for k in set(range(8)) - {place}:
        assert bench.tokens(str(k)) == alone(llama, prompts[k])


@pytest.mark.parametrize("raises", [True, False])
def test_failing_in_the_middle_spares_the_others(llama: LlamaFolder, prompts: list[list[int]], raises: bool) -> None:
    """A token that one sequence has made is what the model fails on: those who share its forward lose nothing."""
    fifth = alone(llama, prompts[0])[5]
    bench = Bench(llama, Faulty(llama, culprit=fifth, raises=raises))
    for k in range(4):
        bench.add(str(k), [token for token in prompts[k] if token != fifth])
    bench.run()
    clean = {k: alone(llama, [token for token in prompts[k] if token != fifth]) for k in range(4)}
    for k, tokens in clean.items():
        if fifth in tokens[:-1]:
            assert bench.finish(str(k)) is Finish.FAILED
            assert bench.tokens(str(k)) == tokens[: tokens.index(fifth) + 1]
        else:
            assert bench.tokens(str(k)) == tokens
    assert any(bench.finish(str(k)) is Finish.FAILED for k in range(4))


def test_everyone_can_be_ended_at_once(bench: Bench, prompts: list[list[int]]) -> None:
    """Those who run and those who wait, each once; the loop can go on afterwards."""
    for k in range(6):
        bench.add(str(k), prompts[k])
    bench.step()
    ended = bench.loop.end_all(Finish.CLOSED)
    assert sorted(generation.request_id for generation, _ in ended) == list("012345")
    assert {delta.finish for _, delta in ended} == {Finish.CLOSED}
    assert bench.loop.idle
    bench.add("next", prompts[0])
    bench.run()
    assert bench.tokens("next") == alone(bench.llama, prompts[0])


def test_loop_and_generations_say_how_they_are(bench: Bench, prompts: list[list[int]]) -> None:
    generation = bench.add("a", prompts[0])
    for k in range(4):
        bench.add(str(k), prompts[k])
    assert repr(bench.loop) == "<StepLoop of 0 running, 5 waiting>"
    said = f"<Generation a, {len(prompts[0])} tokens and"
    assert repr(generation) == f"{said} 0 of 30, going on>"
    bench.step()
    generation.cancel()
    assert repr(generation) == f"{said} 1 of 30, cancelled>"
    bench.step()
    assert repr(generation) == f"{said} 1 of 30, cancelled>"
