"""The token that a client shows."""

from __future__ import annotations

import grpc
import pytest

from isochrone.client import Client, SyncClient
from isochrone.client.endpoint import Endpoint
from isochrone.client.metadata import metadata_of
from isochrone.client.transport import Request


def test_it_goes_along_with_every_rpc() -> None:
    """As a bearer token, besides what the request says; and nothing does where there is none."""
    request = Request("isochrone.v1.Recsys/Rank", b"", 1.0)
    assert metadata_of(request, Endpoint("here", token="iso_a")) == (("authorization", "Bearer iso_a"),)
    assert metadata_of(request, Endpoint("here")) is None


@pytest.mark.parametrize("token", ["", "two words", "ümlaut", "line\nbreak", "x" * 513])
async def test_one_that_cant_be_sent_is_refused_where_it_is_given(token: str) -> None:
    """And is not repeated: it may be somebody's password."""
    for kind in (Client, SyncClient):
        with pytest.raises(ValueError, match="isochrone token") as caught:
            kind("127.0.0.1:1", token=token)
        assert not token or token not in str(caught.value)


async def test_nobody_reads_it_in_a_log() -> None:
    """Neither of a client nor of its endpoint."""
    assert "iso_a" not in repr(Endpoint("here", grpc.ssl_channel_credentials(), token="iso_a"))
    async with Client("127.0.0.1:1", token="iso_a") as client:
        assert "iso_a" not in repr(client)
