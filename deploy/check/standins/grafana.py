"""Stands in for Grafana: reads what it is provisioned with, and lists it as Grafana's API does."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

PROVISIONING = Path("/etc/grafana/provisioning")
PORT = 3000


def provisioned(kind: str, key: str) -> list[dict[str, Any]]:
    """The entries under a key of the files of a kind."""
    return [entry for path in (PROVISIONING / kind).glob("*.yaml") for entry in yaml.safe_load(path.read_text())[key]]


def dashboards() -> list[dict[str, str]]:
    """Of the folders that providers name."""
    folders = [Path(provider["options"]["path"]) for provider in provisioned("dashboards", "providers")]
    found = [json.loads(path.read_text()) for folder in folders for path in sorted(folder.glob("*.json"))]
    return [{"uid": board["uid"], "title": board["title"]} for board in found]


ANSWERS: dict[str, Any] = {
    "/api/health": lambda: {"database": "ok"},
    "/api/datasources": lambda: provisioned("datasources", "datasources"),
    "/api/search": dashboards,
}


class Api(BaseHTTPRequestHandler):
    """GET, of what is listed above."""

    def do_GET(self) -> None:
        answer = ANSWERS.get(self.path.partition("?")[0])
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(None if answer is None else answer()).encode())

    def log_message(self, format: str, *args: Any) -> None: ...


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", PORT), Api).serve_forever()
