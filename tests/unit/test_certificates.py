"""What is said of certificates before anything starts: what is wrong, where, and by how many days."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.certificates import DAY, LOCAL, Certificates
from isochrone.certificates import check_own, findings, today
from isochrone.cli import main
from isochrone.client import Client, Tls
from isochrone.client.endpoint import Endpoint
from isochrone.config import MeshConfig, load_config
from isochrone.errors import ConfigError

NAME = "toys"
FILE = """\
mesh: toys
mesh_tls:
  certificate: {folder}/mesh.crt
  key: {folder}/mesh.key
  ca: {folder}/ca.crt
router:
  tls: {{certificate: {folder}/router.crt, key: {folder}/router.key, client_ca: {folder}/ca.crt, clients: required}}
routes:
  isochrone.testing.v1.Toy/Echo: {{objective_ms: 15, deadline_ms: 100, lanes: [echo@cpu]}}
nodes:
  toys: {{service: toy}}
"""


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path / "ours")
    made.make("mesh", NAME)
    made.make("router", *LOCAL)
    return made


@pytest.fixture
def path(tmp_path: Path, ours: Certificates) -> Path:
    """A mesh's file that names them."""
    path = tmp_path / "mesh.yaml"
    path.write_text(FILE.format(folder=ours.folder))
    return path


def said(path: Path, *, in_days: float = 0) -> list[str]:
    found = findings(load_config(path), now=today() + timedelta(days=in_days))
    return [finding.at(path).removeprefix(f"{path}:") for finding in found]


def test_good_ones_need_no_words(path: Path) -> None:
    """Until two weeks before they expire."""
    assert said(path) == []
    assert said(path, in_days=70) == []


def test_what_expires_is_said_with_its_date(path: Path, ours: Certificates) -> None:
    """Beforehand as a warning, afterwards as a reason not to start."""
    config = load_config(path)
    ends = f"{today() + 90 * DAY:%Y-%m-%d}"
    soon, *_ = findings(config, now=today() + 80 * DAY)
    assert (soon.fatal, f"mesh.crt: expires on {ends}" in soon.words, "in 9 days" in soon.words) == (False, True, True)
    over, *_ = findings(config, now=today() + 100 * DAY)
    assert (over.fatal, f"mesh.crt: expired on {ends}" in over.words) == (True, True)
    ours.make("mesh", NAME, began_days_ago=-5)
    assert any("mesh.crt: is valid from" in words and "in 4 days" in words for words in said(path))


def test_what_is_wrong_is_said_with_its_line(path: Path, ours: Certificates, tmp_path: Path) -> None:
    """Missing files, keys of others, other CAs, names of nobody, no PEM at all."""
    theirs = Certificates(tmp_path / "theirs")
    theirs.make("mesh", "elsewhere")
    ours["router.key"].write_bytes(theirs["mesh.key"].read_bytes())
    ours["mesh.crt"].write_bytes(theirs["mesh.crt"].read_bytes())
    ours["mesh.key"].unlink()
    crt = ours["mesh.crt"]
    assert said(path) == [
        f"4: mesh_tls.key: {ours['mesh.key']}: can't be read: No such file or directory",
        f"3: mesh_tls.certificate: {crt}: is not of the CA in {ours['ca.crt']}, but of 'CN=CA of theirs'",
        f"3: mesh_tls.certificate: {crt}: names elsewhere; it should name 'toys'",
        f"7: router.tls.key: {ours['router.key']}: is not the key of the certificate in {ours['router.crt']}",
    ]
    ours["ca.crt"].write_text("my CA")
    assert any(words.startswith("5: mesh_tls.ca: ") and "holds no certificates in PEM" in words for words in said(path))


def test_a_ca_of_the_same_name_is_another_one(path: Path, ours: Certificates, tmp_path: Path) -> None:
    """The signature counts."""
    (tmp_path / "twin").mkdir()
    twin = Certificates(tmp_path / "twin" / "ours")
    twin.make("mesh", NAME)
    for name in ("mesh.crt", "mesh.key"):
        ours[name].write_bytes(twin[name].read_bytes())
    assert any("is not of the CA in" in words for words in said(path))


def test_a_process_refuses_or_warns(path: Path, ours: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    """It looks at its own: a router's certificate is none of a node's business."""
    ours.expired("router", *LOCAL)
    config = load_config(path)
    check_own(config, path, {("nodes", "toys", "tls"): None})
    assert caplog.messages == []
    with pytest.raises(ConfigError, match=r"mesh\.yaml:7: router\.tls\.certificate: .* expired on .* 10 days ago"):
        check_own(config, path, {("router", "tls"): config.router.tls})
    ours.make("mesh", NAME, days=3)
    check_own(config, path, {("nodes", "toys", "tls"): None})
    assert "mesh.crt: expires on" in caplog.text


def test_check_says_all_of_it(path: Path, ours: Certificates, capsys: pytest.CaptureFixture[str]) -> None:
    """`isochrone check`: warnings beside the summary, and exit code 2 for what can't be used."""
    ours.make("mesh", NAME, days=3)
    with pytest.raises(SystemExit) as left:
        main(["check", str(path)])
    printed = capsys.readouterr()
    assert left.value.code in (0, None)
    assert "warning:" in printed.err
    assert "  tls      callers: mutual; links: mutual, for 'toys'" in printed.out
    ours.expired("mesh", NAME)
    with pytest.raises(SystemExit) as left:
        main(["check", str(path)])
    assert left.value.code == 2
    assert f"{path}:3: mesh_tls.certificate: {ours['mesh.crt']}: expired on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"router": {"tls": {"clients": "required"}}}, "needs client_ca"),
        ({"router": {"tls": {"client_ca": "ca.crt"}}}, "clients: required asks for it"),
        ({"router": {"tls": {"clients": "optional"}}}, "none"),
        ({"mesh": "a.-b", "mesh_tls": {}}, "mesh_tls.name is required"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], told: str) -> None:
    """gRPC can ask every caller for a certificate, or none."""
    pair = {"certificate": "a.crt", "key": "a.key"}
    for section in (changes, changes.get("router", {})):
        for key in ("tls", "mesh_tls"):
            if key in section:
                section[key] |= pair | ({"ca": "ca.crt"} if key == "mesh_tls" else {})
    routes = {"isochrone.testing.v1.Toy/Echo": {"objective_ms": 15, "deadline_ms": 100, "lanes": ["echo@cpu"]}}
    with pytest.raises(ValueError, match=told):
        MeshConfig.model_validate({"routes": routes} | changes)


def test_a_command_makes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints for the mesh's file passes the check; once more renews all but the CA."""
    folder = tmp_path / "certificates"
    command = ["certificates", str(folder), "--mesh", NAME, "--caller", "shop", "--host", "mesh.internal"]
    with pytest.raises(SystemExit):
        main(command)
    lines = capsys.readouterr().out
    path = tmp_path / "mesh.yaml"
    path.write_text(f"mesh: toys\n{lines}" + FILE[FILE.index("routes:") :].format())
    assert said(path) == []
    config = load_config(path)
    assert config.router.tls is not None
    assert config.router.tls.clients == "required"
    assert stat.S_IMODE((folder / "shop.key").stat().st_mode) == 0o600
    before = {name: (folder / name).read_bytes() for name in ("ca.crt", "mesh.crt")}
    with pytest.raises(SystemExit):
        main(command)
    assert (folder / "ca.crt").read_bytes() == before["ca.crt"]
    assert (folder / "mesh.crt").read_bytes() != before["mesh.crt"]
    assert said(path) == []


def test_no_caller_takes_the_place_of_the_ca(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names become files."""
    for name in ("ca", "../shop"):
        with pytest.raises(SystemExit) as left:
            main(["certificates", str(tmp_path / "new"), "--caller", name])
        assert left.value.code == 2
        assert "take another name" in capsys.readouterr().err


def test_a_clients_arguments(ours: Certificates) -> None:
    """Files are looked at when the client is made; a Unix socket needs none."""
    with pytest.raises(ValueError, match="come together"):
        Tls(certificate="a.crt")
    with pytest.raises(ConfigError, match=r"none\.crt"):
        Client("127.0.0.1:1", tls=Tls(ca=ours["none.crt"]))
    with pytest.raises(ConfigError, match="TLS: "):
        Client("127.0.0.1:1", tls=Tls(certificate=ours["mesh.crt"], key=ours["router.key"]))
    (socket,) = Endpoint.of(["unix:/tmp/none"], tls=ours.caller())
    assert socket._channel_credentials() is None
    (usual,) = Endpoint.of(["127.0.0.1:1"], tls=True)
    assert usual._channel_credentials() is not None
