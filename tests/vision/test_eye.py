"""The eye looks at many photos in one call, and answers each with what was asked of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isochrone.building.manifest import MANIFEST
from isochrone.errors import ConfigError, InvalidRequest
from isochrone.model import Model
from isochrone.v1.vision_pb2 import ClassifyRequest, ClassifyResponse, EmbedRequest, EmbedResponse
from isochrone_vision.build.scene import LABELS
from isochrone_vision.look import CLASSIFY, EMBED, Look
from isochrone_vision.manifest import MODEL
from isochrone_vision.model import Eye, Impression
from isochrone_vision.samples import Samples


def classified(eye: Eye, photo: bytes, *, top_k: int = 0) -> ClassifyResponse:
    look = eye.decode(CLASSIFY, ClassifyRequest(image=photo, top_k=top_k).SerializeToString())
    (impression,) = eye.forward([look])
    return ClassifyResponse.FromString(eye.encode(look, impression))


def embedded(eye: Eye, photo: bytes) -> EmbedResponse:
    look = eye.decode(EMBED, EmbedRequest(image=photo).SerializeToString())
    (impression,) = eye.forward([look])
    return EmbedResponse.FromString(eye.encode(look, impression))


def test_eye_is_a_model(built: Path) -> None:
    """Its variant is known before it is loaded; it decodes beside the node's event loop."""
    eye = Eye(built)
    model: Model = eye
    assert (model.variant, model.unit) == ("eye.fp32", "images")
    assert model.routes == ("isochrone.v1.Vision/Classify", "isochrone.v1.Vision/Embed")
    assert (model.max_units, model.batch_units, model.batch_jobs) == (1, 32, 32)
    assert eye.decodes_beside
    assert repr(model) == f"<Eye eye.fp32 on cpu from {built}, 1 threads>"


def test_requests_of_both_kinds_share_one_forward(eye: Eye, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is a batch of photos: what was asked of each decides only how it is answered."""
    calls = []
    run = eye._session.run

    def counted(outputs: list[str], feed: dict[str, Any]) -> Any:
        calls.append(feed["pixels"].shape)
        return run(outputs, feed)

    class Session:
        run = staticmethod(counted)

    monkeypatch.setattr(eye, "_session", Session())
    batch = []
    for photo in samples.photos[:6]:
        batch.append(eye.decode(CLASSIFY, ClassifyRequest(image=photo, top_k=2).SerializeToString()))
        batch.append(eye.decode(EMBED, EmbedRequest(image=photo).SerializeToString()))
    impressions = eye.forward(batch)
    assert calls == [(12, 64, 64, 3)]
    assert len(impressions) == 12
    answers = [eye.encode(look, impression) for look, impression in zip(batch, impressions, strict=True)]
    assert all(len(ClassifyResponse.FromString(answer).labels) == 2 for answer in answers[::2])
    assert all(len(EmbedResponse.FromString(answer).embedding) == 64 for answer in answers[1::2])


def test_a_batch_is_seen_as_its_members_are_alone(eye: Eye, samples: Samples) -> None:
    """Photos of a batch don't touch each other."""
    looks = [eye.decode(EMBED, EmbedRequest(image=photo).SerializeToString()) for photo in samples.photos]
    for look, together in zip(looks, eye.forward(looks), strict=True):
        (alone,) = eye.forward([look])
        np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-5)
        np.testing.assert_allclose(together.embedding, alone.embedding, atol=1e-5)


def test_classification_is_most_probable_first(eye: Eye, samples: Samples) -> None:
    """Every label once, in falling order of a probability that sums to 1, with the variant's name."""
    response = classified(eye, samples.photos[0])
    assert set(response.labels) == set(LABELS)
    assert len(response.labels) == len(LABELS)
    assert list(response.probabilities) == sorted(response.probabilities, reverse=True)
    assert sum(response.probabilities) == pytest.approx(1, abs=1e-5)
    assert response.variant == "eye.fp32"


def test_a_label_goes_with_its_own_probability(eye: Eye) -> None:
    """Equals stay in the model's order."""
    probabilities = np.full(len(LABELS), 0.05, np.float32)
    probabilities[[3, 7]] = (0.2, 0.3)
    impression = Impression(probabilities, np.ones(64, np.float32))
    response = ClassifyResponse.FromString(eye.encode(eye.example(1)._replace(top_k=4), impression))
    assert list(response.labels) == [LABELS[7], LABELS[3], LABELS[0], LABELS[1]]
    assert list(response.probabilities) == pytest.approx([0.3, 0.2, 0.05, 0.05])


@pytest.mark.parametrize(("top_k", "answered"), [(0, 12), (1, 1), (5, 5), (12, 12), (13, 12), (2**32 - 1, 12)])
def test_top_k_cuts_the_answer(eye: Eye, samples: Samples, top_k: int, answered: int) -> None:
    """0 means all, and so does more than there are."""
    everything = classified(eye, samples.photos[1])
    response = classified(eye, samples.photos[1], top_k=top_k)
    assert list(response.labels) == list(everything.labels)[:answered]
    assert list(response.probabilities) == list(everything.probabilities)[:answered]


def test_embeddings_are_of_length_one(eye: Eye, samples: Samples) -> None:
    """So a dot product is a cosine; that of a photo with itself is 1."""
    one, other = (embedded(eye, photo) for photo in samples.photos[:2])
    assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-5)
    assert np.dot(one.embedding, other.embedding) < 1
    assert one.variant == "eye.fp32"


@pytest.mark.parametrize("shade", [0, 255])
def test_a_photo_of_nothing_is_answered(eye: Eye, shade: int) -> None:
    """All black or all white: an embedding has a length, and nothing is divided by zero."""
    look = Look(EMBED, np.full((64, 64, 3), shade, np.uint8), 0)
    (impression,) = eye.forward([look])
    assert np.linalg.norm(impression.embedding) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(impression.probabilities).all()


@pytest.mark.parametrize(("route", "kind"), [(CLASSIFY, "a ClassifyRequest"), (EMBED, "an EmbedRequest")])
def test_bytes_that_are_no_request_are_refused(eye: Eye, route: str, kind: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^request: not {kind}: its bytes can't be parsed$"):
        eye.decode(route, b"\xff\xff")


@pytest.mark.parametrize("route", [CLASSIFY, EMBED])
def test_a_request_without_an_image_is_refused(eye: Eye, route: str) -> None:
    """As one with an empty image, which is the same on the wire."""
    with pytest.raises(InvalidRequest, match=r"^image: empty"):
        eye.decode(route, b"")


def test_an_example_can_be_looked_at(eye: Eye) -> None:
    """Warm-up is done with it."""
    example = eye.example(1)
    assert eye.weigh(example) == 1
    assert len(eye.forward([example] * 32)) == 32


def test_missing_model_says_how_to_build_it(tmp_path: Path) -> None:
    """Constructing reads nothing; loading names the path and the command."""
    eye = Eye(tmp_path / "eye.fp32")
    with pytest.raises(ConfigError, match=r"eye\.fp32/manifest\.json: No such file.* `isochrone models build`"):
        eye.load()


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built model, to be damaged."""
    return shutil.copytree(built, tmp_path / built.name)


def test_damaged_file_is_not_served(copy: Path) -> None:
    """A file with other bytes than were built is refused by name."""
    with (copy / MODEL).open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with pytest.raises(ConfigError, match=f"{MODEL}: its SHA-256 isn't .* `isochrone models build`"):
        Eye(copy).load()


def test_missing_file_is_named(copy: Path) -> None:
    (copy / MODEL).unlink()
    with pytest.raises(ConfigError, match=f"{MODEL}: No such file or directory: run `isochrone models build`"):
        Eye(copy).load()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": 0}', "\x00"])
def test_unreadable_manifest_is_named(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises(ConfigError, match=r"manifest\.json: .* `isochrone models build`"):
        Eye(copy).load()


@pytest.mark.parametrize("change", [{"side": 32}, {"labels": ["hat", "mug"]}, {"dimensions": 8}])
def test_a_manifest_of_another_model_is_found_out(copy: Path, change: dict[str, Any]) -> None:
    """At loading, not at the first request."""
    content = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(content | change))
    with pytest.raises(ConfigError, match=r"eye\.onnx: .* isn't what the manifest says"):
        Eye(copy).load()


def test_folder_of_another_variant_is_refused(copy: Path) -> None:
    """A lane is named for the variant, so a folder that holds another would serve under a wrong name."""
    other = copy.rename(copy.with_name("eye.int8"))
    with pytest.raises(ConfigError, match=r"eye\.int8: holds eye\.fp32, not eye\.int8"):
        Eye(other).load()


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_device_that_onnxruntime_lacks_is_refused(built: Path, device: str) -> None:
    """No silent fall back to the CPU under the name of an accelerator."""
    ort = pytest.importorskip("onnxruntime")
    if device == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ConfigError, match=f"device '{device}': this onnxruntime has no "):
        Eye(built, device=device).load()
