"""The trained ranker as an ONNX graph, arranged so that serving computes nothing twice.

An item's side depends on nothing but the item, so it is computed here, once, and gathered when serving. A
user's side is computed once for each user of a batch and gathered for each of that user's candidates. What is
left for each candidate are its inner products with the user and the top MLP. Written node by node rather than
traced, because no tracer would make these moves; the arithmetic is that of `dlrm.py`, and `build` checks it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from isochrone_recsys.build.dlrm import DENSE_LIMIT, DIM, DLRM, own_features
from isochrone_recsys.manifest import Shapes

OPSET = 17
IR_VERSION = 8
"""Both old enough for any onnxruntime this project runs on."""


def to_onnx(model: DLRM, shapes: Shapes) -> onnx.ModelProto:
    """The model for serving; its inputs are described at `isochrone_recsys.model.feed`.

    Its output, probability [N] float32, is that of a click on `item_index[k]` by user `row_to_user[k]`.
    """
    graph = _Graph()
    with torch.no_grad():
        users = _users(graph, model, shapes)
        first_of_user = graph.gemm(_own_features(graph, users, model), model.first_user)
        _rows(graph, model, shapes, users=users, first_of_user=first_of_user)
    return graph.finish(
        inputs={
            "user_dense": (TensorProto.FLOAT, ["U", shapes.user_dense]),
            "user_categories": (TensorProto.INT64, ["U", len(shapes.user_categories)]),
            "recent_items": (TensorProto.INT64, ["U", shapes.recent_items]),
            "recent_share": (TensorProto.FLOAT, ["U", 1]),
            "item_index": (TensorProto.INT64, ["N"]),
            "row_to_user": (TensorProto.INT64, ["N"]),
        },
        outputs={"probability": (TensorProto.FLOAT, ["N"])},
    )


def _users(graph: _Graph, model: DLRM, shapes: Shapes) -> str:
    """[U, user vectors, DIM]: the dense features', each categorical one's, and the recent items'."""
    dense = graph.node("Clip", "user_dense", np.float32(-DENSE_LIMIT), np.float32(DENSE_LIMIT))
    bottom = graph.mlp(dense, model.user_dense)
    # One table for all categorical features, each starting where the one before it ends.
    starts = np.cumsum([0, *shapes.user_categories[:-1]])
    table = torch.cat([_weight(table) for table in model.user_tables])
    categories = graph.node("Gather", table, graph.node("Add", "user_categories", starts))
    flat = graph.node("Reshape", categories, [-1, len(shapes.user_categories) * DIM])
    # The index past the last item, which stands for none, has a vector of zeros.
    looked_at = torch.cat([model.recent_vectors(torch.arange(shapes.items)), torch.zeros(1, DIM)])
    total = graph.node("ReduceSum", graph.node("Gather", looked_at, "recent_items"), [1], keepdims=0)
    mean = graph.node("Mul", total, "recent_share")
    return graph.node("Reshape", graph.node("Concat", bottom, flat, mean, axis=1), [0, -1, DIM])


def _own_features(graph: _Graph, users: str, model: DLRM) -> str:
    """[U, DIM + pairs], as `dlrm.own_features`."""
    count = 2 + len(model.user_tables)
    products = graph.node("MatMul", users, graph.node("Transpose", users, perm=[0, 2, 1]))
    above = np.flatnonzero(np.triu(np.ones((count, count)), k=1))
    pairs = graph.node("Gather", graph.node("Reshape", products, [-1, count * count]), above, axis=1)
    bottom = graph.node("Gather", users, np.int64(0), axis=1)
    return graph.node("Concat", bottom, pairs, axis=1)


def _rows(graph: _Graph, model: DLRM, shapes: Shapes, *, users: str, first_of_user: str) -> None:
    """Makes the output from the users' vectors [U, user vectors, DIM] and part of the first layer [U, 512]."""
    items = model.item_vectors(torch.arange(shapes.items))
    own = graph.node("Gather", own_features(items), "item_index")
    transposed = graph.node("Gather", items.transpose(1, 2), "item_index")
    cross = graph.node("MatMul", graph.node("Gather", users, "row_to_user"), transposed)
    products = (2 + len(shapes.user_categories)) * items.shape[1]
    row = graph.node("Concat", own, graph.node("Reshape", cross, [-1, products]), axis=1)
    # Gemm adds its third operand: the users' part of the layer costs a gather and no addition of its own.
    first = graph.node("Gemm", row, model.first_row.weight.T, graph.node("Gather", first_of_user, "row_to_user"))
    log_odds = graph.mlp(graph.node("Relu", first), model.rest)
    graph.node("Reshape", graph.node("Sigmoid", log_odds), [-1], output="probability")


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

    def gemm(self, operand: str, layer: nn.Linear) -> str:
        """operand [B, in] through the layer: [B, out]. Weights are stored as they are read, [in, out]."""
        return self.node("Gemm", operand, layer.weight.T, layer.bias)

    def mlp(self, operand: str, layers: nn.Module) -> str:
        """operand [B, in] through linear layers and ReLUs."""
        for layer in layers.children():
            operand = self.gemm(operand, layer) if isinstance(layer, nn.Linear) else self.node("Relu", operand)
        return operand

    def finish(
        self, *, inputs: dict[str, tuple[int, list[str | int]]], outputs: dict[str, tuple[int, list[str | int]]]
    ) -> onnx.ModelProto:
        """The checked model; inputs and outputs are name: (element type, shape), a named dimension being dynamic."""
        graph = helper.make_graph(
            self._nodes,
            "ranker",
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


def _weight(table: nn.Module) -> Tensor:
    assert isinstance(table, nn.Embedding)
    return table.weight
