"""Backbones of detectron2 checkpoints: which one it is, and its tensor names to ours.

Names and layout are those of detectron2's `build_resnet_backbone` with `STRIDE_IN_1X1: False`, as
all configurations of Mask2Former and PEM have it, and of PEM's `D2STDCnet`. With that setting a
bottleneck strides in its 3x3 convolution, as ours does; the first layer is of the basic kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise

from torch import Tensor

from emca.errors import UserError
from train.models.backbones import RESNET
from train.models.stdc import BLOCKS
from train.sources.keymap import Rule

STAGES = 4
UNITS = {"shortcut": "shortcut", "conv1": "layer.0", "conv2": "layer.1", "conv3": "layer.2"}


def resnet_rules(prefix: str = "backbone.") -> list[Rule]:
    """detectron2's ResNet to the one of `transformers` that our networks hold.

    Args:
        prefix: what stands before `stem.` and `res2.` in the source.
    """
    theirs, ours = re.escape(prefix), "backbone.model."
    rules = _unit(rf"{theirs}stem\.conv1", f"{ours}embedder.embedder")
    for stage in range(STAGES):
        for source, target in UNITS.items():
            rules += _unit(
                rf"{theirs}res{stage + 2}\.(?P<block>\d+)\.{source}",
                rf"{ours}encoder.stages.{stage}.layers.\g<block>.{target}",
            )
    return rules


def stdc_rules(prefix: str = "backbone.") -> list[Rule]:
    """PEM's STDC, whose tensors are named as ours are.

    They stand in a state dict twice: in `features`, and again in the stages `x2` to `x32`, which
    share its layers.

    Args:
        prefix: what stands before `features.` in the source.
    """
    theirs = re.escape(prefix)
    return [
        (rf"{theirs}(features\..*)", r"backbone.\1"),
        (rf"{theirs}x(2|4|8|16|32)\..*", None),
    ]


def backbone_of(state: Mapping[str, Tensor], prefix: str = "backbone.") -> str:
    """The name, in `train.models.backbones`, of the backbone whose tensors `state` holds.

    Args:
        prefix: as in `resnet_rules`.

    Raises:
        UserError: it is no ResNet or STDC, or one of a size that we do not build.
    """
    names = [name.removeprefix(prefix) for name in state if name.startswith(prefix)]
    if any(name.startswith("res2.") for name in names):
        return _resnet(names)
    if any(name.startswith("features.") for name in names):
        return _stdc(names)
    raise UserError(
        f"no ResNet or STDC backbone under '{prefix}' ({len(names)} tensors there); "
        "give a checkpoint with one of these"
    )


def _unit(source: str, target: str) -> list[Rule]:
    """A convolution with the norm that detectron2 places inside it."""
    return [
        (rf"{source}\.weight", rf"{target}.convolution.weight"),
        (rf"{source}\.norm\.(?P<part>\w+)", rf"{target}.normalization.\g<part>"),
    ]


def _resnet(names: list[str]) -> str:
    blocks = {match[0] for name in names if (match := re.match(r"res\d\.\d+\.", name))}
    counts = Counter(block[: len("res2")] for block in blocks)
    depths = tuple(counts[f"res{stage + 2}"] for stage in range(STAGES))
    kind = "bottleneck" if any(".conv3." in name for name in names) else "basic"
    for name, (known_depths, _, known_kind) in RESNET.items():
        if (depths, kind) == (known_depths, known_kind):
            return name
    raise UserError(
        f"a ResNet of {depths} {kind} blocks is none of {', '.join(RESNET)}; "
        "give a checkpoint with one of these"
    )


def _stdc(names: list[str]) -> str:
    layers = _indices(names, r"features\.(\d+)\.")
    # Only the first block of a stage strides, and so has this layer.
    starts = _indices(names, r"features\.(\d+)\.avd_layer\.")
    edges = [*sorted(starts), max(layers) + 1]
    depths = tuple(end - start for start, end in pairwise(edges))
    for name, known in BLOCKS.items():
        if depths == known:
            return name
    raise UserError(
        f"an STDC of {depths} blocks is none of {', '.join(BLOCKS)}; "
        "give a checkpoint with one of these"
    )


def _indices(names: Iterable[str], pattern: str) -> set[int]:
    return {int(match[1]) for name in names if (match := re.match(pattern, name))}
