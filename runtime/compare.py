"""Several models and their formats, timed in one interleaved run and scored on the same images.

python -m runtime.compare MODEL… --data SPEC [-o DIR] [--fp16] [--int8]

MODEL is an FP32 file of export.to_onnx, or NAME=FILE. With -o the tables are also written as
DIR/compare.md and DIR/compare.json, and the plot of accuracy over latency as DIR/compare.svg and
DIR/compare.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime import machine, parity, plot
from runtime.backends import Backend, choose, load
from runtime.bench import (
    REFERENCE,
    add_measuring_options,
    check_measuring,
    formats,
    noise,
    read_fp32,
)
from runtime.compare_table import Entry, Model, document, entries, markdown, notes, tables
from runtime.evaluate import Accuracy, check_classes
from runtime.evaluate import compare as score
from runtime.flops import count
from runtime.measure import Timing, measure
from runtime.plot_points import Point
from runtime.results import json_output, origin
from segdata.cli import Parser, run
from segdata.datasets import Dataset, open_dataset
from segdata.errors import UserError
from segdata.files import atomic_path, sha256

STEM = "compare"  # of the files in -o
DEFAULT_STEM = "model"  # of a file that training and export name: its folder says more


def named(words: Sequence[str]) -> dict[str, Path]:
    """The files by the name they get in the tables: NAME of NAME=FILE, else from their paths.

    Raises:
        UserError: no model, a name or a file that is given twice, an empty name.
    """
    if not words:
        raise UserError("no model given; name one or more FP32 .onnx files of export.to_onnx")
    pairs = [_split(word) for word in words]
    files = [path.resolve() for _, path in pairs]
    for place, file in enumerate(files):
        if file in files[:place]:
            raise UserError(f"{pairs[place][1]} is given twice; give each model once")
    derived = _derived_names([path for name, path in pairs if name is None])
    found: dict[str, Path] = {}
    for name, path in pairs:
        name = name if name is not None else derived[path]
        if name in found:
            raise UserError(
                f'the name "{name}" is given to two models, {found[name]} and {path}; '
                "write NAME=FILE to tell them apart"
            )
        found[name] = path
    return found


def _split(word: str) -> tuple[str | None, Path]:
    name, sign, path = word.partition("=")
    if not sign or Path(word).exists():
        return None, Path(word)
    if not name.strip() or not path:
        raise UserError(f'"{word}" lacks a name or a file; write NAME=FILE')
    return name.strip(), Path(path)


def _derived_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The shortest end of each path that no other shares, `model` alone never being one."""
    tails = {path: [*path.resolve().parts[1:-1], path.stem] for path in paths}
    names: dict[Path, str] = {}
    for path, tail in tails.items():
        others = [other for key, other in tails.items() if key != path]
        if tail[-1] == DEFAULT_STEM and len(tail) > 1:
            others = [other[:-1] for other in others if other[-1] == DEFAULT_STEM]
            tail = tail[:-1]
        lengths = range(1, len(tail) + 1)
        length = next((n for n in lengths if all(o[-n:] != tail[-n:] for o in others)), len(tail))
        names[path] = "/".join(tail[-length:])
    return names


def read(files: Mapping[str, Path], dataset: Dataset | None) -> list[Model]:
    """What each file says about itself, checked before anything takes time.

    Raises:
        UserError: a file that cannot be read or is not FP32, or classes that the data lacks.
    """
    models = []
    for name, path in files.items():
        file = read_fp32(path)
        if dataset:
            check_classes(file, dataset)
        size = (file.input_shape[1], file.input_shape[2])
        models.append(Model(name, path, file.card, size, count(file.proto), sha256(path)))
    return models


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
    name = choose(args.backend)
    dataset = open_dataset(args.data) if args.data else None
    models = read(files, dataset)
    if args.output:
        plot.require()
    with json_output(args.output and args.output / f"{STEM}.json") as write:
        wanted = {
            "fp16": args.fp16,
            "int8": args.int8,
            "calibration_data": args.calibData or args.data,
        }
        paths = {model.name: formats(model.path, **wanted) for model in models}
        backends = {
            model: {key: load(path, name, threads=args.threads) for key, path in own.items()}
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
                "backend": name,
                "data": args.data,
                "images": images,
                "threads": args.threads,
                "clock": clock,
            }
            content = origin(command) | context | document(models, found, args.output)
            _write_pictures(args.output, models, found, content, lines)
            write(content | {"notes": lines})


def _timings(
    backends: Mapping[str, Mapping[str, Backend]], dataset: Dataset | None, args: argparse.Namespace
) -> dict[str, dict[str, Timing]]:
    """By model and format, all measured in turn."""
    places = {f"{model} {key}": (model, key) for model, own in backends.items() for key in own}
    first = next(iter(backends.values()))[REFERENCE]
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
    backend = content["backend"]
    threads = content["threads"] or system["cores"]
    parts = [f"{system['cpu']}, {_counted(system['cores'], 'core')}"]
    if clock["mhz"]:
        low, high = clock["mhz"]
        parts.append(f"{low} MHz" if low == high else f"{low} to {high} MHz")
    if clock["governor"]:
        parts.append(f"governor {clock['governor']}")
    return {
        "machine": ", ".join(parts),
        "system": f"{system['os']}, Python {system['python']}",
        "backend": f"{backend} {content['versions'].get(backend, '')}".strip(),
        "threads": _counted(threads, "thread"),
        "date": content["date"],
        "command": f"`{content['command']}`",
    }


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="python -m runtime.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="FILE or NAME=FILE, in FP32")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="tables and plot as files")
    add_measuring_options(parser)
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    check_measuring(args)
    compare(args, machine.command_line("runtime.compare", words))


if __name__ == "__main__":
    run(main)
