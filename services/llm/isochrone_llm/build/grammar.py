"""The grammar of blurbs: an opening, perhaps what its material is like, perhaps a last word.

Templates are sentences with {slots}, and [one|many] where a word follows the product's number. `write_blurb`
fills them, and `parse_blurb` reads them back, so each can be held to the other.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from isochrone_llm.build.product import Product
from isochrone_llm.build.vocabulary import COLOURS, FACTS, MATERIALS, NAMES, PURPOSES

OPENINGS_WITH_PURPOSE = (
    "The {thing} [is|are] made for {purpose}.",
    "Meet the {thing}, made with {purpose} in mind.",
    "For {purpose}, the {thing} [is|are] hard to beat.",
)
OPENINGS = (
    "The {thing} [is|are] made to last.",
    "Meet the {thing}, good company for years.",
    "Every day gets better with the {thing}.",
)
OF_MATERIALS = ("{Material} {fact}.", "And {material} {fact}.")
LAST_WORDS_WITH_COLOUR = (
    "In {colour}, [it goes|they go] with almost anything.",
    "The {colour} [is|are] our favourite.",
)
LAST_WORDS = (
    "[It makes|They make] a fine present.",
    "[It comes|They come] in a plain box.",
)
_SAYS_MATERIAL, _SAYS_LAST_WORD = 0.75, 0.6


def write_blurb(product: Product, rng: random.Random) -> str:
    """One to three sentences that state all that is known of the product."""
    sentences = [rng.choice(OPENINGS_WITH_PURPOSE if product.purpose else OPENINGS)]
    if product.material and rng.random() < _SAYS_MATERIAL:
        sentences.append(rng.choice(OF_MATERIALS))
    if rng.random() < _SAYS_LAST_WORD:
        sentences.append(rng.choice(LAST_WORDS_WITH_COLOUR if product.colour else LAST_WORDS))
    fact = rng.choice(FACTS[product.material]) if product.material else ""
    return " ".join(_fill(sentence, product, fact=fact) for sentence in sentences)


class Parsed(NamedTuple):
    """What a blurb that parses states."""

    product: Product
    sentences: int


def parse_blurb(blurb: str) -> Parsed | None:
    """What the blurb states; None where it isn't one, by its form or because it contradicts itself."""
    match = _BLURB.fullmatch(blurb)
    if match is None:
        return None
    said: dict[str, str] = {}
    for slot, value in _values(match):
        if said.setdefault(slot, value) != value:
            return None
    product = Product(
        name=said["name"], material=said.get("material"), colour=said.get("colour"), purpose=said.get("purpose")
    )
    if "fact" in said and said["fact"] not in FACTS.get(said.get("material", ""), ()):
        return None
    if "number" in said and said["number"] != str(product.is_plural):
        return None
    return Parsed(product, sentences=blurb.count("."))


def _fill(template: str, product: Product, *, fact: str) -> str:
    numbered = _NUMBERED.sub(lambda match: match[2 if product.is_plural else 1], template)
    return numbered.format(
        thing=product.thing,
        purpose=product.purpose,
        colour=product.colour,
        material=product.material,
        Material=(product.material or "").capitalize(),
        fact=fact,
    )


_NUMBERED = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}|\[([^|\]]*)\|([^\]]*)\]")
_WORDS: Mapping[str, Sequence[str]] = {
    "name": NAMES,
    "colour": COLOURS,
    "material": MATERIALS,
    "Material": tuple(material.capitalize() for material in MATERIALS),
    "purpose": PURPOSES,
    "fact": tuple(fact for facts in FACTS.values() for fact in facts),
}


def _pattern(template: str, *, where: str) -> str:
    """A regular expression for the sentence. Its groups are slot, `where` and a number: no name may come twice."""
    parts: list[str] = []

    def group(slot: str, words: Sequence[str]) -> str:
        return f"(?P<{slot}_{where}_{len(parts)}>{'|'.join(map(re.escape, words))})"

    end = 0
    for match in _SLOT.finditer(template):
        parts.append(re.escape(template[end : match.start()]))
        end = match.end()
        if match[1] == "thing":
            parts.append(f"(?:{group('colour', COLOURS)} )?(?:{group('material', MATERIALS)} )?{group('name', NAMES)}")
        elif match[1]:
            parts.append(group(match[1], _WORDS[match[1]]))
        else:
            one, many = re.escape(match[2]), re.escape(match[3])
            parts.append(f"(?:(?P<one_{where}_{len(parts)}>{one})|(?P<many_{where}_{len(parts)}>{many}))")
    return "".join(parts) + re.escape(template[end:])


def _any(templates: Sequence[str], *, where: str) -> str:
    return f"(?:{'|'.join(_pattern(template, where=f'{where}{k}') for k, template in enumerate(templates))})"


_BLURB = re.compile(
    f"{_any((*OPENINGS_WITH_PURPOSE, *OPENINGS), where='opening')}"
    f"(?: {_any(OF_MATERIALS, where='material')})?"
    f"(?: {_any((*LAST_WORDS_WITH_COLOUR, *LAST_WORDS), where='last')})?"
)


def _values(match: re.Match[str]) -> list[tuple[str, str]]:
    """Slots and what they are filled with. The number that words follow counts as a slot."""
    found = []
    for name, value in match.groupdict().items():
        slot = name.partition("_")[0]
        if value is None:
            continue
        if slot in ("one", "many"):
            found.append(("number", str(slot == "many")))
        else:
            found.append(("material", value.lower()) if slot == "Material" else (slot, value))
    return found
