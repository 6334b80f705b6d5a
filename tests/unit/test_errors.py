"""Errors, the table between them and gRPC codes, and the page that tells callers of it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from isochrone import errors
from isochrone.errors import (
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidRequest,
    IsochroneError,
    Overloaded,
    Unavailable,
    UnknownRoute,
    UnknownVariant,
)
from isochrone.status import CODES, code_of, from_code, from_status, to_status

ROOT = Path(__file__).parents[2]

SAMPLES: list[IsochroneError] = [
    InvalidRequest.of("candidates", "should have at most 1000 items"),
    InvalidRequest("two things", violations=[FieldViolation("a", "b"), FieldViolation("c.d[3]", "é")]),
    InvalidRequest("nothing in particular"),
    UnknownRoute("no such method"),
    UnknownVariant("no variant 'x'"),
    DeadlineExceeded("too late"),
    Cancelled("gone"),
    Overloaded("full", retry_after_s=0.015),
    Overloaded("too many bytes", retry_after_s=2.5, reason="BYTES_FULL"),
    Unavailable("nobody there"),
    Unavailable("leaving", reason="DRAINING"),
    Internal("0123456789abcdef"),
]


def over_the_wire(error: IsochroneError) -> IsochroneError:
    return from_status(status_pb2.Status.FromString(to_status(error).SerializeToString()))


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: f"{type(error).__name__}-{error.reason}")
def test_an_error_survives_the_wire(error: IsochroneError) -> None:
    """The client raises what the mesh raised, with everything that it carries."""
    came = over_the_wire(error)
    assert type(came) is type(error)
    assert (came.message, came.reason, came.may_retry) == (error.message, error.reason, error.may_retry)
    for name in ("violations", "retry_after_s", "incident"):
        assert getattr(came, name, None) == getattr(error, name, None)


@given(st.text(), st.floats(0, 1e6), st.lists(st.builds(FieldViolation, st.text(), st.text()), max_size=5))
def test_whatever_text_and_numbers_it_carries(text: str, seconds: float, violations: list[FieldViolation]) -> None:
    """Any message, any field, any delay, to the nanosecond."""
    invalid = over_the_wire(InvalidRequest(text, violations=violations))
    assert isinstance(invalid, InvalidRequest)
    assert (invalid.message, invalid.violations) == (text, tuple(violations))
    overloaded = over_the_wire(Overloaded(text, retry_after_s=seconds))
    assert isinstance(overloaded, Overloaded)
    assert overloaded.retry_after_s == pytest.approx(seconds, abs=1e-9)


def test_each_kind_for_callers_has_a_code_of_its_own() -> None:
    """ConfigError is for operators, before anything is served; all others have one code, and no two the same."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, IsochroneError)}
    assert set(CODES) == kinds - {IsochroneError, ConfigError}
    assert len(set(CODES.values())) == len(CODES)


def test_a_models_own_kind_counts_as_what_it_derives_from() -> None:
    """So a model may subclass these errors without a word to the mesh."""

    class BadImage(InvalidRequest):
        pass

    came = over_the_wire(BadImage.of("image", "is upside down"))
    assert type(came) is InvalidRequest
    assert came.violations == (FieldViolation("image", "is upside down"),)


def test_what_is_not_for_callers_becomes_an_internal_error_without_its_text() -> None:
    """A ConfigError that a model raises while it serves tells no caller of paths and passwords."""
    error = ConfigError("/etc/secret: no such file")
    assert code_of(error) == code_pb2.INTERNAL
    assert "secret" not in str(to_status(error))


def test_internal_errors_tell_their_incident_and_nothing_else() -> None:
    """The id leads the operator to the text in the log."""
    status = to_status(Internal("feedbeef"))
    assert status.message == "internal error, incident feedbeef"
    came = from_status(status)
    assert isinstance(came, Internal)
    assert came.incident == "feedbeef"


@pytest.mark.parametrize("code", [code.value[0] for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_there_is_becomes_an_error(code: int) -> None:
    """What gRPC itself or a proxy says, bare of details, is raised as a type of ours too."""
    error = from_code(code, "what a proxy says")
    assert isinstance(error, IsochroneError)
    assert error.message == "what a proxy says"
    if code in CODES.values():
        assert code_of(error) == code
    else:
        assert type(error) is (Unavailable if code == code_pb2.ABORTED else Internal)


def test_details_of_others_are_left_alone() -> None:
    """An ErrorInfo of another domain names no reason of ours, and unknown details are passed over."""
    status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="elsewhere")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="THEIRS", domain="example.com"))
    status.details.append(any_pb2.Any(type_url="type.example.com/unknown", value=b"\xff"))
    assert from_status(status).reason == Unavailable.reason


# The page.


def rows() -> list[list[str]]:
    """The cells of the table in docs/errors.md, its heading aside."""
    lines = (ROOT / "docs/errors.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def reasons_in_code() -> dict[str, set[str]]:
    """By type: the reason it has by itself, and those it is given where it is raised."""
    found = {kind.__name__: {kind.reason} for kind in CODES}
    for tree in (ROOT / "src/isochrone", ROOT / "services"):
        for path in tree.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in found:
                    given = [word.value for word in node.keywords if word.arg == "reason"]
                    found[node.func.id] |= {word.value for word in given if isinstance(word, ast.Constant)}
    return found


def test_the_page_has_each_error_with_its_code() -> None:
    """No row too many, none missing."""
    told = {name: code for code, name, *_ in rows()}
    assert told == {kind.__name__: code_pb2.Code.Name(code) for kind, code in CODES.items()}


def test_the_page_has_each_reason() -> None:
    """Those in the code, all of them and no others."""
    told = {name: set(re.split(r",\s*", reasons)) for _, name, reasons, *_ in rows()}
    assert told == reasons_in_code()


def test_the_reasons_are_known() -> None:
    """All of them, wherever they are given: metrics count by them."""
    assert set().union(*reasons_in_code().values()) == errors.REASONS


def test_the_page_says_what_may_be_sent_again() -> None:
    """As the types themselves do."""
    told = {name: again.startswith("yes") for _, name, _, _, again, _ in rows()}
    assert told == {kind.__name__: kind.may_retry for kind in CODES}


def test_the_page_says_what_each_carries() -> None:
    """The google.rpc details besides ErrorInfo, by name."""
    for error in SAMPLES:
        carried = {detail.TypeName().rpartition(".")[2] for detail in to_status(error).details} - {"ErrorInfo"}
        told = next(row[5] for row in rows() if row[1] == type(error).__name__)
        assert all(name in told for name in carried)
