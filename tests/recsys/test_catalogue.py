"""The catalogue finds a model's index for a shop's id, and knows which ids it doesn't have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isochrone_recsys.catalogue import UNKNOWN, Catalogue


def catalogue_of(ids: list[int]) -> Catalogue:
    return Catalogue(ids=np.array(ids, np.uint32), titles=np.array([f"thing {k}" for k in ids]))


@settings(deadline=None)  # the machine may be busy
@given(
    ids=st.one_of(st.sets(st.integers(0, 3000), min_size=1), st.sets(st.integers(0, 2**32 - 1), min_size=1)).map(
        sorted
    ),
    asked=st.lists(st.one_of(st.integers(0, 3001), st.integers(0, 2**32 - 1))),
)
def test_indices_are_places_in_the_ids(ids: list[int], asked: list[int]) -> None:
    """By table or, where ids are too large for one, by bisection: the answers are the same."""
    asked = asked + ids
    expected = [ids.index(k) if k in ids else UNKNOWN for k in asked]
    assert catalogue_of(ids).indices(np.array(asked, np.uint32)).tolist() == expected


def test_titles_are_for_people(catalogue: Catalogue) -> None:
    """An item is shown as material, kind and colour."""
    material_and_kind, _, colour = catalogue.title(int(catalogue.ids[17])).partition(", ")
    assert " " in material_and_kind
    assert colour.isalpha()


def test_unknown_id_has_no_title() -> None:
    with pytest.raises(KeyError):
        catalogue_of([3, 5]).title(4)


def test_repr_says_how_many_and_from_where_to_where() -> None:
    assert repr(catalogue_of([3, 5])) == "<Catalogue of 2 items, ids 3 to 5>"
