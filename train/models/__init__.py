"""The networks, and `build_model`, which puts one together from its configuration."""

from __future__ import annotations

from functools import partial

from torch import nn

from train.config import ModelConfig
from train.models.backbones import build_backbone
from train.models.decoder import MaskedCrossAttention, MaskedDecoder
from train.models.emca import PrototypeCrossAttention
from train.models.mask2former import Mask2Former
from train.models.network import Network
from train.models.pixel_decoder import FPN

__all__ = ["Network", "build_model"]


def build_model(config: ModelConfig, *, num_classes: int) -> Network:
    """The network that `config` describes, with random weights or a pretrained backbone.

    Raises:
        UserError: backbone weights that cannot be used.
    """
    return _mask2former(config, num_classes)


def _mask2former(config: ModelConfig, num_classes: int) -> Mask2Former:
    backbone = build_backbone(
        config.backbone, weights=config.backbone_weights, drop_path=config.drop_path
    )
    pixel_decoder = FPN(
        in_channels=backbone.channels, dim=config.conv_dim, mask_dim=config.mask_dim
    )
    decoder = MaskedDecoder(
        num_classes=num_classes,
        num_queries=config.num_queries,
        in_dim=pixel_decoder.out_dim,
        dim=config.hidden_dim,
        mask_dim=config.mask_dim,
        num_heads=config.num_heads,
        num_layers=config.decoder_layers,
        feedforward_dim=config.feedforward_dim,
        pre_norm=config.pre_norm,
        project_levels=config.project_levels,
        cross_attention=_cross_attention(config),
    )
    return Mask2Former(backbone=backbone, pixel_decoder=pixel_decoder, decoder=decoder)


def _cross_attention(config: ModelConfig) -> partial[nn.Module]:
    if config.cross_attention == "masked":
        return partial(
            MaskedCrossAttention,
            dim=config.hidden_dim,
            num_heads=config.num_heads,
            pre_norm=config.pre_norm,
        )
    return partial(
        PrototypeCrossAttention,
        dim=config.hidden_dim,
        num_heads=config.num_heads,
        prototype=config.prototype,
        interaction=config.interaction,
    )
