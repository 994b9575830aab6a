"""From an exported file to a cast or quantised one, and the first look at the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from calibration.ranges.images import Image, Images, spread
from emca.errors import UserError
from emca.files import atomic_path, beside, sha256
from runtime.backends.base import ModelFile
from runtime.backends.onnx_runtime import OnnxRuntimeBackend

_TRIAL_IMAGES = 4


def default_target(source: Path, precision: str) -> Path:
    """`model.onnx` -> `model.fp16.onnx`, in the same folder."""
    return beside(source, f".{precision}.onnx")


def check_target(target: Path, source: Path) -> None:
    """UserError unless a model made from `source` can be written to `target`."""
    if target.suffix != ".onnx" or target.is_dir():
        raise UserError(f"-o {target} is no name of a model; give one that ends in .onnx")
    if target.resolve() == source.resolve():
        raise UserError(f"{target} would overwrite the FP32 file; give another name to -o")


def write(
    model: ModelProto,
    target: Path,
    source: ModelFile,
    *,
    precision: str,
    calibration: dict[str, Any] | None = None,
) -> None:
    """Save `model` whole or not at all, with the card of `source` brought up to date.

    Raises:
        UserError: as `check_target`.
    """
    check_target(target, source.path)
    card = dataclasses.replace(
        source.card,
        precision=precision,
        source_sha256=sha256(source.path),
        calibration=calibration or {},
    )
    onnx.helper.set_model_props(model, card.to_props())
    with atomic_path(target) as path:
        onnx.save(model, path)


def try_and_write(
    model: ModelProto,
    target: Path,
    source: ModelFile,
    images: Images,
    *,
    precision: str,
    calibration: dict[str, Any],
) -> str:
    """`write`, after `agreement` on a few of the calibration images; returns what that says.

    Args:
        calibration: what the card says of the ranges besides the images they come from.

    Raises:
        UserError: as both.
    """
    count = len(images.pixels)
    some = [images.pixels[i] for i in spread(count, min(count, _TRIAL_IMAGES), images.data)]
    result = agreement(source, model, some)
    about = {**images.describe(), **calibration}
    write(model, target, source, precision=precision, calibration=about)
    return result


def agreement(source: ModelFile, changed: ModelProto, images: Sequence[Image]) -> str:
    """Run both models on onnxruntime and say in a few words how close the outputs are.

    Raises:
        UserError: the changed model does not load, or an output is not finite.
    """
    batch = source.input_shape[0] or 1
    before, after = (
        OnnxRuntimeBackend(dataclasses.replace(source, proto=proto))
        for proto in (source.proto, changed)
    )
    difference, same = 0.0, []
    for image in images:
        stacked = np.repeat(image[None], batch, axis=0)
        expected, actual = before.infer(stacked), after.infer(stacked)
        for name, values in actual.items():
            if not np.isfinite(values).all():
                raise UserError(
                    f"output {name!r} is not finite after the conversion of {source.path}: "
                    "some activation exceeds the number format; keep this model in FP32"
                )
            if name == "labels":
                same.append((values == expected[name]).mean())
                continue
            difference = max(difference, float(np.abs(values - expected[name]).max()))
            if name == "scores":
                same.append((values.argmax(1) == expected[name].argmax(1)).mean())
    words = [f"labels agree with FP32 on {100 * np.mean(same):.2f} % of pixels"] if same else []
    if source.card.head != "labels":
        words.append(f"largest difference {difference:.3g}")
    return f"{', '.join(words)} ({len(images)} image{'s' if len(images) > 1 else ''})"
