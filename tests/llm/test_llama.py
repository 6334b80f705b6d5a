"""The model computes what its definition says, with a memory as without, in any batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from isochrone_llm.folder import LlamaFolder
from isochrone_llm.llama import Llama
from isochrone_llm.llama_config import LlamaConfig
from isochrone_llm.runner import Runner

SMALL = LlamaConfig(
    vocab_size=50,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32,
    head_dim=8,
)


def plain(model: Llama, tokens: list[int]) -> Tensor:
    """Logits [t, vocabulary] by the textbook: one position and one head at a time, from the checkpoint's own names."""
    config, weights = model.config, model.state_dict()
    dim, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", torch.zeros(1))

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean() + config.rms_norm_eps).sqrt() * weights[f"{name}.weight"]

    def turned(x: Tensor, position: int) -> Tensor:
        out = x.clone()
        for k in range(dim // 2):
            angle = torch.tensor(position * config.rope_theta ** (-2 * k / dim))
            out[k] = x[k] * angle.cos() - x[k + dim // 2] * angle.sin()
            out[k + dim // 2] = x[k + dim // 2] * angle.cos() + x[k] * angle.sin()
        return out

    hidden = [weights["model.embed_tokens.weight"][token] for token in tokens]
    for layer in range(config.num_hidden_layers):
        at = f"model.layers.{layer}"
        normed = [norm(x, f"{at}.input_layernorm") for x in hidden]
        q, k, v = ([linear(x, f"{at}.self_attn.{n}_proj").split(dim) for x in normed] for n in "qkv")
        for position in reversed(range(len(tokens))):
            seen = []
            for head in range(config.num_attention_heads):
                query = turned(q[position][head], position)
                scores = [query @ turned(k[p][head // group], p) / dim**0.5 for p in range(position + 1)]
                shares = torch.stack(scores).softmax(dim=0)
                seen.append(sum((share * v[p][head // group] for p, share in enumerate(shares)), torch.zeros(dim)))
            after = hidden[position] + linear(torch.cat(seen), f"{at}.self_attn.o_proj")
            x = norm(after, f"{at}.post_attention_layernorm")
            gated = torch.nn.functional.silu(linear(x, f"{at}.mlp.gate_proj")) * linear(x, f"{at}.mlp.up_proj")
            hidden[position] = after + linear(gated, f"{at}.mlp.down_proj")
    return torch.stack([linear(norm(x, "model.norm"), "lm_head") for x in hidden])


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, num_key_value_heads=1),
        replace(SMALL, num_key_value_heads=4, rope_theta=500_000.0),
        replace(SMALL, tie_word_embeddings=True),
        replace(SMALL, attention_bias=True, mlp_bias=True),
        replace(SMALL, head_dim=4, rms_norm_eps=1e-2),
    ],
)
@torch.no_grad()
def test_model_is_a_llama(config: LlamaConfig) -> None:
    """Shared keys, rotations, norms and biases: as written down the slow way."""
    torch.manual_seed(1)
    model = Llama(config)
    tokens = torch.randint(config.vocab_size, (9,)).tolist()
    torch.testing.assert_close(model(torch.tensor([tokens]))[0], plain(model, tokens), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_memory_changes_nothing(llama: LlamaFolder, prompts: list[list[int]]) -> None:
    """Prompts of different lengths in one padded forward, then token by token: the logits of the whole texts."""
    batch = prompts[:5]
    assert len({len(prompt) for prompt in batch}) > 1
    runner = Runner(llama.model, slots=8, context=128)
    texts = [list(prompt) for prompt in batch]
    logits = runner.forward(2, batch, [0] * len(batch))
    for token in range(10, 20):
        for text, row in zip(texts, logits, strict=True):
            torch.testing.assert_close(row, llama.model(torch.tensor([text]))[0, -1], atol=1e-3, rtol=1e-3)
        seen = [len(text) for text in texts]
        for text in texts:
            text.append(token)
        logits = runner.forward(2, [[token]] * len(texts), seen)


@torch.no_grad()
def test_moved_sequence_goes_on_as_before(llama: LlamaFolder, prompts: list[list[int]]) -> None:
    """A sequence that takes another's slot sees its own past, and not what the slot held."""
    runner = Runner(llama.model, slots=4, context=128)
    short, long = sorted(prompts, key=len)[0], sorted(prompts, key=len)[-1]
    runner.forward(0, [long, short], [0, 0])
    runner.cache.move(1, 0, length=len(short))
    (moved,) = runner.forward(0, [[7]], [len(short)])
    torch.testing.assert_close(moved, llama.model(torch.tensor([[*short, 7]]))[0, -1], atol=1e-3, rtol=1e-3)


def test_cache_says_how_large_it_is(llama: LlamaFolder) -> None:
    cache = Runner(llama.model, slots=4, context=128).cache
    assert repr(cache) == "<KvCache of 4 slots of 128 tokens, 2 layers of 2 heads of 16>"
