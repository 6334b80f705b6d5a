"""Building a model that writes blurbs: a corpus, what is learnt of it, the judgement, and the folder to serve from."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import tokenizers
import torch
from rich.console import Console

from isochrone.building.making import BuildReport, progress
from isochrone.building.manifest import checksums
from isochrone.building.publish import published
from isochrone.building.repeatable import repeatable
from isochrone_llm.build.corpus import write_corpus
from isochrone_llm.build.evaluation import Evaluation, evaluate
from isochrone_llm.build.recipe import VARIANT, Recipe
from isochrone_llm.build.tokenizer import BEGIN, END, PAD, train_tokenizer
from isochrone_llm.build.train import train
from isochrone_llm.codec import Codec
from isochrone_llm.llama import Llama
from isochrone_llm.manifest import CONFIG, GENERATION, SAMPLES, TOKENIZER, WEIGHTS, Manifest, Shapes
from isochrone_llm.samples import Samples

_DEFAULT_MAX_TOKENS = 64


def build_blurb(out_dir: Path, *, recipe: Recipe, console: Console) -> BuildReport:
    """Builds the recipe's model and puts it at `out_dir`. Raises BuildFailed, leaving what was there."""
    start = time.monotonic()
    with progress(console) as step, repeatable(seed=recipe.seed):
        corpus = write_corpus(recipe)
        tokenizer = train_tokenizer(corpus.texts(), vocabulary=recipe.vocabulary)
        codec = Codec(tokenizer)
        model = train(corpus, codec, recipe, advance=step("Training", recipe.texts))
        evaluation = evaluate(model, codec, corpus.held_out, advance=step("Writing", recipe.held_out))
        _show(evaluation, console)
        evaluation.check(recipe.bar)
    with published(out_dir) as folder:
        _write_model(folder, model)
        tokenizer.save(str(folder / TOKENIZER))
        Samples(tuple(product.prompt for product in corpus.held_out[: recipe.samples])).save(folder)
        size_bytes = _sign(folder, recipe, model, evaluation)
    return BuildReport(
        directory=out_dir,
        variant=VARIANT,
        metrics=evaluation.metrics,
        seconds=time.monotonic() - start,
        size_bytes=size_bytes,
    )


def _show(evaluation: Evaluation, console: Console) -> None:
    console.print(
        f"  held-out blurbs: {evaluation.parsed:.1%} parse, {evaluation.right:.1%} state what their prompts do",
        highlight=False,
        soft_wrap=True,
    )


def _write_model(folder: Path, model: Llama) -> None:
    """Configuration and weights as Hugging Face's `save_pretrained` leaves them."""
    special = {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD}
    _write_json(folder / CONFIG, model.config.to_json(**special))
    _write_json(folder / GENERATION, special | {"max_new_tokens": _DEFAULT_MAX_TOKENS, "do_sample": False})
    # Tied weights are stored once.
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    # As bytes: `save_file` would make it readable to its owner alone, and nodes run as someone else.
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(weights, metadata={"format": "pt"}))


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _sign(folder: Path, recipe: Recipe, model: Llama, evaluation: Evaluation) -> int:
    """Writes the manifest of the other files in `folder`; returns the bytes of all."""
    Manifest(
        variant=VARIANT,
        fingerprint=recipe.fingerprint(),
        seed=recipe.seed,
        shapes=Shapes(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            vocabulary=model.config.vocab_size,
            context=model.config.max_position_embeddings,
        ),
        metrics=evaluation.metrics,
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "tokenizers": tokenizers.__version__,
            "safetensors": safetensors.__version__,
        },
        sha256=checksums(folder, (CONFIG, GENERATION, WEIGHTS, TOKENIZER, SAMPLES)),
    ).write(folder)
    return sum(path.stat().st_size for path in folder.iterdir())
