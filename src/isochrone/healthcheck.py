"""Asks a process of the mesh how it is, by gRPC's own health service: what a container's health check runs.

python -m isochrone.healthcheck 127.0.0.1:50051 [SERVICE]

Over TLS where the environment says whom to believe and what to show: ISOCHRONE_CA, ISOCHRONE_CERTIFICATE,
ISOCHRONE_KEY, ISOCHRONE_SERVER_NAME.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from isochrone.errors import ConfigError

TIMEOUT_S = 3.0
_TLS = ("ISOCHRONE_CA", "ISOCHRONE_CERTIFICATE", "ISOCHRONE_KEY", "ISOCHRONE_SERVER_NAME")


def health(address: str, service: str = "") -> str:
    """What the process at an address says of a service or route, or of itself: "SERVING", "NOT_SERVING"; else why it
    says nothing, by gRPC's code: "UNAVAILABLE", "NOT_FOUND"."""
    with _channel(address, os.environ) as channel:
        try:
            answer = HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _channel(address: str, environment: Mapping[str, str]) -> grpc.Channel:
    # A proxy for the world outside is none for the process next door.
    options = [("grpc.enable_http_proxy", 0)]
    if not any(name in environment for name in _TLS):
        return grpc.insecure_channel(address, options=options)
    from isochrone.client.endpoint import Endpoint  # with all of the client, where it is needed
    from isochrone.client.tls import Tls

    return Endpoint.of([address], tls=Tls.of(environment) or False)[0].dialled_to_block(options)


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where it serves, 1 where it doesn't, 2 for a command line that says nothing."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m isochrone.healthcheck ADDRESS [SERVICE]", file=sys.stderr)
        return 2
    try:
        said = health(*arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    print(said)
    return 0 if said == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
