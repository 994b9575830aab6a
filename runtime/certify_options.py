"""What `runtime.certify` can be told."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from emca.cli import Parser
from emca.errors import UserError
from runtime.accuracy.counts import RESAMPLES
from runtime.accuracy.verdict import Thresholds
from runtime.backends import BACKENDS
from runtime.evaluate import MODEL_HELP

_DESCRIPTION = "Prove that model files label as a reference does, or refuse to certify them."


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        boundary: pixels on either side of a border that count as near it.
        batches: batch sizes to try; 1 alone tries none.
        limit: only the first so many images.
        labelled: False for data without labels, which tell agreement alone.
        worst: how many of the images that are labelled least alike are shown.
        resamples, seed: of the bootstrap.
        backend: for ONNX files; engines know theirs.
        threads: of the CPU, 0 for every core.

    Raises:
        UserError: a number that is too small.
    """

    boundary: int = 3
    batches: tuple[int, ...] = (1, 2, 4)
    limit: int | None = None
    labelled: bool = True
    worst: int = 4
    resamples: int = RESAMPLES
    seed: int = 0
    backend: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        least = {"boundary": 1, "limit": 1, "worst": 0, "resamples": 100, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise UserError(f"--{name}={value} is too small; take {low} or more")


def _sizes(text: str) -> tuple[int, ...]:
    """The batch sizes of `1,2,4`."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UserError(f"--batches={text} is no list of batch sizes; write it as 1,2,4")
    return tuple(dict.fromkeys(int(word) for word in words))


def command_options() -> argparse.ArgumentParser:
    """The arguments of `runtime.certify`."""
    asked, how = Thresholds(), Options()
    parser = Parser(prog="python -m runtime.certify", description=_DESCRIPTION)
    add = parser.add_argument
    add("reference", type=Path, help=MODEL_HELP)
    add("candidates", type=Path, nargs="+", metavar="candidate", help="files to certify")
    add("--data", required=True, metavar="NAME:PATH[:SPLIT]")
    add("--unlabelled", action="store_true", help="the data have no labels: agreement alone")
    add("--limit", type=int, help="only the first N images")
    add("-o", "--output", type=Path, metavar="DIR", help="default: beside each candidate")
    for name, value, what in (
        ("max-drop", asked.max_drop, "points of mIoU it may lose"),
        ("min-agreement", asked.min_agreement, "percent of pixels labelled as the reference does"),
        ("min-boundary", asked.min_boundary, "the same near borders of the reference's labels"),
        ("max-class-drop", asked.max_class_drop, "points of IoU that any class may lose"),
        ("min-batch", asked.min_batch, "percent of pixels labelled in batches as one by one"),
    ):
        text = f"{what} (default {'off' if value is None else f'{value:g}'})"
        add(f"--{name}", type=float, default=value, help=text)
    add("--strict", action="store_true", help="all of mIoU's interval within --max-drop")
    add("--boundary", type=int, default=how.boundary, metavar="PX", help="width of near (3)")
    add("--batches", default="1,2,4", metavar="N,N", help="batch sizes to try (1,2,4)")
    add("--worst", type=int, default=how.worst, metavar="N", help="images to show (4)")
    add("--resamples", type=int, default=how.resamples, help="of the bootstrap (2000)")
    add("--seed", type=int, default=how.seed, help="of the bootstrap (0)")
    add("--backend", default="auto", help=f"for .onnx: auto, {', '.join(BACKENDS)}")
    add("--threads", type=int, default=0, help="0 = every core")
    return parser


def read(args: argparse.Namespace) -> tuple[Thresholds, Options]:
    """The thresholds and options that were given.

    Raises:
        UserError: a value out of range.
    """
    names = ("boundary", "limit", "worst", "resamples", "seed", "backend", "threads")
    thresholds = {key: getattr(args, key) for key in Thresholds.__dataclass_fields__}
    options = Options(
        batches=_sizes(args.batches),
        labelled=not args.unlabelled,
        **{key: getattr(args, key) for key in names},
    )
    return Thresholds(**thresholds), options
