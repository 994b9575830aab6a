"""Models of one custom node, and what runtimes make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime
from numpy.typing import NDArray
from onnx import FunctionProto, GraphProto, ModelProto, TensorProto, helper, inliner

from export.prototype_attention import attributes, prototype_attention_function
from plugins import DOMAIN, OP_TYPE
from runtime.backends.ov.backend import core


def with_function(graph: GraphProto, function: FunctionProto, *, opset: int) -> ModelProto:
    """A model whose nodes in our domain are defined by `function`."""
    return helper.make_model(
        graph,
        functions=[function],
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)],
        ir_version=8,
    )


ATTENTION_INPUTS = ("query", "feature", "mask_logits")


def attention_model(
    shapes: Sequence[Sequence[int | str]],
    *,
    heads: int,
    element: int = TensorProto.FLOAT,
    opset: int = 18,
    **changed: Any,
) -> ModelProto:
    """A PrototypeAttention named "cross" with its function.

    Args:
        shapes: of query, feature and mask_logits.
        changed: attributes that are not the exporter's.
    """
    node = helper.make_node(
        OP_TYPE,
        ATTENTION_INPUTS,
        ["attended", "prototype"],
        name="cross",
        domain=DOMAIN,
        **{**attributes(heads), **changed},
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "node",
        [value(n, element, shape) for n, shape in zip(ATTENTION_INPUTS, shapes, strict=True)],
        [value(name, element, shapes[0]) for name in node.output],
    )
    return with_function(graph, prototype_attention_function(opset), opset=opset)


def on_onnxruntime(model: ModelProto, inputs: Sequence[NDArray]) -> list[NDArray]:
    """The outputs; inputs in the order of the graph."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = (entry.name for entry in session.get_inputs())
    return session.run(None, dict(zip(names, inputs, strict=True)))


def on_openvino(model: ModelProto, inputs: Sequence[NDArray]) -> list[NDArray]:
    """The same in OpenVINO, which does not know local functions."""
    inlined = inliner.inline_local_functions(model)
    compiled = core().compile_model(
        core().read_model(inlined.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return list(compiled(list(inputs)).values())
