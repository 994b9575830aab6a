"""The cast of a float graph to FP16, with casts around what stays FP32."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from calibration.rewrite.edit import Array, Links, element_types, opset, replace_nodes
from calibration.rewrite.fp32_nodes import float32_nodes

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
LARGEST = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)

# Inputs that the standard types as float32 whatever the data are.
_ALWAYS_FLOAT = {"Resize": (1, 2)}
_QUANTISATION = {"QuantizeLinear", "DequantizeLinear"}
OPSET_OF_HALF_SCALES = 19  # the first whose Q/DQ takes FP16 scales


def halve(model: ModelProto) -> None:
    """Cast a folded model (`calibration.rewrite.fold`) to FP16, in place.

    Graph inputs and outputs keep their types. A tensor is cast once, however many nodes read it.
    onnxruntime's converter is not used: it puts a pair of casts between neighbouring FP32 nodes
    as well, which rounds away the epsilon that they are kept in FP32 for.
    """
    casts = _Casts(model)
    islands = float32_nodes(model.graph)
    for node in model.graph.node:
        stays_float = node.output[0] in islands or casts.must_stay_float(node)
        casts.add(node, stays_float=stays_float)
    casts.restore_outputs()
    replace_nodes(model.graph, casts.nodes)


class _Casts:
    """The nodes of the cast graph in the making, and the type each tensor has by now."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.opset = opset(model)
        self.nodes: list[NodeProto] = []
        self.constants = Links(model.graph).constants
        self.was = element_types(model)
        self.now = {name: self.was[name] for name in self.constants}
        self.now.update({value.name: self.was[value.name] for value in model.graph.input})
        self.versions: dict[tuple[str, int], str] = {}

    def must_stay_float(self, node: NodeProto) -> bool:
        """Whether the standard leaves no choice: scales before opset 19, and made-up float data."""
        if node.op_type in _QUANTISATION:
            return self.opset < OPSET_OF_HALF_SCALES
        makes_float = any(self.was[name] == FLOAT for name in node.output if name)
        reads_float = any(self.was[name] == FLOAT for name in node.input if name)
        return makes_float and not reads_float and node.op_type != "Cast"

    def add(self, node: NodeProto, *, stays_float: bool) -> None:
        for index, name in enumerate(node.input):
            if name and self.was[name] == FLOAT:
                fixed = index in _ALWAYS_FLOAT.get(node.op_type, ())
                node.input[index] = self._version(name, FLOAT if stays_float or fixed else HALF)
        if node.op_type == "Cast" and not stays_float:
            for entry in node.attribute:
                if entry.name == "to" and entry.i == FLOAT:
                    entry.i = HALF
        self.nodes.append(node)
        for name in filter(None, node.output):
            half = self.was[name] == FLOAT and not stays_float
            self.now[name] = HALF if half else self.was[name]

    def _version(self, name: str, wanted: int) -> str:
        """The name of this tensor in the wanted type; the cast is made at its first use."""
        if self.now[name] == wanted:
            return name
        key = name, wanted
        if key not in self.versions:
            suffix = "fp16" if wanted == HALF else "fp32"
            self.versions[key] = version = f"{name}/{suffix}"
            if name in self.constants:
                values = to_half(numpy_helper.to_array(self.constants[name]))
                self.graph.initializer.append(numpy_helper.from_array(values, version))
            else:
                self.nodes.append(
                    helper.make_node("Cast", [name], [version], name=version, to=wanted)
                )
        return self.versions[key]

    def restore_outputs(self) -> None:
        """Give the graph's float outputs float32 again, under their own names."""
        for output in self.graph.output:
            if self.now[output.name] != HALF:
                continue
            inner = f"{output.name}/fp16"
            for node in self.nodes:
                node.input[:] = [inner if name == output.name else name for name in node.input]
                node.output[:] = [inner if name == output.name else name for name in node.output]
            self.nodes.append(
                helper.make_node("Cast", [inner], [output.name], name=output.name, to=FLOAT)
            )


def to_half(values: Array) -> Array:
    """Round to FP16; what is too large becomes the largest value, what would vanish the smallest.

    Infinities stay, for they mask; an epsilon must not become zero.
    """
    finite = np.where(np.isinf(values), values, np.clip(values, -LARGEST, LARGEST))
    half = finite.astype(np.float16)
    vanished = (half == 0) & (values != 0)
    return np.where(vanished, np.copysign(np.float16(SMALLEST), values), half).astype(np.float16)
