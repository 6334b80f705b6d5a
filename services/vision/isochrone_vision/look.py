"""A classify or an embed request as the model wants it, and the reader that checks requests on their way in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from isochrone.errors import InvalidRequest
from isochrone.v1 import vision_pb2
from isochrone_vision import photo

CLASSIFY = "isochrone.v1.Vision/Classify"
EMBED = "isochrone.v1.Vision/Embed"


class Look(NamedTuple):
    """One photo, and what to say of it."""

    route: str
    """CLASSIFY or EMBED."""
    pixels: npt.NDArray[np.uint8]
    """[side, side, 3], as `photo.decode` gives them."""
    top_k: int
    """How many labels to answer with; 0: all of them. Of no meaning to EMBED."""


def read(route: str, payload: bytes, *, side: int) -> Look:
    """The look that a serialised ClassifyRequest or EmbedRequest asks for. Raises InvalidRequest naming the field."""
    try:
        if route == EMBED:
            return Look(route, photo.decode(vision_pb2.EmbedRequest.FromString(payload).image, side=side), 0)
        request = vision_pb2.ClassifyRequest.FromString(payload)
    except DecodeError as error:
        kind = "an EmbedRequest" if route == EMBED else "a ClassifyRequest"
        raise InvalidRequest.of("request", f"not {kind}: its bytes can't be parsed") from error
    return Look(route, photo.decode(request.image, side=side), request.top_k)
