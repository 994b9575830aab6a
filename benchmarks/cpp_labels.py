"""The C++ program labels images as `runtime.evaluate.predict` does on OpenVINO: pixels that differ.

python benchmarks/cpp_labels.py MODEL.onnx… --images SOURCE… --program EMCA_SEGMENT [-o FILE]
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from emca.cli import Parser, progress, run
from runtime.backends import load
from runtime.evaluate import predict
from runtime.media.sources import find_sources
from runtime.results.output import json_output, origin
from runtime.to_openvino import convert
from segdata.preprocess import read_image, read_label


def compare(model: Path, images: list[Path], program: Path, folder: Path) -> dict[str, Any]:
    """How many pixels of the images the two label differently."""
    backend = load(model, "openvino")
    network = convert(model, folder / "model.xml")
    found = folder / "labels.png"
    pixels = different = 0
    for path in progress(images, desc=f"{model.parent.name}/{model.name}"):
        subprocess.run(
            [program, network, path, "--labels", "-o", found], check=True, stdout=subprocess.DEVNULL
        )
        expected = predict(backend, read_image(path))
        different += int(np.count_nonzero(read_label(found) != expected))
        pixels += expected.size
    backend.close()
    return {
        "model": f"{model.parent.name}/{model.name}",
        "precision": backend.card.precision,
        "images": len(images),
        "pixels": pixels,
        "different": different,
    }


def main(argv: list[str] | None = None) -> None:
    """Compare, print and write."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--images", nargs="+", required=True, metavar="SOURCE")
    parser.add_argument("--program", type=Path, required=True, metavar="EMCA_SEGMENT")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    images = find_sources(args.images).images
    with json_output(args.output) as write, tempfile.TemporaryDirectory() as folder:
        rows = []
        for model in args.models:
            rows.append(compare(model, images, args.program.resolve(), Path(folder)))
            print(rows[-1])
        command = shlex.join(["python", "benchmarks/cpp_labels.py", *words])
        write(origin(command) | {"rows": rows})


if __name__ == "__main__":
    run(main)
