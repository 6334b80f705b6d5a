"""How a backend calls the mesh: an async and a sync client, typed errors, and the budget of every answer.

    async with Client("127.0.0.1:50051") as client:
        ranking = await client.rank(User(dense, categories), item_ids, timeout_s=0.05)

Its files:

    client.py, sync_client.py   what callers hold; they differ only in the awaiting
    endpoint.py, tls.py         where the mesh is, and the channels to it
    stream.py                   what they hold of an answer that streams
    transport.py                the seam underneath: one request out, one reply back, whole or in chunks
    sessions.py, session.py     the transport of the asyncio client: streams that many requests share
    unary.py, sync_unary.py     an RPC for each request: large ones, those of threads, and where there are no sessions
    ranking.py, vision.py, text.py, page.py, budget.py
                                what callers give and get, to and from the wire
"""

from isochrone.client.budget import Budget, Fallback
from isochrone.client.client import Client
from isochrone.client.page import Leg, LegChunk, LegResult, Outcome, Page, Take
from isochrone.client.ranking import Ranking, User
from isochrone.client.stream import ChunkStream, SyncChunkStream
from isochrone.client.sync_client import SyncClient
from isochrone.client.text import Completion, Finish, TextChunk
from isochrone.client.tls import Tls
from isochrone.client.transport import Answer, Options, Reply, Request, SyncTransport, Tier, Transport
from isochrone.client.vision import Embedding, Labels

__all__ = [
    "Answer",
    "Budget",
    "ChunkStream",
    "Client",
    "Completion",
    "Embedding",
    "Fallback",
    "Finish",
    "Labels",
    "Leg",
    "LegChunk",
    "LegResult",
    "Options",
    "Outcome",
    "Page",
    "Ranking",
    "Reply",
    "Request",
    "SyncChunkStream",
    "SyncClient",
    "SyncTransport",
    "Take",
    "TextChunk",
    "Tier",
    "Tls",
    "Transport",
    "User",
]
