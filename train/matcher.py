"""Hungarian matching of predicted masks to the classes of an image, or to a teacher's masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@torch.no_grad()
def matching_cost(
    class_logits: Tensor,
    mask_logits: Tensor,
    classes: Tensor,
    target: Tensor,
    valid: Tensor,
    *,
    class_weight: float,
    mask_weight: float,
    dice_weight: float,
) -> Tensor:
    """What it costs to give each query to each class of one image: class, BCE and dice.

    Args:
        class_logits: PxMx(K+1), all predictions of the image.
        mask_logits: PxMxN at N sampled points.
        classes: T class indices present. target: TxN in {0, 1}. valid: N, 0 where unlabelled.

    Returns:
        PxMxT.
    """
    class_cost = -class_logits.float().softmax(-1)[..., classes]
    masks = mask_cost(mask_logits, target, valid, mask_weight=mask_weight, dice_weight=dice_weight)
    return class_weight * class_cost + masks


@torch.no_grad()
def mask_cost(
    mask_logits: Tensor,
    target: Tensor,
    valid: Tensor,
    *,
    mask_weight: float,
    dice_weight: float,
) -> Tensor:
    """What it costs to give each query's mask to each target: BCE and dice.

    Args:
        mask_logits: PxMxN at N sampled points.
        target: TxN in 0..1. valid: N, 0 where a point does not count.

    Returns:
        PxMxT.
    """
    mask_logits = mask_logits.float()
    # BCE(x, t) = softplus(x) - x t, so its sum over points is two matrix products.
    target = target * valid
    background = F.softplus(mask_logits) @ valid
    bce = (background.unsqueeze(-1) - mask_logits @ target.t()) / valid.sum().clamp(min=1)
    probability = mask_logits.sigmoid() * valid
    overlap = 2 * probability @ target.t()
    total = probability.sum(-1, keepdim=True) + target.sum(-1)
    dice = 1 - (overlap + 1) / (total + 1)
    return mask_weight * bce + dice_weight * dice


def assign(cost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Minimum-cost assignment of every prediction round.

    Args:
        cost: PxMxT.

    Returns:
        Three vectors of equal length: prediction round, query, position among the T targets.
        Where T > M, only M targets are assigned.
    """
    rounds, queries, targets = [], [], []
    # A broken cost is assigned anyhow, so that the loss becomes NaN and the loop can say so.
    for index, matrix in enumerate(cost.nan_to_num().cpu().numpy()):
        query, target = linear_sum_assignment(matrix)
        rounds += [index] * len(query)
        queries += query.tolist()
        targets += target.tolist()
    device = cost.device
    return (
        torch.tensor(rounds, dtype=torch.long, device=device),
        torch.tensor(queries, dtype=torch.long, device=device),
        torch.tensor(targets, dtype=torch.long, device=device),
    )
