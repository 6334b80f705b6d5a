"""Every blurb that the grammar writes is read back as the product it is about, and what isn't one is refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone_llm.build.corpus import write_corpus
from isochrone_llm.build.grammar import parse_blurb, write_blurb
from isochrone_llm.build.product import Product, draw_product
from isochrone_llm.build.recipe import Recipe
from isochrone_llm.build.vocabulary import COLOURS, DEPARTMENTS, FACTS, MATERIALS, NAMES, PLURALS, PURPOSES

PRODUCTS = st.builds(
    Product,
    name=st.sampled_from(NAMES),
    material=st.none() | st.sampled_from(MATERIALS),
    colour=st.none() | st.sampled_from(COLOURS),
    purpose=st.none() | st.sampled_from(PURPOSES),
)


@given(product=PRODUCTS, rng=st.randoms(use_true_random=False))
def test_what_is_written_is_read_back(product: Product, rng: random.Random) -> None:
    """One to three sentences that state the product's attributes, and no others."""
    parsed = parse_blurb(write_blurb(product, rng))
    assert parsed is not None
    assert parsed.product == product
    assert 1 <= parsed.sentences <= 3


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_read_back_as_it_is_written(name: str) -> None:
    """Those with a capital too."""
    product = Product(name=name, material="cotton", colour=None, purpose=None)
    for seed in range(20):
        parsed = parse_blurb(write_blurb(product, random.Random(seed)))
        assert parsed is not None
        assert parsed.product == product


@given(product=PRODUCTS, other=PRODUCTS, rng=st.randoms(use_true_random=False))
def test_blurbs_tell_products_apart(product: Product, other: Product, rng: random.Random) -> None:
    parsed = parse_blurb(write_blurb(product, rng))
    assert parsed is not None
    assert (parsed.product == other) == (product == other)


@pytest.mark.parametrize(
    "blurb",
    [
        "",
        "The blue linen shirt.",
        "The blue linen shirt is made to last",
        "The blue linen shirt is made to last. ",
        "The blue linen shirt are made to last.",
        "The trousers is made to last.",
        "The linen blue shirt is made to last.",
        "The blue linen shirt is made to last. Wool shrugs off light rain.",
        "The blue linen shirt is made to last. Linen dries overnight.",
        "The blue linen shirt is made to last. In red, it goes with almost anything.",
        "The blue linen shirt is made to last. In blue, they go with almost anything.",
        "The blue linen shirt is made to last. It makes a fine present. Linen softens with every wash.",
        "The blue linen shirt is made for lunch.",
    ],
)
def test_what_is_no_blurb_is_not_parsed(blurb: str) -> None:
    """Neither half a sentence, nor one that contradicts itself, its number or what its material is like."""
    assert parse_blurb(blurb) is None


def test_prompt_states_what_is_known() -> None:
    """What isn't, isn't mentioned."""
    assert Product(name="shirt", colour="blue").prompt == "name: shirt | colour: blue"
    product = Product(name="tent", material="canvas", colour="olive", purpose="camping trips")
    assert product.prompt == "name: tent | material: canvas | colour: olive | for: camping trips"


def test_vocabulary_is_whole() -> None:
    """Every material has something said of it, and every plural is the name of something."""
    assert {material for department in DEPARTMENTS for material in department.materials} == FACTS.keys()
    assert set(NAMES) >= PLURALS


@given(rng=st.randoms(use_true_random=False))
def test_drawn_products_make_sense(rng: random.Random) -> None:
    """What a thing is made of and made for is of one department."""
    product = draw_product(rng)
    assert any(
        product.name in department.names
        and product.material in (None, *department.materials)
        and product.purpose in (None, *department.purposes)
        for department in DEPARTMENTS
    )


def test_judged_by_what_was_not_learnt(tiny: Recipe) -> None:
    """Held-out prompts are all different, and no text of the training has one; the same for the same recipe."""
    corpus = write_corpus(tiny)
    held_out = {product.prompt for product in corpus.held_out}
    assert len(held_out) == tiny.held_out
    assert not held_out & {prompt for prompt, _ in corpus.train}
    assert corpus == write_corpus(tiny)
