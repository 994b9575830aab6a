"""The networks, and `build_model`, which puts one together from its configuration."""

from __future__ import annotations

from functools import partial

from torch import nn

from emca.errors import UserError
from train.config import ModelConfig
from train.models.backbones import build_backbone
from train.models.decoder import MaskedCrossAttention, MaskedDecoder
from train.models.emca import PrototypeCrossAttention
from train.models.mask2former import Mask2Former
from train.models.maskformer import build_maskformer
from train.models.msdeform import MSDeformPixelDecoder
from train.models.network import Network
from train.models.pem_pixel_decoder import PEMPixelDecoder
from train.models.pidnet import build_pidnet
from train.models.pixel_classifier import PixelClassifier
from train.models.pixel_decoder import FPN
from train.models.segformer import build_segformer
from train.models.semantic_fpn import SemanticFPN

__all__ = ["Network", "build_model"]


def build_model(config: ModelConfig, *, num_classes: int) -> Network:
    """The network that `config` describes, with random weights or a pretrained backbone.

    Raises:
        UserError: backbone weights that cannot be used.
    """
    if config.architecture == "pidnet":
        if config.backbone_weights:
            raise UserError(
                f"model.backbone_weights={config.backbone_weights}: PIDNet has no backbone of its "
                "own; leave it empty, or start from a whole PIDNet with init="
            )
        return build_pidnet(name=config.backbone, num_classes=num_classes)
    backbone = build_backbone(
        config.backbone, weights=config.backbone_weights, drop_path=config.drop_path
    )
    if config.architecture == "segformer":
        return build_segformer(backbone=backbone, name=config.backbone, num_classes=num_classes)
    if config.architecture == "semantic_fpn":
        head = SemanticFPN(in_channels=backbone.channels, num_classes=num_classes)
        return PixelClassifier(backbone=backbone, head=head)
    if config.architecture == "maskformer":
        return build_maskformer(
            backbone=backbone,
            num_classes=num_classes,
            num_queries=config.num_queries,
            dim=config.hidden_dim,
            conv_dim=config.conv_dim,
            mask_dim=config.mask_dim,
            num_heads=config.num_heads,
            decoder_layers=config.decoder_layers,
            feedforward_dim=config.feedforward_dim,
        )
    return _mask2former(config, backbone, num_classes)


def _mask2former(config: ModelConfig, backbone: nn.Module, num_classes: int) -> Mask2Former:
    pixel_decoder = _pixel_decoder(config, backbone.channels)
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


def _pixel_decoder(config: ModelConfig, in_channels: list[int]) -> nn.Module:
    common = {"in_channels": in_channels, "dim": config.conv_dim, "mask_dim": config.mask_dim}
    if config.pixel_decoder == "msdeform":
        return MSDeformPixelDecoder(
            **common,
            num_heads=config.num_heads,
            num_layers=config.encoder_layers,
            feedforward_dim=config.encoder_feedforward_dim,
        )
    if config.pixel_decoder == "pem":
        return PEMPixelDecoder(**common)
    return FPN(**common)


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
