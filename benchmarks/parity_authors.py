"""Networks as their authors wrote them, run from checkouts of their repositories.

Only the networks are imported. What they take from detectron2, fvcore and timm stands in here:
registries, initialisation and three plain layers. Two things are not the authors' own: detectron2's
compiled deformable convolution, for which ours stands in, and its ResNet, so that only the
backbones that their repositories hold are compared. Deformable attention takes their PyTorch path.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from untrained import randomise

from emca.errors import UserError
from segdata.classes import ADE20K, CITYSCAPES
from train.models import deform_conv
from train.models.backbones import SWIN
from train.models.pidnet import VARIANTS
from train.models.stdc import BLOCKS
from train.sources import mask2former, pem, pidnet
from train.sources.imported import Imported

LEVELS = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
DECODER = {
    "num_classes": len(ADE20K.classes), "hidden_dim": 256, "num_queries": 100, "nheads": 8,
    "dim_feedforward": 2048, "mask_dim": 256,
}  # fmt: skip
Row = tuple[str, str, nn.Module, Imported]


class Conv2d(nn.Conv2d):
    """A convolution with a norm and an activation behind it."""

    def __init__(self, *args: Any, norm: nn.Module | None = None, activation: Any = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.norm, self.activation = norm, activation

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        x = self.norm(x) if self.norm else x
        return self.activation(x) if self.activation else x


def _norm(name: str, channels: int) -> nn.Module | None:
    norms = {"GN": lambda: nn.GroupNorm(32, channels), "BN": lambda: nn.BatchNorm2d(channels)}
    return norms[name]() if name else None


def _deform_conv(in_dim: int, out_dim: int, **geometry: Any) -> nn.Module:
    return deform_conv.ModulatedDeformConv2d(in_dim=in_dim, out_dim=out_dim, **geometry)


class Registry:
    """Takes classes and hands out nothing."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def register(self) -> Any:
        """A decorator that leaves the class as it is."""
        return lambda cls: cls


def _nothing(*_: Any, **__: Any) -> None: ...


STAND_INS: dict[str, dict[str, Any]] = {
    "detectron2.config": {"configurable": lambda init: init},
    "detectron2.layers": {
        "Conv2d": Conv2d, "DeformConv": None, "ModulatedDeformConv": _deform_conv,
        "ShapeSpec": SimpleNamespace, "get_norm": _norm,
    },
    "detectron2.modeling": {
        "SEM_SEG_HEADS_REGISTRY": Registry(), "BACKBONE_REGISTRY": Registry(),
        "Backbone": nn.Module, "ShapeSpec": SimpleNamespace,
    },
    "detectron2.utils.registry": {"Registry": Registry},
    "fvcore.nn.weight_init": {"c2_xavier_fill": _nothing, "c2_msra_fill": _nothing},
    "timm.models.layers": {
        "DropPath": nn.Identity, "to_2tuple": lambda x: (x, x), "trunc_normal_": _nothing,
    },
    "MultiScaleDeformableAttention": {},
}  # fmt: skip


def _load(checkout: Path, package: str, *names: str) -> list[ModuleType]:
    """Modules of a package in a checkout, without what the package itself imports."""
    folder = checkout.joinpath(*package.split("."))
    if not folder.is_dir():
        raise UserError(f"'{checkout}' has no folder {folder.name}; give a checkout of the project")
    for name, content in STAND_INS.items():
        _package(name).__dict__.update(content)
    _package(package).__path__ = [str(folder)]
    return [importlib.import_module(f"{package}.{name}") for name in names]


def _package(name: str) -> ModuleType:
    """An empty package, and those that it lies in."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        inner = ".".join(parts[:end])
        if inner not in sys.modules:
            sys.modules[inner] = ModuleType(inner)
            sys.modules[inner].__path__ = []
    return sys.modules[name]


class MaskNetwork(nn.Module):
    """Backbone, pixel decoder and predictor under the names of detectron2's meta architecture."""

    def __init__(self, backbone: nn.Module, pixel_decoder: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = nn.Module()
        self.sem_seg_head.pixel_decoder = pixel_decoder
        self.sem_seg_head.predictor = predictor

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Bx3xHxW, normalised."""
        features = self.backbone(image)
        mask_features, _, levels = self.sem_seg_head.pixel_decoder.forward_features(features)
        return self.sem_seg_head.predictor(levels, mask_features)


def _shapes(channels: list[int]) -> dict[str, SimpleNamespace]:
    return {
        name: SimpleNamespace(channels=width, stride=stride)
        for (name, stride), width in zip(LEVELS.items(), channels, strict=True)
    }


# Each takes a checkout and an image, 1x3xHxW and normalised, to fit the norms to.


def of_mask2former(checkout: Path, image: Tensor) -> Iterator[Row]:
    """Mask2Former with Swin-T, as in facebookresearch/Mask2Former."""
    swin, pixel, decoder = _load(
        checkout, "mask2former.modeling", "backbone.swin", "pixel_decoder.msdeformattn",
        "transformer_decoder.mask2former_transformer_decoder",
    )  # fmt: skip
    width, depths, heads, window = SWIN["swin_tiny"]
    theirs = MaskNetwork(
        swin.SwinTransformer(
            embed_dim=width, depths=depths, num_heads=heads, window_size=window
        ),
        pixel.MSDeformAttnPixelDecoder(
            _shapes([width << i for i in range(4)]), transformer_dropout=0.0, transformer_nheads=8,
            transformer_dim_feedforward=1024, transformer_enc_layers=6, conv_dim=256, mask_dim=256,
            norm="GN", transformer_in_features=["res3", "res4", "res5"], common_stride=4,
        ),
        decoder.MultiScaleMaskedTransformerDecoder(
            256, dec_layers=9, pre_norm=False, enforce_input_project=False, **DECODER
        ),
    )  # fmt: skip
    randomise(theirs, image)
    yield "Mask2Former Swin-T", "the authors' code", theirs, mask2former.read(theirs.state_dict())


def of_pem(checkout: Path, image: Tensor) -> Iterator[Row]:
    """PEM with STDC1 and STDC2, as in NiccoloCavagnero/PEM."""
    stdc, pixel, decoder = _load(
        checkout, "pem.modeling", "backbone.stdc", "pixel_decoder.pem_pixel_decoder",
        "transformer_decoder.pem_transformer_decoder",
    )  # fmt: skip
    for name, blocks in BLOCKS.items():
        theirs = MaskNetwork(
            stdc.STDCNet(layers=list(blocks)),
            pixel.PEM_Pixel_Decoder(
                _shapes([64, 256, 512, 1024]), conv_dim=128, mask_dim=256, norm="BN"
            ),
            decoder.MultiScaleMaskedTransformerDecoder(
                128, dec_layers=6, pre_norm=True, enforce_input_project=True, **DECODER
            ),
        )
        randomise(theirs, image)
        # Masks upwards, so that none covers nothing: PEM's rule for those is another than ours.
        with torch.no_grad():
            theirs.sem_seg_head.predictor.mask_embed.layers[-1].bias += 0.1
        yield f"PEM {name.upper()}", "the authors' code", theirs, pem.read(theirs.state_dict())


def of_pidnet(checkout: Path, image: Tensor) -> Iterator[Row]:
    """PIDNet-S, -M and -L, as in XuJiacong/PIDNet."""
    (module,) = _load(checkout, "models", "pidnet")
    for name, variant in VARIANTS.items():
        theirs = module.PIDNet(
            *variant.depths,
            len(CITYSCAPES.classes),
            variant.width,
            variant.pool_dim,
            variant.head_dim,
        )
        imported = pidnet.read(randomise(theirs, image).state_dict())
        theirs.augment = False  # without the auxiliary heads, as its evaluation does
        yield f"PIDNet-{name[-1].upper()}", "the authors' code", theirs, imported


PAIRS = {"mask2former": of_mask2former, "pem": of_pem, "pidnet": of_pidnet}
