"""The trained network as an ONNX graph: batch norms folded into the convolutions before them, pixels in as bytes.

Written node by node: the exporter would have to be told of each of these moves, and is a package of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.functional import normalize

from isochrone_vision.build.network import DIMENSIONS, SHARPNESS, Block, Network

OPSET = 17
IR_VERSION = 8
"""Both old enough for any onnxruntime this project runs on."""


def to_onnx(network: Network, *, side: int, labels: int) -> onnx.ModelProto:
    """The model for serving: pixels [B, side, side, 3] uint8 to probabilities [B, labels] and embedding [B, d] float32.

    An embedding has length 1.
    """
    graph = _Graph()
    with torch.no_grad():
        x = graph.node("Cast", graph.node("Transpose", "pixels", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
        scale = 1 / 255
        for layer in network.body:
            if isinstance(layer, Block):
                inner = graph.convolution(graph.node("Relu", graph.convolution(x, layer.first)), layer.second)
                x = graph.node("Relu", graph.node("Add", x, inner))
            else:
                assert isinstance(layer, nn.Sequential)
                x = graph.node("Relu", graph.convolution(x, layer, scale=scale))
                scale = 1.0
        pooled = graph.node("ReduceMean", x, axes=[2, 3], keepdims=0)
        embedded = graph.node("Gemm", pooled, network.embed.weight.T, network.embed.bias)
        length = graph.node("Sqrt", graph.node("ReduceSum", graph.node("Mul", embedded, embedded), [1], keepdims=1))
        graph.node("Div", embedded, graph.node("Max", length, np.float32(1e-12)), output="embedding")
        log_odds = graph.node("MatMul", "embedding", SHARPNESS * normalize(network.names).T)
        graph.node("Softmax", log_odds, axis=1, output="probabilities")
    return graph.finish(
        inputs={"pixels": (TensorProto.UINT8, ["B", side, side, 3])},
        outputs={
            "probabilities": (TensorProto.FLOAT, ["B", labels]),
            "embedding": (TensorProto.FLOAT, ["B", DIMENSIONS]),
        },
    )


_Operand = str | Tensor | npt.NDArray[np.generic] | np.generic | list[int]


class _Graph:
    """Collects nodes and their constants. A node's operands are names of earlier ones, or values."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, op: str, *operands: _Operand, output: str | None = None, **attributes: Any) -> str:
        """Adds a node; returns the name of its only output."""
        name = output or f"{op}_{len(self._nodes)}"
        names = [o if isinstance(o, str) else self._constant(o) for o in operands]
        self._nodes.append(helper.make_node(op, names, [name], name=name, **attributes))
        return name

    def convolution(self, operand: str, layer: nn.Sequential, *, scale: float = 1.0) -> str:
        """operand [B, channels, height, width], times `scale`, through a convolution with a batch norm."""
        inner, norm = layer
        assert isinstance(inner, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = inner.weight * (scale * factor)[:, None, None, None]
        bias = norm.bias - norm.running_mean * factor
        pads = [*inner.padding, *inner.padding]
        return self.node("Conv", operand, weight, bias, strides=list(inner.stride), pads=pads)

    def finish(
        self, *, inputs: dict[str, tuple[int, list[str | int]]], outputs: dict[str, tuple[int, list[str | int]]]
    ) -> onnx.ModelProto:
        """The checked model; inputs and outputs are name: (element type, shape), a named dimension being dynamic."""
        graph = helper.make_graph(
            self._nodes,
            "eye",
            [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
            [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
            initializer=self._constants,
        )
        model = helper.make_model(
            graph, producer_name="isochrone", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _constant(self, value: Tensor | npt.NDArray[np.generic] | np.generic | list[int]) -> str:
        array = value.numpy(force=True) if isinstance(value, Tensor) else np.asarray(value)
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name
