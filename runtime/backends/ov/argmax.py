"""ArgMax in terms that OpenVINO runs fast.

OpenVINO executes ArgMax as a sort that keeps the order of equal values, which over 150 classes at
512x512 is several times slower than a TopK of one. Over the last axis TopK picks any of equal
values; there the maximum and the lowest index that attains it are both fast and right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

AXES_ARE_AN_INPUT = 18  # of ReduceMax and ReduceMin, from this opset on


def replace_argmax(model: ModelProto) -> ModelProto:
    """The same model, every ArgMax written as TopK or, over the last axis, by its maximum.

    Of equal maxima the lowest index wins, as in ArgMax. An ArgMax that prefers the last index, or
    over a tensor of which more than one length is unknown, stays as it is.
    """
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.value_info
    }
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        shape = shapes.get(node.input[0], []) if node.op_type == "ArgMax" else []
        axis = options.get("axis", 0)
        known = shape and shape[axis] and shape.count(0) <= 1
        if not known or options.get("select_last_index"):
            nodes.append(node)
        else:
            axis %= len(shape)
            result = [*shape[:axis], *[1] * options.get("keepdims", 1), *shape[axis + 1 :]]
            last = axis == len(shape) - 1
            nodes += (_lowest_maximum if last else _top_one)(model, node, axis, shape, result)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _top_one(
    model: ModelProto, node: NodeProto, axis: int, shape: list[int], result: list[int]
) -> list[NodeProto]:
    """As `_lowest_maximum`, for an axis that is not the last."""
    output = node.output[0]
    one = numpy_helper.from_array(np.array([1], np.int64), f"{output}/one")
    unflat = [size or -1 for size in result]
    target = numpy_helper.from_array(np.array(unflat, np.int64), f"{output}/shape")
    model.graph.initializer.extend([one, target])
    found = [f"{output}/value", f"{output}/index"]
    return [
        helper.make_node("TopK", [node.input[0], one.name], found, axis=axis),
        helper.make_node("Reshape", [found[1], target.name], [output]),
    ]


def _lowest_maximum(
    model: ModelProto, node: NodeProto, axis: int, shape: list[int], result: list[int]
) -> list[NodeProto]:
    """Nodes in place of an ArgMax over the last axis of a tensor of `shape`, 0 for unknown."""
    output, length = node.output[0], shape[axis]
    step = f"{output}/{{}}".format
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")

    def constant(name: str, value: NDArray[Any]) -> str:
        model.graph.initializer.append(numpy_helper.from_array(value, step(name)))
        return step(name)

    def reduce(operator: str, source: str, target: str, keepdims: int) -> NodeProto:
        if opset >= AXES_ARE_AN_INPUT:
            return helper.make_node(operator, [source, axes], [target], keepdims=keepdims)
        return helper.make_node(operator, [source], [target], keepdims=keepdims, axes=[1])

    axes = constant("axes", np.array([1], np.int64))
    flat = constant("flat", np.array([-1, length], np.int64))
    unflat = constant("unflat", np.array([size or -1 for size in result], np.int64))
    # Indices as bytes where they fit: a quarter of the traffic. Else as floats, which are exact up
    # to 2^24 and vectorised where wider integers are not.
    kind = np.uint8 if length <= np.iinfo(np.uint8).max else np.float32
    index = constant("index", np.arange(length).astype(kind))
    beyond = constant("beyond", np.array([length], kind))
    return [
        helper.make_node("Reshape", [node.input[0], flat], [step("rows")]),
        reduce("ReduceMax", step("rows"), step("highest"), 1),
        helper.make_node("Equal", [step("rows"), step("highest")], [step("hit")]),
        helper.make_node("Where", [step("hit"), index, beyond], [step("candidate")]),
        reduce("ReduceMin", step("candidate"), step("lowest"), 0),
        helper.make_node("Cast", [step("lowest")], [step("whole")], to=onnx.TensorProto.INT64),
        helper.make_node("Reshape", [step("whole"), unflat], [output]),
    ]
