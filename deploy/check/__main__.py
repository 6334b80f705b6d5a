"""Builds the images, starts deploy/compose.yaml from them, and looks whether it is what docs/deploy.md says."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path

from deploy.check import looks
from deploy.check.composed import Composed
from deploy.check.engine import CheckFailed, Engine
from deploy.check.images import ROOT, Images
from deploy.check.packages import build_options, pip_settings

FIRST_ANSWER_S = 60.0
_COMPOSE = ROOT / "deploy" / "compose.yaml"
_MESH = ROOT / "deploy" / "compose" / "mesh.yaml"


def check(engine: Engine, *, keep: bool) -> None:
    """Raises CheckFailed."""
    composed = Composed(engine, _COMPOSE, project="isochrone-check", password=secrets.token_urlsafe())
    pip = build_options(pip_settings(), engine.folder / "pip.conf")
    Images(engine, composed.services, pip=pip, say=_say).make()
    composed.down()  # of a check that was broken off
    try:
        began_s = time.monotonic()
        composed.up(set(composed.services) - {"demo"})
        trace_id, page = looks.page(composed.volume("models"), _MESH, within_s=FIRST_ANSWER_S)
        took_s = time.monotonic() - began_s
        _say(f"a page of {len(page.ended)} legs, {took_s:.1f} s after the start with the images there")
        if took_s > FIRST_ANSWER_S:
            raise CheckFailed(f"the first answer took {took_s:.0f} s")
        for name in looks.OWN:
            composed.wait_healthy(name)
        _say(f"healthy, by gRPC: {', '.join(looks.OWN)}")
        looks.locked(composed)
        _say("no root, nothing writable, nothing listens beyond 127.0.0.1, and Redis asks for a password")
        _say("{} data sources and {} dashboards in Grafana".format(*looks.provisioned()))
        _say(f"{looks.scraped():.0f} requests in Prometheus, of both routers")
        composed.up({"demo"})
        _say(f"the demo's traffic: {looks.demo_sends(composed)}")
        _say(f"the page's trace, with spans of {', '.join(sorted(looks.traced(trace_id)))}")
    finally:
        if not keep:
            composed.down()


def _say(words: str) -> None:
    print(f"✓ {words}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make compose-check", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".cache" / "compose-check", help="images and logs (%(default)s)"
    )
    parser.add_argument("--driver", default="overlay", help="of the storage; vfs works everywhere (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave it running")
    arguments = parser.parse_args()
    try:
        check(Engine(arguments.folder, driver=arguments.driver), keep=arguments.keep)
    except CheckFailed as failed:
        print(f"✗ {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
