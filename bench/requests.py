"""Ranking requests as a shop would send them, encoded."""

RANK = "isochrone.v1.Recsys/Rank"


def rank_requests(*, rows: int) -> list[bytes]:
    return [b""]
