"""Speed and accuracy of a model's number formats, measured in one interleaved run.

python runtime/bench.py --onnx=model.onnx --fp16 --int8 --data=camvid:data/camvid:val
python runtime/bench.py --onnx=model.onnx --fp16 --backend=tensorrt

Options and the performance summary are spelled as in NVIDIA's trtexec wherever it has them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: the project, not its folder runtime/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from numpy.typing import NDArray

from runtime import machine, parity
from runtime.backends import BACKENDS, Backend, ModelFile, choose, load
from runtime.backends.engine_file import EngineFile, is_engine
from runtime.backends.trt_module import NAMES as ENGINE_BACKENDS
from runtime.build_options import add_build_options, refuse_build_options
from runtime.evaluate import check_classes, compare
from runtime.measure import measure
from runtime.results import json_output, origin
from runtime.summary import summary, trace
from segdata.cli import Parser, run
from segdata.datasets import open_dataset
from segdata.errors import UserError
from segdata.files import sha256

REFERENCE = "FP32"


def is_current(target: Path, model: Path) -> bool:
    """Whether the target exists and was made from the model as it is now."""
    return target.exists() and ModelFile.read(target).card.source_sha256 == sha256(model)


def read_fp32(model: Path) -> ModelFile:
    """The file as it was exported; UserError where it is another format made from such a file."""
    file = ModelFile.read(model)
    precision = file.card.precision
    if precision != "fp32":
        raise UserError(f"{model} is an {precision} file; give the FP32 file it was made from")
    return file


def formats(
    model: Path, *, fp16: bool, int8: bool, calibration_data: str | None
) -> dict[str, Path]:
    """The files to measure by format; those that are missing or outdated are made first.

    Raises:
        UserError: the model is no FP32 file, or an INT8 file is wanted without images.
    """
    read_fp32(model)
    wanted = [name for name, flag in (("FP16", fp16), ("INT8", int8)) if flag]
    if not wanted:
        return {REFERENCE: model}
    from calibration.files import default_target

    files = {name: default_target(model, name.lower()) for name in wanted}
    outdated = [name for name in wanted if not is_current(files[name], model)]
    for name in set(wanted) - set(outdated):
        if (precision := ModelFile.read(files[name]).card.precision) != name.lower():
            raise UserError(
                f"{files[name]} is an {precision} file; give it another name, then it is made anew"
            )
    if "INT8" in outdated and calibration_data is None:
        raise UserError(
            f"--int8 needs images to calibrate {files['INT8']} on; add --calibData=NAME:PATH "
            "or --data=NAME:PATH"
        )
    if "FP16" in outdated:
        from calibration.fp16 import cast_file

        print(f"Casting {model} to {files['FP16']}")
        print(cast_file(model, files["FP16"], data=calibration_data))
    if "INT8" in outdated and calibration_data is not None:
        from calibration.int8 import quantize_file
        from calibration.options import DEFAULT_IMAGES

        images = min(DEFAULT_IMAGES, len(open_dataset(calibration_data, labels=False)))
        print(f"Calibrating {files['INT8']} on {images} images of {calibration_data}")
        print(quantize_file(model, files["INT8"], data=calibration_data, images=images))
    return {REFERENCE: model, **files}


def document(
    rows: Sequence[parity.Row], backends: Mapping[str, Backend], folder: Path
) -> dict[str, Any]:
    """The table for --exportTable; paths in it are relative to `folder`, where it will stand."""
    reference = next(iter(backends.values()))
    card = reference.card
    return {
        "backend": reference.name,
        "input": [reference.input_shape[0] or 1, *reference.input_shape[1:]],
        "classes": list(card.classes),
        "palette": [list(colour) for colour in card.palette],
        "trained_iterations": card.trained_iterations,
        "is_trained": card.is_trained,
        "checkpoint_sha256": card.checkpoint_sha256,
        "files": {
            name: {
                "path": Path(os.path.relpath(backend.path, folder)).as_posix(),
                "sha256": sha256(backend.path),
                "command": backend.card.command,
            }
            for name, backend in backends.items()
        },
        "rows": [row.to_dict() for row in rows],
        "notes": parity.notes(backends, rows),
    }


def model_files(args: argparse.Namespace, command: str) -> dict[str, Path]:
    """The files to measure by format, made first where they are missing or outdated.

    With an engine backend these are engines. With --buildOnly and formats to build, the FP32 file
    is no engine's reference and none is built of it, nor where the backend cannot.

    Raises:
        UserError: as `formats` and `runtime.build`.
    """
    if is_engine(args.onnx):
        if args.fp16 or args.int8:
            raise UserError(
                f"{args.onnx} is an engine of one format; leave --fp16 and --int8 out or give the "
                "FP32 ONNX file"
            )
        return {EngineFile.read(args.onnx).card.precision.upper(): args.onnx}
    engines = args.backend in ENGINE_BACKENDS
    without_fp32 = ""
    if engines:
        from runtime import bench_engines

        without_fp32 = bench_engines.check(args)  # before files are made
    files = formats(
        args.onnx, fp16=args.fp16, int8=args.int8, calibration_data=args.calibData or args.data
    )
    if without_fp32:
        print(f"No engine of {files.pop(REFERENCE).name}: {without_fp32}.")
    return bench_engines.engines(files, args.backend, args, command) if engines else files


def bench(args: argparse.Namespace, command: str) -> None:
    """Make the files, time them, compare their labels, print and write the result."""
    if args.buildOnly:
        if is_engine(args.onnx):
            raise UserError(f"{args.onnx} is an engine; leave --buildOnly out or give an ONNX file")
        if args.backend not in ENGINE_BACKENDS:
            raise UserError(
                "--buildOnly builds engines; add --backend="
                + " or --backend=".join(ENGINE_BACKENDS)
            )
        if args.exportTimes or args.exportTable:
            raise UserError("--buildOnly measures nothing; leave --exportTimes, --exportTable out")
        model_files(args, command)
        return
    if args.backend not in ENGINE_BACKENDS or is_engine(args.onnx):
        refuse_build_options(args)
    name = args.backend if is_engine(args.onnx) else choose(args.backend)
    dataset = open_dataset(args.data) if args.data else None
    if dataset and not is_engine(args.onnx):
        check_classes(ModelFile.read(args.onnx), dataset)
    with json_output(args.exportTimes) as write_times, json_output(args.exportTable) as write_table:
        files = model_files(args, command)
        backends = {key: load(path, name, threads=args.threads) for key, path in files.items()}
        timings = measure(
            backends,
            dataset[0].image if dataset else noise(next(iter(backends.values()))),
            warmup_ms=args.warmUp,
            duration_s=args.duration,
            iterations=args.iterations,
        )
        for key, timing in timings.items():
            on = backends[key].name
            print(f"\n{key}: {files[key]} on {on}\n{summary(timing, args.percentile)}")
        accuracies = compare(backends, dataset, args.limit) if dataset else None
        images = min(args.limit or len(dataset), len(dataset)) if dataset else None
        rows = parity.rows(backends, timings, accuracies)
        print(f"\n=== Parity ===\n{parity.table(rows)}")
        if dataset:
            print(f"Accuracy on {images} images of {args.data}.")
        for note in parity.notes(backends, rows):
            print(note)
        write_times(trace(timings))
        folder = args.exportTable.parent if args.exportTable else Path()
        context = {"data": args.data, "images": images, "threads": args.threads}
        write_table(origin(command) | context | document(rows, backends, folder))


def noise(backend: Backend) -> NDArray[np.uint8]:
    """An image for timing alone, whose speed does not depend on what is in it."""
    return np.random.default_rng(0).integers(0, 256, backend.input_shape[1:], dtype=np.uint8)


def _percentiles(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 <= value <= 100 for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of percentages such as 90,95,99")
    return values


def add_measuring_options(parser: Parser) -> None:
    """The options of every command that times and scores models; see `check_measuring`."""
    add = parser.add_argument
    add("--fp16", action="store_true", help="measure MODEL.fp16.onnx too, made when missing")
    add("--int8", action="store_true", help="measure MODEL.int8.onnx too, made when missing")
    add("--data", metavar="NAME:PATH[:SPLIT]", help="labelled images for the accuracy")
    add("--calibData", metavar="NAME:PATH[:SPLIT]", help="images for INT8 ranges (default: --data)")
    add("--limit", type=int, metavar="N", help="accuracy on the first N images only")
    add("--backend", default="auto", help=f"auto, {', '.join(BACKENDS)}")
    add("--threads", type=int, default=0, metavar="N", help="CPU threads, 0 = every core")
    add("--iterations", type=int, default=10, metavar="N", help="queries at least (default 10)")
    add("--warmUp", type=float, default=200, metavar="MS", help="uncounted ms (default 200)")
    add("--duration", type=float, default=3, metavar="S", help="seconds at least (default 3)")


def check_measuring(args: argparse.Namespace) -> None:
    """UserError where a number of `add_measuring_options` is out of its range."""
    least = {"limit": 1, "iterations": 1, "warmUp": 0, "duration": 0}
    for option, smallest in least.items():
        value = getattr(args, option)
        if value is not None and value < smallest:
            raise UserError(f"--{option}={value:g} is too small; take {smallest} or more")


def _parser() -> Parser:
    parser = Parser(prog="python -m runtime.bench", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--onnx", type=Path, required=True, metavar="MODEL", help="the FP32 file, or an engine")
    add_measuring_options(parser)
    add("--buildOnly", action="store_true", help="build the engines, print their layers and stop")
    add("--percentile", type=_percentiles, default="90,95,99", metavar="P1,P2,…")
    add("--exportTimes", type=Path, metavar="FILE", help="every query as JSON")
    add("--exportTable", type=Path, metavar="FILE", help="the parity table as JSON")
    add_build_options(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    words = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(words)
    check_measuring(args)
    bench(args, machine.command_line("runtime.bench", words))


if __name__ == "__main__":
    run(main)
