"""Models of one custom node, and what runtimes make of them."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime
import openvino
from numpy.typing import NDArray
from onnx import FunctionProto, GraphProto, ModelProto, helper, inliner

from plugins import DOMAIN


def with_function(graph: GraphProto, function: FunctionProto, *, opset: int) -> ModelProto:
    """A model whose nodes in our domain are defined by `function`."""
    return helper.make_model(
        graph,
        functions=[function],
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)],
        ir_version=8,
    )


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
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(inlined.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return list(compiled(list(inputs)).values())
