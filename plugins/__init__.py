"""PrototypeAttention, the operator of EMCA that engines run as a plugin: names, reference, library.

The exporter writes nodes under these names, calibration finds them again, and the TensorRT
plugin registers itself with them. Two more operators are TensorRT's own.
"""

from plugins.library import find, load, load_more
from plugins.names import (
    DEFORMABLE_ATTENTION,
    DEFORMABLE_CONVOLUTION,
    DOMAIN,
    OP_TYPE,
    PLUGIN_NAMESPACE,
    PLUGIN_VERSION,
)

__all__ = [
    "DEFORMABLE_ATTENTION",
    "DEFORMABLE_CONVOLUTION",
    "DOMAIN",
    "OP_TYPE",
    "PLUGIN_NAMESPACE",
    "PLUGIN_VERSION",
    "find",
    "load",
    "load_more",
]
