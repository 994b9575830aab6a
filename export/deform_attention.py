"""Multi-scale deformable attention as an ONNX local function under the name of TensorRT's plugin.

Inputs, output and name are those of `MultiscaleDeformableAttnPlugin_TRT`, which TensorRT ships
(github.com/NVIDIA/TensorRT, plugin/multiscaleDeformableAttnPlugin); it has no attributes.
"""

from __future__ import annotations

from string import Template

import onnx
import torch
import torch.onnx.ops
from onnx import FunctionProto
from torch import Tensor, nn

from plugins import DEFORMABLE_ATTENTION, DOMAIN
from train.models.msdeform import LEVELS, Sizes

# The one version that TensorRT 10.3 has; 10.11 added "2", which takes and gives the same.
ATTRIBUTES = {"plugin_namespace": "", "plugin_version": "1"}

# The inputs have long names because TensorRT's parser confuses an input of a function with a tensor
# of the same name outside.
#
# B batch, S positions of all levels, Q queries, h heads, d channels of a head, L levels, P points
_HEAD = Template("""
<opset_import: ["" : $opset], domain: "$domain">
$name <plugin_namespace, plugin_version>
        (attn_value, attn_shapes, attn_starts, attn_locations, attn_weights) => (attn_output)
{
    last_axis = Constant <value_ints = [-1]> ()
    any       = Constant <value_ints = [-1]> ()
    one       = Constant <value_ints = [1]> ()
    shapes    = Cast <to = 7> (attn_shapes)                              # L 2
    starts    = Cast <to = 7> (attn_starts)                              # L
    two_int   = Constant <value_int = 2> ()
    one_int   = Constant <value_int = 1> ()
    two       = CastLike (two_int, attn_locations)
    unit      = CastLike (one_int, attn_locations)
    doubled   = Mul (attn_locations, two)
    places    = Sub (doubled, unit)                                      # -1..1 spans a level
    grids     = Transpose <perm = [3, 0, 2, 1, 4, 5]> (places)           # L B h Q P 2
    gains     = Transpose <perm = [3, 0, 2, 1, 4]> (attn_weights)        # L B h Q P
    channels  = Transpose <perm = [0, 2, 3, 1]> (attn_value)             # B h d S
    depth     = Shape <start = 3> (attn_value)
    queries   = Shape <start = 1, end = 2> (attn_locations)
    points    = Shape <start = 4> (attn_weights)
    two_dims  = Constant <value_ints = [2]> ()
    grid_dims = Concat <axis = 0> (any, queries, points, two_dims)
    gain_dims = Concat <axis = 0> (any, one, queries, points)
""")
_LEVEL = Template("""
    level_$i  = Constant <value_int = $i> ()
    row_$i    = Constant <value_ints = [$i]> ()
    size_$i   = Gather (shapes, level_$i)                                # H W
    area_$i   = ReduceProd <keepdims = 1> (size_$i)
    start_$i  = Gather (starts, row_$i)
    end_$i    = Add (start_$i, area_$i)
    part_$i   = Slice (channels, start_$i, end_$i, last_axis)
    dims_$i   = Concat <axis = 0> (any, depth, size_$i)
    map_$i    = Reshape (part_$i, dims_$i)                               # Bh d H W
    cut_$i    = Gather (grids, level_$i)
    grid_$i   = Reshape (cut_$i, grid_dims)                              # Bh Q P 2
    sample_$i = GridSample <mode = "bilinear", padding_mode = "zeros"> (map_$i, grid_$i)
    share_$i  = Gather (gains, level_$i)
    gain_$i   = Reshape (share_$i, gain_dims)                            # Bh 1 Q P
    scaled_$i = Mul (sample_$i, gain_$i)
    sum_$i    = ReduceSum <keepdims = 0> (scaled_$i, last_axis)          # Bh d Q
""")
_TAIL = Template("""
    total      = Sum ($sums)
    heads      = Shape <start = 2, end = 3> (attn_value)
    split_dims = Concat <axis = 0> (any, heads, depth, queries)
    split      = Reshape (total, split_dims)                             # B h d Q
    attn_output = Transpose <perm = [0, 3, 1, 2]> (split)                # B Q h d
}
""")


def deform_attention_function(opset: int = 18) -> FunctionProto:
    """The function for models of this opset: 17 or above, before GridSample changed with 20."""
    text = _HEAD.substitute(opset=opset, domain=DOMAIN, name=DEFORMABLE_ATTENTION)
    text += "".join(_LEVEL.substitute(i=level) for level in range(LEVELS))
    text += _TAIL.substitute(sums=", ".join(f"sum_{level}" for level in range(LEVELS)))
    return onnx.parser.parse_function(text)


class DeformableSamplingNode(nn.Module):
    """Stands in for `DeformableSampling` during export and leaves one node of the custom op."""

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor, sizes: Sizes) -> Tensor:
        """Shapes as in `DeformableSampling.forward`."""
        shapes = torch.tensor(sizes, dtype=torch.int32)
        areas = [h * w for h, w in sizes]
        starts = torch.tensor([sum(areas[:i]) for i in range(len(areas))], dtype=torch.int32)
        batch, _, heads, depth = value.shape
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{DEFORMABLE_ATTENTION}",
            (value, shapes, starts, locations, weights),
            ATTRIBUTES,
            dtype=value.dtype,
            shape=(batch, locations.shape[1], heads, depth),
            version=1,
        )
