"""From an exported file to the graph that TensorRT's parser gets, and what that graph asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, inliner

from plugins import DOMAIN

# The operators whose number format decides how fast an engine is.
PRODUCTS = {
    "Conv": "convolution",
    "ConvTranspose": "convolution",
    "MatMul": "matrix product",
    "Gemm": "matrix product",
    "Einsum": "matrix product",
}
_TYPES = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
}


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product of the file.

    Attributes:
        name: of its node.
        kind: "convolution" or "matrix product".
        precision: "int8" where both its inputs are dequantised, else the type of the first:
            "fp32", "fp16" or "bf16".
    """

    name: str
    kind: str
    precision: str


@dataclass(frozen=True)
class Plugin:
    """A plugin by which an operator is found in TensorRT's registry."""

    version: str
    namespace: str


def custom_operators(model: ModelProto) -> dict[str, int]:
    """How many nodes of each custom operator the model has."""
    return dict(Counter(node.op_type for node in model.graph.node if node.domain == DOMAIN))


def named_plugins(model: ModelProto, operators: Collection[str]) -> dict[str, Plugin]:
    """The plugins that the file itself names for those of these operators that it has."""
    found = {}
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type in operators:
            values = {entry.name: entry.s.decode() for entry in node.attribute}
            found[node.op_type] = Plugin(
                values.get("plugin_version", "1"), values.get("plugin_namespace", "")
            )
    return found


def prepare(model: ModelProto, plugins: Mapping[str, Plugin]) -> ModelProto:
    """A copy in which some custom operators can be nothing but plugins and all others are gone.

    Which of a local function and a plugin of the same name TensorRT's parser takes has changed
    twice (10.7, 10.15). So none is left to choose: the function of an operator that shall be a
    plugin is deleted, with which a plugin that is not found is an error and no slow engine, and
    every other function is put in place of its calls.

    Labels, which ArgMax yields as integers, become bytes by way of floats: TensorRT converts
    nothing else to bytes (`kUINT8` in NvInferRuntimeBase.h of 10.3 to 11.1).

    Args:
        plugins: what is registered, by operator.
    """
    copy = onnx.shape_inference.infer_shapes(model)  # while the functions say what calls return
    for node in copy.graph.node:
        if node.domain == DOMAIN and node.op_type in plugins:
            _set(node, "plugin_version", plugins[node.op_type].version)
            _set(node, "plugin_namespace", plugins[node.op_type].namespace)
    for index in reversed(range(len(copy.functions))):
        function = copy.functions[index]
        if function.domain == DOMAIN and function.name in plugins:
            del copy.functions[index]
    inlined = inliner.inline_local_functions(copy)
    for node in inlined.graph.node:
        node.name = node.name or node.output[0]  # the inliner's are unique, but without a name
    _cast_bytes_from_floats(inlined.graph)
    return inlined


def products(model: ModelProto) -> list[Product]:
    """The convolutions and matrix products of a model without local functions.

    Those that compute constants, such as a product of weights alone, are left out: the builder
    folds them.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    constant = {tensor.name for tensor in model.graph.initializer}
    dequantised: set[str] = set()
    found = []
    for node in model.graph.node:
        inputs = [name for name in node.input if name]
        if all(name in constant for name in inputs):  # Constant nodes have none
            constant.update(node.output)
        if node.op_type == "DequantizeLinear":
            dequantised.update(node.output)
        if node.op_type in PRODUCTS and not constant.issuperset(inputs[:2]):
            quantised = dequantised.issuperset(inputs[:2])
            own = _TYPES.get(types.get(inputs[0], 0), "other")
            precision = "int8" if quantised else own
            found.append(Product(node.name, PRODUCTS[node.op_type], precision))
    return found


def _cast_bytes_from_floats(graph: GraphProto) -> None:
    """Put a cast to FP32, which holds every byte exactly, before each cast to bytes without one."""
    nodes: list[NodeProto] = []
    floats = set()
    for node in graph.node:
        target = _target(node) if node.op_type == "Cast" else None
        if target == TensorProto.FLOAT:
            floats.add(node.output[0])
        if target == TensorProto.UINT8 and node.input[0] not in floats:
            between = f"{node.output[0]}/float"
            nodes.append(
                helper.make_node(
                    "Cast", node.input[:1], [between], name=between, to=TensorProto.FLOAT
                )
            )
            node.input[0] = between
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _target(cast: NodeProto) -> int:
    return next(int(entry.i) for entry in cast.attribute if entry.name == "to")


def _set(node: NodeProto, name: str, value: str) -> None:
    for entry in node.attribute:
        if entry.name == name:
            entry.s = value.encode()
            return
    node.attribute.append(helper.make_attribute(name, value))
