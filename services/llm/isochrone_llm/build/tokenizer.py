"""Learns a byte-level BPE tokenizer, whose tokens can spell any text at all."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BEGIN, END, PAD, BLURB = range(4)
"""The ids of the special tokens, in the order of `SPECIAL`."""
SPECIAL = ("<s>", "</s>", "<pad>", "<blurb>")


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Tokenizer:
    """A tokenizer of at most `vocabulary` tokens. It writes a prompt as <s>, its text, <blurb>: here the answer begins.

    Whoever loads the file gets these along, and needs to know nothing of how the model was taught.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A <blurb>", special_tokens=[("<s>", BEGIN), ("<blurb>", BLURB)]
    )
    return tokenizer
