"""Labels of one model's files on the versions of onnxruntime that Triton has.

python benchmarks/serve_onnxruntime.py MODEL.onnx --data SPEC [--versions FOLDER] [-o FILE]

FOLDER holds one `pip install --no-deps --target FOLDER/1.21.0 onnxruntime==1.21.0` per version and
`numpy1` with numpy 1.26 for those before 1.19. Each file runs with all graph optimisers ("all")
and with none, as `optimization.graph.level: 2` of a Triton configuration means ("none").
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from emca.cli import Parser, progress, run
from runtime.backends import ModelFile
from runtime.backends.onnx_runtime import OnnxRuntimeBackend
from runtime.results.output import json_output, origin
from segdata.datasets import open_dataset
from segdata.metrics import ConfusionMatrix
from segdata.preprocess import fit

CHILD = """
import sys, numpy as np, onnxruntime as ort
model, images, level, target = sys.argv[1:]
options = ort.SessionOptions()
options.log_severity_level = 4
levels = ort.GraphOptimizationLevel
none = level == "none"
options.graph_optimization_level = levels.ORT_DISABLE_ALL if none else levels.ORT_ENABLE_ALL
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
labels = [session.run(None, {"image": image[None]})[0][0] for image in np.load(images)]
np.save(target, np.stack(labels))
"""


def label(model: Path, images: Path, level: str, version: Path | None) -> np.ndarray | str:
    """Labels, uint8 [n,H,W], of plain onnxruntime in a process of its own, or its error."""
    target = images.with_name("labels.npy")
    folders = [version, version.parent / "numpy1"] if version and old(version.name) else [version]
    paths = os.pathsep.join(str(folder) for folder in folders if folder)
    command = [sys.executable, "-c", CHILD, str(model), str(images), level, str(target)]
    env = os.environ | ({"PYTHONPATH": paths} if paths else {})
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:160]
    return np.load(target)


def old(version: str) -> bool:
    """Whether this onnxruntime was built for NumPy 1."""
    return tuple(map(int, version.split(".")[:2])) < (1, 19)


def main(argv: list[str] | None = None) -> None:
    """Label, compare, print and write."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="the FP32 file, .fp16 and .int8 beside it")
    parser.add_argument("--data", required=True, metavar="SPEC")
    parser.add_argument("--images", type=int, default=26)
    parser.add_argument("--versions", type=Path, metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    dataset = open_dataset(args.data)
    picked = np.linspace(0, len(dataset) - 1, args.images).round().astype(int)
    samples = [dataset[int(k)] for k in picked]
    found = sorted(args.versions.glob("1.*")) if args.versions else []
    files = [args.model, *(args.model.with_suffix(f".{kind}.onnx") for kind in ("fp16", "int8"))]
    runs = [(f, v, level) for f in files for v in (None, *found) for level in ("all", "none")]
    rows: list[dict[str, Any]] = []
    with json_output(args.output) as write, tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        size = ModelFile.read(args.model).card.input_size
        np.save(images, np.stack([fit(sample.image, size) for sample in samples]))
        expected = {file: reference(file, np.load(images)) for file in files}
        for file, version, level in progress(runs, desc="labelling"):
            labels = label(file, images, level, version)
            row: dict[str, Any] = {
                "file": "".join(file.suffixes),
                "onnxruntime": version.name if version else "installed",
                "optimisers": level,
            }
            if isinstance(labels, str):
                rows.append(row | {"error": labels})
                continue
            matrix = ConfusionMatrix(len(dataset.taxonomy.classes))
            for sample, one in zip(samples, labels, strict=True):
                matrix.update(fit_label(sample.label, one), one)
            same = float((labels == expected[file]).mean())
            rows.append(row | {"same labels": round(same, 5), "miou": round(matrix.miou, 4)})
        for row in rows:
            print(json.dumps(row))
        command = shlex.join(["python", "benchmarks/serve_onnxruntime.py", *words])
        write(origin(command) | {"images": args.images, "rows": rows})


def reference(file: Path, images: np.ndarray) -> np.ndarray:
    """Labels of the project's own backend."""
    backend = OnnxRuntimeBackend(ModelFile.read(file))
    return np.stack([backend.infer(image[None])["labels"][0] for image in images])


def fit_label(label: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    """The truth, which must have the size of the model's input already."""
    if label is None or label.shape != like.shape:
        raise SystemExit("this benchmark takes images of the size of the model's input")
    return label


if __name__ == "__main__":
    run(main)
