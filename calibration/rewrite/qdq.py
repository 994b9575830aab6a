"""Q/DQ in a graph: the pairs of `rewrite.placement` put in place, weights rounded to INT8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from calibration.rewrite.edit import Array, Links, replace_nodes
from calibration.rewrite.placement import Placement
from emca.errors import UserError

LEVELS = 127  # -127..127: with -128 a symmetric range would not be symmetric


def insert(model: ModelProto, placement: Placement, ranges: Mapping[str, float]) -> None:
    """Put the Q/DQ pairs into a folded model, in place.

    Args:
        ranges: tensor -> the largest absolute value that INT8 shall represent.
    """
    graph = model.graph
    links = Links(graph)
    nodes: list[NodeProto] = []
    for value in graph.input:
        nodes.extend(_activation(graph, value.name, placement, ranges))
    weights: dict[tuple[str, int], str] = {}
    for node in graph.node:
        axis = placement.weights.get(node.output[0])
        if axis is not None:
            key = node.input[1], axis
            if key not in weights:
                nodes.append(_weight(graph, links.constants[node.input[1]], axis))
                weights[key] = nodes[-1].output[0]
            node.input[1] = weights[key]
        for index, name in enumerate(node.input):
            if node.output[0] in placement.reads.get(name, ()):
                node.input[index] = _dequantised(name)
        nodes.append(node)
        for name in node.output:
            nodes.extend(_activation(graph, name, placement, ranges))
    replace_nodes(graph, nodes)


def _dequantised(name: str) -> str:
    return f"{name}/dequantized"


def _activation(
    graph: GraphProto, name: str, placement: Placement, ranges: Mapping[str, float]
) -> Iterator[NodeProto]:
    """The one Q/DQ pair of a tensor, per tensor and symmetric; nothing where none reads it."""
    if name not in placement.reads:
        return
    quantised = f"{name}/quantized"
    scale, zero = f"{quantised}/scale", f"{quantised}/zero_point"
    graph.initializer.append(numpy_helper.from_array(scales(np.array(ranges[name])), scale))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), zero))
    for op, source, target in (
        ("QuantizeLinear", name, quantised),
        ("DequantizeLinear", quantised, _dequantised(name)),
    ):
        yield helper.make_node(op, [source, scale, zero], [target], name=target)


def _weight(graph: GraphProto, weight: TensorProto, axis: int) -> NodeProto:
    """INT8 weights and the DequantizeLinear over them, symmetric, a scale per output channel."""
    values = numpy_helper.to_array(weight).astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"weight {weight.name!r} holds NaN or infinity; train or export again")
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    # The integers are those of the exact step, as training rounds them: it knows the convolution
    # before batch norm is folded into it, where the nearest step in FP16 is another.
    exact = np.where(largest > 0, largest / LEVELS, 1)
    quantised = np.clip(np.rint(values / exact), -LEVELS, LEVELS).astype(np.int8)
    scale = scales(largest)
    name = f"{weight.name}/axis{axis}"
    parts = {"quantized": quantised, "scale": scale.ravel()}
    parts["zero_point"] = np.zeros(scale.size, np.int8)
    for part, value in parts.items():
        graph.initializer.append(numpy_helper.from_array(value, f"{name}/{part}"))
    inputs = [f"{name}/{part}" for part in parts]
    output = _dequantised(name)
    return helper.make_node("DequantizeLinear", inputs, [output], name=output, axis=axis)


def scales(largest: Array) -> Array:
    """Step of INT8 for each largest absolute value, float32 but exact in FP16 too.

    Rounded up, so that nothing within range is clipped. Where all is zero any step will do.
    """
    step = np.asarray(largest, np.float64) / LEVELS
    half = step.astype(np.float16)
    half = np.where(half < step, np.nextafter(half, np.float16(np.inf)), half)
    return np.where(half == 0, 1, half).astype(np.float32)
