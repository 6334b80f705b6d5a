"""The words that the generated shop sells its goods under: kinds, materials, colours and brands."""

from __future__ import annotations

DEPARTMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    # department: (kinds, materials they come in, what an ordinary one costs in euros)
    "clothing": (
        ("shirt", "T-shirt", "jumper", "cardigan", "jacket", "coat", "skirt", "dress", "trousers", "jeans"),
        ("linen", "cotton", "wool", "denim", "silk", "corduroy", "recycled"),
        45.0,
    ),
    "shoes": (
        ("trainers", "boots", "sandals", "loafers", "brogues", "slippers"),
        ("leather", "suede", "canvas", "rubber", "recycled"),
        70.0,
    ),
    "accessories": (
        ("scarf", "belt", "hat", "gloves", "backpack", "wallet", "umbrella"),
        ("leather", "wool", "canvas", "silk", "cotton"),
        25.0,
    ),
    "kitchen": (
        ("kettle", "saucepan", "bowl", "teapot", "knife block", "chopping board", "mug"),
        ("steel", "enamel", "ceramic", "oak", "bamboo", "glass"),
        30.0,
    ),
    "home": (
        ("lamp", "cushion", "blanket", "rug", "vase", "mirror", "curtains", "bookend"),
        ("linen", "wool", "oak", "glass", "steel", "ceramic", "rattan"),
        55.0,
    ),
    "outdoors": (
        ("tent", "sleeping bag", "water bottle", "head torch", "camp stove", "hammock"),
        ("canvas", "steel", "recycled", "cotton", "rubber"),
        80.0,
    ),
}

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

KINDS: tuple[str, ...] = tuple(kind for kinds, _, _ in DEPARTMENTS.values() for kind in kinds)
MATERIALS: tuple[str, ...] = tuple(sorted({m for _, materials, _ in DEPARTMENTS.values() for m in materials}))
BRANDS = 180
"""How many brands there are. They stay nameless: a title says what a thing is."""


def title(*, kind: int, material: int, colour: int) -> str:
    """How an item is shown to people: "linen shirt, blue"."""
    return f"{MATERIALS[material]} {KINDS[kind]}, {COLOURS[colour]}"
