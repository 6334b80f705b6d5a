"""A product's attributes, and the prompt that states them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from isochrone_llm.build.vocabulary import COLOURS, DEPARTMENTS, PLURALS

_STATED = 0.85
"""How likely each attribute but the name is to be stated."""


@dataclass(frozen=True, slots=True)
class Product:
    """What a blurb is to be about. What isn't stated is None, and the blurb doesn't say it either."""

    name: str
    material: str | None = None
    colour: str | None = None
    purpose: str | None = None

    @property
    def is_plural(self) -> bool:
        return self.name in PLURALS

    @property
    def thing(self) -> str:
        """Colour, material and name: "blue linen shirt"."""
        return " ".join(word for word in (self.colour, self.material, self.name) if word)

    @property
    def prompt(self) -> str:
        """Its attributes: "name: shirt | material: linen | colour: blue | for: office days"."""
        stated = {"name": self.name, "material": self.material, "colour": self.colour, "for": self.purpose}
        return " | ".join(f"{key}: {value}" for key, value in stated.items() if value)


def draw_product(rng: random.Random) -> Product:
    """Any product of any department, each name as often as another's department has names."""
    department = rng.choice(DEPARTMENTS)

    def maybe(values: tuple[str, ...]) -> str | None:
        return rng.choice(values) if rng.random() < _STATED else None

    return Product(
        name=rng.choice(department.names),
        material=maybe(department.materials),
        colour=maybe(COLOURS),
        purpose=maybe(department.purposes),
    )
