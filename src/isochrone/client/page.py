"""What a fan-out takes and gives: several requests in one call, each under a name, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from google.protobuf import any_pb2
from google.protobuf.message import Message

from isochrone.client.budget import Budget
from isochrone.client.fields import parsed
from isochrone.client.metadata import sent_error
from isochrone.client.transport import Answer
from isochrone.errors import IsochroneError
from isochrone.v1 import router_pb2

FAN_OUT = "isochrone.v1.Router/FanOut"
FAN_OUT_STREAM = "isochrone.v1.Router/FanOutStream"
_LONGEST_US = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Take:
    """A field of another leg's answer that goes into this leg's request, as it is encoded."""

    leg: str
    field: int
    """Its number in the other leg's answer."""
    into: int
    """Its number in this leg's request: repeated fields are appended to, others replaced."""
    most: int = 0
    """Of a repeated field, the first so many (numbers count as one, all together); 0: all."""
    optional: bool = False
    """Where the other leg has no answer: go without, instead of missing as well."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One request of a fan-out."""

    route: str
    """ "isochrone.v1.Recsys/Rank"."""
    request: Message | bytes
    required: bool = False
    """Without its answer the whole call fails, at once, unless there is a fallback."""
    timeout_s: float | None = None
    """Its own deadline, within the call's."""
    variant: str | None = None
    takes: Sequence[Take] = field(default=())
    fallback: Message | None = None
    """Stands in for an answer that is missing, where its route has no fallback, or none that could."""


class Outcome(StrEnum):
    OK = "ok"
    FALLBACK = "fallback"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class LegResult:
    """What became of a leg."""

    name: str
    outcome: Outcome
    payload: bytes
    """The answer's bytes, or the fallback's; empty where it missed, and where the answer came as LegChunks."""
    error: IsochroneError | None
    """Why it isn't OK; None where its route's own fallback answered, as `budget.fallback` tells."""
    budget: Budget | None
    """Where its time went; None where it never started."""


@dataclass(frozen=True, slots=True)
class LegChunk:
    """A part of the answer of a leg that streams; its LegResult comes after the last one."""

    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What a fan-out answered: every leg by its name, in the order of the request."""

    legs: Mapping[str, LegResult]
    budget: Budget | None
    """Of the whole: the time from the first leg's start to the last one's end."""

    def __getitem__(self, name: str) -> LegResult:
        return self.legs[name]


def fan_out_request(legs: Mapping[str, Leg]) -> bytes:
    """A FanOutRequest's bytes."""
    return router_pb2.FanOutRequest(legs=[_leg(name, leg) for name, leg in legs.items()]).SerializeToString()


def page_of(answer: Answer) -> Page:
    """The page in an answer. Raises Internal where its bytes are something else."""
    response = parsed(router_pb2.FanOutResponse, answer.payload)
    return Page({result.name: _result_of(result) for result in response.legs}, answer.budget)


def leg_part_of(payload: bytes) -> LegResult | LegChunk:
    """What a chunk of a FanOutStream tells of a leg. Raises Internal where its bytes are something else."""
    result = parsed(router_pb2.LegResult, payload)
    if result.outcome == router_pb2.LEG_OUTCOME_CHUNK:
        return LegChunk(result.name, result.answer.value)
    return _result_of(result)


def _result_of(result: router_pb2.LegResult) -> LegResult:
    outcome = {
        router_pb2.LEG_OUTCOME_OK: Outcome.OK,
        router_pb2.LEG_OUTCOME_FALLBACK: Outcome.FALLBACK,
    }.get(result.outcome, Outcome.MISSED)
    budget = Budget(result.budget) if result.HasField("budget") else None
    error = sent_error(result.status) if result.status else None
    if error is not None:
        error.budget = budget
    return LegResult(result.name, outcome, result.answer.value, error, budget)


def _leg(name: str, leg: Leg) -> router_pb2.Leg:
    timeout_us = 0 if leg.timeout_s is None else max(1, min(int(leg.timeout_s * 1e6), _LONGEST_US))
    return router_pb2.Leg(
        name=name,
        route=leg.route,
        request=_packed(leg.request),
        required=leg.required,
        timeout_us=timeout_us,
        variant=leg.variant or "",
        takes=[
            router_pb2.Take(leg=take.leg, field=take.field, into=take.into, most=take.most, optional=take.optional)
            for take in leg.takes
        ],
        fallback=None if leg.fallback is None else _packed(leg.fallback),
    )


def _packed(message: Message | bytes) -> Any:
    packed = any_pb2.Any()
    if isinstance(message, bytes):
        packed.value = message
    else:
        packed.Pack(message)
    return packed
