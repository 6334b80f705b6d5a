"""What all builds share: folders that change whole or not at all, and manifests that know what they were built from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from isochrone.building.making import needing, progress
from isochrone.building.manifest import MANIFEST, Manifest, checksums, fingerprint, is_built
from isochrone.building.publish import published
from isochrone.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    seed: int = 1


def built(directory: Path, *, fingerprint: str = "of these sources") -> Path:
    """A folder with a model of one file."""
    with published(directory) as folder:
        (folder / "model").write_bytes(b"weights")
        Manifest(
            variant=directory.name,
            fingerprint=fingerprint,
            seed=1,
            metrics={"auc": 0.75},
            versions={"python": "3"},
            sha256=checksums(folder, ["model"]),
        ).write(folder)
    return directory


def test_interrupted_publication_leaves_the_old_folder(tmp_path: Path) -> None:
    """A build that is stopped while it writes hasn't happened."""
    directory = tmp_path / "ranker.fp32"
    with published(directory) as folder:
        (folder / "file").write_text("old")

    def interrupted() -> None:
        with published(directory) as folder:
            (folder / "file").write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (directory / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [directory]


def test_publication_replaces_the_old_folder(tmp_path: Path) -> None:
    """Also its files that the new one doesn't have."""
    directory = tmp_path / "models" / "ranker.fp32"
    for name in ("old", "new"):
        with published(directory) as folder:
            (folder / name).touch()
    assert [path.name for path in directory.iterdir()] == ["new"]
    assert list(directory.parent.iterdir()) == [directory]


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And gives the files that it was written for, and no others."""
    directory = built(tmp_path / "ranker.fp32")
    manifest = Manifest.read(directory)
    assert (manifest.variant, manifest.metrics, manifest.versions) == ("ranker.fp32", {"auc": 0.75}, {"python": "3"})
    assert manifest.read_file(directory, "model") == b"weights"
    (directory / "model").write_bytes(b"others")
    with pytest.raises(ConfigError, match="SHA-256"):
        manifest.read_file(directory, "model")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 2, "variant": "x"}', "\x00"])
def test_what_is_no_manifest_says_what_to_do(tmp_path: Path, content: str) -> None:
    """Neither a fault nor a guess."""
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(ConfigError, match="isochrone models build"):
        Manifest.read(tmp_path)


def test_a_build_is_known_by_its_fingerprint(tmp_path: Path) -> None:
    """And by its files being there."""
    directory = built(tmp_path / "ranker.fp32")
    assert is_built(directory, Manifest, fingerprint="of these sources")
    assert not is_built(directory, Manifest, fingerprint="of others")
    assert not is_built(tmp_path / "nowhere", Manifest, fingerprint="of these sources")
    (directory / "model").unlink()
    assert not is_built(directory, Manifest, fingerprint="of these sources")


def test_a_fingerprint_is_of_recipe_and_sources(tmp_path: Path) -> None:
    """Names and contents, and where one ends and the next begins."""
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("a")
    two.write_text("b")
    first = fingerprint(Recipe(), [one, two])
    assert first == fingerprint(Recipe(), [one, two])
    assert len(first) == 64
    others = {fingerprint(Recipe(seed=2), [one, two]), fingerprint(Recipe(), [two, one]), fingerprint(Recipe(), [one])}
    one.write_text("ab")
    two.write_text("")
    assert len({first, *others, fingerprint(Recipe(), [one, two])}) == 5


def test_a_missing_package_says_how_to_get_it() -> None:
    """One of those that a build needs; any other is a fault."""
    with pytest.raises(ConfigError, match=r"needs nothing_like_it: pip install 'isochrone\[build,recsys\]'"):  # noqa: SIM117
        with needing("recsys", frozenset({"nothing_like_it"})):
            import nothing_like_it.inside  # type: ignore[import-not-found]
    with pytest.raises(ModuleNotFoundError):  # noqa: SIM117
        with needing("recsys", frozenset({"torch"})):
            import nothing_like_it  # noqa: F401


def test_progress_shows_each_step() -> None:
    out = io.StringIO()
    with progress(Console(file=out, width=100)) as step:
        advance = step("Training", 4)
        for _ in range(4):
            advance(1)
    assert "Training" in out.getvalue()
    assert "4/4" in out.getvalue()


def test_repeatable_training_leaves_torch_as_it_was() -> None:
    """Its random numbers and its threads are others' too."""
    torch = pytest.importorskip("torch")
    from isochrone.building.repeatable import repeatable

    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    drawn = []
    for _ in range(2):
        with repeatable(seed=7):
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
