"""Distillation: what a frozen teacher sees in a crop, as soft targets beside the labels.

The queries of two networks correspond to nothing but each other's predictions, so they are paired
by a minimum-cost assignment in every round of the student (Hungarian-matching logits distillation
of DETRDistill, Chang et al., ICCV 2023, arXiv 2211.10156), always with the teacher's last round.
A pair counts as much as the teacher believes that its query is an object (after the foreground
rebalance weight of KD-DETR, Wang et al., CVPR 2024, arXiv 2211.08071). Classes follow Hinton et al.
(arXiv 1503.02531) at temperature 1; masks have Mask2Former's two terms with soft targets. All three
terms are zero where the student says what the teacher says.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emca.errors import UserError
from train.config import Config
from train.loss import dice_loss, mean_over_processes
from train.matcher import assign, mask_cost
from train.models import Network
from train.models.decoder import Predictions
from train.points import sample_points, uncertain_points
from train.sources import load_source

log = logging.getLogger(__name__)

WITH_QUERIES = ("mask2former", "maskformer")
BELIEVED = (
    0.1  # a mask that the teacher believes in less is not compared: it costs, and says little
)


class Targets(NamedTuple):
    """What the teacher says of B images: the N queries that it believes in most."""

    log_classes: Tensor
    """BxNx(K+1) log-probabilities."""
    mask_logits: Tensor
    """BxNxhxw."""
    belief: Tensor
    """BxN, 1 - p("no object")."""


class Pairs(NamedTuple):
    """S pairs of a student's and a teacher's query, over all prediction rounds of the student."""

    round: Tensor
    image: Tensor
    query: Tensor
    target: Tensor
    """Position among the teacher's N."""


def load_teacher(config: Config, classes: Sequence[str]) -> Network:
    """The network of `config.teacher`, in evaluation mode.

    Args:
        classes: of the training data; the teacher must have the same.

    Raises:
        UserError: it cannot be read, has other classes, or one of the two networks has no queries.
    """
    source, student = config.teacher, config.model.architecture
    if student not in WITH_QUERIES:
        raise UserError(
            f"teacher={source}: a {student} has no queries to teach; leave teacher= empty or train "
            f"model.architecture={' or '.join(WITH_QUERIES)}"
        )
    checkpoint = load_source(source, tell=log.info)
    model = checkpoint.config.model
    if model.architecture not in WITH_QUERIES:
        raise UserError(
            f"teacher={source}: a {model.architecture} has no queries to learn from; give a "
            f"checkpoint of {' or '.join(WITH_QUERIES)}"
        )
    for index, (theirs, ours) in enumerate(zip_longest(checkpoint.classes, classes)):
        if theirs != ours:
            raise UserError(
                f"teacher={source}: class {index} is {theirs or 'missing'} there and "
                f"{ours or 'missing'} in train_data; give a teacher of the same classes"
            )
    log.info("teacher %s: %s on %s", source, model.architecture, model.backbone)
    return checkpoint.build().to(memory_format=torch.channels_last)


# The strides of the two may differ, so nothing may depend on how far a cell reaches.
_sample = partial(sample_points, beyond="border")


class Distillation(nn.Module):
    """The distance of a student's predictions from a teacher's.

    Random points of an image come from that image's own seed, as in `MaskLoss`.

    Args:
        teacher: a network with queries; frozen here, and left in evaluation mode.
        config: weights of the terms in `distill`, points and weight of "no object" in `loss`.
    """

    def __init__(self, *, teacher: nn.Module, config: Config) -> None:
        super().__init__()
        self.teacher = teacher.eval().requires_grad_(False)
        self.config = config.distill
        self.loss = config.loss

    def forward(
        self, predictions: Predictions, images: Tensor, seeds: list[int]
    ) -> dict[str, Tensor]:
        """Weighted terms `distill_class`, `distill_mask`, `distill_dice`, summed over the rounds.

        Args:
            predictions: of the student: class logits PxBxMx(K+1), mask logits PxBxMxhxw.
            images: Bx3xHxW, as the student sees them.
            seeds: one per image.
        """
        generators = [torch.Generator(device=images.device).manual_seed(seed) for seed in seeds]
        targets = self._ask(images, most=predictions.class_logits.shape[2])
        pairs = self._match(predictions, targets, generators)
        mask, dice = self._mask_losses(predictions.mask_logits, targets, pairs, generators)
        classes = self._class_loss(predictions.class_logits, targets, pairs)
        return {
            "distill_class": self.config.class_weight * classes,
            "distill_mask": self.config.mask_weight * mask,
            "distill_dice": self.config.dice_weight * dice,
        }

    @torch.no_grad()
    def _ask(self, images: Tensor, *, most: int) -> Targets:
        """The teacher's answer. Every query of it must find a partner, so `most` are kept."""
        classes, masks = (logits[-1].float() for logits in self.teacher(images))
        log_classes = classes.log_softmax(-1)
        belief = 1 - log_classes[..., -1].exp()
        kept = belief.topk(min(most, belief.shape[1]), dim=1).indices
        image = torch.arange(len(kept), device=kept.device).unsqueeze(1)
        return Targets(log_classes[image, kept], masks[image, kept], belief[image, kept])

    @torch.no_grad()
    def _match(
        self, predictions: Predictions, targets: Targets, generators: list[torch.Generator]
    ) -> Pairs:
        found = []
        for image, generator in enumerate(generators):
            masks = predictions.mask_logits[:, image].float()
            points = torch.rand(
                1, self.loss.num_points, 2, device=masks.device, generator=generator
            )
            at_points = _sample(masks.flatten(0, 1).unsqueeze(0), points)
            wanted = _sample(targets.mask_logits[image].unsqueeze(0), points)[0].sigmoid()
            mask = mask_cost(
                at_points.view(*masks.shape[:2], -1),
                wanted,
                torch.ones_like(wanted[0]),
                mask_weight=self.config.mask_weight,
                dice_weight=self.config.dice_weight,
            )
            # The loss that a pair would have, but for the teacher's entropy: every query of the
            # teacher gets a partner, so what belongs to it alone decides nothing.
            student = predictions.class_logits[:, image].float().log_softmax(-1)
            divergence = -student @ targets.log_classes[image].exp().t()
            belief = targets.belief[image]
            class_weight = self.config.class_weight * self._class_weight(belief)
            rounds, queries, chosen = assign(class_weight * divergence + belief * mask)
            found.append((rounds, torch.full_like(rounds, image), queries, chosen))
        return Pairs(*(torch.cat(column) for column in zip(*found, strict=True)))

    def _class_weight(self, belief: Tensor) -> Tensor:
        """What `MaskLoss` gives to an object and to none, mixed as the teacher sees it."""
        return belief + self.loss.no_object_weight * (1 - belief)

    def _class_loss(self, class_logits: Tensor, targets: Targets, pairs: Pairs) -> Tensor:
        student = class_logits[pairs.round, pairs.image, pairs.query].float().log_softmax(-1)
        teacher = targets.log_classes[pairs.image, pairs.target]
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
        weight = self._class_weight(targets.belief)
        # Every round pairs all queries of the teacher.
        total = mean_over_processes(weight.sum()).clamp(min=1)
        return (weight[pairs.image, pairs.target] * divergence).sum() / total

    def _mask_losses(
        self,
        mask_logits: Tensor,
        targets: Targets,
        pairs: Pairs,
        generators: list[torch.Generator],
    ) -> tuple[Tensor, Tensor]:
        belief = torch.where(targets.belief < BELIEVED, 0.0, targets.belief)
        total = mean_over_processes(belief.sum()).clamp(min=1)
        belief = belief[pairs.image, pairs.target]
        pairs = Pairs(*(column[belief > 0] for column in pairs))
        belief = belief[belief > 0]
        student = mask_logits[pairs.round, pairs.image, pairs.query].unsqueeze(1).float()
        teacher = targets.mask_logits[pairs.image, pairs.target].unsqueeze(1)
        points = student.new_zeros((len(student), self.loss.num_points, 2))
        for image, generator in enumerate(generators):
            of_image = (pairs.image == image).nonzero().squeeze(1)
            points[of_image] = uncertain_points(
                student[of_image],
                teacher[of_image],
                config=self.loss,
                generator=generator,
                beyond="border",
            )
        logits, wanted = (_sample(masks, points).squeeze(1) for masks in (student, teacher))
        soft = wanted.sigmoid()
        # Less the teacher's own entropy, which no student can undercut.
        bce = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        bce = bce - F.binary_cross_entropy_with_logits(wanted, soft, reduction="none")
        dice = dice_loss(logits.sigmoid(), soft)
        return (belief * bce.mean(1)).sum() / total, (belief * dice).sum() / total
