"""Does the exported file compute what the PyTorch model computes?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper

from export.wrapper import DeployModel
from segdata.datasets import open_dataset
from segdata.preprocess import fit
from train.models.mask2former import semantic_scores

REQUIRED_AGREEMENT = 0.999


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from its model, over all images tried."""

    largest_difference: float
    """Of the float values behind the result; infinite if one is not finite."""
    agreement: float
    """Share of pixels with the same label."""

    def __bool__(self) -> bool:
        return self.agreement >= REQUIRED_AGREEMENT and math.isfinite(self.largest_difference)


def check_parity(model: DeployModel, file: ModelProto, *, size: tuple[int, int]) -> Parity:
    """Run both on two generated street scenes, neither of them the traced image.

    Where the batch is open, both scenes go through as one batch.

    Args:
        model: the model that was exported, without custom ops.
        file: what came out, local function included.
        size: (H, W) of the input.
    """
    session = _session(_with_scores(file) if model.head == "labels" else file)
    scenes = open_dataset(f"scenes:n=2,size={size[0]}x{size[1]}:test")
    images = np.stack([fit(scenes[i].image, size) for i in range(len(scenes))])
    batch = len(images) if isinstance(session.get_inputs()[0].shape[0], str) else 1
    difference, equal, total = 0.0, 0, 0
    for image in np.split(images, len(images) // batch):
        ours = session.run(None, {"image": image})
        theirs = _reference(model, torch.from_numpy(image))
        for a, b in zip(ours, theirs, strict=True):
            if a.dtype != np.uint8:
                gap = np.abs(a - b).max()
                difference = max(difference, float(gap) if np.isfinite(gap) else float("inf"))
        same = _labels(ours, model.head) == _labels(theirs, model.head)
        equal, total = equal + int(same.sum()), total + same.size
    return Parity(difference, equal / total)


@torch.no_grad()
def _reference(model: DeployModel, image: torch.Tensor) -> list[NDArray[np.generic]]:
    if model.head != "labels":
        output = model(image)
        return [o.numpy() for o in (output if isinstance(output, tuple) else (output,))]
    scores = model.full_scores(image)
    return [scores.argmax(dim=1).to(torch.uint8).numpy(), scores.numpy()]


def _labels(outputs: list[NDArray[np.generic]], head: str) -> NDArray[np.generic]:
    if head == "labels":
        return outputs[0]
    scores = outputs[0]
    if head == "masks":
        scores = semantic_scores(*map(torch.from_numpy, outputs)).numpy()
    return scores.argmax(axis=1)


def _with_scores(file: ModelProto) -> ModelProto:
    """A copy that also puts out the scores which the last ArgMax sees."""
    copy = ModelProto()
    copy.CopyFrom(file)
    argmax = [node for node in copy.graph.node if node.op_type == "ArgMax"][-1]
    copy.graph.output.append(
        helper.make_tensor_value_info(argmax.input[0], onnx.TensorProto.FLOAT, None)
    )
    return copy


def _session(model: ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
