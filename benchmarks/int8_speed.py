"""FP32 on both CPU backends beside INT8, batch 1, all in one interleaved run.

python benchmarks/int8_speed.py NAME=MODEL.onnx,MODEL.int8.onnx… --data SPEC [-o FILE]

Of each model the best FP32 median is divided by the best of its INT8 or mixed files. Where the time
of OpenVINO goes is measured afterwards, layer by layer, in runs that are slower for it.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np

from emca.cli import Parser, run
from emca.errors import UserError
from emca.files import sha256
from runtime.backends import CPU_BACKENDS, Backend, load
from runtime.results.output import json_output, origin
from runtime.timing.latency import measure
from segdata.datasets import open_dataset
from segdata.preprocess import fit

PROFILED = 40  # runs
KINDS = 8  # of layers, the rest together


def main(argv: list[str] | None = None) -> None:
    """Load every file on every backend, measure, print the table and write it."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="NAME=FP32.onnx,INT8.onnx…")
    parser.add_argument("--data", required=True, metavar="SPEC", help="its first image is run")
    parser.add_argument("--duration", type=float, default=8, help="seconds for each variant")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    image = open_dataset(args.data, labels=False)[0].image
    loaded = {
        (name, path, backend): load(path, backend)
        for name, paths in map(_parts, args.models)
        for path in paths
        for backend in CPU_BACKENDS
    }
    with json_output(args.output) as write:
        timings = measure(
            {"|".join(key): backend for key, backend in loaded.items()},
            image,
            duration_s=args.duration,
        )
        rows = [
            {
                "model": name,
                "file": Path(path).name,
                "precision": backend.card.precision,
                "input": list(backend.card.input_size),
                "backend": where,
                "median_ms": round(timings["|".join((name, path, where))].median, 2),
                "p90_ms": round(timings["|".join((name, path, where))].percentile(90), 2),
                "queries": len(timings["|".join((name, path, where))].queries),
                "sha256": sha256(Path(path)),
                **({"layers_ms": layers(backend, image)} if where == "openvino" else {}),
            }
            for (name, path, where), backend in loaded.items()
        ]
        ratios = {name: _ratio([row for row in rows if row["model"] == name])
                  for name, _ in map(_parts, args.models)}  # fmt: skip
        for row in rows:
            print(
                f"{row['model']:16} {row['file']:24} {row['backend']:12} {row['median_ms']:8.2f} ms"
            )
        print(ratios)
        command = shlex.join(["python", "benchmarks/int8_speed.py", *words])
        write(origin(command) | {"best FP32 / best INT8": ratios, "rows": rows})


def layers(backend: Backend, image: np.ndarray) -> dict[str, float]:
    """Median milliseconds in each kind of layer, the most expensive first."""
    batch = fit(image, backend.card.input_size)[None]
    kinds = {layer["Name"]: layer["LayerType"] for layer in backend.layer_info(batch).layers}
    found: Counter[str] = Counter()
    for name, ms in backend.layer_times(batch, PROFILED).layers:
        found[kinds.get(name, "other")] += median(ms)
    most = dict(found.most_common(KINDS))
    rest = sum(found.values()) - sum(most.values())
    return {kind: round(ms, 2) for kind, ms in (*most.items(), ("rest", rest))}


def _parts(entry: str) -> tuple[str, list[str]]:
    name, sign, paths = entry.partition("=")
    if not sign or "," not in paths:
        raise UserError(f"{entry}: write NAME=FP32.onnx,INT8.onnx")
    return name, paths.split(",")


def _ratio(rows: list[dict[str, object]]) -> float:
    best = {
        kind: min(float(str(row["median_ms"])) for row in rows if row["precision"] == kind)
        for kind in ("fp32", "int8")
    }
    return round(best["fp32"] / best["int8"], 3)


if __name__ == "__main__":
    run(main)
