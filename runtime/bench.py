"""Speed and accuracy of a model's number formats, measured in one interleaved run.

python runtime/bench.py --onnx=model.onnx --fp16 --int8 --data=camvid:data/camvid:val
python runtime/bench.py --onnx=model.onnx --fp16 --backend=tensorrt
python runtime/bench.py --loadEngine=model.fp16.engine --infStreams=2

Options and the performance summary are spelled as in NVIDIA's trtexec wherever it has them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: the project, not its folder runtime/, belongs on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from numpy.typing import NDArray

from emca.cli import run
from emca.errors import UserError
from emca.files import sha256
from runtime.backends import (
    GPU_BACKENDS,
    Backend,
    EngineFile,
    ModelFile,
    choose,
    is_engine,
    load,
)
from runtime.backends.cuda.memory import choose_gpu, open_cuda
from runtime.bench_options import bench_parser, check_bench, refuse_others
from runtime.comparison import rows as parity
from runtime.comparison.formats import model_files
from runtime.comparison.reports import Reports
from runtime.engines.current import listen
from runtime.engines.options import libraries, read_shape
from runtime.evaluate import check_classes, compare
from runtime.results import machine
from runtime.results.output import origin
from runtime.timing import end_to_end as stages
from runtime.timing.gpu_state import NotAvailable, Watch, watching
from runtime.timing.jetson import Jetson
from runtime.timing.latency import Timing, measure, repeated
from runtime.timing.nvml import Nvml
from runtime.timing.summary import explanations, summary, trace
from segdata.datasets import Dataset, open_dataset

MOST_SECONDS_END_TO_END = 1.0  # for each format


def bench(args: argparse.Namespace, command: str) -> None:
    """Make the files, time them, compare their labels, print and write the result.

    Args:
        args: of `bench_parser`, checked by `check_bench`.
        command: what to name as the way to the results.
    """
    if args.buildOnly:
        model_files(args, command)
        return
    name = args.backend if is_engine(args.onnx) else choose(args.backend)
    if args.verbose and is_engine(args.onnx):
        listen(EngineFile.read(args.onnx).backend)
    dataset = open_dataset(args.data) if args.data else None
    if dataset and not is_engine(args.onnx):
        check_classes(ModelFile.read(args.onnx), dataset)
    _batch(args)  # what is wrong with --shapes shows before files are made
    with Reports(args) as reports:
        files = model_files(args, command)
        backends = {key: _load(path, name, args) for key, path in files.items()}
        batch = _batch(args, next(iter(files.values())))
        images = _images(dataset, backends)
        timings, watch = _measured(backends, images[0], batch, args)
        _print_timings(timings, files, backends, watch, args)
        reports.write_times(trace(timings))
        walks = _end_to_end(backends, images, batch, args)
        batches = {key: repeated(one, images[0], batch) for key, one in backends.items()}
        reports.layers(backends, batches, timings)
        rows, scored = _parity(backends, timings, dataset, args)
        folder = args.exportTable.parent if args.exportTable else Path()
        reports.write_table(
            {
                **origin(command),
                **scored,
                "threads": args.threads,
                **document(rows, backends, folder),
                "end_to_end": walks,
                "clocks": {"cpu": machine.clock(), "gpu": watch.to_dict() if watch else None},
                "data_transfers": args.includeDataTransfers if _on_gpu(timings) else None,
            }
        )


def _end_to_end(
    backends: Mapping[str, Backend],
    images: Sequence[NDArray[np.uint8]],
    batch: int | None,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Take the images from one end to the other, print what it takes and return it for JSON."""
    seconds = min(args.duration / 3, MOST_SECONDS_END_TO_END)
    walks = stages.end_to_end(backends, images, duration_s=seconds, batch=batch)
    height, width = images[0].shape[:2]
    what = f"{len(images)} images of {args.data}" if args.data else "an image of noise"
    print(f"\n=== End to end ===\n{stages.table(walks)}")
    print(f"JPEG of {what}, the first {width}x{height}; shares of the sum of the stages.")
    if (most := max(walk.batch for walk in walks.values())) > 1:
        print(f"ms of a batch of {most}.")
    if args.infStreams > 1:
        print(f"One query at a time, on one of {args.infStreams} streams: less than throughput.")
    return {
        "data": args.data,
        "images": len(images),
        "image_size": [height, width],
        "formats": {key: walk.to_dict() for key, walk in walks.items()},
    }


def _parity(
    backends: Mapping[str, Backend],
    timings: Mapping[str, Timing],
    dataset: Dataset | None,
    args: argparse.Namespace,
) -> tuple[list[parity.Row], dict[str, Any]]:
    """Compare the labels, print the table, and return its rows and what they were compared on."""
    accuracies = compare(backends, dataset, args.limit) if dataset else None
    count = min(args.limit or len(dataset), len(dataset)) if dataset else None
    rows = parity.rows(backends, timings, accuracies)
    print(f"\n=== Parity ===\n{parity.table(rows)}")
    if dataset:
        print(f"Accuracy on {count} images of {args.data}.")
    for note in parity.notes(backends, rows):
        print(note)
    return rows, {"data": args.data, "images": count}


def document(
    rows: Sequence[parity.Row], backends: Mapping[str, Backend], folder: Path
) -> dict[str, Any]:
    """The table for --exportTable; paths in it are relative to `folder`, where it will stand."""
    reference = next(iter(backends.values()))
    card = reference.card
    return {
        "backend": reference.name,
        "input": [rows[0].batch, *reference.input_shape[1:]],
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


def noise(backend: Backend) -> NDArray[np.uint8]:
    """An image for timing alone, whose speed does not depend on what is in it."""
    return np.random.default_rng(0).integers(0, 256, backend.input_shape[1:], dtype=np.uint8)


def _load(path: Path, name: str, args: argparse.Namespace) -> Backend:
    return load(
        path,
        name,
        threads=args.threads,
        streams=args.infStreams,
        graphs=not args.noCudaGraph,
        libraries=libraries(args),
    )


def _batch(args: argparse.Namespace, file: Path | None = None) -> int | None:
    """Images a query; None where nothing is said and the model leaves it open.

    Of an engine it is what the first profile was made for, unless --shapes says otherwise.

    Args:
        file: what is measured; by default the model itself.
    """
    path = file or args.onnx
    source = EngineFile.read(path) if is_engine(path) else ModelFile.read(path)
    if args.shape is not None:
        return read_shape("--shapes", args.shape, source.input_shape)[0]
    return source.profiles[0].optimum[0] if isinstance(source, EngineFile) else None


def _images(dataset: Dataset | None, backends: Mapping[str, Backend]) -> list[NDArray[np.uint8]]:
    """Some of the data; without any, one of noise. The first is what is timed."""
    if dataset is None:
        return [noise(next(iter(backends.values())))]
    return [dataset[index].image for index in range(min(len(dataset), stages.MOST_IMAGES))]


def _measured(
    backends: Mapping[str, Backend],
    image: NDArray[np.uint8],
    batch: int | None,
    args: argparse.Namespace,
) -> tuple[dict[str, Timing], Watch | None]:
    """The timings, and what the GPU did meanwhile where one is measured."""
    with ExitStack() as stack:
        on_gpu = next(iter(backends.values())).name in GPU_BACKENDS
        watch = stack.enter_context(watching([_nvml, Jetson])) if on_gpu else None
        timings = measure(
            backends,
            image,
            warmup_ms=args.warmUp,
            duration_s=args.duration,
            iterations=args.iterations,
            batch=batch,
            streams=args.infStreams,
            stages=True,
            transfers=args.includeDataTransfers,
        )
    return timings, watch


def _nvml() -> Nvml:
    """The GPU that is measured, as the driver sees it."""
    try:
        return Nvml(open_cuda().bus_id)
    except UserError as error:
        raise NotAvailable(str(error)) from error


def _print_timings(
    timings: Mapping[str, Timing],
    files: Mapping[str, Path],
    backends: Mapping[str, Backend],
    watch: Watch | None,
    args: argparse.Namespace,
) -> None:
    for key, timing in timings.items():
        text = summary(timing, args.percentile, args.avgRuns)
        print(f"\n{key}: {files[key]} on {backends[key].name}\n{text}")
    if args.verbose:
        print(f"\n{explanations(next(iter(timings.values())))}")
    if watch:
        print(f"\n{watch.text()}")


def _on_gpu(timings: Mapping[str, Timing]) -> bool:
    return any(timing.traces for timing in timings.values())


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    words = sys.argv[1:] if argv is None else argv
    refuse_others(words)
    args = bench_parser((__doc__ or "").split("\n")[0]).parse_args(words)
    check_bench(args)
    choose_gpu(args.device)
    bench(args, machine.command_line("runtime.bench", words))


if __name__ == "__main__":
    run(main)
