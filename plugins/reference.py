"""PrototypeAttention in NumPy: the definition that every other implementation is tested against."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float: TypeAlias = npt.NDArray[np.floating]


def prototype_attention(
    query: Float, feature: Float, mask_logits: Float, num_heads: int
) -> tuple[Float, Float]:
    """Pick for every query and head the most similar feature: the query's prototype.

    The prototype-based cross-attention of PEM (Cavagnero et al., CVPR 2024, arXiv 2402.19422)
    with the mask rule of Mask2Former: a query sees the positions where its mask logit is at least
    zero, or every position when there is none. Similarity is the dot product of the head's
    channels; the lowest position wins a tie.

    Args:
        query: [B,M,C], normally of unit length over C.
        feature: [B,N,C], likewise, of the same type as `query`.
        mask_logits: [B,M,N], a logit per query and position.
        num_heads: a divisor of C; head h owns channels h*C/num_heads .. (h+1)*C/num_heads - 1.

    Returns:
        attended: [B,M,C], the query times its prototype, element by element.
        prototype: [B,M,C], the chosen features, the heads side by side.
        Both have the type of `query`; similarities are summed in its precision, but at least in
        float32.

    Raises:
        ValueError: shapes that do not fit each other, no position at all, or a `num_heads` that
            does not divide C.
    """
    _check_shapes(query, feature, mask_logits, num_heads)
    batch, queries, channels = query.shape
    accumulator = np.promote_types(query.dtype, np.float32)
    heads = np.arange(channels).reshape(num_heads, -1)

    prototype = np.empty_like(query)
    for b in range(batch):
        for m in range(queries):
            visible = mask_logits[b, m] >= 0
            if not visible.any():
                visible[:] = True
            for head in heads:
                keys = feature[b][:, head].astype(accumulator)
                similarity = keys @ query[b, m, head].astype(accumulator)
                best = np.where(visible, similarity, -np.inf).argmax()
                prototype[b, m, head] = feature[b, best, head]
    return query * prototype, prototype


def _check_shapes(query: Float, feature: Float, mask_logits: Float, num_heads: int) -> None:
    if query.ndim != 3 or feature.ndim != 3:
        raise ValueError(
            f"query and feature have shapes {query.shape} and {feature.shape}; "
            "expected [B,M,C] and [B,N,C]"
        )
    batch, queries, channels = query.shape
    positions = feature.shape[1]
    if feature.shape != (batch, positions, channels) or positions == 0:
        raise ValueError(
            f"feature has shape {feature.shape}; expected [{batch},N,{channels}] with N > 0 "
            f"for a query of shape {query.shape}"
        )
    if mask_logits.shape != (batch, queries, positions):
        raise ValueError(
            f"mask_logits has shape {mask_logits.shape}; "
            f"expected {(batch, queries, positions)} (batch, queries, positions)"
        )
    if num_heads < 1 or channels % num_heads:
        raise ValueError(f"num_heads is {num_heads}; expected a divisor of the {channels} channels")
