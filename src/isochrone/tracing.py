"""A request's place in its trace: read from W3C Trace Context, decided here where nobody has, and passed on."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_RANDOM = random.SystemRandom().getrandbits(128)  # each process its own, also where many start at once
_random_bits = random.Random(_RANDOM).getrandbits
_RATIO_BITS = 56
_RATIO_MASK = (1 << _RATIO_BITS) - 1
_SPAN_BITS = (1 << 64) - 1


class SpanContext(NamedTuple):
    """A span as others refer to it."""

    trace_id: int
    """128 bits, never 0."""
    span_id: int
    """64 bits, never 0."""
    is_sampled: bool

    def __str__(self) -> str:
        """As traceparent has it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.is_sampled else '00'}"


class Place(NamedTuple):
    """Where a request stands in its trace: a span of its own, below that of whoever sent it."""

    span: SpanContext
    parent_id: int = 0
    """The sender's span; 0: there is none, and the trace begins here."""
    tracestate: str = ""


def parse(traceparent: str) -> SpanContext | None:
    """What a traceparent says; None where it isn't one, which is then ignored as the standard asks for.

    Source: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more):
        return None
    context = SpanContext(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & 1))
    return context if context.trace_id and context.span_id else None


def trace_id_of(traceparent: str) -> str:
    """As logs and those who search them write it: 32 hexadecimal digits; empty where there is none."""
    context = parse(traceparent)
    return "" if context is None else f"{context.trace_id:032x}"


def new_trace_id() -> int:
    return _random_bits(128) or 1


def new_span_id() -> int:
    return _random_bits(64) or 1


class Sampler:
    """Decides which traces are kept: by the caller's flag where there is one, else by the trace's own number, so that
    every process comes to the same for the same trace."""

    def __init__(self, fraction: float) -> None:
        """The fraction, 0 to 1, of the traces that begin here."""
        self._below = round(fraction * (1 << _RATIO_BITS))

    def __repr__(self) -> str:
        return f"<Sampler {self._below / (1 << _RATIO_BITS):.2%}>"

    def keeps(self, trace_id: int) -> bool:
        """By its last 56 bits, which are random: https://www.w3.org/TR/trace-context-2/#random-trace-id-flag"""
        return trace_id & _RATIO_MASK < self._below

    def place(self, traceparent: str = "", tracestate: str = "") -> Place:
        """A new span: in the caller's trace, or in one of its own."""
        caller = parse(traceparent) if traceparent else None
        if caller is not None:
            return Place(SpanContext(caller.trace_id, new_span_id(), caller.is_sampled), caller.span_id, tracestate)
        bits = _random_bits(192)
        trace_id = bits >> 64 or 1
        return Place(SpanContext(trace_id, bits & _SPAN_BITS or 1, trace_id & _RATIO_MASK < self._below))
