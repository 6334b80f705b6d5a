"""Learning: a Llama from a corpus, in one pass over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isochrone_llm.build.corpus import Corpus
from isochrone_llm.build.recipe import Recipe
from isochrone_llm.build.tokenizer import BLURB, END, PAD
from isochrone_llm.codec import Codec
from isochrone_llm.llama import Llama
from isochrone_llm.llama_config import LlamaConfig

_WARM_UP = 0.1
"""The part of the steps in which the learning rate rises; from there it falls to zero."""
_WEIGHT_DECAY = 0.05
_MAX_GRADIENT = 1.0
_SORTED_BATCHES = 16
"""Texts of this many batches are sorted by length before they are cut into batches: less padding, still random."""
_IGNORED = -100
"""Where there is nothing to learn; cross_entropy's own number for it."""


def train(
    corpus: Corpus, codec: Codec, recipe: Recipe, *, advance: Callable[[int], object] = lambda texts: None
) -> Llama:
    """A model that has seen every text once; `advance` is told of texts as they are learnt from.

    It learns what follows a prompt, and nothing of the prompts themselves.
    """
    model = new_model(recipe, vocabulary=codec.vocabulary)
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=_WEIGHT_DECAY, fused=True)
    texts = [[*codec.encode(prompt), *codec.encode_bare(blurb), END] for prompt, blurb in corpus.train]
    batches = _batches(texts, recipe)
    for step, batch in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * _rate(step, len(batches))
        tokens, wanted = _tensors(batch)
        # Only where there is something to learn: the rest of the logits would cost most of a small model's time.
        counted = wanted != _IGNORED
        loss = cross_entropy(model(tokens)[counted], wanted[counted])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, _MAX_GRADIENT)
        optimiser.step()
        advance(len(batch))
    return model.eval().requires_grad_(False)


def new_model(recipe: Recipe, *, vocabulary: int) -> Llama:
    """The recipe's model with random weights."""
    model = Llama(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=recipe.hidden,
            intermediate_size=recipe.feed_forward,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.kv_heads,
            max_position_embeddings=recipe.context,
            head_dim=recipe.hidden // recipe.heads,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
        )
    )
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            # What is added to the residual stream starts smaller, so that depth doesn't swell it.
            shrunk = name.endswith(("o_proj.weight", "down_proj.weight"))
            spread = 1 / math.sqrt(parameter.shape[1]) if "embed" not in name else 0.05
            nn.init.normal_(parameter, std=spread / math.sqrt(2 * recipe.layers) if shrunk else spread)
    return model


def _rate(step: int, steps: int) -> float:
    return min((step + 1) / (_WARM_UP * steps), (steps - step) / ((1 - _WARM_UP) * steps))


def _batches(texts: Sequence[list[int]], recipe: Recipe) -> list[list[list[int]]]:
    """All texts in random order, those of a batch of about one length."""
    order = [texts[k] for k in torch.randperm(len(texts)).tolist()]
    pool = recipe.batch_texts * _SORTED_BATCHES
    batches = []
    for start in range(0, len(order), pool):
        ordered = sorted(order[start : start + pool], key=len)
        cut = [ordered[k : k + recipe.batch_texts] for k in range(0, len(ordered), recipe.batch_texts)]
        batches += [cut[k] for k in torch.randperm(len(cut)).tolist()]
    return batches


def _tensors(batch: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Tokens [b, t], and the token to follow each [b, t], _IGNORED where that is the prompt's or padding."""
    width = max(map(len, batch))
    tokens = torch.tensor([text + [PAD] * (width - len(text)) for text in batch])
    wanted = tokens[:, 1:].clone()
    in_blurb = (tokens == BLURB).cumsum(dim=1)[:, :-1] > 0
    wanted[~in_blurb | (wanted == PAD)] = _IGNORED
    return tokens[:, :-1], wanted
