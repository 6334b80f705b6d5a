"""A mesh's file is read whole or refused, and every refusal says file, line, key and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from isochrone.config import CallerConfig, MeshConfig, load_callers, load_config
from isochrone.errors import ConfigError
from isochrone.keys import Tier

ROOT = Path(__file__).parent.parent

MESH = """\
mesh: shop
redis:
  url: embedded
router:
  listen: 127.0.0.1:50051
routes:
  isochrone.v1.Recsys/Rank:
    objective_ms: 15
    deadline_ms: 100
    lanes: [ranker.fp32@cpu]
nodes:
  recsys:
    service: recsys
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    path = tmp_path / "mesh.yaml"
    path.write_text(MESH)
    return path


def refusal(path: Path, text: str) -> str:
    """What is said about a file of this text, with the folder left out."""
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in caught.value.message
    return caught.value.message.replace(str(path), "mesh.yaml")


def test_the_file_we_ship_is_good_and_its_defaults_are_the_documented_ones() -> None:
    """deploy/mesh.yaml: an embedded Redis, a router on 50051 with its admin on 8080, two recsys nodes."""
    config = load_config(ROOT / "deploy" / "mesh.yaml")
    assert config.redis.url == "embedded"
    assert (config.router.listen, config.router.admin) == ("127.0.0.1:50051", "127.0.0.1:8080")
    assert config.routes["isochrone.v1.Recsys/Rank"].objective_ms == 15
    assert config.nodes["recsys"].replicas == 2


def test_what_is_left_out_has_a_default(mesh: Path) -> None:
    """Only routes are required."""
    mesh.write_text("routes:\n  a.B/C: {objective_ms: 1, deadline_ms: 1, lanes: [m@cpu]}\n")
    config = load_config(mesh)
    assert config.mesh == "isochrone"
    assert config.router.limits.inline_bytes == 32 * 1024
    assert config.nodes == {}


def test_sections_are_frozen(mesh: Path) -> None:
    """What was read at the start stays as it is."""
    config = load_config(mesh)
    with pytest.raises(ValidationError):
        config.router.processes = 2  # type: ignore[misc]


def test_the_environment_replaces_the_redis_url(mesh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack hands its embedded Redis to its children this way."""
    config = load_config(mesh)
    monkeypatch.delenv("ISOCHRONE_REDIS_URL", raising=False)
    assert config.redis.resolved_url() == "embedded"
    monkeypatch.setenv("ISOCHRONE_REDIS_URL", "unix:///run/r.sock")
    assert config.redis.resolved_url() == "unix:///run/r.sock"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The system's reason is passed on."""
    with pytest.raises(ConfigError, match=r"gone\.yaml: can't be read: .*No such file"):
        load_config(tmp_path / "gone.yaml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are no traceback either."""
    path = tmp_path / "mesh.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="can't be read"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1,\nb: 2", "mesh.yaml:2: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "mesh.yaml:1: not YAML: mapping values are not allowed here"),
        ("\tmesh: shop", "mesh.yaml:1: not YAML: found character '\\t' that cannot start any token"),
        ("mesh: \x07", "mesh.yaml:1: not YAML: unacceptable character #x0007: special characters are not allowed"),
        ("mesh: !!int", "mesh.yaml:1: not YAML: string index out of range"),
        ("mesh: 2024-13-01", "mesh.yaml:1: not YAML: month must be in 1..12"),
        ("", "mesh.yaml:1: should be a mapping with at least 'routes'"),
        ("- routes", "mesh.yaml:1: should be a mapping with at least 'routes'"),
        ("just words", "mesh.yaml:1: should be a mapping with at least 'routes'"),
        ("mesh: shop\n", "mesh.yaml:1: routes: is required"),
        ("mesh: a\nmesh: b\n", "mesh.yaml:2: mesh: given twice, first on line 1; keep one"),
        (
            "routes:\n  a.B/C:\n    lanes: [m@cpu]\n    lanes: [n@cpu]\n",
            "mesh.yaml:4: routes.a.B/C.lanes: given twice, first on line 3; keep one",
        ),
    ],
)
def test_a_file_that_is_no_mesh(tmp_path: Path, text: str, said: str) -> None:
    """Not YAML, not a mapping, keys missing or given twice."""
    assert refusal(tmp_path / "mesh.yaml", text) == said


LIKE = "should look like"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # keys
        (
            "mesh: shop",
            "mehs: shop",
            "1: mehs: no such key; known here: "
            "cache, callers, devices, log, mesh, mesh_tls, models, nodes, redis, router, routes",
        ),
        ("  url:", "  uri:", "3: redis.uri: no such key; known here: ca_file, password_env, stall_ms, url, username"),
        (
            "    service: recsys",
            "    service: recsys\n    replica: 2",
            "14: nodes.recsys.replica: no such key; known here: advertise, api, device, drain_s, listen, nice, "
            "options, replicas, service",
        ),
        (
            "    objective_ms: 15",
            "    objective: 15",
            "7: routes.isochrone.v1.Recsys/Rank.objective_ms: is required\n"
            "mesh.yaml:8: routes.isochrone.v1.Recsys/Rank.objective: no such key; "
            "known here: deadline_ms, fallback, hold, lanes, objective_ms, smaller, target",
        ),
        # names and addresses
        ("mesh: shop", "mesh: My Shop", f"1: mesh: {LIKE} 'recsys-a' (it is 'My Shop')"),
        ("  recsys:", "  Rec sys:", f"12: nodes.Rec sys: {LIKE} 'recsys-a' (it is 'Rec sys')"),
        ("isochrone.v1.Recsys/Rank", "Rank", f"7: routes.Rank: {LIKE} 'isochrone.v1.Recsys/Rank' (it is 'Rank')"),
        (
            "ranker.fp32@cpu",
            "ranker",
            f"10: routes.isochrone.v1.Recsys/Rank.lanes.0: {LIKE} 'ranker.fp32@cpu' (it is 'ranker')",
        ),
        (
            "127.0.0.1:50051",
            "localhost",
            f"5: router.listen: {LIKE} '127.0.0.1:50051' (it is 'localhost')",
        ),
        (
            "embedded",
            "http://redis",
            "3: redis.url: should be 'embedded', 'none', or a URL: redis://host:6379/0, rediss://…, "
            "unix:///run/redis.sock (it is 'http://redis')",
        ),
        # numbers
        ("deadline_ms: 100", "deadline_ms: soon", "9: {route}.deadline_ms: input should be a valid number"),
        ("deadline_ms: 100", "deadline_ms: .inf", "9: {route}.deadline_ms: input should be a finite number"),
        ("deadline_ms: 100", "deadline_ms: 0", "9: {route}.deadline_ms: input should be greater than 0"),
        ("deadline_ms: 100", "deadline_ms: 100\n    target: 1.5", "10: {route}.target: input should be less than 1"),
        (
            "deadline_ms: 100",
            "deadline_ms: 10",
            "7: {route}: objective_ms (15) should be at most deadline_ms (10)",
        ),
        ("lanes: [ranker.fp32@cpu]", "lanes: []", "10: {route}.lanes: tuple should have at least 1 item"),
        ("service: recsys", "service: ''", "13: nodes.recsys.service: string should have at least 1 character"),
        (
            "service: recsys",
            "service: recsys\n    replicas: 0",
            "14: nodes.recsys.replicas: input should be greater than or equal to 1 (it is 0)",
        ),
        # sections
        ("  listen: 127.0.0.1:50051", "  - listen", "4: router: input should be a valid dictionary"),
    ],
)
def test_a_key_that_is_wrong_is_named_with_its_line(mesh: Path, old: str, new: str, said: str) -> None:
    """And with what would be right."""
    assert old in MESH
    said = said.replace("{route}", "routes.isochrone.v1.Recsys/Rank")
    assert refusal(mesh, MESH.replace(old, new)).startswith(f"mesh.yaml:{said}")


def test_all_that_is_wrong_is_said_at_once(mesh: Path) -> None:
    """One line each, so that a file is mended in one go."""
    broken = MESH.replace("mesh: shop", "mesh: '!'").replace("deadline_ms: 100", "deadline_ms: -1")
    lines = refusal(mesh, broken + "log: xml\n").splitlines()
    assert [line.split(": ")[0] for line in lines] == ["mesh.yaml:1", "mesh.yaml:14", "mesh.yaml:9"]


names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
times_ms = st.floats(min_value=0.01, max_value=3_600_000)
routes = st.builds(
    lambda a, b, lanes: {"objective_ms": min(a, b), "deadline_ms": max(a, b), "lanes": lanes},
    times_ms,
    times_ms,
    st.lists(st.from_regex(r"[a-z0-9.]{1,9}@(cpu|cuda)", fullmatch=True), min_size=1, max_size=3, unique=True),
)
route_names = st.from_regex(r"[a-z]{1,5}\.[A-Z]{1,5}/[A-Z]{1,5}", fullmatch=True)
meshes = st.fixed_dictionaries(
    {"routes": st.dictionaries(route_names, routes, min_size=1)},
    optional={
        "mesh": names,
        "nodes": st.dictionaries(names, st.fixed_dictionaries({"service": names}), max_size=3),
        "router": st.fixed_dictionaries({}, optional={"processes": st.integers(1, 64), "linger_ms": st.floats(0, 50)}),
    },
)


@given(meshes)
def test_a_mesh_comes_back_from_its_file_as_it_was(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Whatever is valid is read as it was meant, whichever way YAML writes it."""
    path = tmp_path_factory.getbasetemp() / "mesh.yaml"
    path.write_text(yaml.safe_dump(data))
    assert load_config(path) == MeshConfig.model_validate(data)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=12,
)
sections = st.sampled_from(["mesh", "redis", "router", "routes", "nodes", "log", "models"])


@given(anything | st.dictionaries(sections, anything))
def test_nothing_but_a_config_error_comes_of_any_yaml(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Each of its lines begins with the file and a line of it."""
    path = tmp_path_factory.getbasetemp() / "mesh.yaml"
    text = yaml.safe_dump(data)
    path.write_text(text)
    try:
        load_config(path)
    except ConfigError as error:
        for line in error.message.splitlines():
            if line.startswith(str(path)):
                number = int(line.removeprefix(f"{path}:").split(":")[0])
                assert 1 <= number <= text.count("\n") + 1


@given(st.text(max_size=40))
def test_nothing_but_a_config_error_comes_of_any_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """A file may hold what it likes."""
    path = tmp_path_factory.getbasetemp() / "mesh.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load_config(path)


HASH = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("callers", "said"),
    [
        ({"shop": {}}, "callers: shop has neither tokens nor certificates to be known by"),
        (
            {"shop": {"tokens": ["s3cret"]}},
            "shop.tokens.0: should be a token's hash as `isochrone token` prints it",
        ),
        ({"a": {"tokens": [HASH]}, "b": {"tokens": [HASH]}}, f"callers: a and b have the same token, {HASH}"),
        ({"a": {"certificates": ["x"]}, "b": {"certificates": ["x"]}}, "a and b have the same certificate, x"),
        ({"anonymous": {"tokens": [HASH]}}, "it has no token or certificate"),
        ({"other": {"tokens": [HASH]}}, "stands for those that nobody knows"),
        ({"a": {"tokens": [HASH], "rate_per_s": -1}}, "greater than or equal to 0"),
        ({"a": {"tokens": [HASH], "burst": 5}}, "burst goes with rate_per_s"),
        ({"a": {"tokens": [HASH], "tiers": ["platinum"]}}, "input should be 'gold', 'standard' or 'batch'"),
        ({"a": {"tokens": [HASH], "tiers": ["batch"], "default_tier": "gold"}}, "should be one of its tiers: batch"),
    ],
)
def test_callers_that_make_no_sense(mesh: Path, callers: dict[str, Any], said: str) -> None:
    """In the mesh's file and in one of their own."""
    assert said in refusal(mesh, MESH + yaml.safe_dump({"callers": callers}))
    mesh.write_text(yaml.safe_dump({"callers": callers}))
    with pytest.raises(ConfigError) as caught:
        load_callers(mesh)
    assert said in caught.value.message


@pytest.mark.parametrize("tokens", ["iso_s3cret", ["iso_s3cret"], {"one": "iso_s3cret"}, [["iso_s3cret"]]])
def test_a_token_where_its_hash_should_be_is_not_repeated(mesh: Path, tokens: Any) -> None:
    """Whoever reads the log would have it."""
    told = refusal(mesh, MESH + yaml.safe_dump({"callers": {"shop": {"tokens": tokens}}}))
    assert "callers.shop.tokens" in told
    assert "s3cret" not in told


def test_nor_is_a_password(mesh: Path) -> None:
    """In a URL of the wrong kind."""
    told = refusal(mesh, MESH.replace("embedded", "http://mesh:s3cret@redis/0"))
    assert told.endswith("(it is 'http://mesh:…@redis/0')")


def test_callers_have_defaults_that_keep_gold_for_those_who_are_given_it(mesh: Path) -> None:
    """Standard and batch, standard where nothing is asked for, and no limits; a burst of what the rate gives in a
    second, and no smaller than routers can keep to."""
    mesh.write_text(yaml.safe_dump({"callers": {"shop": {"tokens": [HASH]}}}))
    shop = load_callers(mesh)["shop"]
    assert (shop.tiers, shop.usual_tier) == ((Tier.STANDARD, Tier.BATCH), Tier.STANDARD)
    assert (shop.rate_per_s, shop.concurrency) == (None, None)
    assert CallerConfig(tiers=(Tier.GOLD,)).usual_tier is Tier.GOLD
    for rate, burst, tokens in ((0, None, 1), (0.5, None, 1), (200.5, None, 201), (200, 5, 20), (200, 500, 500)):
        assert CallerConfig(rate_per_s=rate, burst=burst).burst_tokens == tokens
