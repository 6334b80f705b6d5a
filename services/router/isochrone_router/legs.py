"""The legs of a fan-out as they come in, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.message import DecodeError

from isochrone.errors import InvalidRequest
from isochrone.methods import known, streams
from isochrone.v1 import router_pb2

MOST_LEGS = 32
_TYPE_URL = "type.googleapis.com/"


def read(payload: bytes, *, may_stream: bool) -> Sequence[router_pb2.Leg]:
    """The legs of a serialised FanOutRequest. Raises InvalidRequest naming what is wrong.

    Legs that stream are refused unless they `may_stream`.
    """
    try:
        legs = router_pb2.FanOutRequest.FromString(payload).legs
    except DecodeError as error:
        raise InvalidRequest.of("request", "not a FanOutRequest: its bytes can't be parsed") from error
    if not 1 <= len(legs) <= MOST_LEGS:
        raise InvalidRequest.of("legs", f"{len(legs)} of them; there must be 1 to {MOST_LEGS}")
    named: dict[str, router_pb2.Leg] = {}
    for place, leg in enumerate(legs):
        if not leg.name or leg.name in named:
            raise InvalidRequest.of(f"legs[{place}].name", f"{leg.name!r}: each leg has a name of its own")
        named[leg.name] = leg
        method = known(leg.route)
        given = leg.request.type_url.rpartition("/")[2]
        if method is not None and given and given != method.input_type.full_name:
            raise InvalidRequest.of(
                f"legs[{place}].request", f"is a {given}; {leg.route} takes a {method.input_type.full_name}"
            )
        if streams(leg.route) and not may_stream:
            raise InvalidRequest.of(
                f"legs[{place}].route", f"{leg.route} streams: FanOutStream takes it, FanOut doesn't"
            )
    for place, leg in enumerate(legs):
        for number, take in enumerate(leg.takes):
            where = f"legs[{place}].takes[{number}]"
            if take.leg not in named:
                raise InvalidRequest.of(f"{where}.leg", f"there is no leg {take.leg!r}")
            if streams(named[take.leg].route):
                raise InvalidRequest.of(
                    f"{where}.leg", f"the answer of leg {take.leg!r} streams: there is none to take from"
                )
            if not 1 <= take.field < 2**29 or not 1 <= take.into < 2**29:
                raise InvalidRequest.of(where, "field and into are field numbers, from 1 on")
    if any(leg.takes for leg in legs):
        _refuse_cycles(named)
    return legs


def answer_type(route: str) -> str:
    """The type URL of a route's answers; empty where its service isn't known here."""
    method = known(route)
    return "" if method is None else _TYPE_URL + method.output_type.full_name


def _refuse_cycles(legs: Mapping[str, router_pb2.Leg]) -> None:
    """Raises InvalidRequest where legs wait for each other."""
    ended: set[str] = set()
    waiting = dict(legs)
    while ready := [name for name, leg in waiting.items() if all(take.leg in ended for take in leg.takes)]:
        for name in ready:
            del waiting[name]
        ended.update(ready)
    if waiting:
        raise InvalidRequest.of("legs", f"wait for each other: {', '.join(waiting)}")
