"""The eye as a node serves it: an ONNX graph that names and places many photos in one call, whatever was asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from isochrone.errors import ConfigError
from isochrone.v1.vision_pb2 import ClassifyResponse, EmbedResponse
from isochrone_vision import look
from isochrone_vision.look import CLASSIFY, EMBED, Look
from isochrone_vision.manifest import MODEL, Manifest

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Impression(NamedTuple):
    """What the model makes of one photo. Both, since the one is a step towards the other."""

    probabilities: npt.NDArray[np.float32]
    """[labels], they sum to 1."""
    embedding: npt.NDArray[np.float32]
    """[dimensions], of length 1."""


class Eye:
    """A variant of the eye on one device. An item is a `Look`, its output an `Impression`."""

    routes: Sequence[str] = (CLASSIFY, EMBED)
    unit = "images"
    max_units = 1
    batch_units = 32
    batch_jobs = 32
    decodes_beside = True
    """`decode` takes milliseconds where photos are large, so it belongs beside the event loop, in a thread."""

    def __init__(self, directory: Path, *, threads: int = 1, device: str = "cpu") -> None:
        """The model in `directory`, which is read by `load`. `device` is "cpu" or "cuda"."""
        self.variant = directory.name
        self._directory = directory
        self._threads = threads
        self._device = device

    def __repr__(self) -> str:
        return f"<Eye {self.variant} on {self._device} from {self._directory}, {self._threads} threads>"

    def load(self) -> None:
        """Brings the model into memory. Raises ConfigError where it can't be had, or isn't the one built."""
        manifest = Manifest.read(self._directory)
        if manifest.variant != self.variant:
            raise ConfigError(f"{self._directory}: holds {manifest.variant}, not {self.variant}")
        self._session = self._open(manifest)
        self._side = manifest.side
        self._labels = manifest.labels

    def decode(self, route: str, payload: bytes) -> Look:
        """The look that a request asks for. Raises InvalidRequest naming the field that is wrong. Thread-safe."""
        return look.read(route, payload, side=self._side)

    def weigh(self, item: Look) -> int:
        """Each is one image, by now of one size."""
        return 1

    def forward(self, batch: Sequence[Look]) -> Sequence[Impression]:
        """What the model makes of each photo."""
        pixels = np.stack([item.pixels for item in batch])
        probabilities, embeddings = self._session.run(["probabilities", "embedding"], {"pixels": pixels})
        return [Impression(*both) for both in zip(probabilities, embeddings, strict=True)]

    def encode(self, item: Look, output: Impression) -> bytes:
        """A serialised ClassifyResponse, most probable first, or EmbedResponse: what was asked."""
        if item.route == EMBED:
            return EmbedResponse(embedding=output.embedding.tolist(), variant=self.variant).SerializeToString()
        order = np.negative(output.probabilities).argsort(kind="stable")[: item.top_k or None]
        return ClassifyResponse(
            labels=[self._labels[place] for place in order.tolist()],
            probabilities=output.probabilities[order].tolist(),
            variant=self.variant,
        ).SerializeToString()

    def example(self, units: int) -> Look:
        """A photo of nothing in particular: how long a forward takes doesn't depend on what there is to see."""
        pixels = np.random.default_rng(units).integers(256, size=(self._side, self._side, 3), dtype=np.uint8)
        return Look(CLASSIFY, pixels, top_k=0)

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
        shapes = {value.name: value.shape[1:] for value in (*session.get_inputs(), *session.get_outputs())}
        if shapes != {
            "pixels": [manifest.side, manifest.side, 3],
            "probabilities": [len(manifest.labels)],
            "embedding": [manifest.dimensions],
        }:
            raise ConfigError(f"{self._directory / MODEL}: {shapes} isn't what the manifest says")
        return session
