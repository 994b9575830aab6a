"""How often labels differ when masks are upsampled before instead of after meeting the classes.

python benchmarks/head_order.py CKPT.pth SPEC… [-o benchmarks/head_order.json]

Exports the checkpoint in both orders at each SPEC's size, runs both on every image, counts.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from emca.cli import Parser, parse_size, progress, run
from export.to_onnx import export_checkpoint
from runtime.backends import load
from runtime.evaluate import predict
from runtime.results.output import json_output, origin
from runtime.timing.latency import measure
from segdata.datasets import open_dataset
from segdata.metrics import ConfusionMatrix

ORDERS = ("fast", "official")


def compare_orders(
    checkpoint: Path, spec: str, size: tuple[int, int], folder: Path
) -> dict[str, Any]:
    """Both orders on the images of one data set; mIoU where it has the model's classes."""
    backends = {}
    for order in ORDERS:
        target = folder / f"{order}.onnx"
        if not export_checkpoint(checkpoint, target, size=size, head_order=order):
            raise SystemExit("the exported file disagrees with its model")
        backends[order] = load(target)
    dataset = open_dataset(spec, labels=False)
    classes = backends["fast"].card.classes
    truth = open_dataset(spec) if dataset.taxonomy.classes == classes else None
    matrices = {order: ConfusionMatrix(len(classes)) for order in ORDERS}
    different = pixels = 0
    for index in progress(range(len(dataset)), desc=spec):
        image = dataset[index].image
        labels = {order: predict(backend, image) for order, backend in backends.items()}
        different += int(np.count_nonzero(labels["fast"] != labels["official"]))
        pixels += labels["fast"].size
        if truth:
            for order in ORDERS:
                matrices[order].update(truth[index].label, labels[order])
    timings = measure(backends, dataset[0].image)
    result: dict[str, Any] = {
        "data": spec,
        "images": len(dataset),
        "size": list(size),
        "different_labels_percent": round(100 * different / pixels, 4),
        "median_ms": {order: round(timing.median, 1) for order, timing in timings.items()},
    }
    if truth:
        result["miou_percent"] = {o: round(100 * m.miou, 3) for o, m in matrices.items()}
    return result


def main(argv: list[str] | None = None) -> None:
    """Measure on each data set, print and write."""
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", nargs="+", metavar="SPEC@HxW")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder, json_output(args.output) as write:
        rows = []
        for word in args.data:
            spec, _, size = word.rpartition("@")
            rows.append(
                compare_orders(args.checkpoint, spec, parse_size(size, "SIZE"), Path(folder))
            )
            print(rows[-1])
        write(origin(shlex.join(["python", "benchmarks/head_order.py", *words])) | {"rows": rows})


if __name__ == "__main__":
    run(main)
