"""Floating point operations of single ONNX nodes, 2 per multiply-accumulate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from onnx import NodeProto

from plugins import DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION, OP_TYPE
from runtime.graph.reading import attribute

Shape = Sequence[int]


class UnknownShape(Exception):
    """A size that the count needs cannot be inferred."""


class Sizes:
    """Shapes of tensors by name, all sizes known."""

    def __init__(self, known: Mapping[str, Sequence[int | None]]) -> None:
        self._known = known

    def __call__(self, name: str) -> Shape:
        sizes = [size for size in self.partial(name) if size is not None]
        if len(sizes) < len(self.partial(name)):
            raise UnknownShape(name)
        return sizes

    def partial(self, name: str) -> Sequence[int | None]:
        """With None for what is unknown."""
        if name not in self._known:
            raise UnknownShape(name)
        return self._known[name]

    def either(self, *places: tuple[str, int]) -> int:
        """The first known size of (tensor, axis) pairs that must all be equal."""
        for name, axis in places:
            sizes = self._known.get(name, ())
            if sizes and (size := sizes[axis]) is not None:
                return size
        raise UnknownShape(places[0][0])


def _conv(node: NodeProto, sizes: Sizes) -> int:
    return 2 * math.prod(sizes(node.output[0])) * math.prod(sizes(node.input[1])[1:])


def _conv_transpose(node: NodeProto, sizes: Sizes) -> int:
    return 2 * math.prod(sizes(node.input[0])) * math.prod(sizes(node.input[1])[1:])


def _matmul(node: NodeProto, sizes: Sizes) -> int:
    left, right = node.input[:2]
    shared = sizes.either((left, -1), (right, -2 if len(sizes.partial(right)) > 1 else -1))
    return 2 * shared * math.prod(sizes(node.output[0]))


def _gemm(node: NodeProto, sizes: Sizes) -> int:
    left, right = node.input[:2]
    shared = sizes.either(
        (left, 0 if attribute(node, "transA", 0) else 1),
        (right, 1 if attribute(node, "transB", 0) else 0),
    )
    return 2 * shared * math.prod(sizes(node.output[0]))


def _einsum(node: NodeProto, sizes: Sizes) -> int:
    equation = attribute(node, "equation", b"").decode().replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    length: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        shape = sizes(name)
        head, dots, tail = term.partition("...")
        middle = len(shape) - len(head) - len(tail) if dots else 0
        # Axes under the ellipsis are aligned from the right, under names of their own.
        labels = [*head, *(f".{middle - k}" for k in range(middle)), *tail]
        for label, size in zip(labels, shape, strict=True):
            length[label] = max(length.get(label, 1), size)
    kept = right if arrow else [label for label in length if left.count(label) == 1]
    summed = [label for label in length if label not in kept and not label.startswith(".")]
    if len(terms) < 2 or not summed:
        return 0  # a transposition, a sum, or an element-wise product
    return 2 * (len(terms) - 1) * math.prod(length.values())


def _prototype_attention(node: NodeProto, sizes: Sizes) -> int:
    """The similarity of BxMxC queries and BxNxC features, and the product with the prototype."""
    _, queries, channels = sizes(node.input[0])
    batch, tokens = sizes(node.input[1])[:2]
    return batch * queries * channels * (2 * tokens + 1)


def _deformable_attention(node: NodeProto, sizes: Sizes) -> int:
    """Four multiply-accumulates to sample bilinearly and one to weight, per sample and channel.

    Inputs as of TensorRT's plugin: value BxSxhxd, shapes, starts, locations BxQxhxLxPx2, weights.
    """
    channels = sizes.either((node.input[0], 3))
    return 2 * (4 + 1) * channels * math.prod(sizes(node.input[3])[:-1])


def _deformable_conv(node: NodeProto, sizes: Sizes) -> int:
    """A convolution, and four multiply-accumulates to sample and one to mask each value it reads.

    Inputs: image, offset Bx(2 groups taps)xHxW, mask, weight; modulated as in arXiv 1811.11168.
    """
    channels = sizes.either((node.input[0], 1))
    weight = sizes(node.input[3])
    batch, _, height, width = sizes(node.input[1])
    places = batch * height * width
    taps = math.prod(weight[2:])
    return 2 * places * math.prod(weight) + 2 * (4 + 1) * places * channels * taps


def deformable_conv_shape(node: NodeProto, sizes: Sizes) -> list[int]:
    """The shape of what a deformable convolution gives, by its offsets and weights."""
    batch, _, height, width = sizes(node.input[1])
    return [batch, sizes(node.input[3])[0], height, width]


CUSTOM: dict[str, Callable[[NodeProto, Sizes], int]] = {
    OP_TYPE: _prototype_attention,
    DEFORMABLE_ATTENTION: _deformable_attention,
    DEFORMABLE_CONVOLUTION: _deformable_conv,
}
COUNTERS: dict[str, Callable[[NodeProto, Sizes], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    **CUSTOM,
}

WEIGHTED = frozenset(COUNTERS) - {OP_TYPE, DEFORMABLE_ATTENTION}
