"""What quantisation-aware training learnt: nodes that carry ranges through the export."""

from __future__ import annotations

import math
from collections import defaultdict

import torch.onnx.ops
from onnx import ModelProto, NodeProto, helper
from torch import Tensor, nn

from emca.errors import UserError
from plugins import DOMAIN
from train.models.fake_quantize import ActivationQuantizer

_OP_TYPE = "Range"


class RangeNode(nn.Module):
    """Stands in for `ActivationQuantizer` during export and leaves a node that does nothing."""

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        self.largest = float(quantizer.range)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{_OP_TYPE}",
            (x,),
            {"largest": self.largest},
            dtype=x.dtype,
            shape=x.shape,
            version=1,
        )


def take_ranges(model: ModelProto) -> dict[str, float]:
    """Remove the nodes of `RangeNode`, in place.

    Returns:
        Tensor -> range, the larger where several layers read one tensor. The range of what a
        MaxPool puts out for quantised readers alone is that of its input: INT8 begins before it.

    Raises:
        UserError: a range that is not finite.
    """
    graph = model.graph
    nodes = [node for node in graph.node if not _is_range(node)]
    marked = {node.output[0]: node for node in graph.node if _is_range(node)}
    producer = {name: node for node in nodes for name in node.output}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)

    def unmarked(name: str) -> str:
        while name in marked:
            name = marked[name].input[0]
        return name

    ranges: dict[str, float] = {}
    for node in marked.values():
        name = unmarked(node.input[0])
        while (
            (maker := producer.get(name))
            and maker.op_type == "MaxPool"
            and all(map(_is_range, readers[name]))
        ):
            name = unmarked(maker.input[0])
        largest = helper.get_node_attr_value(node, "largest")
        if not math.isfinite(largest):
            raise UserError(f"the range of '{name}' is {largest}; train the checkpoint again")
        ranges[name] = max(largest, ranges.get(name, 0.0))
    for node in nodes:
        node.input[:] = map(unmarked, node.input)
    del graph.node[:]
    graph.node.extend(nodes)
    if not any(node.domain == DOMAIN for node in nodes):
        kept = [entry for entry in model.opset_import if entry.domain != DOMAIN]
        del model.opset_import[:]
        model.opset_import.extend(kept)
    return ranges


def _is_range(node: NodeProto) -> bool:
    return (node.domain, node.op_type) == (DOMAIN, _OP_TYPE)
