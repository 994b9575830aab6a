"""The Mask2Former family, put together: backbone, pixel decoder, transformer decoder."""

from __future__ import annotations

from torch import Tensor, nn

from train.models.decoder import Predictions
from train.models.network import Network


class Mask2Former(Network):
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

    def forward(self, image: Tensor) -> Predictions:
        """Bx3xHxW RGB, 0..255."""
        return self.decoder(*self.pixel_decoder(self.backbone(self.normalize(image))))

    def class_scores(self, predictions: Predictions) -> Tensor:
        """BxKxH/4xW/4: classes and masks meet at stride 4, so that K maps are upsampled, not M."""
        return semantic_scores(
            predictions.class_logits[-1].float(), predictions.mask_logits[-1].float()
        )


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
