"""Values of masks and label maps at sampled places (PointRend, arXiv 1912.08193)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from train.config import LossConfig


def sample_points(maps: Tensor, points: Tensor, *, beyond: str = "zeros") -> Tensor:
    """Bilinear samples of maps at relative places.

    Args:
        maps: SxCxHxW. points: SxPx2, (x, y) in 0..1.
        beyond: what lies outside the centres of the outermost cells, as `F.grid_sample` calls it.
            Mask2Former's loss takes "zeros"; "border" continues the map, as upsampling does, and
            makes maps of different sizes comparable.

    Returns:
        SxCxP.
    """
    grid = (2 * points - 1).unsqueeze(2).to(maps.dtype)
    return F.grid_sample(maps, grid, padding_mode=beyond, align_corners=False).squeeze(3)


def sample_labels(label: Tensor, points: Tensor) -> Tensor:
    """The label under each point.

    Args:
        label: HxW integers. points: ...x2, (x, y) in 0..1.

    Returns:
        Integers of shape points.shape[:-1].
    """
    height, width = label.shape
    x = (points[..., 0] * width).long().clamp_(0, width - 1)
    y = (points[..., 1] * height).long().clamp_(0, height - 1)
    return label[y, x]


@torch.no_grad()
def uncertain_points(
    *masks: Tensor, config: LossConfig, generator: torch.Generator, beyond: str = "zeros"
) -> Tensor:
    """Mostly places where a mask is near its decision boundary, the rest anywhere.

    Args:
        masks: logits Sx1xhxw; of several, each of a size of its own, the nearest boundary counts.
        config: how many points, and which share of them is chosen from how many candidates.
        beyond: see `sample_points`.

    Returns:
        SxPx2, (x, y) in 0..1.
    """
    count, device, total = len(masks[0]), masks[0].device, config.num_points
    candidates = torch.rand(
        count, int(total * config.oversample_ratio), 2, device=device, generator=generator
    )
    certainty = [sample_points(mask, candidates, beyond=beyond).abs() for mask in masks]
    important = int(total * config.importance_ratio)
    nearest = torch.cat(certainty, dim=1).amin(dim=1).topk(important, largest=False, sorted=False)
    chosen = candidates.gather(1, nearest.indices.unsqueeze(-1).expand(-1, -1, 2))
    rest = torch.rand(count, total - important, 2, device=device, generator=generator)
    return torch.cat((chosen, rest), dim=1)
