"""Engines that TensorRT-RTX builds without a GPU, and what their layers compute in.

python benchmarks/rtx_builds.py [-o benchmarks/rtx_builds.json]

FP16 and INT8 files of several networks with random weights, 512x512, for a T4 (compute capability
7.5) and an RTX 30 card (8.6), the plugin in place. Needs tensorrt-rtx and `make plugin`.
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from untrained import export_untrained, model_config, network

import plugins
from calibration.fp16 import cast_file
from calibration.int8 import quantize_file
from emca.cli import Parser, run
from emca.errors import UserError
from plugins import OP_TYPE
from runtime.backends.base import ModelFile
from runtime.backends.engine_file import Profile
from runtime.build import build
from runtime.engines.graph import custom_operators
from runtime.engines.options import BuildOptions
from runtime.results.output import json_output, origin

SIZE = (512, 512)
PRESETS = {
    "EMCA ResNet-18": "camvid_resnet18",
    "EMCA ResNet-50": "ade20k_resnet50",
    "EMCA Swin-T": "ade20k_swin_tiny",
    "Mask2Former Swin-T": "ade20k_mask2former_swin_tiny",
    "MaskFormer ResNet-50": "ade20k_maskformer_resnet50",
    "SegFormer-B0": "ade20k_segformer_b0",
    "PIDNet-S": "cityscapes_pidnet_s",
}
TARGETS = ("7.5", "8.6")
IMAGES = 4
DATA = f"scenes:n={IMAGES},size={SIZE[0]}x{SIZE[1]}:train"


LOAD = """
import time, tensorrt_rtx, plugins
registry = tensorrt_rtx.get_plugin_registry()
began = time.perf_counter()
plugins.load(registry)
print(1000 * (time.perf_counter() - began))
"""


def library(path: Path) -> dict[str, Any]:
    """The size of the plugin's library and the time to load it, each time in a new process."""
    words = [sys.executable, "-c", LOAD]
    times = [float(subprocess.check_output(words, stderr=subprocess.DEVNULL)) for _ in range(9)]
    return {"bytes": path.stat().st_size, "load_median_ms": round(statistics.median(times), 2)}


def build_one(model: Path, target: str) -> dict[str, Any]:
    """Layers, plugin layers and products by format of one engine, or why there is none."""
    file = ModelFile.read(model)
    has_operator = OP_TYPE in custom_operators(file.proto)
    shape = (1, *file.card.input_size, 3)
    options = BuildOptions(
        backend="tensorrt-rtx",
        compute_capability=target,
        profiles=(Profile(shape, shape, shape),),
        plugins=(OP_TYPE,) if has_operator else (),
    )
    plan = model.with_suffix(f".{target}.engine")
    try:
        engine, built = build(model, plan, options, command="benchmarks/rtx_builds.py")
    except UserError as error:
        return {"error": str(error).replace(f"{model}", model.name)}
    counts: dict[str, Counter[str]] = {}
    for outcome in built.outcomes:
        kind, ran = outcome.product.kind, outcome.ran or "unnamed"
        counts.setdefault(kind, Counter())[ran] += 1
        if outcome.product.name.startswith("backbone"):
            counts.setdefault(f"{kind} of the backbone", Counter())[ran] += 1
    return {
        "seconds": round(built.seconds, 1),
        "megabytes": round(plan.stat().st_size / 1e6, 1),
        "layers": len(engine.layers),
        "plugin_layers": sum(built.plugins.values()),
        "products": {kind: dict(own) for kind, own in counts.items()},
        "notes": [note for note in built.notes if "not compared" not in note],
    }


def rows(name: str, preset: str, folder: Path) -> list[dict[str, Any]]:
    """Both formats of one network for each target."""
    source = folder / "model.onnx"
    export_untrained(network(model_config(preset)), source, size=SIZE)
    files = {"fp16": folder / "model.fp16.onnx", "int8": folder / "model.int8.onnx"}
    cast_file(source, files["fp16"])
    quantize_file(source, files["int8"], data=DATA, images=IMAGES)
    found = []
    for precision, file in files.items():
        for target in TARGETS:
            found.append({"model": name, "precision": precision, "compute_capability": target})
            found[-1] |= build_one(file, target)
            print(found[-1], flush=True)
    return found


def main(argv: list[str] | None = None) -> None:
    """Export, cast, quantise and build each network; write a row for each engine."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    path = plugins.find()
    if path is None:
        raise UserError("the plugin's library is missing; make plugin")
    with json_output(args.output) as write:
        found = []
        for name, preset in PRESETS.items():
            with tempfile.TemporaryDirectory() as folder:
                found += rows(name, preset, Path(folder))
        command = shlex.join(["python", "benchmarks/rtx_builds.py", *words])
        write(origin(command) | {"library": library(path), "size": list(SIZE), "rows": found})


if __name__ == "__main__":
    run(main)
