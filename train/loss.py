"""Mask2Former's training loss: matched classes, point-sampled BCE and dice, deep supervision.

Cheng et al., CVPR 2022, arXiv 2112.01527, sections 3.3 and 4.1; point sampling after PointRend
(arXiv 1912.08193). Two deliberate differences from the released code: unlabelled pixels count
neither for nor against a mask, and the labels under the points are read, not interpolated.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from segdata.classes import IGNORE_INDEX
from train.config import LossConfig
from train.matcher import assign, matching_cost
from train.models.decoder import Predictions
from train.points import sample_labels, sample_points, uncertain_points


class Matches(NamedTuple):
    """S matched masks of a batch, over all prediction rounds."""

    round: Tensor
    image: Tensor
    query: Tensor
    category: Tensor
    """Class index."""


class MaskLoss(nn.Module):
    """The loss of one batch.

    Random points of an image come from that image's own seed, so the loss of a sample does not
    depend on which process or step computes it.
    """

    def __init__(self, config: LossConfig, *, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        weight = torch.ones(num_classes + 1)
        weight[-1] = config.no_object_weight
        self.register_buffer("class_weight", weight)

    def forward(
        self, predictions: Predictions, labels: Tensor, seeds: list[int]
    ) -> dict[str, Tensor]:
        """Weighted terms `class`, `mask`, `dice`, each summed over the prediction rounds.

        Args:
            predictions: class logits PxBxMx(K+1), mask logits PxBxMxhxw.
            labels: BxHxW class indices, 255 = unlabelled.
            seeds: one per image.
        """
        generators = [torch.Generator(device=labels.device).manual_seed(seed) for seed in seeds]
        matches = self._match(predictions, labels, generators)
        mask, dice = self._mask_losses(predictions.mask_logits, labels, matches, generators)
        return {
            "class": self.config.class_weight * self._class_loss(predictions.class_logits, matches),
            "mask": self.config.mask_weight * mask,
            "dice": self.config.dice_weight * dice,
        }

    @torch.no_grad()
    def _match(
        self, predictions: Predictions, labels: Tensor, generators: list[torch.Generator]
    ) -> Matches:
        found = []
        for image, (label, generator) in enumerate(zip(labels, generators, strict=True)):
            classes = label.unique()
            classes = classes[classes != IGNORE_INDEX].long()
            masks = predictions.mask_logits[:, image]
            points = torch.rand(
                1, self.config.num_points, 2, device=label.device, generator=generator
            )
            at_points = sample_points(masks.flatten(0, 1).unsqueeze(0).float(), points)
            truth = sample_labels(label, points[0])
            cost = matching_cost(
                predictions.class_logits[:, image],
                at_points.view(*masks.shape[:2], -1),
                classes,
                (truth == classes.unsqueeze(1)).float(),
                (truth != IGNORE_INDEX).float(),
                class_weight=self.config.class_weight,
                mask_weight=self.config.mask_weight,
                dice_weight=self.config.dice_weight,
            )
            rounds, queries, targets = assign(cost)
            found.append((rounds, torch.full_like(rounds, image), queries, classes[targets]))
        return Matches(*(torch.cat(column) for column in zip(*found, strict=True)))

    def _class_loss(self, class_logits: Tensor, matches: Matches) -> Tensor:
        target = torch.full(class_logits.shape[:3], self.num_classes, device=class_logits.device)
        target[matches.round, matches.image, matches.query] = matches.category
        loss = F.cross_entropy(
            class_logits.float().flatten(0, 2),
            target.flatten(),
            weight=self.class_weight,
            reduction="none",
        )
        # 0 where "no object" weighs nothing and there are none.
        total = mean_over_processes(self.class_weight[target].sum(dim=(1, 2))).clamp(min=1)
        return (loss.view_as(target).sum(dim=(1, 2)) / total).sum()

    def _mask_losses(
        self,
        mask_logits: Tensor,
        labels: Tensor,
        matches: Matches,
        generators: list[torch.Generator],
    ) -> tuple[Tensor, Tensor]:
        matched = mask_logits[matches.round, matches.image, matches.query].unsqueeze(1).float()
        points = labels.new_zeros((len(matched), self.config.num_points, 2), dtype=torch.float32)
        truth = labels.new_zeros(points.shape[:2])
        for image, generator in enumerate(generators):
            of_image = (matches.image == image).nonzero().squeeze(1)
            points[of_image] = uncertain_points(
                matched[of_image], config=self.config, generator=generator
            )
            truth[of_image] = sample_labels(labels[image], points[of_image])
        logits = sample_points(matched, points).squeeze(1)
        valid = (truth != IGNORE_INDEX).float()
        target = (truth == matches.category.unsqueeze(1)).float()
        bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        bce = (bce * valid).sum(1) / valid.sum(1).clamp(min=1)
        dice = dice_loss(logits.sigmoid() * valid, target)
        # Every round matches the same number of masks.
        rounds = mask_logits.shape[0]
        count = mean_over_processes(matched.new_tensor(len(matched) / rounds)).clamp(min=1)
        return bce.sum() / count, dice.sum() / count


def dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Soft dice loss, written so that it is zero where soft targets are met.

    On targets in {0, 1} it is 1 - (2 p.t + 1) / (|p| + |t| + 1); the usual form of it would drive
    probabilities beyond softer ones (Wang et al., MICCAI 2023, arXiv 2303.16296).

    Args:
        probability, target: SxN in 0..1.

    Returns:
        S values in 0..1.
    """
    total = probability.sum(1) + target.sum(1)
    return (probability - target).abs().sum(1) / (total + 1)


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a normaliser over all processes, so that averaged gradients come out exact."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
        value = value / dist.get_world_size()
    return value
