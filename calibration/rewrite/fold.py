"""What can be computed before quantising: constant nodes and batch normalisation."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from calibration.rewrite.edit import STANDARD, Array, Links, replace_nodes
from runtime.graph.reading import attribute, shapes


def folded(model: ModelProto) -> ModelProto:
    """A copy of `model` with constants as initializers and without BatchNormalization."""
    copy = ModelProto()
    copy.CopyFrom(model)
    fold_constants(copy)
    fold_batch_norm(copy)
    return copy


def fold_constants(model: ModelProto) -> None:
    """Compute the nodes that depend on constants alone, in place, unless that grows the file.

    Weights are thereby initializers, where an exporter leaves them behind a Transpose or a Split.
    """
    graph = model.graph
    links = Links(graph)
    values = _evaluate(model, links)
    constants = {name: math.prod(tensor.dims) for name, tensor in links.constants.items()}
    kept = []
    for node in graph.node:
        outputs = {name: values[name] for name in node.output if name in values}
        before = sum(constants.get(name, 0) for name in node.input)
        after = sum(value.size for value in outputs.values())
        known = all(name in constants for name in node.input if name)
        grows = after > before and node.op_type != "Constant"
        if not outputs or not known or grows or links.outputs.intersection(outputs):
            kept.append(node)
            continue
        for name, value in outputs.items():
            graph.initializer.append(numpy_helper.from_array(value, name))
            constants[name] = value.size
    replace_nodes(graph, kept)


def _evaluate(model: ModelProto, links: Links) -> dict[str, Array]:
    """The values of all tensors that depend on constants alone."""
    known = set(links.constants)
    nodes: list[NodeProto] = []
    names: list[str] = []
    for node in model.graph.node:
        standard = node.domain in STANDARD and not node.op_type.startswith("Random")
        if standard and known.issuperset(filter(None, node.input)):
            nodes.append(node)
            names.extend(filter(None, node.output))
            known.update(node.output)
    if not nodes:
        return {}
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "constants",
        [],
        [ValueInfoProto(name=name) for name in names],
        [tensor for name, tensor in links.constants.items() if name in used],
    )
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(names, session.run(names, {}), strict=True))


def fold_batch_norm(model: ModelProto) -> None:
    """Replace every BatchNormalization, in place: by the convolution before it, or by Mul and Add.

    TensorRT's INT8 convolutions have no use for it, running variances may underflow in FP16, and
    quantisation ranges must be those of the folded weights. Arithmetic is in float64; the result
    differs from the original by float32 rounding only.
    """
    graph = model.graph
    links, dimensions = Links(graph), shapes(model)
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        scale, shift = _affine(node, links)
        convolution = _foldable_convolution(node, links)
        if convolution is not None:
            _into_convolution(model, convolution, links, scale, shift, node.output[0])
        else:
            trailing = len(dimensions.get(node.input[0], [None] * 4)) - 2
            nodes.extend(_as_mul_and_add(model, node, scale, shift, trailing))
    replace_nodes(graph, nodes)


def _affine(node: NodeProto, links: Links) -> tuple[Array, Array]:
    gamma, beta, mean, variance = (
        numpy_helper.to_array(links.constants[name]).astype(np.float64) for name in node.input[1:5]
    )
    scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return scale, beta - mean * scale


def _foldable_convolution(node: NodeProto, links: Links) -> NodeProto | None:
    """The Conv whose output only this node reads and whose weights no other node shares."""
    convolution = links.producer.get(node.input[0])
    if convolution is None or convolution.op_type != "Conv":
        return None
    weight = convolution.input[1]
    owns_weight = weight in links.constants and len(links.consumers[weight]) == 1
    constant_bias = all(name in links.constants for name in convolution.input[2:3] if name)
    sole = links.only_reader(node.input[0]) is not None
    return convolution if owns_weight and constant_bias and sole else None


def _into_convolution(
    model: ModelProto, node: NodeProto, links: Links, scale: Array, shift: Array, output: str
) -> None:
    weight = links.constants[node.input[1]]
    kernel = numpy_helper.to_array(weight).astype(np.float64)
    kernel *= scale.reshape(-1, *[1] * (kernel.ndim - 1))
    if len(node.input) > 2 and node.input[2]:
        shift = shift + scale * numpy_helper.to_array(links.constants[node.input[2]])
    bias = _constant(model, f"{weight.name}/bias", shift)
    weight.CopyFrom(numpy_helper.from_array(kernel.astype(np.float32), weight.name))
    node.input[:] = [*node.input[:2], bias]
    node.output[0] = output


def _as_mul_and_add(
    model: ModelProto, node: NodeProto, scale: Array, shift: Array, trailing: int
) -> list[NodeProto]:
    shape = (-1, *[1] * trailing)
    out = node.output[0]
    factor = _constant(model, f"{out}/factor", scale.reshape(shape))
    offset = _constant(model, f"{out}/offset", shift.reshape(shape))
    scaled = f"{out}/scaled"
    return [
        helper.make_node("Mul", [node.input[0], factor], [scaled], name=f"{out}/Mul"),
        helper.make_node("Add", [scaled, offset], [out], name=f"{out}/Add"),
    ]


def _constant(model: ModelProto, name: str, value: Array) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return name
