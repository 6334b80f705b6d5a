"""Fallbacks in the configuration: what can't work is said before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from isochrone.config import FallbackConfig, MeshConfig, StaticConfig, load_config
from isochrone.config.cache import database_of
from isochrone.config.static_answer import answers_of
from isochrone.errors import (
    REASONS,
    ConfigError,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    IsochroneError,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    UnknownVariant,
)
from isochrone.surroundings import answers_of as store_of
from isochrone.v1 import llm_pb2, recsys_pb2

RANK, GENERATE, CLASSIFY = "isochrone.v1.Recsys/Rank", "isochrone.v1.Llm/Generate", "isochrone.v1.Vision/Classify"
SLA: dict[str, Any] = {"objective_ms": 15, "deadline_ms": 100, "lanes": ["ranker.fp32@cpu"]}


def mesh(**fallbacks: Any) -> dict[str, Any]:
    return {"routes": {name: SLA | {"fallback": given} for name, given in fallbacks.items()}}


def told(folder: Path, given: dict[str, Any]) -> str:
    """What is said of a file."""
    path = folder / "mesh.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return caught.value.message.replace(str(path), "mesh.yaml")


WRONG = {
    "itself": (
        mesh(**{"a.B/C": [{"route": "a.B/C"}]}),
        "mesh.yaml:8: routes.a.B/C.fallback.0.route: routes fall back on each other: a.B/C → a.B/C",
    ),
    "each other": (
        mesh(
            **{
                "a.B/C": [{"last_good": {}}, {"route": "a.B/D"}],
                "a.B/D": [{"route": "a.B/E"}],
                "a.B/E": [{"route": "a.B/C"}],
            }
        ),
        "mesh.yaml:9: routes.a.B/C.fallback.1.route: routes fall back on each other: a.B/C → a.B/D → a.B/E → a.B/C",
    ),
    "a cycle behind another route": (
        mesh(**{"a.B/C": [{"route": "a.B/D"}], "a.B/D": [{"route": "a.B/E"}], "a.B/E": [{"route": "a.B/D"}]}),
        "mesh.yaml:14: routes.a.B/D.fallback.0.route: routes fall back on each other: a.B/D → a.B/E → a.B/D",
    ),
    "no such route": (mesh(**{"a.B/C": [{"route": "a.B/X"}]}), "there is no such route; there is a.B/C"),
    "another request": (
        mesh(**{RANK: [{"route": CLASSIFY}], CLASSIFY: []}),
        "takes a isochrone.v1.ClassifyRequest; isochrone.v1.Recsys/Rank takes a isochrone.v1.RankRequest",
    ),
    "another answer": (
        mesh(**{"isochrone.v1.Llm/Complete": [{"route": GENERATE}], GENERATE: []}),
        f"the answer of {GENERATE} streams, and that of isochrone.v1.Llm/Complete doesn't",
    ),
    "a stream": (mesh(**{GENERATE: [{"last_good": {}}]}), "streams: only a static one can stand in for it"),
    "no message of it": (
        mesh(**{RANK: [{"static": {"message": {"items": [1]}}}]}),
        'fallback.0.static: message: is no isochrone.v1.RankResponse: Message type "isochrone.v1.RankResponse" has no '
        'field named "items"',
    ),
    "not known here": (
        mesh(**{"a.B/C": [{"static": {"message": {}}}]}),
        "the answers of a.B/C are not known here: give their bytes, as base64 or in a file",
    ),
    "no file": (mesh(**{RANK: [{"static": {"file": "none.json"}}]}), "file: none.json: can't be read: No such file"),
    "two ways in one": (
        mesh(**{RANK: [{"last_good": {}, "route": CLASSIFY}]}),
        "should have one of last_good, static and route",
    ),
    "a word that means nothing": (mesh(**{RANK: [{"last_good": {}, "when": ["SNOW"]}]}), "nothing stands in for SNOW"),
    "what a caller has to mend": (
        mesh(**{RANK: [{"last_good": {}, "when": ["INVALID_REQUEST"]}]}),
        "nothing stands in for INVALID_REQUEST",
    ),
    "being past a quota": (mesh(**{RANK: [{"last_good": {}, "when": ["QUOTA"]}]}), "nothing stands in for QUOTA"),
    "the lanes' database": (
        mesh(**{RANK: []}) | {"redis": {"url": "redis://one:6379"}, "cache": {"url": "rediss://me:pw@one/0"}},
        "cache.url: is the database of the lanes",
    ),
}


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    """A cycle with all that are in it."""
    message = told(tmp_path, given)
    assert says in message
    assert message.startswith("mesh.yaml:")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """A line each."""
    given = mesh(**{"a.B/C": [{"route": "a.B/X"}, {"route": "a.B/C"}]})
    assert len(told(tmp_path, given).splitlines()) == 2


def test_routes_may_share_one_that_stands_in() -> None:
    """That is no cycle, nor is a chain."""
    given = mesh(**{"a.B/C": [{"route": "a.B/D"}, {"route": "a.B/E"}], "a.B/D": [{"route": "a.B/E"}], "a.B/E": []})
    assert not MeshConfig.model_validate(given).remembers


def test_a_static_answer_comes_in_every_form(tmp_path: Path) -> None:
    """As a message, in a file as JSON or as it is, and as base64."""
    message = recsys_pb2.RankResponse(item_ids=[3, 4], scores=[0.5, 0.25])
    data = message.SerializeToString()
    as_json = {"item_ids": [3, 4], "scores": [0.5, 0.25]}
    (tmp_path / "answer.json").write_text(json.dumps(as_json))
    (tmp_path / "answer.pb").write_bytes(data)
    for given in (
        StaticConfig(message=as_json),
        StaticConfig(file=tmp_path / "answer.json"),
        StaticConfig(file=tmp_path / "answer.pb"),
    ):
        [made] = answers_of(RANK, given)
        assert recsys_pb2.RankResponse.FromString(made) == message
    assert answers_of("a.B/C", StaticConfig(base64="AAEC")) == (b"\x00\x01\x02",)
    chunks = answers_of(GENERATE, StaticConfig(message=[{"text": "one "}, {"text": "two"}]))
    assert [llm_pb2.GenerateChunk.FromString(chunk).text for chunk in chunks] == ["one ", "two"]


COVERED: list[tuple[IsochroneError, bool]] = [
    (Overloaded("", retry_after_s=1), True),
    (Overloaded("", retry_after_s=1, reason="OVERLOAD"), True),
    (Overloaded("", retry_after_s=1, reason="INFEASIBLE_DEADLINE"), True),
    (Overloaded("", retry_after_s=1, reason="QUOTA"), False),
    (Unavailable(""), True),
    (Unavailable("", reason="NODE_LOST"), True),
    (Unavailable("", reason="DRAINING"), False),
    (DeadlineExceeded(""), True),
    (Internal("1"), True),
    (InvalidRequest(""), False),
    (UnknownVariant(""), False),
    (Unauthenticated(""), False),
    (PermissionDenied(""), False),
]


@pytest.mark.parametrize(("error", "covered"), COVERED, ids=lambda value: getattr(value, "reason", str(value)))
def test_what_is_stood_in_for(error: IsochroneError, covered: bool) -> None:
    """What the caller can't mend; being past a quota never, and a router that leaves only where that is named."""
    assert FallbackConfig.model_validate({"last_good": {}}).covers(error) is covered
    if error.reason == "DRAINING":
        assert FallbackConfig.model_validate({"last_good": {}, "when": [error.reason]}).covers(error)


def test_a_models_own_error_gets_nothing_by_its_name() -> None:
    """Whatever reason it gives itself: its code says who is to act."""
    when = FallbackConfig.model_validate({"last_good": {}, "when": sorted(REASONS & {"OVERLOAD", "NO_NODE"})})
    assert not when.covers(InvalidRequest("", violations=()))
    wrong = InvalidRequest("")
    wrong.reason = "OVERLOAD"
    assert not when.covers(wrong)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://localhost:6379/0", "rediss://u:p@127.0.0.1", True),
        ("redis://host/1", "redis://host/0", False),
        ("redis://host:6380", "redis://host", False),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0", True),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock", False),
    ],
)
def test_urls_of_one_database_are_known(one: str, other: str, same: bool) -> None:
    """However they are written, as far as they tell."""
    assert (database_of(one) == database_of(other)) is same


def test_the_environment_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may make one database of two."""
    config = MeshConfig.model_validate(mesh(**{RANK: [{"last_good": {}}]}))
    monkeypatch.setenv("ISOCHRONE_REDIS_URL", "redis://one/0")
    monkeypatch.setenv("ISOCHRONE_CACHE_URL", "redis://one")
    with pytest.raises(ConfigError, match="are one database"):
        store_of(config)
    monkeypatch.setenv("ISOCHRONE_CACHE_URL", "redis://one:port")
    with pytest.raises(ConfigError, match=r"cache\.url"):
        store_of(config)
