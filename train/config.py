"""Training configuration: dataclasses, YAML presets, `key=value` overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from segdata.errors import UserError, nearest

PRESETS = Path(__file__).parent / "configs"

CHOICES = {
    "model.pixel_decoder": ("fpn",),
    "model.cross_attention": ("emca", "masked"),
    "model.prototype": ("argmax", "mean"),
    "model.interaction": ("product", "identity"),
    "schedule": ("poly", "cosine"),
    "precision": ("auto", "fp32", "fp16", "bf16"),
}


@dataclass
class ModelConfig:
    """The network. Widths follow PEM where nothing else is said."""

    backbone: str = "resnet50"
    backbone_weights: str = ""  # Hugging Face id or folder; empty: random
    drop_path: float = 0.0
    pixel_decoder: str = "fpn"
    conv_dim: int = 128
    mask_dim: int = 256
    hidden_dim: int = 256
    num_queries: int = 100
    num_heads: int = 8
    decoder_layers: int = 6
    feedforward_dim: int = 2048
    pre_norm: bool = True
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
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
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
    precision: str = "auto"  # auto: bf16 or fp16 on CUDA, fp32 elsewhere
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
        set_key(config, key, _yaml_value(value))
    return config


def from_dict(tree: dict[str, Any]) -> Config:
    """A Config from nested dictionaries such as `dataclasses.asdict` makes.

    Raises:
        UserError: unknown key or value.
    """
    config = Config()
    for key, value in _flatten(tree):
        set_key(config, key, value)
    return config


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
        raise UserError(f"{key}={value}: must be one of {', '.join(CHOICES[key])}")
    setattr(target, name, _convert(key, value, hints[name]))


def _convert(key: str, value: Any, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        items = get_args(kind)
        if isinstance(value, str):
            value = value.lower().split("x")
        if not isinstance(value, (list, tuple)) or len(value) != len(items):
            raise UserError(f"{key}={value}: expected {len(items)} numbers, such as 512x1024")
        return tuple(
            _convert(key, item, item_kind) for item, item_kind in zip(value, items, strict=True)
        )
    try:
        if kind is bool and not isinstance(value, bool):
            raise ValueError
        if kind is int and float(value) != int(float(value)):
            raise ValueError
        return kind(float(value)) if kind is int else kind(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{key}={value}: expected a value of type {kind.__name__}") from None


def _yaml_value(text: str) -> Any:
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        return text


def _flatten(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            flat += _flatten(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat
