"""Answers written by hand are the bytes that protobuf would read the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isochrone.v1.recsys_pb2 import RankResponse
from isochrone_recsys.answer import AnswerWriter
from isochrone_recsys.catalogue import Catalogue


def catalogue_of(ids: list[int]) -> Catalogue:
    return Catalogue(ids=np.array(ids, np.uint32), titles=np.array(["thing"] * len(ids)))


@settings(deadline=None)  # the machine may be busy
@given(ids=st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=100).map(sorted), data=st.data())
def test_answer_is_what_protobuf_would_write(ids: list[int], data: st.DataObject) -> None:
    """For ids of every length, and answers longer than a length of one byte."""
    scores = np.array(data.draw(st.lists(st.floats(0, 1, width=32), min_size=len(ids), max_size=len(ids))), np.float32)
    items = np.arange(len(ids), dtype=np.int32)
    written = AnswerWriter(catalogue_of(ids), variant="v").write(items, scores, top_k=0)
    order = sorted(range(len(ids)), key=lambda k: -scores[k])
    expected = RankResponse(item_ids=[ids[k] for k in order], scores=[scores[k] for k in order], variant="v")
    assert written == expected.SerializeToString()


@pytest.mark.parametrize("boundary", [2**7, 2**14, 2**21, 2**28])
def test_ids_on_both_sides_of_a_varints_length(boundary: int) -> None:
    """An id's bytes are as many as it needs, also where a catalogue's ids need different ones."""
    writer = AnswerWriter(catalogue_of([boundary - 1, boundary]), variant="v")
    written = writer.write(np.array([1, 0], np.int32), np.array([0.5, 0.25], np.float32), top_k=0)
    assert RankResponse.FromString(written) == RankResponse(
        item_ids=[boundary, boundary - 1], scores=[0.5, 0.25], variant="v"
    )
