"""`isochrone models` builds what is missing or out of date, and says how good what is there is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isochrone.cli import main
from isochrone.errors import ConfigError

recsys_build = pytest.importorskip("isochrone_recsys.build")
vision_build = pytest.importorskip("isochrone_vision.build")
llm_build = pytest.importorskip("isochrone_llm.build")


class Builder:
    """Stands in for a build of half a minute: notes where, and leaves a folder that counts as current."""

    def __init__(self) -> None:
        self.built: list[Path] = []

    def __call__(self, out_dir: Path, *, console: Any = None) -> Any:
        self.built.append(out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(directory=out_dir, seconds=31.2, size_bytes=3 * 2**20)

    def is_current(self, directory: Path) -> bool:
        return directory.is_dir()


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Builder:
    made = Builder()
    monkeypatch.setattr(recsys_build, "BUILDS", {"ranker.fp32": made})
    monkeypatch.setattr(recsys_build, "is_current", made.is_current)
    monkeypatch.setattr(vision_build, "BUILDS", {})
    monkeypatch.setattr(vision_build, "is_current", made.is_current)
    monkeypatch.setattr(llm_build, "BUILDS", {})
    monkeypatch.setattr(llm_build, "is_current", made.is_current)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.chdir(tmp_path)
    return made


def models(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["models", *arguments])
    return int(left.value.code or 0)


def test_what_is_current_is_left_alone(builder: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    """A second build takes no time; --force builds anyway."""
    folder = Path(".isochrone/models/ranker.fp32")
    assert models("build") == 0
    assert "✓ ranker.fp32 built in 31 s, 3.0 MB" in capsys.readouterr().err
    assert models("build") == 0
    assert f"✓ ranker.fp32 is current in {folder}" in capsys.readouterr().err
    assert builder.built == [folder]
    assert models("build", "ranker.fp32", "--force") == 0
    assert builder.built == [folder, folder]


def test_models_go_where_they_are_told(builder: Builder, tmp_path: Path) -> None:
    """As in the mesh's file."""
    assert models("build", "--models", str(tmp_path / "elsewhere")) == 0
    assert builder.built == [tmp_path / "elsewhere" / "ranker.fp32"]


def test_an_unknown_model_is_refused_with_those_there_are(builder: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is built."""
    assert models("build", "ranker.fp32", "ranker.int3") == 2
    assert capsys.readouterr().err == "config error: no such model: ranker.int3; there are: ranker.fp32\n"
    assert builder.built == []


def test_a_missing_package_is_named_with_its_extra(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever only serves has no torch."""

    def no_torch(out_dir: Path, **_: object) -> None:
        raise ConfigError("building a model needs torch: pip install 'isochrone[build,recsys]'")

    monkeypatch.setattr(recsys_build, "BUILDS", {"ranker.fp32": no_torch})
    assert models("build") == 2
    assert "needs torch: pip install 'isochrone[build,recsys]'" in capsys.readouterr().err


def test_the_list_says_what_is_built_and_how_good_it_is(
    builder: Builder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the model's own manifest."""
    monkeypatch.setenv("COLUMNS", "120")
    assert models("list") == 0
    assert "not built" in capsys.readouterr().out
    folder = Path(".isochrone/models/ranker.fp32")
    builder(folder)
    shapes = dict.fromkeys(("items", "user_dense", "recent_items", "item_dense"), 1)
    manifest = {
        "format": 1,
        "variant": "ranker.fp32",
        "fingerprint": "f",
        "seed": 1,
        "shapes": {**shapes, "user_categories": [1], "item_categories": [1]},
        "metrics": {"auc": 0.78531, "oracle_auc": 0.8122},
        "versions": {},
        "sha256": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert models("list") == 0
    assert "ranker.fp32 current AUC 0.7853, the oracle's 0.8122 " in " ".join(capsys.readouterr().out.split())


def test_models_of_all_services_are_built_and_listed(
    builder: Builder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with what counts for it."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(vision_build, "BUILDS", {"eye.fp32": builder})
    assert models("build") == 0
    assert builder.built == [Path(".isochrone/models/ranker.fp32"), Path(".isochrone/models/eye.fp32")]
    manifest = {
        "format": 1,
        "variant": "eye.fp32",
        "fingerprint": "f",
        "seed": 1,
        "side": 64,
        "labels": ["hat", "mug"],
        "dimensions": 64,
        "metrics": {"accuracy": 0.973, "neighbours_alike": 0.9612},
        "versions": {},
        "sha256": {},
    }
    (builder.built[1] / "manifest.json").write_text(json.dumps(manifest))
    assert models("list") == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert "eye.fp32 current 97.3% named rightly, 96.1% next to their kind " in listed
