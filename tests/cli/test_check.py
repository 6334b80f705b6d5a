"""`isochrone check` finds what is wrong with a mesh's file before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.certificates import certificates
from isochrone.cli import main

ROOT = Path(__file__).parents[2]

MESH = """\
mesh: shop
redis: {url: "redis://mesh:geheim@10.0.0.5:6379/0"}
routes:
  isochrone.testing.v1.Toy/Echo: {objective_ms: 15, deadline_ms: 100, lanes: ["echo@cpu"]}
nodes:
  toys:
    service: toy
    replicas: 2
"""


@pytest.fixture(autouse=True)
def no_redis_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISOCHRONE_REDIS_URL", raising=False)


def check(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["check", *arguments])
    return int(left.value.code or 0)


def test_a_good_file_is_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who listens where, what is promised; no password."""
    path = tmp_path / "mesh.yaml"
    path.write_text(MESH)
    assert check(str(path)) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"OK {path}: mesh shop",
        "  router   127.0.0.1:50051, admin http://127.0.0.1:8080",
        "  redis    redis://mesh:…@10.0.0.5:6379/0",
        "  nodes    2 toys on cpu",
        "  isochrone.testing.v1.Toy/Echo  99.9 % within 15 ms, deadline 100 ms, on echo@cpu",
    ]


@pytest.mark.parametrize("name", ["mesh.yaml", "deploy/mesh.yaml"])
def test_the_usual_file_is_found(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """deploy/mesh.yaml or mesh.yaml of the folder."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / name).write_text(MESH)
    monkeypatch.chdir(tmp_path)
    assert check() == 0
    assert capsys.readouterr().out.startswith(f"OK {name}")


def test_no_file_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where it looked."""
    monkeypatch.chdir(tmp_path)
    assert check() == 2
    assert "run this where deploy/mesh.yaml or mesh.yaml is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("mesh: shop", "mesh: [", ": not YAML: "),
        ("objective_ms: 15", "objectve_ms: 15", ":4: routes.isochrone.testing.v1.Toy/Echo.objectve_ms: no such key"),
        (
            "service: toy",
            "service: tyo",
            "toys: service: no module 'tyo' is installed; known: llm, recsys, toy, vision",
        ),
        ("service: toy", "service: no.such.thing", "no module 'no.such.thing' is installed"),
        ("replicas: 2", "options: {sleep_ms: soon}", ": sleep_ms: input should be a valid number"),
        ("replicas: 2", "options: {slep_ms: 1}", ": slep_ms: no such key; known here: batch_jobs"),
        ("echo@cpu", "echo@cuda", "lanes: echo@cuda: no node group has device 'cuda'; there is cpu"),
    ],
)
def test_what_is_wrong_is_said_and_the_exit_code_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    """With the file, the place, and what would be right; never a traceback."""
    path = tmp_path / "mesh.yaml"
    assert old in MESH
    path.write_text(MESH.replace(old, new))
    assert check(str(path)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"config error: {path}:")
    assert said in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("admin", "warned"),
    [
        *(("127.0.0.1:8080", False), ("localhost:8080", False), ("[::1]:8080", False), ("unix:/run/admin", False)),
        *(("0.0.0.0:8080", True), ("[::]:8080", True), ("10.0.0.7:8080", True), ("router.shop:8080", True)),
    ],
)
def test_an_admin_port_that_others_reach_is_warned_of(
    admin: str, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knows no callers. It can be used so all the same: some networks have nobody else in them."""
    path = tmp_path / "mesh.yaml"
    path.write_text(f'{MESH}router:\n  admin: "{admin}"\n')
    assert check(str(path)) == 0
    told = capsys.readouterr().err
    place = f"warning: {path}:10: router.admin: {admin}: whoever reaches it reads routes, nodes, callers and misses"
    assert told.startswith(f"{place}, in plain text: keep it inside") if warned else told == ""


def test_certificates_of_the_admin_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Are looked at like the others; without clients' certificates, whoever reaches it reads it still."""
    path, made = tmp_path / "mesh.yaml", certificates(tmp_path / "tls")

    def said(**tls: str) -> tuple[int, str, str]:
        path.write_text(MESH + yaml.safe_dump({"router": {"admin": "0.0.0.0:8080", "admin_tls": tls}}))
        code = check(str(path))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    code, out, err = said(**made.server_tls(clients="required"))
    assert (code, err) == (0, "")
    assert "  router   127.0.0.1:50051, admin https://0.0.0.0:8080\n" in out
    assert "  tls      callers: without; links: without; admin: mutual\n" in out
    code, out, err = said(**made.server_tls())
    assert (code, "admin: of the router alone" in out, "plain text" in err) == (0, True, False)
    assert "whoever reaches it reads" in err
    made.expired("router")
    code, _, err = said(**made.server_tls())
    assert (code, "router.admin_tls.certificate: " in err, "expired on" in err) == (2, True, True)


def test_a_file_of_callers_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said with the line of the mesh's file that names it, and its own."""
    callers, path = tmp_path / "callers.yaml", tmp_path / "mesh.yaml"
    path.write_text(f"{MESH}router:\n  callers_file: {callers}\n")
    place = f"config error: {path}:10: router.callers_file: {callers}"
    assert check(str(path)) == 2
    assert capsys.readouterr().err.startswith(f"{place}: can't be read")
    callers.write_text("callers:\n  shop: {tokens: [iso_s3cret]}\n")
    assert check(str(path)) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{place}:2: callers.shop.tokens.0: should be a token's hash")
    assert "s3cret" not in told


def test_the_file_we_ship_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """deploy/mesh.yaml."""
    assert check(str(ROOT / "deploy" / "mesh.yaml")) == 0
