"""Mask2Former, put together: backbone, pixel decoder, masked decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segdata.preprocess import MEAN, STD
from train.models.decoder import Predictions


class Mask2Former(nn.Module):
    """Semantic segmentation by mask classification (arXiv 2112.01527).

    Args:
        backbone: Bx3xHxW -> maps at strides 4, 8, 16, 32.
        pixel_decoder: those maps -> stride-4 mask features and maps at strides 32, 16, 8.
        decoder: those -> `Predictions`.
    """

    def __init__(
        self, *, backbone: nn.Module, pixel_decoder: nn.Module, decoder: nn.Module
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Predictions:
        """Predict.

        Args:
            image: Bx3xHxW RGB, 0..255, any dtype, any size from 32x32.
        """
        features = self.backbone((image.float() - self.mean) / self.std)
        return self.decoder(*self.pixel_decoder(features))


def semantic_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Class scores per pixel: every mask votes for its classes (MaskFormer, arXiv 2107.06278, 3.4).

    Args:
        class_logits: BxMx(K+1). mask_logits: BxMxHxW.

    Returns:
        BxKxHxW, not normalised; the argmax is the label.
    """
    classes = class_logits.softmax(dim=-1)[..., :-1]
    scores = classes.transpose(1, 2) @ mask_logits.sigmoid().flatten(2)
    return scores.unflatten(2, mask_logits.shape[-2:])
