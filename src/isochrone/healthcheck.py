"""Asks a process of the mesh how it is, by gRPC's own health service: what a container's health check runs.

python -m isochrone.healthcheck 127.0.0.1:50051 [SERVICE]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

TIMEOUT_S = 3.0


def health(address: str, service: str = "") -> str:
    """What the process at an address says of a service or route, or of itself: "SERVING", "NOT_SERVING"; else why it
    says nothing, by gRPC's code: "UNAVAILABLE", "NOT_FOUND"."""
    # A proxy for the world outside is none for the process next door.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where it serves, 1 where it doesn't, 2 for a command line that says nothing."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m isochrone.healthcheck ADDRESS [SERVICE]", file=sys.stderr)
        return 2
    said = health(*arguments)
    print(said)
    return 0 if said == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
