"""The custom ops of our files: the node that stands for a module, the function for a node."""

from __future__ import annotations

import copy
from collections.abc import Callable

from onnx import FunctionProto, ModelProto, helper
from torch import nn

from export.deform_attention import DeformableSamplingNode, deform_attention_function
from export.deform_conv import ModulatedDeformConvNode, modulated_deform_conv_function
from export.prototype_attention import PrototypeAttentionNode, prototype_attention_function
from export.ranges import RangeNode
from plugins import DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION, DOMAIN, OP_TYPE
from train.models.deform_conv import DeformConvolution
from train.models.emca import PrototypeAttention
from train.models.fake_quantize import ActivationQuantizer, WeightQuantizer
from train.models.msdeform import DeformableSampling

DOMAIN_VERSION = 1
OLDEST_OPSET = 17

FUNCTIONS: dict[str, Callable[[int], FunctionProto]] = {
    OP_TYPE: prototype_attention_function,
    DEFORMABLE_ATTENTION: deform_attention_function,
    DEFORMABLE_CONVOLUTION: modulated_deform_conv_function,
}


def _node(module: nn.Module) -> nn.Module | None:
    """What stands in for a module during export, or None where it is exported as it is."""
    if isinstance(module, PrototypeAttention):
        return PrototypeAttentionNode(num_heads=module.num_heads)
    if isinstance(module, DeformableSampling):
        return DeformableSamplingNode()
    if isinstance(module, DeformConvolution):
        return ModulatedDeformConvNode(module)
    if isinstance(module, ActivationQuantizer):
        return RangeNode(module)
    if isinstance(module, WeightQuantizer):
        return nn.Identity()
    return None


def with_custom_ops(model: nn.Module) -> nn.Module:
    """A copy in which every module that has a custom op is a node of it, and weights are exact."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if (node := _node(child)) is not None:
                setattr(module, name, node)
    return model


def add_functions(model: ModelProto) -> None:
    """Put the function of each custom op in use into the model, in place; repeating adds nothing.

    The bodies are written for the opset of the model.

    Raises:
        ValueError: the model's opset is older than 17.
    """
    used = {node.op_type for node in model.graph.node} & FUNCTIONS.keys()
    if not used:
        return
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    if opset < OLDEST_OPSET:
        raise ValueError(f"the model has opset {opset}; custom ops need {OLDEST_OPSET} or newer")
    present = {f.name for f in model.functions if f.domain == DOMAIN}
    model.functions.extend(FUNCTIONS[name](opset) for name in sorted(used - present))
    if not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
