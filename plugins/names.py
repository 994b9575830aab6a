"""The names that the exporter writes and that TensorRT looks plugins up by."""

from __future__ import annotations

DOMAIN = "emca"
OP_TYPE = "PrototypeAttention"
# TensorRT looks a plugin up by these two; they travel as attributes of the node.
PLUGIN_NAMESPACE = "emca"
PLUGIN_VERSION = "1"

# As TensorRT's registry spells them.
DEFORMABLE_ATTENTION = "MultiscaleDeformableAttnPlugin_TRT"
DEFORMABLE_CONVOLUTION = "ModulatedDeformConv2d"
