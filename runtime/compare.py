"""Several models and their formats, timed in one interleaved run and scored on the same images.

python -m runtime.compare MODEL… --data SPEC [-o DIR] [--fp16] [--int8]

MODEL is an FP32 file of export.to_onnx or an engine of runtime.build, or NAME=FILE of one. An
engine is a model of one format, which --fp16 and --int8 leave as it is. With -o the tables are
also written as DIR/compare.md and DIR/compare.json, and the plot of accuracy over latency as
DIR/compare.svg and DIR/compare.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emca.cli import Parser, run
from emca.files import atomic_path
from runtime import plot
from runtime.backends import Backend, load
from runtime.bench import noise
from runtime.bench_options import add_measuring_options, check_measuring
from runtime.comparison import rows as parity
from runtime.comparison.formats import formats
from runtime.comparison.models import chosen, named, read
from runtime.comparison.table import Entry, Model, document, entries, markdown, notes, tables
from runtime.evaluate import Accuracy
from runtime.evaluate import compare as score
from runtime.plot_points import Point
from runtime.results import machine
from runtime.results.output import json_output, origin
from runtime.timing.latency import Timing, measure
from segdata.datasets import Dataset, open_dataset

STEM = "compare"  # of the files in -o


def accuracies(
    backends: Mapping[str, Mapping[str, Backend]],
    models: Sequence[Model],
    dataset: Dataset | None,
    limit: int | None,
) -> dict[str, dict[str, Accuracy]]:
    """By model and format; models without training, whose labels mean nothing, are left out."""
    if dataset is None:
        return {}
    return {
        model.name: score(backends[model.name], dataset, limit) for model in models if model.trained
    }


def compare(args: argparse.Namespace, command: str) -> None:
    """Make the files, time and score all of them, print and write the result."""
    files = named(args.models)
    dataset = open_dataset(args.data) if args.data else None
    models = read(files, dataset)
    names = chosen(args.backend, models)
    if args.output:
        plot.require()
    with json_output(args.output and args.output / f"{STEM}.json") as write:
        paths = {model.name: _files(model, args) for model in models}
        backends = {
            model: {
                key: load(path, names[model], threads=args.threads) for key, path in own.items()
            }
            for model, own in paths.items()
        }
        timings = _timings(backends, dataset, args)
        clock = machine.clock()
        scored = accuracies(backends, models, dataset, args.limit)
        found = entries(
            {
                model: parity.rows(own, timings[model], scored.get(model))
                for model, own in backends.items()
            },
            models,
        )
        said = {model: parity.format_notes(own) for model, own in backends.items()}
        lines = notes(models, said, measured=dataset is not None)
        images = min(args.limit or len(dataset), len(dataset)) if dataset else None
        if dataset:
            lines.append(f"Accuracy on {images} images of {args.data}.")
        print(f"\n{tables(models, found)}\n\n" + "\n".join(lines))
        if args.output:
            context = {
                "backend": ", ".join(
                    dict.fromkeys(one.name for own in backends.values() for one in own.values())
                ),
                "data": args.data,
                "images": images,
                "threads": args.threads,
                "clock": clock,
            }
            content = origin(command) | context | document(models, found, args.output)
            _write_pictures(args.output, models, found, content, lines)
            write(content | {"notes": lines})


def _files(model: Model, args: argparse.Namespace) -> dict[str, Path]:
    """By format; an engine has one, the formats of an ONNX file are made where they are missing."""
    if model.engine:
        return {model.card.precision.upper(): model.path}
    data = args.calibData or args.data
    return formats(model.path, fp16=args.fp16, int8=args.int8, calibration_data=data)


def _timings(
    backends: Mapping[str, Mapping[str, Backend]], dataset: Dataset | None, args: argparse.Namespace
) -> dict[str, dict[str, Timing]]:
    """By model and format, all measured in turn."""
    places = {f"{model} {key}": (model, key) for model, own in backends.items() for key in own}
    first = next(iter(next(iter(backends.values())).values()))
    timings = measure(
        {text: backends[model][key] for text, (model, key) in places.items()},
        dataset[0].image if dataset else noise(first),
        warmup_ms=args.warmUp,
        duration_s=args.duration,
        iterations=args.iterations,
    )
    found: dict[str, dict[str, Timing]] = {model: {} for model in backends}
    for text, (model, key) in places.items():
        found[model][key] = timings[text]
    return found


def _write_pictures(
    folder: Path,
    models: Sequence[Model],
    found: Sequence[Entry],
    content: Mapping[str, Any],
    lines: Sequence[str],
) -> None:
    facts = _facts(content)
    sizes = ", ".join(dict.fromkeys(model.size_text for model in models))
    caption = f"{facts['backend']}, {facts['threads']}, on {facts['machine']}; batch 1, {sizes}."
    if content["data"]:
        caption += f" mIoU on {content['images']} images of {content['data']}."
    points = [
        Point(entry.model.name, entry.row.format, entry.row.median_ms, 100 * entry.row.miou)
        if entry.row.miou is not None
        else Point(entry.model.name, entry.row.format, entry.row.median_ms)
        for entry in found
    ]
    untrained = [model.name for model in models if not model.trained]
    plot.draw(points, folder / STEM, caption=caption, not_trained=untrained)
    text = markdown(models, found, lines=lines, facts=facts, picture=f"{STEM}.svg")
    with atomic_path(folder / f"{STEM}.md") as path:
        path.write_text(text, encoding="utf-8")


def _facts(content: Mapping[str, Any]) -> dict[str, str]:
    """What the figures were measured with, in words."""
    system, clock = content["machine"], content["clock"]
    backends = content["backend"].split(", ")
    threads = content["threads"] or system["cores"]
    parts = [f"{system['cpu']}, {_counted(system['cores'], 'core')}"]
    if "gpu" in system:
        parts.append(system["gpu"])
    if clock["mhz"]:
        low, high = clock["mhz"]
        parts.append(f"{low} MHz" if low == high else f"{low} to {high} MHz")
    if clock["governor"]:
        parts.append(f"governor {clock['governor']}")
    return {
        "machine": ", ".join(parts),
        "system": f"{system['os']}, Python {system['python']}",
        "backend": ", ".join(_versioned(name, content["versions"]) for name in backends),
        "threads": _counted(threads, "thread"),
        "date": content["date"],
        "command": f"`{content['command']}`",
    }


def _versioned(backend: str, versions: Mapping[str, str]) -> str:
    package = "onnxruntime-gpu" if backend.startswith("onnxruntime-") else backend
    return f"{backend} {versions.get(package, '')}".strip()


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="python -m runtime.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL",
                        help="FILE or NAME=FILE, an FP32 .onnx or an engine")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="tables and plot as files")
    add_measuring_options(parser)
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    check_measuring(args)
    compare(args, machine.command_line("runtime.compare", words))


if __name__ == "__main__":
    run(main)
