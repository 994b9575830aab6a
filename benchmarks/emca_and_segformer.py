"""EMCA-ResNet18 beside SegFormer-B0: 512x512, batch 1, 150 classes, every format and backend.

python benchmarks/emca_and_segformer.py [--data SPEC] [-o benchmarks/emca_and_segformer.json]

Both networks have random weights, which costs no time; both go through the same export, cast,
calibration and measurement, all variants interleaved in one run.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
from torch import nn
from untrained import export_untrained, model_config, network

from calibration.fp16 import cast_file
from calibration.int8 import quantize_file
from emca.cli import Parser, run
from runtime.backends import load
from runtime.results.output import json_output, origin
from runtime.timing.latency import measure
from segdata.datasets import open_dataset
from train.config import ModelConfig

SIZE = (512, 512)
BACKENDS = ("onnxruntime", "openvino")
EMCA, SEGFORMER = "EMCA-ResNet18", "SegFormer-B0"


def emca_config() -> ModelConfig:
    """The widths of the ResNet-18 preset with the 100 queries that 150 classes want."""
    return model_config("camvid_resnet18", num_queries=100)


def networks() -> dict[str, nn.Module]:
    """Both networks, ready for export."""
    return {
        EMCA: network(emca_config()),
        SEGFORMER: network(model_config("ade20k_segformer_b0")),
    }


def write_files(
    name: str, model: nn.Module, folder: Path, data: str
) -> tuple[dict[str, Path], float]:
    """FP32, FP16 and INT8 files of a network, and the seconds its export took."""
    paths = {kind: folder / f"{name}.{kind}.onnx" for kind in ("FP32", "FP16", "INT8")}
    seconds = export_untrained(model, paths["FP32"], size=SIZE)
    cast_file(paths["FP32"], paths["FP16"])
    quantize_file(paths["FP32"], paths["INT8"], data=data, images=8)
    return paths, seconds


def main(argv: list[str] | None = None) -> None:
    """Export, measure, print the table and write it."""
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="scenes:n=64,size=512x512:val", help="to calibrate on")
    parser.add_argument("--duration", type=float, default=6, help="seconds for each variant")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"), metavar="FILE"
    )
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    image = open_dataset(args.data, labels=False)[0].image
    with tempfile.TemporaryDirectory() as folder, json_output(args.output) as write:
        loaded, exports = {}, {}
        for name, model in networks().items():
            paths, exports[name] = write_files(name, model, Path(folder), args.data)
            for kind, path in paths.items():
                for backend in BACKENDS:
                    loaded[name, kind, backend] = load(path, backend)
        keys = {" ".join(key): key for key in loaded}
        timings = measure(
            {text: loaded[key] for text, key in keys.items()}, image, duration_s=args.duration
        )
        rows = [
            {
                "model": model,
                "format": kind,
                "backend": backend,
                "median_ms": round(timings[text].median, 2),
                "p90_ms": round(timings[text].percentile(90), 2),
                "queries": len(timings[text].queries),
            }
            for text, (model, kind, backend) in keys.items()
        ]
        best = {
            model: min((row for row in rows if row["model"] == model), key=_median)
            for model in exports
        }
        fp32 = min(
            (row for row in rows if (row["model"], row["format"]) == (EMCA, "FP32")), key=_median
        )
        int8 = min(
            (row for row in rows if (row["model"], row["format"]) == (EMCA, "INT8")), key=_median
        )
        summary = {
            "best EMCA / best SegFormer": _ratio(best[EMCA], best[SEGFORMER]),
            "best EMCA FP32 / best EMCA INT8": _ratio(fp32, int8),
            "export seconds": {name: round(value, 1) for name, value in exports.items()},
        }
        for row in rows:
            print(
                f"{row['model']:14} {row['format']:5} {row['backend']:12} "
                f"median {row['median_ms']:8.2f} ms   p90 {row['p90_ms']:8.2f} ms"
            )
        for key, value in summary.items():
            print(f"{key}: {value}")
        command = shlex.join(["python", "benchmarks/emca_and_segformer.py", *words])
        write(
            origin(command)
            | {
                "weights": "random: speed only",
                "model": dataclasses.asdict(emca_config()),
                "summary": summary,
                "rows": rows,
            }
        )


def _median(row: dict[str, object]) -> float:
    return float(np.float64(row["median_ms"]))


def _ratio(a: dict[str, object], b: dict[str, object]) -> float:
    return round(_median(a) / _median(b), 3)


if __name__ == "__main__":
    run(main)
