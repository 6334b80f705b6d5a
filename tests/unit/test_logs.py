"""Log lines: for people or for machines, and with the trace of the request that one is about."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from isochrone.errors import Internal
from isochrone.process import set_up_log
from isochrone.starting import awaited
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import REPEAT, SLEEP, RepeatModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock, virtual_time

TRACE = "0af7651916cd43dd8448eb211c80319c"
ROUTES = {route: {"objective_ms": 50, "deadline_ms": 1000} for route in (SLEEP, REPEAT)}


@pytest.fixture
def root() -> Iterator[None]:
    """Leaves the log as it was."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = before
    logger.setLevel(level)


def one_of_each() -> None:
    log = logging.getLogger("isochrone.somewhere")
    log.info("nobody's")
    try:
        raise LookupError("inside")
    except LookupError as error:
        log.error("somebody's", exc_info=error, extra={"trace_id": TRACE})


@pytest.mark.usefixtures("root")
def test_json_has_the_trace_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, whatever was raised."""
    set_up_log("json")
    one_of_each()
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["message"], line.get("trace_id")) for line in lines] == [
        ("info", "nobody's", None),
        ("error", "somebody's", TRACE),
    ]
    assert "LookupError: inside" in lines[1]["exception"]


@pytest.mark.usefixtures("root")
def test_text_has_it_at_the_end_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Before what was raised."""
    set_up_log("text")
    one_of_each()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("I isochrone.somewhere: nobody's")
    assert lines[1].endswith(f"E isochrone.somewhere: somebody's (trace {TRACE})")
    assert lines[2].startswith("Traceback")


@pytest.mark.parametrize("route", [SLEEP, REPEAT])
@pytest.mark.parametrize("sampled", [True, False])
@virtual_time
async def test_an_incident_has_its_request_s_trace(route: str, sampled: bool, caplog: pytest.LogCaptureFixture) -> None:
    """In the node's log, where it is sampled, and in the router's, which has the same number, always."""
    models = [SleepModel(sleep=virtual_clock().advance), RepeatModel()]
    request = toy_pb2.ToyMessage(trouble="raise", units=1).SerializeToString()
    async with LocalMesh(models, routes=ROUTES) as mesh:
        call = mesh.make_call(route, request)._replace(traceparent=f"00-{TRACE}-b7ad6b7169203331-0{sampled:d}")
        start = mesh.router.front.start
        with pytest.raises(Internal) as caught:
            await awaited(lambda call, done: start(call, done, (lambda *_: None) if route == REPEAT else None), call)
    told = [record for record in caplog.records if record.message.startswith("incident")]
    assert [record.name for record in told] == ["isochrone.incidents", "isochrone_router.servicer"]
    assert [record.__dict__["trace_id"] for record in told] == [TRACE if sampled else "", TRACE]
    assert all(caught.value.incident in record.message for record in told)
