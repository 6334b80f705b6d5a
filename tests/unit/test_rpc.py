"""The gRPC edge's own arithmetic; the rest of it is tested through routers and nodes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.rpc import as_meant


@given(st.floats(0.001, 3600))
def test_a_timeout_is_never_taken_for_longer_than_it_was_meant(meant_s: float) -> None:
    """gRPC rounds timeouts up to three digits; what is made of them is on the safe side, by one digit at most."""
    step_s = 10 ** (math.ceil(math.log10(max(meant_s, 0.001))) - 3) if meant_s > 1 else 0.001
    on_the_wire_s = math.ceil(meant_s / step_s) * step_s
    assert as_meant(on_the_wire_s) <= meant_s + 1e-9
    assert as_meant(on_the_wire_s) >= on_the_wire_s - 0.01 * max(on_the_wire_s, 0.1) - 1e-9


def test_steps_grow_with_the_timeout() -> None:
    """A millisecond below a second, ten below ten seconds."""
    assert as_meant(0.050) == pytest.approx(0.049)
    assert as_meant(5.0) == pytest.approx(4.99)
