"""Training configuration: dataclasses, YAML presets, `key=value` overrides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from emca.errors import UserError, nearest

GROUPS = 32  # of every group norm

PRESETS = Path(__file__).parent / "configs"

CHOICES = {
    "model.architecture": ("mask2former", "maskformer", "segformer", "semantic_fpn", "pidnet"),
    "model.pixel_decoder": ("fpn", "msdeform", "pem"),
    "model.cross_attention": ("emca", "masked"),
    "model.prototype": ("argmax", "mean"),
    "model.interaction": ("product", "identity"),
    "schedule": ("poly", "cosine"),
    "precision": ("auto", "fp32", "fp16", "bf16"),
    "quantize": ("", "int8"),
}

# What every number must reach; the floats in OPEN must exceed it.
LEAST = {
    "eval_size": 32,
    "augment.crop": 32,
    "augment.short_side": 32,
    "augment.scale": 0,
    "augment.max_class_ratio": 0,
    "model.drop_path": 0,
    "model.conv_dim": 2,
    "model.mask_dim": 1,
    "model.hidden_dim": 4,
    "model.num_queries": 1,
    "model.num_heads": 1,
    "model.decoder_layers": 1,
    "model.encoder_layers": 1,
    "model.encoder_feedforward_dim": 1,
    "model.feedforward_dim": 1,
    "loss.class_weight": 0,
    "loss.mask_weight": 0,
    "loss.dice_weight": 0,
    "loss.no_object_weight": 0,
    "loss.num_points": 1,
    "loss.oversample_ratio": 1,
    "loss.importance_ratio": 0,
    "distill.class_weight": 0,
    "distill.mask_weight": 0,
    "distill.dice_weight": 0,
    "iterations": 0,
    "batch_size": 1,
    "learning_rate": 0,
    "weight_decay": 0,
    "backbone_factor": 0,
    "warmup_iterations": 0,
    "gradient_clip": 0,
    "ema_decay": 0,
    "eval_every": 0,
    "save_every": 1,
    "workers": 0,
    "seed": 0,
}
MOST = {"loss.importance_ratio": 1, "ema_decay": 0.9999999, "model.drop_path": 0.99}
OPEN = ("augment.scale", "augment.max_class_ratio", "learning_rate")


@dataclass
class ModelConfig:
    """The network. Widths follow PEM where nothing else is said."""

    architecture: str = "mask2former"
    backbone: str = "resnet50"
    backbone_weights: str = ""  # Hugging Face id or folder; empty: random
    drop_path: float = 0.0
    pixel_decoder: str = "fpn"
    encoder_layers: int = 6  # of msdeform
    encoder_feedforward_dim: int = 1024  # of msdeform
    conv_dim: int = 128
    mask_dim: int = 256
    hidden_dim: int = 256
    num_queries: int = 100
    num_heads: int = 8
    decoder_layers: int = 6
    feedforward_dim: int = 2048
    pre_norm: bool = True
    project_levels: bool = True  # 1x1 convolution before the decoder even at equal widths
    cross_attention: str = "emca"
    prototype: str = "argmax"
    interaction: str = "product"


@dataclass
class LossConfig:
    """Mask2Former's published weights."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    num_points: int = 12544
    oversample_ratio: float = 3.0
    importance_ratio: float = 0.75


@dataclass
class DistillConfig:
    """Weights of the teacher's terms; as those of the labels."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0


@dataclass
class AugmentConfig:
    """Sizes are (height, width) in pixels."""

    crop: tuple[int, int] = (512, 512)
    short_side: int = 512  # what a scale of 1 means
    scale: tuple[float, float] = (0.5, 2.0)
    max_class_ratio: float = 1.0  # a crop in which one class covers more is drawn again
    flip: bool = True
    color_jitter: bool = True


@dataclass
class Config:
    """One training run."""

    train_data: str = "scenes::train"
    val_data: str = "scenes::val"
    eval_size: tuple[int, int] = (512, 512)
    init: str = ""  # a checkpoint of any supported kind whose weights to start from
    quantize: str = ""  # int8: round as an INT8 file will, so that the weights adapt to it
    teacher: str = ""  # a checkpoint of any supported kind with queries to learn from; empty: none
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    iterations: int = 160_000
    batch_size: int = 16  # of all processes together
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    backbone_factor: float = 0.1
    schedule: str = "poly"
    warmup_iterations: int = 10
    gradient_clip: float = 0.01  # norm over all parameters; 0: off
    ema_decay: float = 0.0  # 0: off
    freeze_norm: bool = False  # batch-norm statistics stay as they are
    precision: str = "auto"  # bf16 where it is native, else fp16 on CUDA and fp32 on a CPU
    eval_every: int = 5_000
    save_every: int = 1_000
    workers: int = 4
    seed: int = 0


def load_config(source: str, overrides: Iterable[str] = ()) -> Config:
    """Read a preset or a YAML file and apply `key=value` overrides.

    Args:
        source: name of a preset (`configs/NAME.yaml`) or a path to a YAML file.
        overrides: such as `learning_rate=1e-4` or `model.backbone=resnet18`.

    Raises:
        UserError: unknown preset, key or value; the nearest name is offered.
    """
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    path = PRESETS / f"{source}.yaml" if source in names else Path(source)
    if not path.is_file():
        raise UserError(
            f"no preset or file '{source}'{nearest(source, names)}; presets: {', '.join(names)}"
        )
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold 'key: value' lines, not a {type(tree).__name__}")
    config = from_dict(tree)
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign:
            raise UserError(f"'{override}' is not of the form key=value")
        set_key(config, key, value)
    return check(config)


def from_dict(tree: dict[str, Any]) -> Config:
    """A Config from nested dictionaries such as `dataclasses.asdict` makes.

    Raises:
        UserError: unknown key or value.
    """
    config = Config()
    for key, value in _flatten(tree):
        set_key(config, key, value)
    return check(config)


def check(config: Config) -> Config:
    """The same configuration, if its numbers can work.

    Raises:
        UserError: a number out of its range.
    """
    for key, value in _flatten(dataclasses.asdict(config)):
        least, most = LEAST.get(key), MOST.get(key, math.inf)
        for number in value if isinstance(value, tuple) else (value,):
            if least is None or (least <= number <= most and (key not in OPEN or number > least)):
                continue
            bound = f"at most {most}" if number > most else f"at least {least}"
            raise UserError(f"{key}={number}: must be {bound if key not in OPEN else 'positive'}")
    _check_widths(config.model)
    return config


def _check_widths(model: ModelConfig) -> None:
    if model.architecture not in ("mask2former", "maskformer"):
        return
    heads = model.num_heads
    if model.hidden_dim % 4 or model.hidden_dim % heads:
        raise UserError(
            f"model.hidden_dim={model.hidden_dim}: must be a multiple of 4 and of "
            f"model.num_heads={heads}"
        )
    normed = model.architecture == "maskformer" or model.pixel_decoder == "msdeform"
    if normed and (model.conv_dim % GROUPS or model.conv_dim % heads):
        raise UserError(
            f"model.conv_dim={model.conv_dim}: must be a multiple of {GROUPS} (group norm) and of "
            f"model.num_heads={heads}"
        )


def set_key(config: Config, key: str, value: Any) -> None:
    """Set a dotted key, converting and checking the value.

    Raises:
        UserError: unknown key (the nearest is named) or a value that does not fit it.
    """
    target: Any = config
    *parents, name = key.split(".")
    for parent in parents:
        target = getattr(target, parent, None)
    hints = get_type_hints(type(target)) if dataclasses.is_dataclass(target) else {}
    if name not in hints or dataclasses.is_dataclass(hints[name]):
        known = [known for known, _ in _flatten(dataclasses.asdict(Config()))]
        raise UserError(f"unknown configuration key '{key}'{nearest(key, known)}")
    if value not in CHOICES.get(key, (value,)):
        names = ", ".join(choice or "nothing" for choice in CHOICES[key])
        raise UserError(f"{key}={value}: must be one of {names}")
    setattr(target, name, _convert(key, value, hints[name]))


def _convert(key: str, value: Any, kind: Any) -> Any:
    if kind is str:
        return "" if value is None else str(value)
    if get_origin(kind) is tuple:
        items = get_args(kind)
        parts = value.lower().split("x") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)) or len(parts) != len(items):
            raise UserError(f"{key}={value}: expected {len(items)} numbers, such as 512x1024")
        return tuple(
            _convert(key, item, item_kind) for item, item_kind in zip(parts, items, strict=True)
        )
    try:
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if kind is int and float(value) != int(float(value)):
            raise ValueError
        return kind(float(value)) if kind is int else kind(value)
    except (TypeError, ValueError, OverflowError, KeyError):
        raise UserError(f"{key}={value}: expected a value of type {kind.__name__}") from None


def _flatten(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            flat += _flatten(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat
