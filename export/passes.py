"""Clean-up of what the PyTorch exporter writes, and what our files carry besides."""

from __future__ import annotations

import ast

import onnx
from onnx import ModelProto

from export.functions import add_functions
from segdata.card import ModelCard

# The oldest that knows local functions: TensorRT 10.3 and JetPack read it.
IR_VERSION = 8
WRAPPER_PREFIX = "model."
SCOPES = "pkg.torch.onnx.name_scopes"


def finish(model: ModelProto, card: ModelCard) -> None:
    """Make an exported graph a file of ours, in place: local function, names, metadata."""
    name_nodes(model)
    strip_traces(model)
    strip_prefix(model)
    cast_input_first(model)
    add_functions(model)
    model.ir_version = IR_VERSION
    model.producer_name = "emca"
    onnx.helper.set_model_props(model, card.to_props())
    onnx.checker.check_model(model, full_check=True)


def name_nodes(model: ModelProto) -> None:
    """Name each node by the module it belongs to: `decoder.class_embed/Gemm_7`.

    What stands in no submodule of the network is `/Softmax_9`. Tools count and choose by this.
    """
    for index, node in enumerate(model.graph.node):
        scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "[]")
        modules = [scope for scope in ast.literal_eval(scopes) if scope.startswith(WRAPPER_PREFIX)]
        module = modules[-1].removeprefix(WRAPPER_PREFIX) if modules else ""
        node.name = f"{module}/{node.op_type}_{index}"


def strip_traces(model: ModelProto) -> None:
    """Drop source paths and stack traces of the exporting machine."""
    graph = model.graph
    for entry in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        entry.ClearField("doc_string")
        entry.ClearField("metadata_props")
    graph.ClearField("doc_string")
    graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    # Intermediate shapes are inferred again by every reader.
    graph.ClearField("value_info")


def strip_prefix(model: ModelProto) -> None:
    """Name weights as in the checkpoint, without the exporting wrapper's attribute."""

    taken = {name for node in model.graph.node for name in node.output}
    renamed = {
        tensor.name: plain
        for tensor in model.graph.initializer
        if (plain := tensor.name.removeprefix(WRAPPER_PREFIX)) not in taken
    }
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


def cast_input_first(model: ModelProto) -> None:
    """Let the Cast be the only reader of the uint8 input: TensorRT takes it nowhere else."""
    name = model.graph.input[0].name
    cast = next(n for n in model.graph.node if n.op_type == "Cast" and n.input[0] == name)
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] == name:
            node.input[0] = cast.output[0]
    model.graph.node.remove(cast)
    model.graph.node.insert(0, cast)
