"""How a backend calls the mesh: an async and a sync client, typed errors, and the budget of every answer.

    async with Client("127.0.0.1:50051") as client:
        ranking = await client.rank(User(dense, categories), item_ids, timeout_s=0.05)

Its files:

    client.py, sync_client.py   what callers hold; they differ only in the awaiting
    transport.py                the seam underneath: one request out, one reply back
    sessions.py, session.py     the transport of the asyncio client: streams that many requests share
    unary.py                    an RPC for each request: large ones, those of threads, and where there are no sessions
    page.py                     what a fan-out takes and gives
    ranking.py, budget.py       what callers give and get
"""

from isochrone.client.budget import Budget
from isochrone.client.client import Client
from isochrone.client.page import Leg, LegResult, Outcome, Page, Take
from isochrone.client.ranking import Ranking, User
from isochrone.client.sync_client import SyncClient
from isochrone.client.transport import Answer, Reply, Request, SyncTransport, Transport

__all__ = [
    "Answer",
    "Budget",
    "Client",
    "Leg",
    "LegResult",
    "Outcome",
    "Page",
    "Ranking",
    "Reply",
    "Request",
    "SyncClient",
    "SyncTransport",
    "Take",
    "Transport",
    "User",
]
