"""`isochrone call` asks the server itself what its methods look like, and says what went wrong in a line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection

from isochrone.cli import main
from isochrone.cli.failure import EXIT_CODES
from isochrone.cli.reflected import compact
from isochrone.errors import (
    Cancelled,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidRequest,
    IsochroneError,
    Overloaded,
    Unavailable,
    UnknownVariant,
)
from isochrone.status import CODES, to_status
from isochrone.v1 import llm_pb2, recsys_pb2, router_pb2  # noqa: F401  the last one for reflection
from isochrone.v1.budget_pb2 import BudgetReport


class Shop(grpc.GenericRpcHandler):
    """Recsys/Rank as a router answers it: scores by item id, or the error it is told to give."""

    def __init__(self) -> None:
        self.trouble: IsochroneError | None = None
        self.metadata: dict[str, Any] = {}
        self.left_s = 0.0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method == "/isochrone.v1.Llm/Generate":
            return grpc.unary_stream_rpc_method_handler(
                self.generate, llm_pb2.GenerateRequest.FromString, llm_pb2.GenerateChunk.SerializeToString
            )
        if details.method != "/isochrone.v1.Recsys/Rank":
            return None
        return grpc.unary_unary_rpc_method_handler(
            self.rank, recsys_pb2.RankRequest.FromString, recsys_pb2.RankResponse.SerializeToString
        )

    def generate(
        self, request: llm_pb2.GenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[llm_pb2.GenerateChunk]:
        for number, word in enumerate(request.prompt.split(), 1):
            yield llm_pb2.GenerateChunk(text=word, completion_tokens=number)
        if self.trouble is not None:
            raise self.trouble
        report = BudgetReport(
            objective_us=150_000, total_us=90_000, first_us=5_000, chunks=2, stage_us=[0, 0, 0, 90_000]
        )
        context.set_trailing_metadata((("isochrone-budget-bin", report.SerializeToString()),))

    def rank(self, request: recsys_pb2.RankRequest, context: grpc.ServicerContext) -> recsys_pb2.RankResponse:
        self.metadata, self.left_s = dict(context.invocation_metadata()), context.time_remaining()
        report = BudgetReport(objective_us=15_000, deadline_us=100_000, total_us=1_000, node="n-0")
        report.trace_id = bytes(range(16))
        report.stage_us.extend((0, 0, 0, 1_000))
        trailers: list[tuple[str, bytes | str]] = [("isochrone-budget-bin", report.SerializeToString())]
        if self.trouble is not None:
            trailers.append(("grpc-status-details-bin", to_status(self.trouble).SerializeToString()))
        context.set_trailing_metadata(tuple(trailers))
        if self.trouble is not None:
            code = next(c for c in grpc.StatusCode if c.value[0] == CODES[type(self.trouble)])
            context.abort(code, self.trouble.message)
        ids = sorted(request.item_ids, reverse=True)
        return recsys_pb2.RankResponse(item_ids=ids, scores=[i / 10 for i in ids], variant="ranker.fp32")


@pytest.fixture
def shop() -> Iterator[tuple[Shop, str]]:
    handler = Shop()
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[handler])
    reflection.enable_server_reflection(
        ("isochrone.v1.Recsys", "isochrone.v1.Llm", "isochrone.v1.Router", reflection.SERVICE_NAME), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, f"127.0.0.1:{port}"
    server.stop(0).wait()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


RANK = '{"user": {"dense": [0.5]}, "item_ids": [3, 1, 2]}'


@pytest.mark.parametrize(
    "name", ["isochrone.v1.Recsys/Rank", "/isochrone.v1.Recsys/Rank", "isochrone.v1.Recsys.Rank", "Recsys/Rank", "Rank"]
)
def test_a_method_is_called_by_any_clear_name(
    shop: tuple[Shop, str], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """JSON in, JSON out, lists on a line."""
    assert run("call", name, "--json", RANK, "--target", shop[1]) == 0
    printed = capsys.readouterr()
    assert '"item_ids": [3, 2, 1]' in printed.out
    assert json.loads(printed.out) == {"item_ids": [3, 2, 1], "scores": [0.3, 0.2, 0.1], "variant": "ranker.fp32"}
    assert printed.err == ""


def test_an_answer_that_streams_is_printed_as_it_comes(
    shop: tuple[Shop, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each message, and the budget in the end."""
    assert run("call", "Generate", "--json", '{"prompt": "well made"}', "--target", shop[1], "--budget") == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert lines == [{"text": "well", "completion_tokens": 1}, {"text": "made", "completion_tokens": 2}]
    assert "first of 2 chunks after 5.00 ms of 150 ms  in time" in printed.err


def test_a_stream_of_requests_is_not_for_here(shop: tuple[Shop, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("call", "Session", "--target", shop[1]) == EXIT_CODES[InvalidRequest]
    assert "takes a stream of requests" in capsys.readouterr().err


def test_without_a_method_it_lists_them(shop: tuple[Shop, str], capsys: pytest.CaptureFixture[str]) -> None:
    """gRPC's own services are not among them."""
    assert run("call", "--target", shop[1]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert "isochrone.v1.Recsys/Rank" in listed
    assert all(route.startswith("isochrone.v1.") for route in listed)


def test_a_request_is_described(shop: tuple[Shop, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A template with every field."""
    assert run("call", "Rank", "--describe", "--target", shop[1]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "user": {"dense": [0.5], "categories": [1], "recent_items": [1]},
        "item_ids": [1],
        "top_k": 1,
    }


def test_the_request_comes_from_a_file_or_stdin(
    shop: tuple[Shop, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """@FILE and -, as curl has them."""
    (tmp_path / "request.json").write_text(RANK)
    assert run("call", "Rank", "-j", f"@{tmp_path}/request.json", "-t", shop[1]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(RANK))
    assert run("call", "Rank", "-j", "-", "-t", shop[1]) == 0
    assert capsys.readouterr().out.count("ranker.fp32") == 2
    assert run("call", "Rank", "-j", "@nowhere.json", "-t", shop[1]) == EXIT_CODES[InvalidRequest]


def test_variant_and_deadline_travel_along(shop: tuple[Shop, str], capsys: pytest.CaptureFixture[str]) -> None:
    """As the client sends them."""
    assert run("call", "Rank", "-t", shop[1], "--variant", "ranker.int8", "--timeout-ms", "2500") == 0
    assert shop[0].metadata["isochrone-variant"] == "ranker.int8"
    assert 1 < shop[0].left_s <= 2.51  # gRPC rounds up what it writes, to three digits


def test_the_waterfall_goes_to_stderr(shop: tuple[Shop, str], capsys: pytest.CaptureFixture[str]) -> None:
    """So that stdout stays JSON."""
    assert run("call", "Rank", "--json", RANK, "--target", shop[1], "--budget") == 0
    printed = capsys.readouterr()
    json.loads(printed.out)
    assert printed.err.startswith("1.00 ms of 15 ms  in time")
    assert printed.err.splitlines()[-1] == "isochrone explain 000102030405060708090a0b0c0d0e0f"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (InvalidRequest.of("item_ids[2]", "is not in the catalogue"), "item_ids[2]: is not in the catalogue"),
        (
            InvalidRequest("two fields are wrong", violations=[FieldViolation("user.dense", "should be finite")]),
            "two fields are wrong\n  user.dense  should be finite",
        ),
        (UnknownVariant("no variant 'x'"), "unknown variant: no variant 'x'"),
        (DeadlineExceeded("its time was up"), "deadline exceeded: its time was up"),
        (Cancelled("gone"), "cancelled: gone"),
        (Overloaded("the lane is full", retry_after_s=0.02), "the lane is full\n  try again in 20 ms"),
        (Unavailable("no node"), "unavailable: no node"),
        (Internal("4f2a"), "internal error, incident 4f2a"),
    ],
)
def test_each_kind_of_error_has_its_line_and_its_exit_code(
    shop: tuple[Shop, str], capsys: pytest.CaptureFixture[str], trouble: IsochroneError, said: str
) -> None:
    """With the fields that are wrong, and the budget if asked for."""
    shop[0].trouble = trouble
    assert run("call", "Rank", "--json", RANK, "-t", shop[1], "-b") == EXIT_CODES[type(trouble)]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert "1.00 ms of 15 ms" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["Rank", "--json", "{"], 3, "--json is no isochrone.v1.RankRequest: "),
        (["Rank", "--json", '{"items": [1]}'], 3, 'no field named "items"'),
        (["Rank", "--json", '{"item_ids": [-1]}'], 3, "item_ids"),
        (["Buy"], 4, "Buy is not among the methods here: isochrone.v1.Llm/Generate"),
    ],
)
def test_what_never_leaves_is_explained_too(
    shop: tuple[Shop, str], capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    """JSON that isn't the request, and methods that aren't there."""
    assert run("call", *arguments, "-t", shop[1]) == code
    assert said in capsys.readouterr().err


def test_nobody_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The way on is named."""
    monkeypatch.setattr("isochrone.cli.call.CONNECT_S", 0.2)
    assert run("call", "Rank", "-t", "127.0.0.1:1") == EXIT_CODES[Unavailable]
    assert capsys.readouterr().err == "unavailable: nothing answers at 127.0.0.1:1; is the mesh up? isochrone up\n"


def test_lists_of_values_take_one_line() -> None:
    """Nested objects keep theirs; text in brackets is left alone."""
    value = {"a": [1, 2], "b": {"c": ["[ x ]"]}, "d": [], "e": [{"f": [0.5]}], "g": {}}
    assert compact(value).splitlines() == [
        "{",
        '  "a": [1, 2],',
        '  "b": {',
        '    "c": ["[ x ]"]',
        "  },",
        '  "d": [],',
        '  "e": [',
        "    {",
        '      "f": [0.5]',
        "    }",
        "  ],",
        '  "g": {}',
        "}",
    ]
    assert json.loads(compact(value)) == value
