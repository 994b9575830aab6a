"""Small FP16 graphs with Q/DQ, put together layer by layer."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

HALF = TensorProto.FLOAT16


class Quantised:
    """Appends nodes over an FP16 input `x`; every method returns the name of its result."""

    def __init__(self, channels=32, size=16):
        self.nodes, self.constants = [], []
        self.input = helper.make_tensor_value_info("x", HALF, [1, channels, size, size])
        self.channels = channels

    def node(self, op, *inputs, **attrs):
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attrs))
        return name

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, shape, int8):
        if not int8:
            return self.constant(np.full(shape, 0.01, np.float16))
        parts = np.ones(shape, np.int8), np.ones(shape[0], np.float16), np.zeros(shape[0], np.int8)
        return self.node("DequantizeLinear", *map(self.constant, parts), axis=0)

    def conv(self, x, after=None, *, int8=False, before=None, group=1, kernel=3):
        """A convolution without bias that keeps the size; `int8` is about its weight alone."""
        before, after = before or self.channels, after or self.channels
        weight = self.weight((after, before // group, kernel, kernel), int8)
        return self.node("Conv", x, weight, pads=[kernel // 2] * 4, group=group)

    def quantised(self, x):
        """The tensor behind a pair of Q and DQ."""
        ends = self.constant(np.float16(0.1)), self.constant(np.int8(0))
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, *ends), *ends)

    def model(self, *outputs):
        values = [helper.make_tensor_value_info(name, HALF, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", [self.input], values, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
