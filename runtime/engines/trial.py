"""Whether a new engine labels images as onnxruntime does, at every batch size it was made for.

Builders have been silently wrong for batches above 1 (NVIDIA/TensorRT#4853) and for single
operators (#4813), so an engine is tried where it was built, before anybody relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError
from runtime.backends import Backend
from runtime.backends.base import ModelFile
from runtime.backends.engine_file import EngineFile
from runtime.evaluate import to_labels
from segdata.datasets import open_dataset
from segdata.preprocess import fit

# Shares of pixels labelled alike. Two computations of one trained file differ where classes are
# nearly tied, the more the coarser its numbers are and the less the scenes resemble what it was
# trained on; an engine that is wrong differs everywhere.
REQUIRED = {"fp32": 0.99, "fp16": 0.9, "int8": 0.85}
# Of the pixels of a batch, labelled as the engine itself labels them in the smallest batch: only
# the kernels that were chosen for each size differ, not the numbers.
REQUIRED_OF_BATCHES = 0.97
SCENES = 3  # in turn along a batch, so that an image in a wrong place shows

NOT_RUN = {"run": False, "reason": "the GPU that the engine is for is not here"}
NO_REFERENCE = {"run": False, "reason": "onnxruntime is not installed"}


def check_parity(backend: Backend, engine: EngineFile, model: ModelFile) -> dict[str, Any]:
    """Run the corners of every profile against onnxruntime; the agreement of each.

    Args:
        backend: the engine, loaded.

    Returns:
        `run`, `reference`, `required` and, in `corners`, profile, batch, the agreement with
        onnxruntime and with the smallest batch (0..1); or `run` and the `reason` where there is
        no onnxruntime. Nothing is required of a model that was not trained, whose labels hang on
        rounding.

    Raises:
        UserError: a corner agrees less than is required.
    """
    if find_spec("onnxruntime") is None:
        return dict(NO_REFERENCE)
    from runtime.backends.onnx_runtime import OnnxRuntimeBackend

    trained = model.card.is_trained
    required = {
        "onnxruntime": REQUIRED[model.card.precision] if trained else 0.0,
        "smallest_batch": REQUIRED_OF_BATCHES if trained else 0.0,
    }
    scenes = _scenes(model)
    smallest = min(profile.minimum[0] for profile in engine.profiles)
    references = {
        "onnxruntime": _labels(OnnxRuntimeBackend(model), scenes, model.input_shape[0]),
        "smallest_batch": _labels(backend, scenes, smallest),
    }
    corners = []
    for index, profile in enumerate(engine.profiles):
        for batch in sorted({profile.minimum[0], profile.optimum[0], profile.maximum[0]}):
            order = np.arange(batch) % SCENES
            actual = _labels(backend, scenes[order], batch)
            agreement = {
                name: float((actual == labels[order]).mean()) for name, labels in references.items()
            }
            corners.append({"profile": index, "batch": batch, **agreement})
            for name, share in agreement.items():
                if share < required[name]:
                    other = name if name == "onnxruntime" else f"at batch {smallest}"
                    raise UserError(_complaint(model, batch, share, other, required[name]))
    return {"run": True, "required": required, "corners": corners}


def parity_line(parity: Mapping[str, Any]) -> str:
    """What `check_parity` found, or why it did not run, for the user."""
    if not parity["run"]:
        return f"Labels not compared with onnxruntime: {parity['reason']}."
    corners = (f"{c['onnxruntime']:.2%} at batch {c['batch']}" for c in parity["corners"])
    return f"Labels as onnxruntime's: {', '.join(corners)}."


def _complaint(model: ModelFile, batch: int, share: float, other: str, required: float) -> str:
    return (
        f"{model.path}: at batch {batch} the engine labels {share:.2%} of pixels as {other}, and "
        f"{required:.0%} are required; this TensorRT computes the model wrongly: try another "
        "version, --noTF32 or --no-plugin"
    )


def _labels(backend: Backend, images: NDArray[np.uint8], batch: int | None) -> NDArray[np.uint8]:
    """Labels [n,H,W] of images [n,H,W,3], in batches of this size, or one by one where it is open.

    The last batch is filled up with the last image.
    """
    size = batch or 1
    labels = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        outputs = backend.infer(filled)
        labels += [
            to_labels({name: value[i] for name, value in outputs.items()}, images.shape[1:3])
            for i in range(len(part))
        ]
    return np.stack(labels)


def _scenes(model: ModelFile) -> NDArray[np.uint8]:
    height, width = model.card.input_size
    data = open_dataset(f"scenes:n={SCENES},size={height}x{width}:test", labels=False)
    return np.stack([fit(data[i].image, (height, width)) for i in range(SCENES)])
