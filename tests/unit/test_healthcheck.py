"""What a container's health check says of a process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from isochrone import ports
from isochrone.healthcheck import main

RANK = "isochrone.v1.Recsys/Rank"


@pytest.fixture
def address() -> Iterator[str]:
    """Of a server that serves, but for rankings."""
    servicer = HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    servicer.set(RANK, health_pb2.HealthCheckResponse.NOT_SERVING)
    server = grpc.server(ThreadPoolExecutor(2))
    add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def test_a_process_that_serves_is_healthy(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and the word for it."""
    assert main([address]) == 0
    assert capsys.readouterr().out == "SERVING\n"


@pytest.mark.parametrize(("service", "said"), [(RANK, "NOT_SERVING"), ("no.such/Thing", "NOT_FOUND")])
def test_a_route_can_be_asked_for(address: str, service: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One that has no node is not served, whatever else is."""
    assert main([address, service]) == 1
    assert capsys.readouterr().out == f"{said}\n"


def test_nobody_there_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    """Said at once, without waiting for somebody to come."""
    assert main([ports.a_free_one()]) == 1
    assert capsys.readouterr().out == "UNAVAILABLE\n"


def test_a_command_line_without_an_address_is_a_mistake() -> None:
    """And not an unhealthy process."""
    assert main([]) == 2
