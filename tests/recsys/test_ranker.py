"""The ranker scores many users' candidates in one call, and answers each with the best first."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from isochrone.building.manifest import MANIFEST
from isochrone.errors import ConfigError
from isochrone.model import Model
from isochrone.v1.recsys_pb2 import RankRequest, RankResponse
from isochrone_recsys.manifest import CATALOGUE, MODEL
from isochrone_recsys.model import RANK, Ranker
from isochrone_recsys.query import Query
from isochrone_recsys.samples import sample_requests


def answer(ranker: Ranker, request: RankRequest) -> RankResponse:
    query = ranker.decode(RANK, request.SerializeToString())
    (scores,) = ranker.forward([query])
    return RankResponse.FromString(ranker.encode(query, scores))


def requests(built: Path, rows: int, count: int) -> list[RankRequest]:
    return list(islice(sample_requests(built, rows=rows), count))


def test_ranker_is_a_model(built: Path) -> None:
    """Its variant is known before it is loaded, and its limits are those of the contract."""
    model: Model = Ranker(built)
    assert (model.variant, model.routes, model.unit) == ("ranker.fp32", ("isochrone.v1.Recsys/Rank",), "rows")
    assert (model.max_units, model.batch_units, model.batch_jobs) == (1000, 1024, 128)
    assert repr(model) == f"<Ranker ranker.fp32 on cpu from {built}, 1 threads>"


def test_a_batch_scores_as_its_members_do_alone(ranker: Ranker, built: Path) -> None:
    """Users of a batch don't touch each other, whatever their sizes and histories."""
    queries: list[Query] = [
        ranker.decode(RANK, request.SerializeToString())
        for rows in (1, 7, 64, 3)
        for request in requests(built, rows, 4)
    ]
    queries.append(queries[0]._replace(recent=np.array([], np.int32)))
    together = ranker.forward(queries)
    for query, scores in zip(queries, together, strict=True):
        np.testing.assert_allclose(scores, ranker.forward([query])[0], atol=1e-6)


def test_a_user_without_recent_items_scores_alone(ranker: Ranker, request_: RankRequest) -> None:
    """The mean of no items is none, not a division by zero."""
    request_.user.ClearField("recent_items")
    assert len(answer(ranker, request_).scores) == 4


def test_answer_is_best_first(ranker: Ranker, built: Path) -> None:
    """Ids and scores belong together, in falling order of probability, and name the variant."""
    (request,) = requests(built, 64, 1)
    query = ranker.decode(RANK, request.SerializeToString())
    (scores,) = ranker.forward([query])
    response = RankResponse.FromString(ranker.encode(query, scores))
    expected = sorted(zip(scores.tolist(), request.item_ids, strict=True), key=lambda pair: -pair[0])
    assert list(zip(response.scores, response.item_ids, strict=True)) == expected
    assert response.variant == "ranker.fp32"


def test_equal_scores_keep_the_callers_order(ranker: Ranker, request_: RankRequest) -> None:
    """So that a caller's own order decides where the model doesn't."""
    query = ranker.decode(RANK, request_.SerializeToString())
    response = RankResponse.FromString(ranker.encode(query, np.array([0.2, 0.5, 0.2, 0.5], np.float32)))
    first, second, third, fourth = request_.item_ids
    assert list(response.item_ids) == [second, fourth, first, third]


@pytest.mark.parametrize(("top_k", "answered"), [(0, 4), (1, 1), (3, 3), (4, 4), (5, 4), (2**32 - 1, 4)])
def test_top_k_cuts_the_answer(ranker: Ranker, request_: RankRequest, top_k: int, answered: int) -> None:
    """0 means all, and so does more than there are."""
    everything = answer(ranker, request_)
    request_.top_k = top_k
    response = answer(ranker, request_)
    assert list(response.item_ids) == list(everything.item_ids)[:answered]
    assert list(response.scores) == list(everything.scores)[:answered]


def test_absurd_features_still_give_probabilities(ranker: Ranker, request_: RankRequest) -> None:
    """Finite features of any size: nothing overflows on its way to the score."""
    request_.user.dense[:] = [3e38, -3e38] * 4
    assert all(0 <= score <= 1 for score in answer(ranker, request_).scores)


@pytest.mark.parametrize("units", [1, 64, 1000])
def test_example_has_the_units_asked_for(ranker: Ranker, units: int) -> None:
    """Warm-up is done with items of every size, and they can be answered."""
    item = ranker.example(units)
    assert ranker.weigh(item) == units
    (scores,) = ranker.forward([item])
    assert len(RankResponse.FromString(ranker.encode(item, scores)).item_ids) == units


def test_missing_model_says_how_to_build_it(tmp_path: Path) -> None:
    """Constructing reads nothing; loading names the path and the command."""
    ranker = Ranker(tmp_path / "ranker.fp32")
    with pytest.raises(ConfigError, match=r"ranker\.fp32/manifest\.json: No such file.* `isochrone models build`"):
        ranker.load()


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built model, to be damaged."""
    return shutil.copytree(built, tmp_path / built.name)


@pytest.mark.parametrize("name", [MODEL, CATALOGUE])
def test_damaged_file_is_not_served(copy: Path, name: str) -> None:
    """A file with other bytes than were built is refused by name."""
    with (copy / name).open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with pytest.raises(ConfigError, match=f"{name}: its SHA-256 isn't .* `isochrone models build`"):
        Ranker(copy).load()


@pytest.mark.parametrize("name", [MODEL, CATALOGUE])
def test_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ConfigError, match=f"{name}: No such file or directory: run `isochrone models build`"):
        Ranker(copy).load()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": 0}', "\x00"])
def test_unreadable_manifest_is_named(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises(ConfigError, match=r"manifest\.json: .* `isochrone models build`"):
        Ranker(copy).load()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [({"items": 601}, "600 items in the catalogue, 601 in the model"), ({"user_dense": 9}, "inputs .* don't fit")],
)
def test_shapes_that_do_not_fit_are_refused(copy: Path, shapes: dict[str, int], message: str) -> None:
    """A manifest that speaks of another model is found out at loading, not at the first request."""
    content = json.loads((copy / MANIFEST).read_text())
    content["shapes"] |= shapes
    (copy / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        Ranker(copy).load()


def test_folder_of_another_variant_is_refused(copy: Path) -> None:
    """A lane is named for the variant, so a folder that holds another would serve under a wrong name."""
    other = copy.rename(copy.with_name("ranker.int8"))
    with pytest.raises(ConfigError, match=r"ranker\.int8: holds ranker\.fp32, not ranker\.int8"):
        Ranker(other).load()


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_device_that_onnxruntime_lacks_is_refused(built: Path, device: str) -> None:
    """No silent fall back to the CPU under the name of an accelerator."""
    ort = pytest.importorskip("onnxruntime")
    if device == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ConfigError, match=f"device '{device}': this onnxruntime has no "):
        Ranker(built, device=device).load()
