"""PrototypeAttention as an ONNX local function, so that any ONNX runtime can run the node.

TensorRT takes the plugin of the same name instead; `plugins.reference` defines the arithmetic.
"""

from __future__ import annotations

from string import Template

import onnx
import torch
import torch.onnx.ops
from onnx import FunctionProto
from torch import Tensor, nn

from plugins import DOMAIN, OP_TYPE, PLUGIN_NAMESPACE, PLUGIN_VERSION

# Only int64 constants are typed: the zero and the infinity take on the type of the inputs, so one
# body serves FP32 and FP16. The plugin's name and version are there for TensorRT alone.
#
# B batch, M queries, N positions, h heads, d channels of a head
_BODY = Template("""
<opset_import: ["" : $opset], domain: "$domain">
$name <num_heads, plugin_namespace, plugin_version>
        (query, feature, mask_logits) => (attended, prototype)
{
    heads       = Constant <value_int: int = @num_heads> ()
    last_axis   = Constant <value_ints = [-1]> ()
    one         = Constant <value_ints = [1]> ()
    copied_dims = Constant <value_ints = [0, 0]> ()
    heads_1d    = Reshape (heads, one)
    split_shape = Concat <axis = 0> (copied_dims, heads_1d, last_axis)
    merge_shape = Concat <axis = 0> (copied_dims, last_axis)

    query_split   = Reshape (query, split_shape)                         # B M h d
    feature_split = Reshape (feature, split_shape)                       # B N h d
    query_heads   = Transpose <perm = [0, 2, 1, 3]> (query_split)        # B h M d
    feature_heads = Transpose <perm = [0, 2, 3, 1]> (feature_split)      # B h d N
    similarity    = MatMul (query_heads, feature_heads)                  # B h M N

    zero_int      = Constant <value_int = 0> ()
    zero          = CastLike (zero_int, mask_logits)
    inside        = GreaterOrEqual (mask_logits, zero)                   # B M N
    highest       = $reduce_max                                          # B M 1
    all_outside   = Less (highest, zero)
    visible       = Or (inside, all_outside)
    visible_heads = Unsqueeze (visible, one)                             # B 1 M N

    lowest_float = Constant <value_float = -inf> ()
    lowest       = CastLike (lowest_float, similarity)
    candidates   = Where (visible_heads, similarity, lowest)
    best         = ArgMax <axis = -1, keepdims = 0> (candidates)         # B h M

    best_by_m    = Transpose <perm = [0, 2, 1]> (best)                   # B M h
    best_column  = Unsqueeze (best_by_m, last_axis)                      # B M h 1
    gather_shape = Shape (query_split)
    indices      = Expand (best_column, gather_shape)                    # B M h d
    chosen       = GatherElements <axis = 1> (feature_split, indices)    # B M h d
    prototype    = Reshape (chosen, merge_shape)                         # B M C
    attended     = Mul (query, prototype)
}
""")
# The axes became an input with opset 18.
_REDUCE_MAX = {
    17: "ReduceMax <axes = [-1], keepdims = 1> (mask_logits)",
    18: "ReduceMax <keepdims = 1> (mask_logits, last_axis)",
}


def attributes(num_heads: int) -> dict[str, int | str]:
    """The attributes that every PrototypeAttention node carries."""
    return {
        "num_heads": num_heads,
        "plugin_namespace": PLUGIN_NAMESPACE,
        "plugin_version": PLUGIN_VERSION,
    }


def prototype_attention_function(opset: int = 18) -> FunctionProto:
    """The function for models of this opset: 17, or 18 and above."""
    text = _BODY.substitute(
        opset=opset, domain=DOMAIN, name=OP_TYPE, reduce_max=_REDUCE_MAX[min(opset, 18)]
    )
    return onnx.parser.parse_function(text)


class PrototypeAttentionNode(nn.Module):
    """Stands in for `PrototypeAttention` during export and leaves one node of the custom op."""

    def __init__(self, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads

    def forward(self, query: Tensor, feature: Tensor, mask_logits: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `PrototypeAttention.forward`."""
        return torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{OP_TYPE}",
            (query, feature, mask_logits),
            attributes(self.num_heads),
            dtypes=(query.dtype, query.dtype),
            shapes=(query.shape, query.shape),
            version=1,
        )
