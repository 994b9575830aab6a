"""One self-contained page from the results in a folder.

python -m runtime.report DIR

The page is DIR/report.html. Every result in DIR and in the folders right below it becomes a
section, one of them is enough:

bench.json             runtime.bench --exportTable: formats of one model side by side
times.json             runtime.bench --exportTimes: how often each latency occurs
compare.json           runtime.compare -o: several models
*.certificate.json     runtime.certify
*.sensitivity.json     calibration.sensitivity
*.mixed.json           calibration.search
metrics.jsonl          train

The pictures come from the data and the model files of the benchmark; --data and --models name
others, --samples=0 leaves them out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emca.cli import Parser, progress, run
from emca.errors import UserError
from emca.files import atomic_path
from runtime.accuracy.labelling import differences, legend
from runtime.backends import BACKENDS, Backend, load
from runtime.evaluate import check_classes, predict
from runtime.page_html import Panel, Picture
from runtime.pictures import data_uri
from runtime.report_bench import Gallery
from runtime.report_html import page
from runtime.results import machine
from runtime.results.finding import Result, find, of_kind, section_of, unknown
from segdata.classes import Colour
from segdata.datasets import Dataset, Sample, open_dataset
from segdata.draw import overlay


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
        labels = {name: predict(backend, sample.image) for name, backend in backends.items()}
        shown = [*labels.values(), *([] if sample.label is None else [sample.label])]
        present.update(int(k) for one in shown for k in np.unique(one))
        panels.append(Panel(sample.name, _pictures(sample, labels, card.palette)))
    return panels, sorted(k for k in present if k < len(card.classes))


def _pictures(
    sample: Sample, labels: Mapping[str, NDArray[np.uint8]], palette: Sequence[Colour]
) -> list[Picture]:
    """Image, truth, every format, and where the formats differ from the first."""
    first, reference = next(iter(labels.items()))
    pictures = [Picture("image", data_uri(sample.image))]
    truth = {} if sample.label is None else {"truth": sample.label}
    others = {name: own for name, own in labels.items() if name != first}
    for name, own in (truth | dict(labels)).items():
        note = f"{100 * (own == reference).mean():.2f} % the same" if name in others else ""
        pictures.append(Picture(name, data_uri(overlay(sample.image, own, palette)), note))
    for name, own in others.items():
        differ = differences(sample.image, sample.label, reference, own)
        pictures.append(Picture(f"{name} ≠ {first}", data_uri(differ)))
    return pictures


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


def make_gallery(
    result: Result, *, data: str | None, models: Sequence[Path] | None, samples: int, backend: str
) -> Gallery:
    """The pictures of a benchmark; none where it has no data.

    Args:
        data, models: others than those of the benchmark.
        samples: how many images, at most.

    Raises:
        UserError: the data or a model cannot be read, or they do not fit.
    """
    spec = data or result.content["data"]
    if not spec or not samples:
        return Gallery()
    try:
        if not isinstance(spec, str):
            raise UserError(f"{result.path}: data {spec!r} is no NAME:PATH")
        dataset = open_dataset(spec)
        backends = section_of(result, _load_models, result.path.parent, models, backend)
        check_classes(next(iter(backends.values())), dataset)
    except UserError as error:
        raise UserError(f"{error}; --samples=0 makes the page without pictures") from error
    panels, present = make_panels(dataset, backends, samples)
    return Gallery(panels, present, _marks(panels, list(backends)))


def _marks(panels: Sequence[Panel], names: Sequence[str]) -> list[tuple[str, Colour]]:
    """What the colours of the differences mean; nothing where there are no differences."""
    if len(names) < 2:
        return []
    labelled = any(picture.caption == "truth" for picture in panels[0].pictures)
    meanings = legend(labelled, names[0], "the other format")
    return [(f"≠: {text}", colour) for text, colour in meanings]


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="python -m runtime.report", description="Write DIR/report.html.")
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="with results of one or more commands"
    )
    parser.add_argument("--data", metavar="NAME:PATH[:SPLIT]", help="for the pictures")
    parser.add_argument("--models", type=Path, nargs="+", metavar="FILE", help="for the pictures")
    parser.add_argument("--samples", type=int, default=4, metavar="N", help="pictures (default 4)")
    parser.add_argument("--title", default="Segmentation report")
    parser.add_argument("--backend", default="auto", help=f"auto, {', '.join(BACKENDS)}")
    words = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(words)
    if args.samples < 0:
        raise UserError(f"--samples={args.samples} is too small; take 0 or more")
    results = find(args.folder)
    for path in unknown(args.folder):
        print(f"{path} is no result that the page knows; left out")
    galleries = {
        result.path: make_gallery(
            result, data=args.data, models=args.models, samples=args.samples, backend=args.backend
        )
        for result in of_kind(results, "bench")
    }
    command = machine.command_line("runtime.report", words)
    text = page(results, galleries, title=args.title, command=command)
    target = args.folder / "report.html"
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")
    print(target)


if __name__ == "__main__":
    run(main)
