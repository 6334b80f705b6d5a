"""Outbox: whatever is ready when the stream is free goes as one message."""

from __future__ import annotations

import asyncio

import pytest

from isochrone.link.outbox import Outbox
from isochrone.testing.virtual_time import virtual_time


class Stream:
    """A stream that is busy for `busy_s` with each message."""

    def __init__(self, busy_s: float = 0.0) -> None:
        self.busy_s = busy_s
        self.written: list[list[str]] = []

    async def write(self, message: list[str]) -> None:
        await asyncio.sleep(self.busy_s)
        self.written.append(message)


def outbox() -> Outbox[list[str]]:
    return Outbox(list)


@virtual_time
async def test_frames_of_one_turn_travel_together() -> None:
    """However many callers put something in."""
    box, stream = outbox(), Stream()
    writing = asyncio.create_task(box.write_all(stream.write))
    for frame in "abc":
        box.frames().append(frame)
    await box.flushed()
    assert stream.written == [["a", "b", "c"]]
    writing.cancel()


@virtual_time
async def test_what_comes_while_the_stream_is_busy_goes_next_and_together() -> None:
    """So a slow reader makes messages larger, not more."""
    box, stream = outbox(), Stream(busy_s=0.010)
    writing = asyncio.create_task(box.write_all(stream.write))
    for frame in "abcdef":
        box.frames().append(frame)
        await asyncio.sleep(0.003)
    await box.flushed()
    assert stream.written == [["a"], ["b", "c", "d"], ["e", "f"]]
    writing.cancel()


@virtual_time
async def test_flushed_waits_for_what_was_put_in() -> None:
    """It returns once the stream has taken the last message, and at once where there is none."""
    box, stream = outbox(), Stream(busy_s=0.010)
    await box.flushed()
    writing = asyncio.create_task(box.write_all(stream.write))
    box.frames().append("a")
    await box.flushed()
    assert stream.written == [["a"]]
    writing.cancel()


@virtual_time
async def test_nothing_is_written_while_there_is_nothing_to_say() -> None:
    """The writer waits; it does not poll."""
    box, stream = outbox(), Stream()
    writing = asyncio.create_task(box.write_all(stream.write))
    await asyncio.sleep(10)
    assert stream.written == []
    writing.cancel()


@virtual_time
async def test_a_broken_stream_ends_the_writer() -> None:
    """Its owner sees the error; what was in the message is lost with the stream."""
    box = outbox()

    async def broken(message: list[str]) -> None:
        raise ConnectionError("gone")

    box.frames().append("a")
    with pytest.raises(ConnectionError):
        await box.write_all(broken)
