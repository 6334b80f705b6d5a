"""A Llama: the decoder of Touvron et al. (arXiv:2302.13971), with grouped queries (arXiv:2305.13245).

Modules are named so that their state is, name by name, a Hugging Face checkpoint.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from isochrone_llm.llama_config import LlamaConfig


class Memory(Protocol):
    """Where the keys and values of earlier tokens are kept from one forward to the next."""

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds those of a layer's new tokens, [b, t, kv heads, dim] each; gives all, [b, kv heads, length, dim]."""


class Llama(nn.Module):
    """Gives the logits of the token that comes next."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        memory: Memory | None = None,
        last: Tensor | None = None,
    ) -> Tensor:
        """Logits [b, t, vocabulary] after each of the tokens [b, t], or [b, vocabulary] after those at `last` [b].

        Without a memory, rows are whole texts from their first token. With one, `positions` [b, t] says where the
        tokens stand in theirs, and `mask` [b, 1, t, length] what each of them sees of the memory.
        """
        width = tokens.shape[1]
        if positions is None:
            positions = torch.arange(width, device=tokens.device)[None].expand_as(tokens)
        if mask is None:
            mask = torch.ones(width, width, dtype=torch.bool, device=tokens.device).tril()[None, None]
        # The heads of a group stand one below the other as more queries, so that keys need not be repeated.
        mask = mask.repeat(1, 1, self.config.num_attention_heads // self.config.num_key_value_heads, 1)
        hidden = self.model(tokens, positions=positions, mask=mask, memory=memory)
        if last is not None:
            hidden = hidden[torch.arange(len(last), device=tokens.device), last]
        logits: Tensor = self.lm_head(hidden)
        return logits

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype


class Decoder(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        cosines, sines = _rotations(config)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, tokens: Tensor, *, positions: Tensor, mask: Tensor, memory: Memory | None) -> Tensor:
        hidden: Tensor = self.embed_tokens(tokens)
        # [b, t, 1, dim]: the same for every head.
        cosines = self.cosines[positions][:, :, None].to(hidden.dtype)
        sines = self.sines[positions][:, :, None].to(hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, cosines=cosines, sines=sines, mask=mask, memory=memory)
        normed: Tensor = self.norm(hidden)
        return normed

    cosines: Tensor
    sines: Tensor


class DecoderLayer(nn.Module):
    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden: Tensor, *, cosines: Tensor, sines: Tensor, mask: Tensor, memory: Memory | None) -> Tensor:
        normed = self.input_layernorm(hidden)
        hidden = hidden + self.self_attn(normed, cosines=cosines, sines=sines, mask=mask, memory=memory)
        after: Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return after


class Attention(nn.Module):
    """Each group of query heads shares a head of keys and values."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.kv_heads = config.num_key_value_heads
        self.group = config.num_attention_heads // config.num_key_value_heads
        self.dim = config.head_dim
        width, bias = config.num_attention_heads * config.head_dim, config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, width, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, self.kv_heads * self.dim, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, self.kv_heads * self.dim, bias=bias)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=bias)

    def forward(self, hidden: Tensor, *, cosines: Tensor, sines: Tensor, mask: Tensor, memory: Memory | None) -> Tensor:
        rows, width, _ = hidden.shape
        queries = _rotated(self.q_proj(hidden).view(rows, width, -1, self.dim), cosines, sines)
        keys = _rotated(self.k_proj(hidden).view(rows, width, -1, self.dim), cosines, sines)
        values = self.v_proj(hidden).view(rows, width, -1, self.dim)
        if memory is not None:
            keys, values = memory.extend(self.layer, keys, values)
        else:
            keys, values = keys.transpose(1, 2), values.transpose(1, 2)
        queries = queries.view(rows, width, self.kv_heads, self.group, self.dim).permute(0, 2, 3, 1, 4)
        queries = queries.reshape(rows, self.kv_heads, self.group * width, self.dim)
        seen = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        seen = seen.view(rows, self.kv_heads, self.group, width, self.dim).permute(0, 3, 1, 2, 4)
        out: Tensor = self.o_proj(seen.reshape(rows, width, -1))
        return out


class FeedForward(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.down_proj(silu(self.gate_proj(hidden)) * self.up_proj(hidden))
        return out


def _rotations(config: LlamaConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines [positions, dim] of the angles that keys and queries are turned by."""
    frequencies = config.rope_theta ** -(torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim)
    angles = torch.outer(torch.arange(config.max_position_embeddings, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def _rotated(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Heads [b, t, heads, dim] turned by their positions. Hugging Face pairs an element with that half a head on."""
    half = heads.shape[-1] // 2
    return heads * cosines + torch.cat((-heads[..., half:], heads[..., :half]), dim=-1) * sines
