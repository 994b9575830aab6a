"""Which nodes of a graph TensorRT runs as one kernel, and in which number format.

What its documentation says, and this module follows:
- Pointwise layers are fused with one another, and with the convolution or product before them
  ("Optimizing TensorRT Performance", layer fusion).
- A weighted layer runs in INT8 when all its inputs come out of a DequantizeLinear. It writes INT8
  when a QuantizeLinear follows, with a residual addition in between only if the other operand of
  that is quantised too; else the QuantizeLinear is a kernel of its own ("Working with Quantized
  Types", Q/DQ layer-placement recommendations).
- A DequantizeLinear is moved towards its readers, past operators that only move values (the same,
  processing of Q/DQ networks).

Left out: multi-head attention and whole subgraphs as one kernel, concatenation without copies,
what a builder finds by timing, and changes of memory layout other than by Q/DQ.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import GraphProto, ModelProto, NodeProto

from calibration.rewrite.edit import Links
from plugins import DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION
from runtime.graph.op_counts import COUNTERS
from runtime.graph.reading import NORMALISATIONS

_PLUGINS = {DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION}
_PRODUCTS = frozenset(COUNTERS) - _PLUGINS

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
# They move values: INT8 goes through them.
_MOVES = {"Transpose", "Slice", "Concat", "Split", "Gather", "Tile", "DepthToSpace"}
_POOLS = {"MaxPool"}
_REDUCTIONS = NORMALISATIONS | {"Softmax", "LogSoftmax", "ArgMax", "ArgMin"}
_ACTIVATIONS = {
    "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "Elu", "Gelu", "HardSigmoid",
    "HardSwish", "Softplus", "Cast",
}  # fmt: skip
_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "BatchNormalization"}
_POINTWISE = {
    *_ACTIVATIONS, *_ARITHMETIC, _QUANTIZE, "Erf", "Exp", "Log", "Sqrt", "Pow", "Neg", "Abs",
    "Reciprocal", "Floor", "Ceil", "Round", "Mod", "Min", "Max", "Where", "Not", "And", "Or",
    "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Sin", "Cos", "Mean", "Sum",
    "IsNaN", "IsInf", "Sign", "Expand",
}  # fmt: skip


@dataclass(frozen=True)
class Access:
    """A tensor that a kernel reads or writes, and whether it is INT8 in memory."""

    tensor: str
    int8: bool = False


@dataclass(eq=False)
class Kernel:
    """Nodes that run together.

    Attributes:
        nodes: in the order of the graph, those included that only rename its results.
        kind: "product", "pointwise", "reduction" or "other".
        int8: whether it is a product of INT8 values.
        reads, writes: what goes through memory.
    """

    nodes: list[NodeProto]
    kind: str
    int8: bool = False
    reads: set[Access] = field(default_factory=set)
    writes: set[Access] = field(default_factory=set)
    # What `_Fusion` has to know: the one result that a further node may be fused to, and what a
    # product's epilogue holds already.
    end: str = ""
    has_residual: bool = False
    writes_float: bool = False

    @property
    def anchor(self) -> NodeProto:
        """The node that tells what the kernel is: its product or reduction, else its first."""
        telling = [node for node in self.nodes if node.op_type in COUNTERS]
        telling += [node for node in self.nodes if _is_reduction(node)]
        return (telling or self.nodes)[0]


def kernels(model: ModelProto) -> list[Kernel]:
    """The kernels of a graph, in an order in which they can run.

    Nodes that depend on constants alone are part of none: they are computed when an engine is
    built. So is nothing that reads only shapes.
    """
    return _Fusion(model.graph).run()


def _is_reduction(node: NodeProto) -> bool:
    return node.op_type in _REDUCTIONS or node.op_type.startswith("Reduce")


class _Fusion:
    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.links = Links(graph)
        self.constants = _constants(graph)
        self.kernels: list[Kernel] = []
        self.makers: dict[str, Kernel] = {}  # tensor -> the kernel that computes it
        self.renamed: dict[str, str] = {}  # tensor -> the one that it is another name of
        self.int8: set[str] = set()  # tensors that are INT8 in memory
        self.floats: dict[str, str] = {}  # such a tensor -> its copy in floating point

    def run(self) -> list[Kernel]:
        for node in self.graph.node:
            if self.constants.issuperset(filter(None, node.output)):
                continue
            if node.op_type == _DEQUANTIZE or (
                node.op_type in _VIEWS and node.input[0] in self.makers
            ):
                self._rename(node)
            else:
                self._compute(node)
        for kernel in self.kernels:
            self._add_traffic(kernel)
        for name in self.links.outputs & self.makers.keys():
            self.makers[name].writes.add(self._stored(name))
        return self.kernels

    def _inputs(self, node: NodeProto) -> list[str]:
        return [name for name in node.input if name and name not in self.constants]

    def _stored(self, name: str) -> Access:
        name = self.renamed.get(name, name)
        return Access(name, name in self.int8)

    def _rename(self, node: NodeProto) -> None:
        """Take a node whose result is what it reads, under another name, shape or scale."""
        source, result = node.input[0], node.output[0]
        stored = self._stored(source).tensor
        self.renamed[result] = stored
        if node.op_type == _DEQUANTIZE:
            self.int8.add(stored)
        if kernel := self.makers.get(source):
            self.makers[result] = kernel
            kernel.nodes.append(node)
            if kernel.end == source and self.links.only_reader(source):
                kernel.end = result

    def _compute(self, node: NodeProto) -> None:
        kernel = self._host(node)
        if kernel is None:
            kernel = self._new(node)
        elif kernel.kind == "product" and len(others := self._others(node, kernel.end)):
            kernel.has_residual = True
            kernel.writes_float = not self._stored(others[0]).int8
        elif kernel.kind == "pointwise" and _is_reduction(node):
            kernel.kind = "reduction"
        kernel.nodes.append(node)
        outputs = [name for name in node.output if name]
        self.makers.update(dict.fromkeys(outputs, kernel))
        # Quantising ends a kernel, and so does writing several results.
        kernel.end = outputs[0] if len(outputs) == 1 and node.op_type != _QUANTIZE else ""
        inputs = self._inputs(node)
        if node.op_type in _MOVES | _POOLS and all(self._stored(name).int8 for name in inputs):
            self.int8.update(outputs)

    def _new(self, node: NodeProto) -> Kernel:
        """A kernel that begins with this node."""
        kernel = Kernel([], "other")
        if node.op_type in _PRODUCTS:
            kernel.kind = "product"
            kernel.int8 = all(self._is_int8_factor(name) for name in node.input[:2])
        elif node.op_type in _POINTWISE | _MOVES:
            kernel.kind = "pointwise"
        elif _is_reduction(node):
            kernel.kind = "reduction"
        if not _reads_int8(kernel, node):
            for name in self._inputs(node):
                self._dequantize(name)
        self.kernels.append(kernel)
        return kernel

    def _is_int8_factor(self, name: str) -> bool:
        """Whether a factor is INT8; a constant is where it comes out of a DequantizeLinear."""
        while name in self.constants and (node := self.links.producer.get(name)):
            if node.op_type == _DEQUANTIZE:
                return True
            if node.op_type not in _VIEWS | _MOVES:
                return False
            name = node.input[0]
        return self._stored(name).int8

    def _dequantize(self, name: str) -> None:
        """Give a tensor that is in memory in INT8 a copy in floating point, by a kernel of its own.

        The kernel takes over the node of the graph, if it is the reader's input.
        """
        stored = self._stored(name)
        if not stored.int8 or stored.tensor in self.floats:
            return
        self.floats[stored.tensor] = name
        node = self.links.producer[name]
        kernel = Kernel([], "other", reads={stored}, writes={Access(name)})
        if node.op_type == _DEQUANTIZE:
            kernel.nodes.append(node)
            if maker := self.makers.get(name):
                maker.nodes.remove(node)
        self.kernels.append(kernel)

    def _others(self, node: NodeProto, name: str) -> list[str]:
        return [other for other in self._inputs(node) if other != name]

    def _host(self, node: NodeProto) -> Kernel | None:
        """The kernel of an input that can do this node as well, the latest if there are several."""
        found = [
            kernel
            for name in self._inputs(node)
            if (kernel := self.makers.get(name))
            and kernel.end == name
            and self.links.only_reader(name)
            and self._takes(kernel, node)
        ]
        return max(found, key=self.kernels.index, default=None)

    def _takes(self, kernel: Kernel, node: NodeProto) -> bool:
        """Whether a kernel can go on with a node that reads its end."""
        pointwise = node.op_type in {*_POINTWISE, "Transpose"}
        if kernel.kind == "pointwise":
            return pointwise or node.op_type in _MOVES or _is_reduction(node)
        if kernel.kind != "product":
            return kernel.kind == "reduction" and pointwise
        if node.op_type == _QUANTIZE:
            return kernel.int8 and not kernel.writes_float
        others = self._others(node, kernel.end)
        if others:
            residual = node.op_type == "Add" and not kernel.has_residual
            return residual and (kernel.int8 or not self._stored(others[0]).int8)
        return node.op_type in {*_ACTIVATIONS, *_ARITHMETIC, "Transpose"}

    def _add_traffic(self, kernel: Kernel) -> None:
        for node in kernel.nodes:
            if node.output[0] in self.renamed:
                continue
            for name in filter(None, node.input):
                maker = self.makers.get(name)
                if name in self.constants:
                    if node.op_type == _QUANTIZE:
                        continue  # a scale
                    factor = kernel.int8 and node.op_type in _PRODUCTS
                    kernel.reads.add(Access(name, factor and self._is_int8_factor(name)))
                elif maker is not kernel:
                    stored = self._stored(name)
                    if maker:
                        maker.writes.add(stored)
                    if stored.int8 and not _reads_int8(kernel, node):
                        stored = Access(self.floats[stored.tensor])
                    kernel.reads.add(stored)


def _reads_int8(kernel: Kernel, node: NodeProto) -> bool:
    """Whether a kernel that begins with this node can read INT8, or has to have it dequantised."""
    return kernel.int8 or kernel.kind in ("pointwise", "reduction") or node.op_type in _POOLS


def _constants(graph: GraphProto) -> set[str]:
    """Tensors that depend on constants and shapes alone."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Shape", "Size") or found.issuperset(filter(None, node.input)):
            found.update(filter(None, node.output))
    return found
