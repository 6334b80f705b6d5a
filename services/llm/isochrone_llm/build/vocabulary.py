"""The words that products are described in, and what is said of each material."""

from __future__ import annotations

from typing import NamedTuple


class Department(NamedTuple):
    """Things that are alike in what they are made of and made for."""

    names: tuple[str, ...]
    materials: tuple[str, ...]
    purposes: tuple[str, ...]


DEPARTMENTS = (
    Department(
        names=("shirt", "T-shirt", "jumper", "cardigan", "jacket", "coat", "skirt", "dress", "trousers", "jeans"),
        materials=("linen", "cotton", "wool", "denim", "silk", "corduroy"),
        purposes=("office days", "summer evenings", "cold mornings", "long weekends", "wedding season"),
    ),
    Department(
        names=("trainers", "boots", "sandals", "loafers", "brogues", "slippers"),
        materials=("leather", "suede", "canvas", "rubber"),
        purposes=("country walks", "rainy days", "city streets", "quiet evenings", "long commutes"),
    ),
    Department(
        names=("scarf", "belt", "hat", "gloves", "backpack", "wallet", "umbrella", "handbag", "watch"),
        materials=("leather", "wool", "canvas", "silk", "cotton"),
        purposes=("rainy days", "long commutes", "cold mornings", "weekend trips", "school runs"),
    ),
    Department(
        names=("kettle", "saucepan", "bowl", "teapot", "knife block", "chopping board", "mug"),
        materials=("steel", "enamel", "ceramic", "oak", "bamboo", "glass"),
        purposes=("busy kitchens", "small flats", "long dinners", "first homes", "slow breakfasts"),
    ),
    Department(
        names=("lamp", "cushion", "blanket", "rug", "vase", "mirror", "curtains", "bookend", "chair"),
        materials=("linen", "wool", "oak", "glass", "steel", "ceramic", "rattan"),
        purposes=("reading corners", "small flats", "weekend guests", "quiet evenings", "first homes"),
    ),
    Department(
        names=("tent", "sleeping bag", "water bottle", "head torch", "camp stove", "hammock"),
        materials=("canvas", "steel", "cotton", "rubber"),
        purposes=("camping trips", "long weekends", "mountain huts", "garden parties", "night hikes"),
    ),
)

COLOURS = (
    "black",
    "white",
    "grey",
    "navy",
    "blue",
    "green",
    "olive",
    "red",
    "mustard",
    "rust",
    "cream",
    "lilac",
)

PLURALS = frozenset(
    ("trousers", "jeans", "trainers", "boots", "sandals", "loafers", "brogues", "slippers", "gloves", "curtains")
)

FACTS = {
    "linen": ("keeps cool on warm days", "softens with every wash"),
    "cotton": ("breathes all day long", "washes as often as you like"),
    "wool": ("holds its warmth when wet", "shrugs off light rain"),
    "denim": ("outlasts most fashions", "fades the way it should"),
    "silk": ("falls without a crease", "weighs next to nothing"),
    "corduroy": ("is warm to the touch", "wears in before it wears out"),
    "leather": ("grows finer with age", "takes a good polish"),
    "suede": ("feels soft from the first day", "brushes clean"),
    "canvas": ("stands up to rough use", "dries overnight"),
    "rubber": ("grips on wet ground", "keeps the water out"),
    "steel": ("wipes clean in a moment", "never goes out of style"),
    "enamel": ("shines for years", "rinses clean"),
    "ceramic": ("keeps the heat in", "comes out of each kiln a little different"),
    "oak": ("ages well", "brings the forest indoors"),
    "bamboo": ("grows back within a few years", "is light and strong"),
    "glass": ("lets the light through", "takes on no taste and no smell"),
    "rattan": ("is woven by hand", "is stronger than it looks"),
}
"""What may be said of each material, and of no other."""

NAMES = tuple(dict.fromkeys(name for department in DEPARTMENTS for name in department.names))
MATERIALS = tuple(FACTS)
PURPOSES = tuple(dict.fromkeys(purpose for department in DEPARTMENTS for purpose in department.purposes))
