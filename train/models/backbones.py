"""Backbones: one module each that maps Bx3xHxW to maps at strides 4, 8, 16, 32.

ResNet, Swin, MiT and SwiftFormer come from `transformers`; STDC is our own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import (
    ResNetBackbone,
    ResNetConfig,
    SegformerConfig,
    SegformerModel,
    SwiftFormerConfig,
    SwiftFormerModel,
    SwinBackbone,
    SwinConfig,
)

from emca.errors import UserError, nearest
from train.models.stdc import BLOCKS, STDC

STAGES = ["stage1", "stage2", "stage3", "stage4"]

RESNET = {  # depths, widths, block
    "resnet18": ((2, 2, 2, 2), (64, 128, 256, 512), "basic"),
    "resnet34": ((3, 4, 6, 3), (64, 128, 256, 512), "basic"),
    "resnet50": ((3, 4, 6, 3), (256, 512, 1024, 2048), "bottleneck"),
    "resnet101": ((3, 4, 23, 3), (256, 512, 1024, 2048), "bottleneck"),
}
SWIN = {  # width, depths, heads, window
    "swin_tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
    "swin_small": (96, (2, 2, 18, 2), (3, 6, 12, 24), 7),
    "swin_base": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12),
    "swin_large": (192, (2, 2, 18, 2), (6, 12, 24, 48), 12),
}
MIT = {  # depths, widths
    "mit_b0": ((2, 2, 2, 2), (32, 64, 160, 256)),
    "mit_b1": ((2, 2, 2, 2), (64, 128, 320, 512)),
    "mit_b2": ((3, 4, 6, 3), (64, 128, 320, 512)),
    "mit_b3": ((3, 4, 18, 3), (64, 128, 320, 512)),
    "mit_b4": ((3, 8, 27, 3), (64, 128, 320, 512)),
    "mit_b5": ((3, 6, 40, 3), (64, 128, 320, 512)),
}
SWIFTFORMER = {  # depths, widths
    "swiftformer_xs": ((3, 3, 6, 4), (48, 56, 112, 220)),
    "swiftformer_s": ((3, 3, 9, 6), (48, 64, 168, 224)),
    "swiftformer_l1": ((4, 3, 10, 5), (48, 96, 192, 384)),
    "swiftformer_l3": ((4, 4, 12, 6), (64, 128, 320, 512)),
}
NAMES = [*RESNET, *SWIN, *MIT, *SWIFTFORMER, *BLOCKS]


class FeatureMaps(nn.Module):
    """Adapts a transformers model to the plain interface: image in, list of four maps out."""

    def __init__(self, model: nn.Module, channels: list[int]) -> None:
        super().__init__()
        self.model = model
        self.channels = channels

    @property
    def residuals(self) -> list[str]:
        """What a ResNet adds to the last convolution of each block."""
        paths = [path for path, _ in self.model.named_modules()]
        return [f"model.{path}" for path in paths if path.endswith(".shortcut")]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Bx3xHxW -> four maps BxCxhxw."""
        if isinstance(self.model, SegformerModel):
            return list(self.model(image, output_hidden_states=True).hidden_states)
        return list(self.model(image).feature_maps)


class SwiftFormerMaps(FeatureMaps):
    """SwiftFormer (Shaker et al., ICCV 2023, arXiv 2303.15446) as a backbone.

    Each map gets a batch norm of its own, as in its authors' segmentation; ImageNet weights have
    none. The attention of transformers weighs all tokens alike (a softmax over one element), so
    `w_g` neither matters nor learns; its authors later normalised the weights over the tokens.
    """

    def __init__(self, model: nn.Module, channels: list[int]) -> None:
        super().__init__(model, channels)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Bx3xHxW -> four maps BxCxhxw."""
        # After the stem come, in turn, the output of a stage and of the patch embedding behind it.
        stages = self.model(image, output_hidden_states=True).hidden_states[1::2]
        return [norm(stage) for norm, stage in zip(self.norms, stages, strict=True)]


def build_backbone(name: str, *, weights: str = "", drop_path: float = 0.0) -> nn.Module:
    """A backbone with attribute `channels`.

    Args:
        name: one of `NAMES`.
        weights: Hugging Face id or folder of pretrained weights of that very architecture; for
            STDC a `.pth` file. Empty: random weights.
        drop_path: stochastic depth of Swin, MiT and SwiftFormer.

    Raises:
        UserError: unknown name, or weights that cannot be read or do not fit.
    """
    if name not in NAMES:
        raise UserError(
            f"unknown backbone '{name}'{nearest(name, NAMES)}; known: {', '.join(NAMES)}"
        )
    if name in RESNET:
        depths, widths, block = RESNET[name]
        config = ResNetConfig(
            depths=list(depths), hidden_sizes=list(widths), layer_type=block, out_features=STAGES
        )
        return FeatureMaps(_load(ResNetBackbone, config, weights), list(widths))
    if name in SWIN:
        width, depths, heads, window = SWIN[name]
        config = SwinConfig(
            embed_dim=width,
            depths=list(depths),
            num_heads=list(heads),
            window_size=window,
            drop_path_rate=drop_path,
            out_features=STAGES,
            attn_implementation="eager",  # the ONNX exporter fails on the fused attention
        )
        model = _load(SwinBackbone, config, weights)
        model.swin.layernorm = nn.Identity()  # the norm before ImageNet's head, read by no map
        return FeatureMaps(model, [width << i for i in range(4)])
    if name in MIT:
        depths, widths = MIT[name]
        config = SegformerConfig(
            depths=list(depths),
            hidden_sizes=list(widths),
            drop_path_rate=drop_path,
            attn_implementation="eager",
        )
        return FeatureMaps(_load(SegformerModel, config, weights), list(widths))
    if name in SWIFTFORMER:
        depths, widths = SWIFTFORMER[name]
        config = SwiftFormerConfig(
            depths=list(depths), embed_dims=list(widths), drop_path_rate=drop_path
        )
        return SwiftFormerMaps(_load(SwiftFormerModel, config, weights), list(widths))
    return _stdc(name, weights)


def _load(cls: type[nn.Module], config: object, weights: str) -> nn.Module:
    if not weights:
        return cls(config)
    try:
        model, report = cls.from_pretrained(weights, config=config, output_loading_info=True)
    except Exception as error:  # damaged files make the libraries below raise almost anything
        raise UserError(
            f"backbone weights '{weights}': {(str(error) or repr(error)).splitlines()[0]}; "
            "give a Hugging Face id or a folder with config.json and model.safetensors"
        ) from None
    # The norms of the four maps belong to segmentation and are absent from ImageNet weights.
    missing = [key for key in report["missing_keys"] if "hidden_states_norms" not in key]
    if missing:
        raise UserError(
            f"backbone weights '{weights}' lack {len(missing)} tensors, first '{missing[0]}'; "
            "are they of another architecture?"
        )
    return model


def _stdc(name: str, weights: str) -> STDC:
    model = STDC(blocks=BLOCKS[name])
    if weights:
        _load_stdc(model, weights)
    return model


def _load_stdc(model: STDC, path: str) -> None:
    """ImageNet weights as the STDC authors publish them, or a plain state dict."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
    except Exception as error:  # damaged bytes make torch raise almost anything
        raise UserError(f"cannot read STDC weights '{path}': {type(error).__name__}") from None
    own = model.state_dict()
    loaded = {key: value for key, value in state.items() if key in own}
    for key, value in own.items():
        if key not in loaded:
            raise UserError(f"STDC weights '{path}' lack '{key}'")
        if loaded[key].shape != value.shape:
            raise UserError(
                f"STDC weights '{path}': '{key}' is {tuple(loaded[key].shape)}, "
                f"the model has {tuple(value.shape)}"
            )
    model.load_state_dict(loaded)
