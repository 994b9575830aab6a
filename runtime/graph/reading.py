"""What counting operations and changing number formats both read of an ONNX graph."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import ModelProto, NodeProto, helper

NORMALISATIONS = frozenset(
    {
        "LayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "RMSNormalization",
        "LpNormalization",
        "MeanVarianceNormalization",
    }
)


def shapes(model: ModelProto) -> dict[str, list[int | None]]:
    """Shapes of the tensors where they can be inferred; a size is None where it is open."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute, or `default` where the node does not carry it."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default
