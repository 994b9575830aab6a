"""Training losses of networks that classify pixels: cross-entropy, and what PIDNet adds to it.

Hard-example mining (OHEM): Shrivastava et al., CVPR 2016, arXiv 1604.03540. Boundary terms: PIDNet,
Xu et al., CVPR 2023, arXiv 2206.02066. Four deliberate differences from the released PIDNet code:
no class weights; unlabelled pixels make no edges and count nowhere; edges are found in the crop,
not scaled with it; logits are upsampled with half-pixel centres, as everywhere else here.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segdata.classes import IGNORE_INDEX
from train.models.pixel_classifier import PixelPredictions

BOUNDARY_CONFIDENCE = 0.8
"""Above it, a pixel counts as boundary in the boundary-aware cross-entropy."""


class PixelLoss(nn.Module):
    """The loss of one batch; a term exists where the network predicts something for it.

    Args:
        auxiliary_weight: of the cross-entropy of the inner head.
        boundary_weight: of the boundary's balanced binary cross-entropy.
        boundary_class_weight: of the cross-entropy on pixels that the network calls boundary.
        ohem_threshold: `class` and `boundary_class` average only pixels whose true class got
            less than this probability. None: all pixels.
        ohem_share: at least this share of the batch's pixels is averaged. PIDNet's is 131072
            pixels of six crops of 1024x1024.
        align_corners: how predictions are upsampled; the network's own choice.
    """

    def __init__(
        self,
        *,
        auxiliary_weight: float = 0.4,
        boundary_weight: float = 20.0,
        boundary_class_weight: float = 1.0,
        ohem_threshold: float | None = None,
        ohem_share: float = 1 / 48,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.auxiliary_weight = auxiliary_weight
        self.boundary_weight = boundary_weight
        self.boundary_class_weight = boundary_class_weight
        self.ohem_threshold = ohem_threshold
        self.ohem_share = ohem_share
        self.align_corners = align_corners

    def forward(
        self, predictions: PixelPredictions, labels: Tensor, seeds: list[int]
    ) -> dict[str, Tensor]:
        """Weighted terms `class` and, where predicted, `auxiliary`, `boundary`, `boundary_class`.

        Args:
            predictions: logits of any size; they are upsampled to the labels.
            labels: BxHxW class indices, 255 = unlabelled.
            seeds: one per image; unused, since nothing here is random.
        """
        labels = labels.long()
        valid = labels != IGNORE_INDEX
        losses = self._cross_entropy(predictions.scores, labels)
        terms = {"class": self._mean(losses, valid)}
        if predictions.auxiliary is not None:
            auxiliary = self._cross_entropy(predictions.auxiliary, labels)
            terms["auxiliary"] = self.auxiliary_weight * _masked_mean(auxiliary, valid)
        if predictions.boundary is not None:
            boundary = self._upsample(predictions.boundary, labels).squeeze(1)
            edges = boundaries(labels)
            terms["boundary"] = self.boundary_weight * _balanced_bce(boundary, edges, valid)
            near = valid & (boundary.detach().sigmoid() > BOUNDARY_CONFIDENCE)
            terms["boundary_class"] = self.boundary_class_weight * self._mean(losses, near)
        return terms

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """BxHxW, 0 where unlabelled; logits BxKxhxw."""
        return F.cross_entropy(
            self._upsample(logits, labels), labels, ignore_index=IGNORE_INDEX, reduction="none"
        )

    def _upsample(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.interpolate(
            logits.float(),
            size=labels.shape[-2:],
            mode="bilinear",
            align_corners=self.align_corners,
        )

    def _mean(self, losses: Tensor, chosen: Tensor) -> Tensor:
        """The mean over the chosen pixels, or over the hard ones among them."""
        if self.ohem_threshold is None:
            return _masked_mean(losses, chosen)
        # The loss is -log p: least probable means of greatest loss.
        candidates = (losses.detach() * chosen).flatten()
        least = max(1, round(self.ohem_share * candidates.numel()))
        hardest = candidates.topk(least, sorted=False).values.min()
        bound = hardest.clamp(max=-math.log(self.ohem_threshold))
        return _masked_mean(losses, chosen & (losses.detach() >= bound))


def boundaries(labels: Tensor) -> Tensor:
    """Pixels within two pixels of another class, which makes edges four pixels wide.

    Args:
        labels: BxHxW class indices; 255, unlabelled, makes no edge.

    Returns:
        BxHxW bool.
    """
    valid = labels != IGNORE_INDEX
    edges = torch.zeros_like(valid)
    for one, other in (
        ((..., slice(1, None)), (..., slice(None, -1))),
        ((..., slice(1, None), slice(None)), (..., slice(None, -1), slice(None))),
    ):
        differ = (labels[one] != labels[other]) & valid[one] & valid[other]
        edges[one] |= differ
        edges[other] |= differ
    return F.max_pool2d(edges.float().unsqueeze(1), 3, stride=1, padding=1).squeeze(1) > 0


def _balanced_bce(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Binary cross-entropy in which each kind of pixel is weighted by the share of the other."""
    positive, negative = target & valid, ~target & valid
    count = valid.sum().clamp(min=1)
    weight = (positive * negative.sum() + negative * positive.sum()) / count
    losses = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    return (weight * losses).sum() / count


def _masked_mean(losses: Tensor, chosen: Tensor) -> Tensor:
    """0 where nothing is chosen."""
    return (losses * chosen).sum() / chosen.sum().clamp(min=1)
