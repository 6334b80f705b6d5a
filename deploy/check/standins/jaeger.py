"""Stands in for Jaeger: takes spans by OTLP over gRPC, and tells a trace as Jaeger's query API does.

python jaeger.py --config jaeger.yaml
"""

from __future__ import annotations

import argparse
import json
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

COLLECTOR = "opentelemetry.proto.collector"


class Traces:
    """The spans of each trace, by its id in hexadecimal, each with the service it is of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[str, list[tuple[str, str]]] = defaultdict(list)

    def export(self, request: Any, _: grpc.ServicerContext) -> Any:
        with self._lock:
            for resource in request.resource_spans:
                named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                service = named.get("service.name", "?")
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self._spans[span.trace_id.hex()].append((service, span.name))
        return ExportTraceServiceResponse()

    def told(self, trace_id: str) -> dict[str, Any]:
        """As GET /api/traces/ID answers, as far as anybody asks here."""
        with self._lock:
            spans = list(self._spans.get(trace_id, ()))
        services = sorted({service for service, _ in spans})
        processes = {f"p{number}": {"serviceName": service} for number, service in enumerate(services)}
        named = {process["serviceName"]: key for key, process in processes.items()}
        told = [{"traceID": trace_id, "operationName": name, "processID": named[service]} for service, name in spans]
        return {"data": [{"traceID": trace_id, "spans": told, "processes": processes}] if spans else []}


def service(kind: str, request: Any, response: Any, export: Any) -> grpc.GenericRpcHandler[Any, Any]:
    """One of OTLP's services, each of which has one method."""
    method = grpc.unary_unary_rpc_method_handler(
        export, request_deserializer=request.FromString, response_serializer=response.SerializeToString
    )
    return grpc.method_handlers_generic_handler(f"{COLLECTOR}.{kind}Service", {"Export": method})


def query_api(traces: Traces) -> type[BaseHTTPRequestHandler]:
    class Query(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(traces.told(self.path.rpartition("/")[2])).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    return Query


def main(config: dict[str, Any]) -> None:
    traces = Traces()
    services = [
        service("trace.v1.Trace", ExportTraceServiceRequest, ExportTraceServiceResponse, traces.export),
        service(
            *("metrics.v1.Metrics", ExportMetricsServiceRequest, ExportMetricsServiceResponse),
            lambda request, _: ExportMetricsServiceResponse(),  # taken, and that is all
        ),
    ]
    server = grpc.server(ThreadPoolExecutor(4), handlers=services)
    server.add_insecure_port(config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"])
    server.start()
    host, _, port = config["extensions"]["jaeger_query"]["http"]["endpoint"].rpartition(":")
    ThreadingHTTPServer((host, int(port)), query_api(traces)).serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    main(yaml.safe_load(parser.parse_args().config.read_text()))
