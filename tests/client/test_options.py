"""What goes along with a request: its tier, and the caller's place in its trace."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from isochrone.client.transport import LONGEST_S, new_request

ECHO = "isochrone.testing.v1.Toy/Echo"
REPEAT = "isochrone.testing.v1.Toy/Repeat"
PARENT, STATE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1"


async def heard(at: Any, client: Any, *, streams: bool, **options: Any) -> Any:
    """The router's view of a request."""
    sending = client.stream(REPEAT, b"", **options) if streams else client.call(ECHO, b"", **options)
    waiting = asyncio.ensure_future(anext(sending, None) if streams else sending)
    asked = await at.start.next()
    asked.end()
    await waiting
    return asked.call


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """OpenTelemetry's API as far as the client needs it; `valid` says whether there is a span."""
    state = SimpleNamespace(valid=True, injected=0)

    def inject(carrier: dict[str, str]) -> None:
        state.injected += 1
        carrier.update(traceparent=PARENT, tracestate=STATE)

    span = SimpleNamespace(get_span_context=lambda: SimpleNamespace(is_valid=state.valid))
    for name, content in (
        ("opentelemetry", {}),
        ("opentelemetry.trace", {"get_current_span": lambda: span}),
        ("opentelemetry.propagate", {"inject": inject}),
    ):
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return state


@pytest.mark.parametrize("streams", [False, True])
async def test_the_tier_reaches_the_router(served: Any, streams: bool) -> None:
    """However the request travels; none where none is given."""
    at, client = served
    assert (await heard(at, client, streams=streams, tier="gold")).tier == "gold"
    assert (await heard(at, client, streams=streams, tier="batch", variant="v")).variant == "v"
    call = await heard(at, client, streams=streams)
    assert (call.tier, call.variant) == ("", None)


@pytest.mark.parametrize("streams", [False, True])
async def test_the_callers_span_reaches_the_router(served: Any, tracing: Any, streams: bool) -> None:
    """As W3C Trace Context; where there is none, nothing is worked out."""
    at, client = served
    call = await heard(at, client, streams=streams)
    assert (call.traceparent, call.tracestate, tracing.injected) == (PARENT, STATE, 1)
    tracing.valid = False
    call = await heard(at, client, streams=streams)
    assert (call.traceparent, call.tracestate, tracing.injected) == ("", "", 1)


async def test_a_tier_that_does_not_exist_is_refused(served: Any) -> None:
    """With those that do."""
    _, client = served
    with pytest.raises(ValueError, match="one of gold, standard, batch; it is 'best'"):
        await client.call(ECHO, b"", tier="best")


def test_a_timeout_of_centuries_is_one_of_days() -> None:
    """gRPC would take it for one that has passed; what isn't a number is refused all the same."""
    assert new_request("a.B/C", b"", 1.0, timeout_s=1e12).timeout_s == LONGEST_S
    with pytest.raises(ValueError, match="finite"):
        new_request("a.B/C", b"", 1.0, timeout_s=float("inf"))
