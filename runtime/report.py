"""One self-contained page about a model: speed and accuracy of its formats, curves, pictures.

python -m runtime.report DIR

DIR holds bench.json (runtime.bench --exportTable) and, if it was trained there, metrics.jsonl.
The page is DIR/report.html. The pictures come from the data and the model files of the benchmark;
--data and --models name others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime import machine
from runtime.backends import BACKENDS, Backend, load
from runtime.evaluate import check_classes, predict
from runtime.page_html import Panel, Picture
from runtime.pictures import data_uri
from runtime.report_html import page
from segdata.cli import Parser, progress, run
from segdata.datasets import Dataset, open_dataset
from segdata.draw import overlay
from segdata.errors import UserError
from segdata.files import atomic_path

# What the page reads of bench.json
BENCH_KEYS = {
    *("backend", "checkpoint_sha256", "classes", "command", "data", "date", "files", "images"),
    *("input", "machine", "notes", "palette", "rows", "threads", "trained_iterations", "versions"),
}


def read_bench(folder: Path) -> dict[str, Any]:
    """The table of the benchmark in `folder`; UserError where there is none."""
    path = folder / "bench.json"
    remedy = f"run python -m runtime.bench … --exportTable={path}"
    if not path.is_file():
        raise UserError(f"{path} is missing; {remedy}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON; {remedy}") from error
    if not isinstance(content, dict) or not content.keys() >= BENCH_KEYS:
        raise UserError(f"{path} was not written by the benchmark; {remedy}")
    return content


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a training log, or none; a last line cut off by a kill is left out."""
    records = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return [record for record in records if isinstance(record, dict) and "step" in record]


def make_panels(
    dataset: Dataset, backends: Mapping[str, Backend], count: int
) -> tuple[list[Panel], list[int]]:
    """Image, truth and each model's labels for `count` samples spread evenly over the data.

    Returns the panels and the ids of all classes to be seen in them.
    """
    card = next(iter(backends.values())).card
    picked = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round())
    panels, present = [], set[int]()
    for index in progress([int(k) for k in picked], desc="pictures"):
        sample = dataset[index]
        pictures = [Picture("image", data_uri(sample.image))]
        if sample.label is not None:
            shown = overlay(sample.image, sample.label, card.palette)
            pictures.append(Picture("truth", data_uri(shown)))
            present.update(int(k) for k in np.unique(sample.label))
        reference: NDArray[np.uint8] | None = None
        for name, backend in backends.items():
            labels = predict(backend, sample.image)
            present.update(int(k) for k in np.unique(labels))
            note = (
                "" if reference is None else f"{100 * (labels == reference).mean():.2f} % the same"
            )
            reference = labels if reference is None else reference
            shown = overlay(sample.image, labels, card.palette)
            pictures.append(Picture(name, data_uri(shown), note))
        panels.append(Panel(sample.name, pictures))
    return panels, sorted(k for k in present if k < len(card.classes))


def _load_models(
    bench: Mapping[str, Any], folder: Path, models: Sequence[Path] | None, backend: str
) -> dict[str, Backend]:
    """The models of the pictures by format: those named, or those of the benchmark."""
    if models is None:
        paths = {name: folder / file["path"] for name, file in bench["files"].items()}
        return {name: load(path, backend) for name, path in paths.items()}
    loaded = [load(path, backend) for path in models]
    formats = [model.card.precision.upper() for model in loaded]
    names = formats if len({*formats}) == len(loaded) else [model.path.name for model in loaded]
    return dict(zip(names, loaded, strict=True))


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="python -m runtime.report", description="Write DIR/report.html.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="with bench.json, metrics.jsonl")
    parser.add_argument("--data", metavar="NAME:PATH[:SPLIT]", help="for the pictures")
    parser.add_argument("--models", type=Path, nargs="+", metavar="FILE", help="for the pictures")
    parser.add_argument("--samples", type=int, default=4, metavar="N", help="pictures (default 4)")
    parser.add_argument("--title", default="Segmentation report")
    parser.add_argument("--backend", default="auto", help=f"auto, {', '.join(BACKENDS)}")
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    if args.samples < 0:
        raise UserError(f"--samples={args.samples} is too small; take 0 or more")
    bench = read_bench(args.folder)
    spec = args.data or bench["data"]
    panels: list[Panel] = []
    present: list[int] = []
    if spec and args.samples:
        dataset = open_dataset(spec)
        backends = _load_models(bench, args.folder, args.models, args.backend)
        check_classes(next(iter(backends.values())), dataset)
        panels, present = make_panels(dataset, backends, args.samples)
    text = page(
        bench,
        title=args.title,
        log=read_log(args.folder / "metrics.jsonl"),
        panels=panels,
        present=present,
        command=machine.command_line("runtime.report", words),
    )
    target = args.folder / "report.html"
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")
    print(target)


if __name__ == "__main__":
    run(main)
