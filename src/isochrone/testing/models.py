"""Toy models that echo, sleep, repeat themselves, or fail on purpose."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from isochrone.errors import InvalidRequest
from isochrone.model import EngineState, Part
from isochrone.testing.journal import Journal
from isochrone.testing.pace import Pace
from isochrone.testing.v1 import toy_pb2

ECHO = "isochrone.testing.v1.Toy/Echo"
SLEEP = "isochrone.testing.v1.Toy/Sleep"
REPEAT = "isochrone.testing.v1.Toy/Repeat"


class EchoModel:
    """Answers with the request's own bytes, without looking at them: the floor of what the mesh itself costs."""

    variant = "echo"
    routes: Sequence[str] = (ECHO,)
    unit = "requests"
    max_units = 1

    def __init__(self, *, batch_jobs: int = 64) -> None:
        self.batch_units = self.batch_jobs = batch_jobs

    def load(self) -> None:
        pass

    def decode(self, route: str, payload: bytes) -> bytes:
        return payload

    def weigh(self, item: bytes) -> int:
        return 1

    def forward(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        return batch

    def encode(self, item: bytes, output: bytes) -> bytes:
        return output

    def example(self, units: int) -> bytes:
        return b""


class SleepModel:
    """Sleeps `sleep_ms` a batch and `unit_ms` a unit, then echoes; has trouble where a request asks for it.

    With `decode_ms`, each request sleeps in a thread before that: time that nobody predicts.
    """

    routes: Sequence[str] = (SLEEP,)
    unit = "units"

    def __init__(
        self,
        *,
        variant: str = "sleep",
        sleep_ms: float = 10.0,
        unit_ms: float = 0.0,
        decode_ms: float = 0.0,
        batch_jobs: int = 8,
        max_units: int = 1000,
        journal: Journal | None = None,
        pace: Pace | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.variant = variant
        self._sleep_s = sleep_ms / 1e3
        self._unit_s = unit_ms / 1e3
        self._decode_s = decode_ms / 1e3
        self.decodes_beside = decode_ms > 0
        self.batch_jobs = batch_jobs
        self.batch_units = max(max_units, batch_jobs)
        self.max_units = max_units
        self.forwards = 0
        self._journal = journal
        self._pace = pace or Pace()
        self._sleep = sleep

    def load(self) -> None:
        pass

    def decode(self, route: str, payload: bytes) -> toy_pb2.ToyMessage:
        if self._decode_s:
            self._sleep(self._decode_s)
        return _message(payload)

    def weigh(self, item: toy_pb2.ToyMessage) -> int:
        return max(1, item.units)

    def forward(self, batch: Sequence[toy_pb2.ToyMessage]) -> Sequence[toy_pb2.ToyMessage]:
        self.forwards += 1
        if self._journal is not None:
            self._journal.note([item.body for item in batch])
        seconds = self._sleep_s + self._unit_s * sum(self.weigh(item) for item in batch)
        seconds *= self._pace.factor()
        if seconds:
            self._sleep(seconds)
        troubles = {item.trouble for item in batch}
        if "raise" in troubles:
            raise RuntimeError("a toy was told to raise")
        return list(batch)[1:] if "short" in troubles else batch

    def encode(self, item: toy_pb2.ToyMessage, output: Any) -> bytes:
        return bytes(output.SerializeToString())

    def example(self, units: int) -> toy_pb2.ToyMessage:
        return toy_pb2.ToyMessage(units=units)


class RepeatModel:
    """Echoes a request as many times as it has units, `step_ms` apart, for `slots` requests side by side."""

    variant = "repeat"
    routes: Sequence[str] = (REPEAT,)
    unit = "units"
    max_units = 1_000_000

    def __init__(self, *, step_ms: float = 1.0, slots: int = 8, journal: Journal | None = None) -> None:
        self.steps = 0
        """Made so far, of all requests."""
        self._active = 0
        self._step_s = step_ms / 1e3
        self._slots = slots
        self._journal = journal

    def room(self, running: Sequence[toy_pb2.ToyMessage]) -> int:
        return self._slots - len(running)

    def engine_state(self) -> EngineState:
        """A request holds one slot, whatever it asks for."""
        return EngineState(active=self._active, waiting=0, kv_used=self._active, kv_room=self._slots)

    def load(self) -> None:
        pass

    async def open(self) -> None:
        pass

    async def watch(self) -> None:
        await asyncio.Event().wait()

    async def close(self, *, drain_s: float) -> None:
        pass

    def decode(self, route: str, payload: bytes) -> toy_pb2.ToyMessage:
        return _message(payload)

    def weigh(self, item: toy_pb2.ToyMessage) -> int:
        return max(1, item.units)

    async def run(self, item: toy_pb2.ToyMessage, *, name: str, deadline_s: float) -> AsyncIterator[Part]:
        if self._journal is not None:
            self._journal.note([item.body])
        answer = toy_pb2.ToyMessage(body=item.body).SerializeToString()
        self._active += 1
        try:
            for step in range(1, self.weigh(item) + 1):
                await asyncio.sleep(self._step_s)
                if item.trouble == "raise" and step == self.weigh(item):
                    raise RuntimeError("a toy was told to raise")
                self.steps += 1
                yield Part(answer, units=step)
        finally:
            self._active -= 1

    def example(self, units: int) -> toy_pb2.ToyMessage:
        return toy_pb2.ToyMessage(units=units)


def _message(payload: bytes) -> toy_pb2.ToyMessage:
    try:
        return toy_pb2.ToyMessage.FromString(payload)
    except DecodeError as error:
        raise InvalidRequest.of("request", "is not a ToyMessage") from error
