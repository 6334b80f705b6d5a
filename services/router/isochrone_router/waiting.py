"""A router's own jobs that wait in one lane, by tier and by when they are due."""

from __future__ import annotations

from bisect import bisect_left, insort

from isochrone.keys import TIERS, Tier

RANK = {tier: rank for rank, tier in enumerate(TIERS)}


class Waiting:
    """Sorted lists: a lane's cap keeps them short, and nothing is quicker at that length."""

    def __init__(self) -> None:
        self._due_s: tuple[list[float], ...] = tuple([] for _ in TIERS)
        self._others = [0] * len(TIERS)
        self.jobs = 0

    def __repr__(self) -> str:
        each = ", ".join(f"{len(due_s)} {tier}" for tier, due_s in zip(TIERS, self._due_s, strict=True) if due_s)
        return f"<Waiting {each or 'none'}, {sum(self._others)} of others>"

    def add(self, tier: Tier, due_s: float) -> None:
        insort(self._due_s[RANK[tier]], due_s)
        self.jobs += 1

    def remove(self, tier: Tier, due_s: float) -> None:
        """One that was added with the same words; nothing where it isn't here."""
        queue = self._due_s[RANK[tier]]
        place = bisect_left(queue, due_s)
        if place < len(queue) and queue[place] == due_s:
            del queue[place]
            self.jobs -= 1

    def others_are(self, tier: Tier, jobs: int) -> None:
        """How many jobs of other routers wait beside ours, by the last count."""
        self._others[RANK[tier]] = max(0, jobs)

    def has(self, rank: int) -> bool:
        """Whether any job of that tier waits."""
        return bool(self._due_s[rank]) or self._others[rank] > 0

    @property
    def total(self) -> int:
        """Ours and others'."""
        return self.jobs + sum(self._others)

    def of_its_own(self, rank: int, due_s: float) -> float:
        """Jobs of the same tier that will be claimed before one of that time."""
        queue, others = self._due_s[rank], self._others[rank]
        before = bisect_left(queue, due_s)
        return before + (others * before / len(queue) if queue else others)

    def ahead(self, rank: int, due_s: float) -> float:
        """Jobs that will be claimed before one of that tier and time: all of higher tiers, and those of its own that
        are due sooner. Others' jobs are taken to be as urgent as ours; where we have none, all of them come first."""
        ahead = self.of_its_own(rank, due_s)
        for higher in range(rank):
            ahead += len(self._due_s[higher]) + self._others[higher]
        return ahead
