"""Modulated deformable convolution as an ONNX local function, named as TensorRT's plugin is.

TensorRT ships a plugin `ModulatedDeformConv2d` (github.com/NVIDIA/TensorRT, plugin/
modulatedDeformConvPlugin). The node has its inputs (input, offset, mask, weight; all FP32 or all
FP16), its output, its layout of offsets, and its five attributes under the same names and types.
In FP16 the plugin rounds sampling points to FP16 too, to a quarter pixel beyond column 256; the
function does not.
"""

from __future__ import annotations

from string import Template

import onnx
import torch
import torch.onnx.ops
from onnx import FunctionProto
from torch import Tensor, nn

from plugins import DEFORMABLE_CONVOLUTION, DOMAIN
from train.models.deform_conv import DeformConvolution

# In TensorRT since 8.6 and still in 11.1; "2", added with 10.11, takes and gives the same.
PLUGIN = {"plugin_namespace": "", "plugin_version": "1"}

# Sampling runs in FP32, since a column such as 200.3 has no room in FP16; the product with the
# kernel runs in the type of the input. The inputs have long names because TensorRT's parser
# confuses an input of a function with a tensor of the same name outside.
#
# B batch, C channels, D deformable groups, K points of the k x l kernel, G groups of the kernel,
# O output channels; H W size of the input, h w size of the output
_BODY = Template("""
<opset_import: ["" : $opset], domain: "$domain">
$name <stride, padding, dilation, group, deformable_group, plugin_namespace, plugin_version>
        (deform_input, deform_offset, deform_mask, deform_weight) => (deform_output)
{
    zero      = Constant <value_int = 0> ()
    one       = Constant <value_int = 1> ()
    two       = Constant <value_int = 2> ()
    zero_1d   = Constant <value_ints = [0]> ()
    one_1d    = Constant <value_ints = [1]> ()
    two_1d    = Constant <value_ints = [2]> ()
    rest      = Constant <value_ints = [-1]> ()
    height_at = Constant <value_int = 2> ()
    width_at  = Constant <value_int = 3> ()
    one_float = Constant <value_float = 1.0> ()
    two_float = Constant <value_float = 2.0> ()
    strides   = Constant <value_ints: ints = @stride> ()
    paddings  = Constant <value_ints: ints = @padding> ()
    dilations = Constant <value_ints: ints = @dilation> ()
    groups    = Constant <value_int: int = @group> ()
    parts     = Constant <value_int: int = @deformable_group> ()
    groups_1d = Reshape (groups, one_1d)
    parts_1d  = Reshape (parts, one_1d)
    stride_y   = Gather (strides, zero)
    stride_x   = Gather (strides, one)
    padding_y  = Gather (paddings, zero)
    padding_x  = Gather (paddings, one)
    dilation_y = Gather (dilations, zero)
    dilation_x = Gather (dilations, one)

    in_shape   = Shape (deform_input)
    out_shape  = Shape (deform_offset)
    kernel     = Shape (deform_weight)
    in_h       = Gather (in_shape, height_at)
    in_w       = Gather (in_shape, width_at)
    out_h      = Gather (out_shape, height_at)
    out_w      = Gather (out_shape, width_at)
    kernel_h   = Gather (kernel, height_at)
    kernel_w   = Gather (kernel, width_at)
    batch      = Gather (in_shape, zero_1d)
    in_h_1d    = Reshape (in_h, one_1d)
    in_w_1d    = Reshape (in_w, one_1d)
    out_h_1d   = Reshape (out_h, one_1d)
    out_w_1d   = Reshape (out_w, one_1d)
    kernel_h1d = Reshape (kernel_h, one_1d)
    kernel_w1d = Reshape (kernel_w, one_1d)
    points     = Mul (kernel_h1d, kernel_w1d)
    rows       = Mul (points, out_h_1d)
    area       = Mul (out_h_1d, out_w_1d)
    folded     = Mul (batch, parts_1d)

    kernel_row   = Range (zero, kernel_h, one)
    kernel_col   = Range (zero, kernel_w, one)
    kernel_y     = Mul (kernel_row, dilation_y)
    kernel_x     = Mul (kernel_col, dilation_x)
    kernel_dims  = Concat <axis = 0> (kernel_h1d, kernel_w1d)
    column_dims  = Concat <axis = 0> (rest, one_1d)
    kernel_y_col = Reshape (kernel_y, column_dims)
    kernel_y_all = Expand (kernel_y_col, kernel_dims)
    kernel_x_all = Expand (kernel_x, kernel_dims)
    point_dims   = Concat <axis = 0> (rest, one_1d, one_1d)
    point_y      = Reshape (kernel_y_all, point_dims)                    # K 1 1
    point_x      = Reshape (kernel_x_all, point_dims)
    row          = Range (zero, out_h, one)
    col          = Range (zero, out_w, one)
    row_stepped  = Mul (row, stride_y)
    col_stepped  = Mul (col, stride_x)
    row_placed   = Sub (row_stepped, padding_y)
    col_placed   = Sub (col_stepped, padding_x)
    row_column   = Reshape (row_placed, column_dims)                     # h 1
    still_y      = Add (point_y, row_column)                             # K h 1
    still_x      = Add (point_x, col_placed)                             # K 1 w
    still_y_fp32 = Cast <to = 1> (still_y)
    still_x_fp32 = Cast <to = 1> (still_x)

    offset_fp32 = Cast <to = 1> (deform_offset)
    offset_dims = Concat <axis = 0> (batch, parts_1d, points, two_1d, out_h_1d, out_w_1d)
    offset      = Reshape (offset_fp32, offset_dims)                     # B D K 2 h w
    offset_y    = Gather <axis = 3> (offset, zero)                       # B D K h w
    offset_x    = Gather <axis = 3> (offset, one)
    y           = Add (offset_y, still_y_fp32)
    x           = Add (offset_x, still_x_fp32)
    in_h_fp32   = Cast <to = 1> (in_h)
    in_w_fp32   = Cast <to = 1> (in_w)
    y_twice     = Mul (y, two_float)
    x_twice     = Mul (x, two_float)
    y_centre    = Add (y_twice, one_float)
    x_centre    = Add (x_twice, one_float)
    y_share     = Div (y_centre, in_h_fp32)
    x_share     = Div (x_centre, in_w_fp32)
    grid_y      = Sub (y_share, one_float)                               # -1..1 spans the input
    grid_x      = Sub (x_share, one_float)
    grid_y_last = Unsqueeze (grid_y, rest)
    grid_x_last = Unsqueeze (grid_x, rest)
    grid_pairs  = Concat <axis = -1> (grid_x_last, grid_y_last)
    grid_dims   = Concat <axis = 0> (folded, rows, out_w_1d, two_1d)
    grid        = Reshape (grid_pairs, grid_dims)                        # BD Kh w 2

    input_fp32  = Cast <to = 1> (deform_input)
    input_dims  = Concat <axis = 0> (folded, rest, in_h_1d, in_w_1d)
    input_maps  = Reshape (input_fp32, input_dims)                       # BD C/D H W
    samples     = GridSample <mode = "bilinear", padding_mode = "zeros"> (input_maps, grid)
    mask_fp32   = Cast <to = 1> (deform_mask)
    mask_dims   = Concat <axis = 0> (folded, one_1d, rows, out_w_1d)
    mask        = Reshape (mask_fp32, mask_dims)                         # BD 1 Kh w
    masked_fp32 = Mul (samples, mask)                                    # BD C/D Kh w
    masked      = CastLike (masked_fp32, deform_input)

    column_4d   = Concat <axis = 0> (batch, groups_1d, rest, area)
    columns     = Reshape (masked, column_4d)                            # B G CK/G hw
    weight_rows = Flatten <axis = 1> (deform_weight)                     # O CK/G
    weight_3d   = Unsqueeze (weight_rows, zero_1d)
    weight_dims = Concat <axis = 0> (groups_1d, rest, zero_1d)
    weight      = Reshape (weight_3d, weight_dims)                       # G O/G CK/G
    product     = MatMul (weight, columns)                               # B G O/G hw
    out_dims    = Concat <axis = 0> (batch, rest, out_h_1d, out_w_1d)
    deform_output = Reshape (product, out_dims)                          # B O h w
}
""")


def attributes(convolution: DeformConvolution) -> dict[str, int | list[int] | str]:
    """The attributes of a ModulatedDeformConv2d node.

    Pairs are of equal numbers: the plugin takes the first of each for the width, without saying
    so, while mmdeploy's plugin takes it for the height.
    """
    return {
        "stride": [convolution.stride] * 2,
        "padding": [convolution.padding] * 2,
        "dilation": [convolution.dilation] * 2,
        "group": convolution.groups,
        "deformable_group": convolution.deformable_groups,
        **PLUGIN,
    }


def modulated_deform_conv_function(opset: int = 18) -> FunctionProto:
    """The function for models of this opset: 17 or above, before GridSample changed with 20."""
    return onnx.parser.parse_function(
        _BODY.substitute(opset=opset, domain=DOMAIN, name=DEFORMABLE_CONVOLUTION)
    )


class ModulatedDeformConvNode(nn.Module):
    """Stands in for `DeformConvolution` during export and leaves one node of the custom op.

    A bias is added behind the node: ONNX functions know no optional inputs.
    """

    def __init__(self, convolution: DeformConvolution) -> None:
        super().__init__()
        self.attributes = attributes(convolution)

    def forward(
        self, x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Shapes as in `DeformConvolution.forward`."""
        out = torch.onnx.ops.symbolic(
            f"{DOMAIN}::{DEFORMABLE_CONVOLUTION}",
            (x, offset, mask, weight),
            self.attributes,
            dtype=x.dtype,
            shape=(x.shape[0], weight.shape[0], *offset.shape[-2:]),
            version=1,
        )
        return out if bias is None else out + bias.view(-1, 1, 1)
