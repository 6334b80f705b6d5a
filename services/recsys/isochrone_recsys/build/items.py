"""The goods of the generated shop: what is known of each item, and what only the world's author knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isochrone_recsys.build import vocabulary

TASTES = 6
"""Dimensions of the space in which items lie and visitors have preferences. Hidden from the model."""
FIRST_ID, LAST_ID = 100_000, 2_100_000
"""Ids are spread over this range as a shop's are: about one in a hundred is in the catalogue."""
ITEM_CARDINALITIES = (
    len(vocabulary.KINDS),
    vocabulary.BRANDS,
    len(vocabulary.COLOURS),
    len(vocabulary.MATERIALS),
)
"""Values that each categorical feature of an item takes: kind, brand, colour, material."""

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Items:
    """Everything about n items, sorted by id. An item's index is its place in these arrays."""

    ids: npt.NDArray[np.uint32]
    """[n], strictly increasing."""
    titles: tuple[str, ...]
    categories: Indices
    """[n, 4], kind, brand, colour and material, each below its ITEM_CARDINALITIES."""
    dense: Floats
    """[n, 4], log price, age, rating and discount, each with mean about 0 and spread about 1."""
    exposure: npt.NDArray[np.float64]
    """[n], how often the shop shows each item; sums to 1. A few are everywhere, most are rarely seen."""
    department: Indices
    """[n]; not given to the model."""
    taste: Floats
    """[n, TASTES], where the item lies in the space of tastes; not given to the model."""
    appeal: Floats
    """[n], log-odds of a click that every visitor gives the item; not given to the model."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kinds(self) -> Indices:
        """[n], the first categorical feature."""
        return self.categories[:, 0]


def generate_items(count: int, rng: np.random.Generator) -> Items:
    """A catalogue of `count` items, the same for the same generator state."""
    kind_department = np.repeat(
        np.arange(len(vocabulary.DEPARTMENTS)), [len(kinds) for kinds, _, _ in vocabulary.DEPARTMENTS.values()]
    )
    kind = rng.integers(len(vocabulary.KINDS), size=count)
    department = kind_department[kind]
    brand = _brands(department, rng)
    colour = rng.integers(len(vocabulary.COLOURS), size=count)
    material = _materials(department, rng)

    kind_taste = rng.normal(size=(len(vocabulary.KINDS), TASTES))
    brand_taste = rng.normal(size=(vocabulary.BRANDS, TASTES))
    colour_taste = rng.normal(size=(len(vocabulary.COLOURS), TASTES))
    material_taste = rng.normal(size=(len(vocabulary.MATERIALS), TASTES))
    taste = (
        kind_taste[kind]
        + 0.5 * brand_taste[brand]
        + 0.4 * colour_taste[colour]
        + 0.4 * material_taste[material]
        + 0.2 * rng.normal(size=(count, TASTES))
    )
    taste /= np.linalg.norm(taste, axis=1, keepdims=True)

    brand_premium = rng.normal(size=vocabulary.BRANDS)
    department_price = np.log([price for _, _, price in vocabulary.DEPARTMENTS.values()])
    log_price = department_price[department] + 0.5 * brand_premium[brand] + 0.3 * rng.normal(size=count)
    quality = 0.5 * brand_premium[brand] + rng.normal(size=count)
    age = rng.exponential(size=count)
    discount = np.where(rng.random(count) < 0.3, rng.uniform(0.1, 0.6, size=count), 0.0)
    dense = np.stack([log_price, np.log1p(age), quality + 0.6 * rng.normal(size=count), discount], axis=1)
    dense = (dense - dense.mean(axis=0)) / dense.std(axis=0)

    exposure = np.exp(1.2 * rng.normal(size=count) + 0.3 * quality)
    return Items(
        ids=_sparse_ids(count, rng),
        titles=tuple(
            vocabulary.title(kind=k, material=m, colour=c)
            for k, m, c in zip(kind.tolist(), material.tolist(), colour.tolist(), strict=True)
        ),
        categories=np.stack([kind, brand, colour, material], axis=1).astype(np.int64),
        dense=dense.astype(np.float32),
        exposure=exposure / exposure.sum(),
        department=department.astype(np.int64),
        taste=taste.astype(np.float32),
        appeal=(0.7 * quality + 0.6 * np.exp(-age) + 0.2 * rng.normal(size=count)).astype(np.float32),
    )


def _sparse_ids(count: int, rng: np.random.Generator) -> npt.NDArray[np.uint32]:
    """[count] distinct ids in increasing order."""
    return np.sort(rng.choice(LAST_ID - FIRST_ID, size=count, replace=False) + FIRST_ID).astype(np.uint32)


def _brands(department: Indices, rng: np.random.Generator) -> Indices:
    """[n] brands: a brand sells in one department, and some brands sell far more than others."""
    departments = len(vocabulary.DEPARTMENTS)
    per_department = vocabulary.BRANDS // departments
    rank = np.minimum(rng.exponential(scale=per_department / 4, size=len(department)), per_department - 1)
    return department * per_department + rank.astype(np.int64)


def _materials(department: Indices, rng: np.random.Generator) -> Indices:
    """[n] materials that things of the department are made of."""
    material = np.empty_like(department)
    for index, (_, names, _) in enumerate(vocabulary.DEPARTMENTS.values()):
        here = department == index
        choices = np.array([vocabulary.MATERIALS.index(name) for name in names])
        material[here] = choices[rng.integers(len(choices), size=int(here.sum()))]
    return material
