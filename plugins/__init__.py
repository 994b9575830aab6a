"""PrototypeAttention, the operator of EMCA that engines run as a plugin, and its names.

The exporter writes nodes under these names, calibration finds them again, and the TensorRT
plugin registers itself with them. Two more operators are TensorRT's own.
"""

from __future__ import annotations

DOMAIN = "emca"
OP_TYPE = "PrototypeAttention"
# TensorRT looks a plugin up by these two; they travel as attributes of the node.
PLUGIN_NAMESPACE = "emca"
PLUGIN_VERSION = "1"

# As TensorRT's registry spells them.
DEFORMABLE_ATTENTION = "MultiscaleDeformableAttnPlugin_TRT"
DEFORMABLE_CONVOLUTION = "ModulatedDeformConv2d"
