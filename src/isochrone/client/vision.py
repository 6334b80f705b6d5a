"""What is asked about photos and what comes back, and the translations to and from the wire."""

from __future__ import annotations

from dataclasses import dataclass

from isochrone.client.budget import Budget
from isochrone.client.fields import fill, parsed
from isochrone.client.transport import Answer
from isochrone.v1 import vision_pb2

CLASSIFY = "isochrone.v1.Vision/Classify"
EMBED = "isochrone.v1.Vision/Embed"


@dataclass(frozen=True, slots=True)
class Labels:
    """What is on a photo."""

    labels: tuple[str, ...]
    """Kinds of goods, most probable first."""
    probabilities: tuple[float, ...]
    """One for each label; those of all kinds sum to 1."""
    variant: str
    """The model variant that looked at it."""
    budget: Budget | None
    """Where the time went; None where the server did not say."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """A photo's place among all photos: those of similar goods lie close to each other."""

    vector: tuple[float, ...]
    """Of length 1, so that a dot product of two is their cosine similarity."""
    variant: str
    """The model variant that made it; embeddings of different ones can't be compared."""
    budget: Budget | None
    """Where the time went; None where the server did not say."""


def classify_request(image: bytes, *, top_k: int) -> bytes:
    """A ClassifyRequest's bytes. Raises InvalidRequest naming the field whose value doesn't fit the wire."""
    request = vision_pb2.ClassifyRequest()
    fill(request, image=image, top_k=top_k)
    return request.SerializeToString()


def labels_of(answer: Answer) -> Labels:
    """The labels in an answer. Raises Internal where its bytes are something else."""
    response = parsed(vision_pb2.ClassifyResponse, answer.payload)
    return Labels(tuple(response.labels), tuple(response.probabilities), response.variant, answer.budget)


def embed_request(image: bytes) -> bytes:
    """An EmbedRequest's bytes. Raises InvalidRequest naming the field whose value doesn't fit the wire."""
    request = vision_pb2.EmbedRequest()
    fill(request, image=image)
    return request.SerializeToString()


def embedding_of(answer: Answer) -> Embedding:
    """The embedding in an answer. Raises Internal where its bytes are something else."""
    response = parsed(vision_pb2.EmbedResponse, answer.payload)
    return Embedding(tuple(response.embedding), response.variant, answer.budget)
