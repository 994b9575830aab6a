"""Label maps of a model file against the truth: per-class IoU, mIoU, pixel accuracy.

python -m runtime.evaluate MODEL --data NAME:PATH[:SPLIT]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emca.cli import Parser, progress, run
from emca.errors import UserError
from emca.files import sha256
from runtime.backends import BACKENDS, Backend, EngineFile, ModelFile, load
from runtime.results.machine import command_line
from runtime.results.output import json_output, origin
from segdata.card import ModelCard
from segdata.datasets import Dataset, open_dataset
from segdata.metrics import ConfusionMatrix
from segdata.preprocess import fit, restore

MODEL_HELP = "ONNX file of export.to_onnx or calibration, or engine of runtime.build"


@dataclass
class Accuracy:
    """How one of several models did on the same images.

    Attributes:
        matrix: its labels against the truth.
        agreement: share of all pixels that it labels as the first model does, 0..1.
    """

    matrix: ConfusionMatrix
    agreement: float


def predict(backend: Backend, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Label one RGB image, uint8 [h,w,3] of any size; the result is uint8 [h,w] of train ids."""
    _, height, width, _ = backend.input_shape
    fitted = fit(image, (height, width))[None]
    outputs = backend.infer(np.repeat(fitted, backend.least_batch, axis=0))
    labels = to_labels({name: value[0] for name, value in outputs.items()}, (height, width))
    return restore(labels, (image.shape[0], image.shape[1]))


def to_labels(outputs: Mapping[str, NDArray[Any]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels, uint8 [H,W], of one image's outputs, whichever head the model was exported with.

    Args:
        outputs: `labels` [H,W], or `scores` [K,h,w], or `class_logits` [M,K+1] (the last class
            is "no object") with `mask_logits` [M,h,w].
        size: (H, W) of the model's input.
    """
    if "labels" in outputs:
        return np.asarray(outputs["labels"], dtype=np.uint8)
    return _argmax_resized(to_scores(outputs), size)


def to_scores(outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Class scores, float [K,h,w], of one image's `scores`, or `class_logits` and `mask_logits`."""
    if "scores" in outputs:
        return outputs["scores"]
    logits, masks = outputs["class_logits"], outputs["mask_logits"]
    classes = np.exp(logits - logits.max(axis=-1, keepdims=True))
    classes /= classes.sum(axis=-1, keepdims=True)
    probabilities = 0.5 * (1 + np.tanh(0.5 * masks))  # a sigmoid that cannot overflow
    return np.tensordot(classes[:, :-1].T, probabilities, axes=1)


def compare(
    backends: Mapping[str, Backend], dataset: Dataset, limit: int | None = None
) -> dict[str, Accuracy]:
    """Run every model on the same images; the first one is the reference for the agreement.

    Args:
        dataset: images with labels, of the very classes that the models know.
        limit: only the first so many images.

    Raises:
        UserError: the classes differ, or an image has no label.
    """
    for backend in backends.values():
        check_classes(backend, dataset)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    matrices = {name: ConfusionMatrix(len(dataset.taxonomy.classes)) for name in backends}
    equal = dict.fromkeys(backends, 0)
    pixels = 0
    for index in progress(range(count), desc="evaluating"):
        sample = dataset[index]
        if sample.label is None:
            raise UserError(f"{sample.name} of {dataset.spec} has no label to compare with")
        reference: NDArray[np.uint8] | None = None
        for name, backend in backends.items():
            labels = predict(backend, sample.image)
            reference = labels if reference is None else reference
            equal[name] += int(np.count_nonzero(labels == reference))
            matrices[name].update(sample.label, labels)
        pixels += sample.label.size
    return {name: Accuracy(matrices[name], equal[name] / max(pixels, 1)) for name in backends}


def evaluate(backend: Backend, dataset: Dataset, limit: int | None = None) -> ConfusionMatrix:
    """The confusion matrix of one model over a data set; see `compare`."""
    return compare({backend.name: backend}, dataset, limit)[backend.name].matrix


def check_classes(model: Backend | ModelFile | EngineFile, dataset: Dataset) -> None:
    """UserError unless the data has the model's classes in the model's order."""
    known, given = tuple(model.card.classes), tuple(dataset.taxonomy.classes)
    if len(known) != len(given):
        raise UserError(
            f"{dataset.spec} has {len(given)} classes ({_short(given)}), {model.path} has "
            f"{len(known)} ({_short(known)}); take data of the same classes"
        )
    for index, (ours, theirs) in enumerate(zip(known, given, strict=True)):
        if ours != theirs:
            raise UserError(
                f'class {index} is "{theirs}" in {dataset.spec} and "{ours}" in {model.path}; '
                "take data of the same classes"
            )


def iou_table(card: ModelCard, matrix: ConfusionMatrix) -> str:
    """The per-class IoU in percent, mIoU and pixel accuracy as a text table."""
    width = max(len(name) for name in (*card.classes, "pixel accuracy"))
    rows = [(name, iou) for name, iou in zip(card.classes, matrix.iou, strict=True)]
    rows += [("mIoU", matrix.miou), ("pixel accuracy", matrix.pixel_accuracy)]
    lines = [
        f"{name:<{width}}  {'-' if np.isnan(value) else f'{100 * value:.2f}':>6}"
        for name, value in rows
    ]
    rule = "-" * (width + 8)
    return "\n".join([f"{'class':<{width}}  {'IoU %':>6}", rule, *lines[:-2], rule, *lines[-2:]])


def _argmax_resized(scores: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The best of K score maps [K,h,w] at another size, as uint8 [H,W]; the first wins a tie.

    Class by class, because all K maps at full size would need gigabytes on large images.
    """
    best = np.full(size, -np.inf, dtype=np.float32)
    labels = np.zeros(size, dtype=np.uint8)
    for index, plane in enumerate(scores.astype(np.float32)):
        resized = cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        better = resized > best
        best[better] = resized[better]
        labels[better] = index
    return labels


def _short(names: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="python -m runtime.evaluate", description="mIoU of a model file.")
    parser.add_argument("model", type=Path, help=MODEL_HELP)
    parser.add_argument("--data", required=True, metavar="NAME:PATH[:SPLIT]")
    parser.add_argument("--backend", default="auto", help=f"auto, {', '.join(BACKENDS)}")
    parser.add_argument("--threads", type=int, default=0, help="0 = every core")
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit={args.limit} leaves no image; take 1 or more")
    dataset = open_dataset(args.data)
    with json_output(args.json) as write:
        backend = load(args.model, args.backend, threads=args.threads)
        matrix = evaluate(backend, dataset, args.limit)
        print(f"{args.model} ({backend.card.precision}) on {backend.name}, {args.data}\n")
        print(iou_table(backend.card, matrix))
        write(
            {
                **origin(command_line("runtime.evaluate", words)),
                "backend": backend.name,
                "precision": backend.card.precision,
                "sha256": sha256(args.model),
                "data": args.data,
                "images": min(args.limit or len(dataset), len(dataset)),
                "classes": list(backend.card.classes),
                **matrix.to_dict(),
            }
        )


if __name__ == "__main__":
    run(main)
