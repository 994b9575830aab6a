"""Where INT8 goes: which layers of a graph are quantised, and which tensors get Q/DQ for them.

TensorRT runs a layer in INT8 when every input comes out of a DequantizeLinear, and fuses a
convolution with the Add and activation after it when the other operand of the Add is quantised
too. OpenVINO reads the same graph in the same way.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from calibration.rewrite.edit import Links
from plugins import DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION, OP_TYPE
from runtime.graph.reading import NORMALISATIONS, attribute, shapes

_MATRIX_PRODUCTS = {"MatMul", "Gemm"}
# Inputs of the custom ops that decide rather than carry: mask logits; where deformable operators
# sample, and with which weights.
_DECIDING_INPUTS = {
    OP_TYPE: (2,),
    DEFORMABLE_ATTENTION: (3, 4),
    DEFORMABLE_CONVOLUTION: (1, 2),
}
_COMPARISONS = {"Less", "LessOrEqual", "Greater", "GreaterOrEqual"}
_POINTWISE = {"Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid"}
# Operators that only choose or move values: quantising before them is the same, and lets the
# layer before them write INT8.
_MOVES = {"MaxPool"}


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product that INT8 can run.

    Attributes:
        axis: of the output channels in its weight (its input 1).
        is_head: whether it makes class logits, mask embeddings or places to sample at, which are
            left in floating point unless asked for by name.
    """

    axis: int
    is_head: bool


@dataclass
class Placement:
    """What to quantise.

    Attributes:
        reads: tensor -> outputs of the nodes that shall read its quantised version.
        weights: output of a layer -> axis of the output channels in its weight (its input 1).
    """

    reads: dict[str, set[str]] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)

    def add(self, tensor: str, reader: NodeProto) -> None:
        self.reads.setdefault(tensor, set()).add(reader.output[0])


def layers(model: ModelProto) -> dict[str, Layer]:
    """Output -> layer, of all convolutions and products with a constant matrix, in graph order.

    Without gates: convolutions of a pooled vector cost nothing and scale whole channels. And
    without what is the same for every image, such as the first projection of the queries.
    """
    graph = model.graph
    sizes, links = shapes(model), Links(graph)
    heads, seeing = _heads(graph, links), _seeing(graph)
    found = {}
    for node in graph.node:
        axis = _channel_axis(node, links)
        gate = node.op_type == "Conv" and set(sizes.get(node.output[0], [None])[2:]) == {1}
        if axis is not None and not gate and node.input[0] in seeing:
            found[node.output[0]] = Layer(axis, node.output[0] in heads)
    return found


def place(model: ModelProto, chosen: Collection[str] | None = None) -> Placement:
    """Choose what runs in INT8.

    Left in floating point: products of two activations, normalisations, softmax, custom ops,
    which stay whole, every bias, gates and, unless chosen, the heads.

    Args:
        model: folded (`calibration.rewrite.fold`).
        chosen: outputs of the layers to quantise; by default all but the heads.
    """
    graph = model.graph
    links, found = Links(graph), layers(model)
    if chosen is None:
        chosen = {output for output, layer in found.items() if not layer.is_head}
    placement = Placement()
    for output, layer in found.items():
        if output in chosen:
            node = links.producer[output]
            placement.weights[output] = layer.axis
            placement.add(node.input[0], node)
    _quantise_residuals(graph, links, placement)
    _move_up(links, placement)
    return placement


def possible_reads(model: ModelProto) -> set[str]:
    """Every tensor of a folded model that some choice of layers would quantise."""
    graph = model.graph
    links, found = Links(graph), layers(model)
    tensors = {links.producer[output].input[0] for output in found}
    for node in graph.node:
        if node.op_type == "Add" and any(name in found for name in node.input):
            tensors.update(links.activations(node))
    for name in list(tensors):
        while (producer := links.producer.get(name)) and producer.op_type in _MOVES:
            name = producer.input[0]
            tensors.add(name)
    return tensors


def _seeing(graph: GraphProto) -> set[str]:
    """The tensors that depend on what the graph's inputs hold, not on their shapes alone."""
    found = {value.name for value in graph.input}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def _channel_axis(node: NodeProto, links: Links) -> int | None:
    """Axis of the output channels in the weight of a layer that INT8 can run, else None."""
    if node.op_type not in {"Conv", *_MATRIX_PRODUCTS} or node.input[0] in links.constants:
        return None
    weight = links.constants.get(node.input[1])
    if weight is None or weight.data_type != TensorProto.FLOAT:
        return None
    if node.op_type == "Conv":
        return 0
    if len(weight.dims) != 2 or attribute(node, "transA", 0):
        return None
    return 0 if attribute(node, "transB", 0) else 1


def _heads(graph: GraphProto, links: Links) -> set[str]:
    """Outputs of the layers that make class logits, mask embeddings, and places to sample at.

    They are found walking back from what decides: the outputs of the graph, `_DECIDING_INPUTS`,
    and whatever is compared with a threshold. Every matrix product before the first
    normalisation, convolution or residual connection belongs to a head: the weights of the last
    layers lose names, but not their place, in the export. So does that convolution where no
    product stands between: it classifies pixels or predicts offsets. Behind a product it makes
    mask features or tokens, as any other convolution.
    """
    pending = [(output.name, True) for output in graph.output]
    for node in graph.node:
        if node.op_type in _DECIDING_INPUTS:
            pending.extend((node.input[i], True) for i in _DECIDING_INPUTS[node.op_type])
        elif node.op_type in _COMPARISONS:
            pending.extend((name, True) for name in node.input)
    heads, seen = set(), set(pending)
    while pending:
        name, direct = pending.pop()
        node = links.producer.get(name)
        if node is None or node.op_type in {*_DECIDING_INPUTS, *NORMALISATIONS}:
            continue
        activations = links.activations(node)
        if node.op_type == "Conv":
            if direct:
                heads.add(node.output[0])
            continue
        if node.op_type == "Add" and len(activations) == 2:
            continue
        if node.op_type in _MATRIX_PRODUCTS:
            direct = False
            if len(activations) == 1:
                heads.add(node.output[0])
        before = [(name, direct) for name in activations if (name, direct) not in seen]
        pending.extend(before)
        seen.update(before)
    return heads


def _quantise_residuals(graph: GraphProto, links: Links, placement: Placement) -> None:
    """Quantise the other operand of each Add that a convolution can be fused with.

    Of two convolutions that meet, the one at the end of the longer path is fused: it is the last
    of the block, the other one the projection of the shortcut.
    """
    depth = _depths(graph, links)
    for node in graph.node:
        if node.op_type != "Add" or len(links.activations(node)) != 2:
            continue
        fusible = [n for n in node.input if _is_private_convolution(n, links, placement)]
        if not fusible or not _is_read_quantised(node, links, placement):
            continue
        fused = max(fusible, key=lambda name: depth[name])
        other = node.input[1] if node.input[0] == fused else node.input[0]
        placement.add(other, node)


def _is_private_convolution(name: str, links: Links, placement: Placement) -> bool:
    producer = links.producer.get(name)
    if producer is None or producer.op_type != "Conv" or name not in placement.weights:
        return False
    return links.only_reader(name) is not None


def _is_read_quantised(node: NodeProto, links: Links, placement: Placement) -> bool:
    """Whether an INT8 layer reads the node's output, an activation function in between or not."""
    names = list(node.output)
    names += [r.output[0] for r in links.consumers[names[0]] if r.op_type in _POINTWISE]
    return any(name in placement.reads for name in names)


def _depths(graph: GraphProto, links: Links) -> dict[str, int]:
    """Length of the longest path from the graph's inputs to each tensor."""
    depth: dict[str, int] = {}
    for node in graph.node:
        below = max((depth.get(name, 0) for name in links.activations(node)), default=0)
        depth.update(dict.fromkeys(node.output, below + 1))
    return depth


def _move_up(links: Links, placement: Placement) -> None:
    """Quantise before operators that only choose values, where nobody needs their float result."""
    for tensor in list(placement.reads):
        name = tensor
        while (
            (producer := links.producer.get(name))
            and producer.op_type in _MOVES
            and name not in links.outputs
            and {r.output[0] for r in links.consumers[name]} <= placement.reads.get(name, set())
        ):
            del placement.reads[name]
            name = producer.input[0]
            placement.add(name, producer)
