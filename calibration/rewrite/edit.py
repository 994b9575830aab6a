"""Small readings and edits of an ONNX graph that the passes of this package share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from emca.errors import UserError

Array: TypeAlias = npt.NDArray[Any]

STANDARD = frozenset({"", "ai.onnx"})  # the two names of the standard operators' domain

_IR_OF_OPSET_19 = 9


class Links:
    """Who makes and who reads each tensor of a graph, and its constants, as of construction."""

    def __init__(self, graph: GraphProto) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producer: dict[str, NodeProto] = {}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        self.outputs = {output.name for output in graph.output}
        for node in graph.node:
            for name in node.output:
                self.producer[name] = node
            for name in filter(None, node.input):
                self.consumers[name].append(node)

    def activations(self, node: NodeProto) -> list[str]:
        """The inputs of a node that are not constants."""
        return [name for name in node.input if name and name not in self.constants]

    def only_reader(self, name: str) -> NodeProto | None:
        """The node that reads this tensor, if it is one only and the graph does not return it."""
        readers = self.consumers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def opset(model: ModelProto) -> int:
    """The version of the standard operators that the model is written for."""
    versions = (entry.version for entry in model.opset_import if entry.domain in STANDARD)
    return int(next(versions))


def check_is_float(model: ModelProto) -> None:
    """Refuse a model that has been cast or quantised before, or that holds subgraphs.

    Raises:
        UserError: with what was found.
    """
    subgraphs = {AttributeProto.GRAPH, AttributeProto.GRAPHS}
    for node in model.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            raise UserError("the model is quantised already; start from the FP32 file")
        if any(entry.type in subgraphs for entry in node.attribute):
            raise UserError(
                f"node {node.name!r} ({node.op_type}) holds a subgraph, which cannot be cast; "
                "export the model without control flow"
            )
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise UserError("the model is in FP16 already; start from the FP32 file")


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Give the graph these nodes, drop what they leave unused, and forget inferred types."""
    nodes = list(nodes)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    used = {name for node in nodes for name in node.input} | {o.name for o in graph.output}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used:
            del graph.initializer[index]


def element_types(model: ModelProto) -> dict[str, int]:
    """Element type of every tensor of the graph, local functions included in the inference."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    for node in model.graph.node:
        for name in filter(None, node.output):
            if not types.get(name):
                raise ValueError(f"the type of tensor {name!r} ({node.op_type}) cannot be inferred")
    return types


def raise_opset(model: ModelProto, version: int) -> None:
    """Declare the model and its local functions to be of a newer version, in place.

    For versions 18 to 19 alone: between those no operator in use changes its meaning.
    """
    model.ir_version = max(model.ir_version, _IR_OF_OPSET_19)
    for owner in (model, *model.functions):
        for entry in owner.opset_import:
            if entry.domain in STANDARD:
                entry.version = max(entry.version, version)
