"""Demos and benchmarks draw realistic requests, the same ones every time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from isochrone.errors import ConfigError
from isochrone_recsys.catalogue import Catalogue
from isochrone_recsys.model import RANK, Ranker
from isochrone_recsys.samples import Samples, sample_requests


def test_same_seed_same_requests(built: Path) -> None:
    """A benchmark can be repeated, and another seed gives other requests."""
    first, again, other = (list(islice(sample_requests(built, rows=5, seed=seed), 10)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("rows", [1, 64, 600])
def test_requests_are_valid_and_of_different_items(built: Path, ranker: Ranker, rows: int) -> None:
    """Each has as many different candidates as were asked for, all of the catalogue."""
    for request in islice(sample_requests(built, rows=rows, top_k=3), 5):
        query = ranker.decode(RANK, request.SerializeToString())
        assert len(set(query.items.tolist())) == rows
        assert request.top_k == 3


def test_candidates_suit_the_visitor(built: Path, catalogue: Catalogue) -> None:
    """Kinds of things looked at of late come up more often than in the catalogue at large."""
    samples = Samples.load(built)
    of_interest, at_large = [], []
    for request in islice(samples.requests(rows=20), 50):
        if request.user.recent_items:
            liked = samples.kinds[catalogue.indices(np.array(request.user.recent_items, np.uint32))]
            candidates = samples.kinds[catalogue.indices(np.array(request.item_ids, np.uint32))]
            of_interest.append(np.isin(candidates, liked).mean())
            at_large.append(np.isin(samples.kinds, liked).mean())
    assert np.mean(of_interest) > 1.5 * np.mean(at_large)


def test_without_a_model_there_are_none(tmp_path: Path) -> None:
    """The error is raised at once, not at the first request."""
    with pytest.raises(ConfigError, match="isochrone models build"):
        sample_requests(tmp_path, rows=1)
