"""What surrounds inference: decoding, fitting, restoring; in Python, in C++ and in the graph.

python benchmarks/end_to_end.py MODEL.onnx --data SPEC [--cpp EMCA_BENCHMARK] [-o FILE]

Images of the model's own size give the overhead over inference alone; images of 1280x720 give the
share of each stage, with pre- and postprocessing outside the graph and inside (runtime.embed).
EMCA_BENCHMARK is the program of that name in runtime/cpp; it gets the first image as a JPEG.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from emca.cli import Parser, run
from runtime.backends import ModelFile, load
from runtime.embed import embed
from runtime.results.output import json_output, origin
from runtime.timing.end_to_end import EndToEnd, end_to_end, table
from runtime.to_openvino import convert
from segdata.datasets import open_dataset

CAMERA = (720, 1280)
IMAGES = 8
ROUNDS = 3  # of which the one with the median overhead counts
QUALITY = 95


def overhead(one: EndToEnd) -> float:
    """Time beside inference as a share of inference."""
    return one.total_ms / one.ms["infer"] - 1


def own_size(model: Path, images: list[np.ndarray], seconds: float) -> EndToEnd:
    """Images that need no fitting."""
    backend = load(model)
    rounds = [
        end_to_end({"plain": backend}, images, duration_s=seconds)["plain"] for _ in range(ROUNDS)
    ]
    backend.close()
    return sorted(rounds, key=overhead)[ROUNDS // 2]


def in_cpp(program: Path, model: Path, image: np.ndarray, folder: Path) -> dict[str, Any]:
    """What emca-benchmark says of the first image."""
    path = folder / "image.jpg"
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    network = convert(model, folder / "model.xml")
    found = [
        json.loads(subprocess.check_output([program, network, path, "200"], text=True))
        for _ in range(ROUNDS)
    ]
    return sorted(found, key=lambda one: one["end_to_end_overhead"])[ROUNDS // 2]


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True, metavar="SPEC", help="images to label")
    parser.add_argument("--cpp", type=Path, metavar="EMCA_BENCHMARK")
    parser.add_argument("--duration", type=float, default=8, help="seconds for each variant")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    file = ModelFile.read(args.model)
    size = file.card.input_size
    dataset = open_dataset(args.data, labels=False)
    scenes = [dataset[k].image for k in range(min(len(dataset), IMAGES))]
    small, large = ([cv2.resize(s, side[::-1]) for s in scenes] for side in (size, CAMERA))
    result: dict[str, Any] = {"input": list(size), "precision": file.card.precision}
    with json_output(args.output) as write, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = own_size(args.model, small, args.duration)
        result["python"] = python.to_dict() | {"overhead": overhead(python)}
        if args.cpp:
            result["c++"] = in_cpp(args.cpp, args.model, small[0], folder)
        onnx.save(embed(file, CAMERA).proto, folder / "embedded.onnx")
        backends = {"outside": load(args.model), "inside": load(folder / "embedded.onnx")}
        found = end_to_end(backends, large, duration_s=args.duration)
        result["1280x720"] = {name: one.to_dict() for name, one in found.items()}
        print(table({"own size": python, **found}))
        print(f"overhead in Python: {100 * overhead(python):.1f} %")
        if args.cpp:
            print(f"in C++: {100 * result['c++']['end_to_end_overhead']:.1f} %")
        write(origin(shlex.join(["python", "benchmarks/end_to_end.py", *words])) | result)


if __name__ == "__main__":
    run(main)
