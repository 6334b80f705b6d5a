"""Lead: how long before its batch ends a node asks for the next one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.node.lead import LEAST_S, MOST_S, Lead


def test_a_node_asks_as_soon_as_claims_take() -> None:
    """Two milliseconds, where they take as long; and a millisecond at least."""
    lead = Lead()
    assert lead.seconds == LEAST_S
    for _ in range(200):
        lead.took(0.002)
    assert lead.seconds == pytest.approx(0.002, rel=0.01)
    for _ in range(200):
        lead.took(0.0002)
    assert lead.seconds == LEAST_S
    assert repr(lead) == "<Lead 1.0 ms>"


@given(st.lists(st.floats(0, 10)))
def test_no_claim_is_sent_much_too_soon(times_s: list[float]) -> None:
    """However long some took: what is claimed soon is what is least urgent."""
    lead = Lead()
    for seconds in times_s:
        lead.took(seconds)
    assert LEAST_S <= lead.seconds <= MOST_S
