"""Which nodes of a graph must compute in FP32 when the rest is cast to FP16.

They are found by what they are, not by the names of one model.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, NodeProto, TensorProto

from calibration.rewrite.edit import Links
from plugins import DEFORMABLE_ATTENTION
from runtime.graph.reading import NORMALISATIONS, attribute

# Squares summed over some axis: the reduction overflows FP16 at norms above 256 already.
_NORM_REDUCTIONS = {"ReduceL2", "ReduceSumSquare"}
_SUMS = {"ReduceSum", "ReduceMean"}
# What may stand between such a sum and the division by the norm. 1e-12, the usual guard against a
# zero norm, is 0 in FP16.
_BETWEEN_NORM_AND_DIVISION = {"Sqrt", "Clip", "Max", "Add", "Expand", "Reshape", "Unsqueeze", "Pow"}
_DIVISIONS = {"Div", "Reciprocal", "Mul"}
_PRODUCTS = {"MatMul", "Gemm", "Conv", "Einsum"}
# Deformable attention and its input that says where to sample, as shares of a map's width and
# height. FP16 places such a share the more coarsely the wider the map: what is sampled there
# changes far more than rounding values and weights to FP16 changes it. The offsets before them,
# in pixels, are small numbers and may be FP16.
_LOCATIONS = 3
# What image normalisation is made of.
_PIXELWISE = {"Cast", "Transpose", "Sub", "Add", "Mul", "Div"}


def float32_nodes(graph: GraphProto) -> set[str]:
    """The nodes that have to stay in FP32, each by the name of its first output.

    - normalisations: TensorRT refuses LayerNormalization of FP16 data with FP32 scale, and
      variances are sums of squares;
    - L2 norms, from the squares to the division;
    - the softmax of the class head, whose small probabilities decide labels; the softmax of an
      attention, which feeds a matrix product, goes with its neighbours to FP16;
    - deformable attention and what adds its offsets to the places they start from; TensorRT's
      plugin takes all its inputs in one type;
    - normalisation of the image: 8-bit pixels are exact in FP16, mean and deviation are not.
    """
    links = Links(graph)
    islands = {node.output[0] for node in graph.node if node.op_type in NORMALISATIONS}
    for node in graph.node:
        if _is_norm_reduction(node, links):
            islands.update(part.output[0] for part in _norm(node, links))
        elif node.op_type == "Softmax" and not _feeds_matrix_product(node, links):
            islands.add(node.output[0])
        elif node.op_type == DEFORMABLE_ATTENTION:
            islands.update(part.output[0] for part in _sampling(node, links))
    islands.update(node.output[0] for node in _image_normalisation(graph, links))
    return islands


def _square(node: NodeProto, links: Links) -> NodeProto | None:
    """The node that squares the input of this one, if it does."""
    before = links.producer.get(node.input[0])
    if before is None:
        return None
    squares = before.op_type == "Mul" and before.input[0] == before.input[1]
    return before if squares or before.op_type == "Pow" else None


def _is_norm_reduction(node: NodeProto, links: Links) -> bool:
    if node.op_type in _NORM_REDUCTIONS:
        return True
    return node.op_type in _SUMS and _square(node, links) is not None


def _norm(reduction: NodeProto, links: Links) -> Iterator[NodeProto]:
    """The nodes of one L2 norm: squares, sum, guard, root, division."""
    square = _square(reduction, links)
    if square is not None and reduction.op_type in _SUMS:
        yield square
    pending = [reduction]
    while pending:
        node = pending.pop()
        yield node
        if node.op_type in _DIVISIONS:
            continue
        readers = (reader for name in node.output for reader in links.consumers[name])
        pending.extend(reader for reader in readers if _belongs_to_norm(reader, links))


def _belongs_to_norm(reader: NodeProto, links: Links) -> bool:
    """Whether a node that reads a sum of squares, or what became of it, is part of the norm."""
    if reader.op_type in _DIVISIONS:
        return True
    return reader.op_type in _BETWEEN_NORM_AND_DIVISION and len(links.activations(reader)) == 1


def _feeds_matrix_product(node: NodeProto, links: Links) -> bool:
    return any(r.op_type in ("MatMul", "Einsum") for r in links.consumers[node.output[0]])


def _sampling(attention: NodeProto, links: Links) -> Iterator[NodeProto]:
    """The attention itself and the nodes between the last matrix product and its locations."""
    yield attention
    pending = [attention.input[_LOCATIONS]]
    while pending:
        node = links.producer.get(pending.pop())
        if node is not None and node.op_type not in _PRODUCTS:
            yield node
            pending.extend(links.activations(node))


def _image_normalisation(graph: GraphProto, links: Links) -> list[NodeProto]:
    """The pixel-wise nodes between an 8-bit graph input and the first layer."""
    images = {i.name for i in graph.input if i.type.tensor_type.elem_type == TensorProto.UINT8}
    nodes = []
    for node in graph.node:
        inputs = links.activations(node)
        to_float = attribute(node, "to", TensorProto.FLOAT) == TensorProto.FLOAT
        if inputs and images.issuperset(inputs) and node.op_type in _PIXELWISE and to_float:
            nodes.append(node)
            images.update(node.output)
    return nodes
