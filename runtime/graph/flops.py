"""Parameters and floating point operations of an exported file, by part of the network.

A multiply-accumulate is two operations. Counted are convolutions and matrix products, those of two
activations (attention) included, and what the custom operators need; not counted are element-wise
operations, normalisations, softmax, pooling and resizing. Counts of other tools differ where they
take a multiply-accumulate for one operation (fvcore, most papers) or count the latter as well.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, inliner

from plugins import DEFORMABLE_CONVOLUTION
from runtime.graph.op_counts import (
    COUNTERS,
    CUSTOM,
    WEIGHTED,
    Sizes,
    UnknownShape,
    deformable_conv_shape,
)
from runtime.graph.reading import NORMALISATIONS, shapes

COMPONENTS = ("backbone", "pixel_decoder", "decoder", "head", "other")
OTHER = "other"

# Parts of the network by the module path in front of a node's name; the first that fits counts.
_PREFIXES = (
    ("backbone", "backbone"),
    ("pixel_decoder", "pixel_decoder"),
    ("decoder.class_embed", "head"),
    ("decoder.mask_product", "head"),
    ("decoder", "decoder"),
    ("head", "head"),
)
_NORMALISATIONS = NORMALISATIONS | {"BatchNormalization"}
_NODE_NAME = re.compile(r"(?P<module>[\w.]*)/\w+")
_NOT_LEARNT = frozenset({"model.mean", "model.std"})  # normalisation of the image
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})


@dataclass(frozen=True)
class Cost:
    """What a network needs for one image.

    Attributes:
        flops: floating point operations by component, 2 per multiply-accumulate.
        params: numbers of weights by component of the module that owns them or, where their names
            are the exporter's, of the node that reads them first.
        uncounted: names of nodes that should have counted but whose shapes are unknown.
    """

    flops: dict[str, int]
    params: dict[str, int]
    uncounted: tuple[str, ...] = ()

    @property
    def total_flops(self) -> int:
        """Of all components."""
        return sum(self.flops.values())

    @property
    def total_params(self) -> int:
        """Of all components."""
        return sum(self.params.values())


def count(model: ModelProto) -> Cost:
    """The cost of an FP32 model for one image; an open batch size is taken as one.

    Operations inside a local function belong to the component of the node that calls it. Weights
    are the floating-point constants that bear the name of a parameter or go into a convolution, a
    matrix product or a normalisation: not the position encodings and masks that exporters compute
    in advance. Batch normalisation that is folded into a convolution counts there.
    """
    model = inlined(with_batch_one(model))
    known = known_shapes(model)
    batch = known[model.graph.input[0].name][0] or 1
    flops: Counter[str] = Counter(dict.fromkeys(COMPONENTS, 0))
    uncounted = []
    for node in model.graph.node:
        counter = COUNTERS.get(node.op_type)
        if counter is None:
            continue
        try:
            flops[component(node.name)] += counter(node, Sizes(known))
        except UnknownShape:
            uncounted.append(node.name or node.output[0])
    return Cost(
        {name: total // batch for name, total in flops.items()},
        _params(model.graph),
        tuple(uncounted),
    )


def component(name: str) -> str:
    """The part of the network a node belongs to, by its name `module.path/Op_number`.

    Nodes of no submodule are of the head: they put masks, classes and labels together. Names of
    another form, as in files of earlier versions, are of "other".
    """
    match = _NODE_NAME.fullmatch(name)
    if match is None:
        return OTHER
    module = match["module"]
    if not module:
        return "head"
    return next((part for prefix, part in _PREFIXES if module.startswith(prefix)), OTHER)


def with_batch_one(model: ModelProto) -> ModelProto:
    """A copy of the model whose open batch size, if it has one, is one."""
    copy = ModelProto()
    copy.CopyFrom(model)
    batch = copy.graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.dim_value:
        batch.dim_value = 1
        del copy.graph.value_info[:]  # they speak of an open batch
        for output in copy.graph.output:
            output.type.tensor_type.ClearField("shape")
    return copy


def inlined(model: ModelProto) -> ModelProto:
    """The bodies of local functions in place of their calls, their nodes named after the call.

    Calls of the custom operators stay: what such an operator needs is known, not what its
    portable body happens to do.
    """
    while True:
        functions = {(f.domain, f.name): f for f in model.functions}
        calls = [
            node
            for node in model.graph.node
            if (node.domain, node.op_type) in functions and node.op_type not in CUSTOM
        ]
        if not calls:
            return model
        own = []
        for index, node in enumerate(calls):
            body = onnx.FunctionProto()
            body.CopyFrom(functions[node.domain, node.op_type])
            body.name = node.op_type = f"{node.op_type}__{index}"
            for inner in body.node:
                inner.name = node.name
            model.functions.append(body)
            own.append((body.domain, body.name))
        model = inliner.inline_selected_functions(model, own)


def known_shapes(model: ModelProto) -> dict[str, list[int | None]]:
    """Shapes by name; the model learns in place what inference cannot see in a custom operator."""
    constants: dict[str, list[int | None]] = {t.name: [*t.dims] for t in model.graph.initializer}
    told: set[str] = set()
    while True:
        known = shapes(model) | constants
        for node in model.graph.node:
            name = node.output[0]
            undone = name not in told and not _is_known(name, known)
            if node.op_type == DEFORMABLE_CONVOLUTION and undone:
                try:
                    shape = deformable_conv_shape(node, Sizes(known))
                except UnknownShape:
                    continue  # of what another one in front of it gives
                told.add(name)
                value = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                model.graph.value_info.append(value)
                break
        else:
            return known


def _is_known(name: str, known: Mapping[str, Sequence[int | None]]) -> bool:
    return None not in known.get(name, (None,))


def _params(graph: GraphProto) -> dict[str, int]:
    found: Counter[str] = Counter(dict.fromkeys(COMPONENTS, 0))
    left = {t.name: math.prod(t.dims) for t in graph.initializer if t.data_type in _FLOATS}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in left and (_is_parameter(name) or _is_weight(node, index)):
                reader = node.name
                # The name of a parameter is as good as that of its reader, which the exporter's
                # optimiser may have made anew.
                if _is_parameter(name):
                    reader = f"{name.rpartition('.')[0]}/{node.op_type}"
                found[component(reader)] += left.pop(name)
    return dict(found)


def _is_parameter(name: str) -> bool:
    """Whether a constant has a dotted name as in the checkpoint, not one of the exporter."""
    return bool(re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", name)) and name not in _NOT_LEARNT


def _is_weight(node: NodeProto, index: int) -> bool:
    """Whether this input of the node is where weights stand."""
    return node.op_type in WEIGHTED or (node.op_type in _NORMALISATIONS and index > 0)
