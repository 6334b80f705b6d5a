"""The ranker as a node serves it: an ONNX graph that scores the candidates of many users in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from isochrone.errors import ConfigError
from isochrone_recsys.answer import AnswerWriter
from isochrone_recsys.catalogue import Catalogue
from isochrone_recsys.manifest import MODEL, Manifest, Shapes
from isochrone_recsys.query import MAX_CANDIDATES, Query, QueryReader

RANK = "isochrone.v1.Recsys/Rank"
Scores = npt.NDArray[np.float32]
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Ranker:
    """A variant of the ranker on one device. An item is a `Query`, its output the scores of its candidates."""

    routes: Sequence[str] = (RANK,)
    unit = "rows"
    max_units = MAX_CANDIDATES
    batch_units = 1024
    batch_jobs = 128

    def __init__(self, directory: Path, *, threads: int = 1, device: str = "cpu") -> None:
        """The model in `directory`, which is read by `load`. `device` is "cpu" or "cuda"."""
        self.variant = directory.name
        self._directory = directory
        self._threads = threads
        self._device = device

    def __repr__(self) -> str:
        return f"<Ranker {self.variant} on {self._device} from {self._directory}, {self._threads} threads>"

    def load(self) -> None:
        """Brings the model into memory. Raises ConfigError where it can't be had, or isn't the one built."""
        manifest = Manifest.read(self._directory)
        if manifest.variant != self.variant:
            raise ConfigError(f"{self._directory}: holds {manifest.variant}, not {self.variant}")
        catalogue = Catalogue.load(self._directory)
        if len(catalogue) != manifest.shapes.items:
            raise ConfigError(
                f"{self._directory}: {len(catalogue):,} items in the catalogue, {manifest.shapes.items:,} in the model"
            )
        self._session = self._open(manifest)
        self._shapes = manifest.shapes
        self._reader = QueryReader(manifest.shapes, catalogue)
        self._writer = AnswerWriter(catalogue, variant=self.variant)

    def decode(self, route: str, payload: bytes) -> Query:
        """The query in a serialised RankRequest. Raises InvalidRequest naming the field that is wrong."""
        return self._reader.read(payload)

    def weigh(self, item: Query) -> int:
        """How many candidates it has."""
        return len(item.items)

    def forward(self, batch: Sequence[Query]) -> Sequence[Scores]:
        """The probability of a click for each candidate of each query, float32."""
        counts = [len(query.items) for query in batch]
        (scores,) = self._session.run(["probability"], feed(batch, counts, self._shapes))
        ends = np.cumsum(counts)
        return [scores[end - count : end] for count, end in zip(counts, ends.tolist(), strict=True)]

    def encode(self, item: Query, output: Scores) -> bytes:
        """A serialised RankResponse, highest score first."""
        return self._writer.write(item.items, output, top_k=item.top_k)

    def example(self, units: int) -> Query:
        """A query of that many candidates, spread over the catalogue as real ones are, not in one cache line."""
        shapes = self._shapes
        spread = np.random.default_rng(units).integers(shapes.items, size=shapes.recent_items + units, dtype=np.int32)
        return Query(
            dense=[0.0] * shapes.user_dense,
            categories=[0] * len(shapes.user_categories),
            recent=spread[: shapes.recent_items],
            items=spread[shapes.recent_items :],
            top_k=0,
        )

    def _open(self, manifest: Manifest) -> onnxruntime.InferenceSession:
        """The graph, ready to run. Raises ConfigError."""
        provider = _PROVIDERS.get(self._device)
        if provider not in onnxruntime.get_available_providers():
            raise ConfigError(
                f"device {self._device!r}: this onnxruntime has no {provider or 'provider for it'}; "
                f"it has {', '.join(onnxruntime.get_available_providers())}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # A node shares its cores with the event loop and with other nodes: waiting threads sleep.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = list(dict.fromkeys([provider, "CPUExecutionProvider"]))
        graph = manifest.read_file(self._directory, MODEL)
        session = onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=0)
        if session.get_providers()[0] != provider:  # onnxruntime goes on without a device that it can't open
            raise ConfigError(f"device {self._device!r}: onnxruntime can't open it: see its warning above")
        widths = {i.name: i.shape[1] for i in session.get_inputs() if len(i.shape) == 2}
        shapes = manifest.shapes
        if widths != {
            "user_dense": shapes.user_dense,
            "user_categories": len(shapes.user_categories),
            "recent_items": shapes.recent_items,
            "recent_share": 1,
        }:
            raise ConfigError(f"{self._directory / MODEL}: inputs {widths} don't fit the manifest's {shapes}")
        return session


def feed(batch: Sequence[Query], counts: Sequence[int], shapes: Shapes) -> dict[str, npt.NDArray[np.generic]]:
    """The graph's inputs for a batch of U queries with `counts` candidates each, N in all.

    user_dense [U, d] float32; user_categories [U, c] int64; recent_items [U, r] int64 item indices, padded with
    the number of items; recent_share [U, 1] float32, what each of them counts; item_index [N] and row_to_user [N]
    int64.
    """
    users = len(batch)
    recent_counts = np.array([len(query.recent) for query in batch])
    recent_items = np.full((users, shapes.recent_items), shapes.items, np.int64)
    recent_items[np.arange(shapes.recent_items) < recent_counts[:, None]] = np.concatenate([q.recent for q in batch])
    return {
        "user_dense": np.array([query.dense for query in batch], np.float32),
        "user_categories": np.array([query.categories for query in batch], np.int64),
        "recent_items": recent_items,
        "recent_share": np.reciprocal(np.maximum(recent_counts, 1), dtype=np.float32)[:, None],
        "item_index": np.concatenate([query.items for query in batch], dtype=np.int64),
        "row_to_user": np.repeat(np.arange(users), counts),
    }
