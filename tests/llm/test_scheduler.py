"""Who joins is decided by urgency and by the room there is, and nobody is overtaken for being large."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from isochrone.deadline import Deadline
from isochrone_llm.scheduler import Room, admit


@dataclass(frozen=True)
class Waiting:
    name: str
    prompt_tokens: int = 10
    completion: int = 10
    at_s: float = 0.0

    @property
    def deadline(self) -> Deadline:
        return Deadline(self.at_s)

    @property
    def reserved_tokens(self) -> int:
        return self.prompt_tokens + self.completion


AMPLE = Room(seqs=100, kv_tokens=10_000, prefill_tokens=10_000)


def names(joining: list[Waiting]) -> str:
    return "".join(one.name for one in joining)


def test_most_urgent_first_then_first_come() -> None:
    waiting = [Waiting("a", at_s=2), Waiting("b", at_s=1), Waiting("c", at_s=2), Waiting("d", at_s=1)]
    assert names(admit(waiting, AMPLE)) == "bdac"


def test_no_more_than_there_are_slots() -> None:
    assert names(admit([Waiting("a"), Waiting("b"), Waiting("c")], Room(2, 1000, 1000))) == "ab"
    assert admit([Waiting("a")], Room(0, 1000, 1000)) == []


def test_completions_are_reserved() -> None:
    """Who is let in can be finished: room for the completion is kept from the start."""
    assert names(admit([Waiting("a"), Waiting("b")], Room(8, 40, 1000))) == "ab"
    assert names(admit([Waiting("a"), Waiting("b")], Room(8, 39, 1000))) == "a"


def test_a_large_prompt_is_not_overtaken() -> None:
    """Small ones behind it wait until it fits: otherwise it might wait for ever."""
    assert admit([Waiting("A", completion=90, at_s=1), Waiting("b", at_s=2)], Room(8, 99, 1000)) == []


def test_prompts_of_one_step_are_few_but_never_none() -> None:
    """Padding counts: three prompts of 1, 1 and 10 tokens are 30."""
    waiting = [Waiting("a", prompt_tokens=1), Waiting("b", prompt_tokens=1), Waiting("C", prompt_tokens=10)]
    assert names(admit(waiting, Room(8, 1000, 30))) == "abC"
    assert names(admit(waiting, Room(8, 1000, 29))) == "ab"
    assert names(admit([Waiting("A", prompt_tokens=50), Waiting("b")], Room(8, 1000, 29))) == "A"


@given(
    waiting=st.lists(
        st.builds(Waiting, st.just("x"), st.integers(1, 60), st.integers(1, 60), st.integers(0, 3).map(float))
    ),
    room=st.builds(Room, st.integers(0, 9), st.integers(0, 400), st.integers(1, 200)),
)
def test_room_is_never_exceeded(waiting: list[Waiting], room: Room) -> None:
    """Whatever waits; and those who join are the most urgent."""
    joining = admit(waiting, room)
    assert len(joining) <= room.seqs
    assert sum(one.reserved_tokens for one in joining) <= room.kv_tokens
    assert len(joining) < 2 or max(one.prompt_tokens for one in joining) * len(joining) <= room.prefill_tokens
    assert joining == sorted(waiting, key=lambda one: one.at_s)[: len(joining)]
