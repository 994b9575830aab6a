"""What sensitivity and search stand on: one model, its ranges, and the images that judge it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.options import add_judging_options, add_range_options
from calibration.ranges.cache import LEARNT, default_cache, find_ranges, provenance
from calibration.ranges.calibrate import check_method
from calibration.ranges.images import calibration_images, held_out_images
from calibration.rewrite.mixes import Mixes
from calibration.rewrite.placement import possible_reads
from calibration.study.accuracy import Judge, judging_backend
from calibration.study.score_file import SCORES_VERSION
from emca.cli import Parser
from emca.files import sha256
from runtime.backends import ModelFile
from runtime.results import machine

HELD_OUT = 100


@dataclass(frozen=True)
class Study:
    """A model that is ready to be mixed and judged.

    Attributes:
        file: the FP32 file.
        mixes: its versions, with the ranges that any of them needs.
        judge: scores them on held-out images.
        calibration: how the ranges came about, for the card of a file made from it.
        key: plain values; studies with the same key score alike.
    """

    file: ModelFile
    mixes: Mixes
    judge: Judge
    calibration: dict[str, Any]
    key: dict[str, Any]

    @property
    def caption(self) -> str:
        """What is judged on what, for the lines under a picture."""
        others, own = self.key["held_out"], self.calibration
        ranges = f"by {own['method']} on {len(own['images'])} images of {own['data']}"
        if own["method"] == LEARNT:
            ranges = "learnt in training"
        return (
            f"{self.file.path.name}, labels on {self.judge.backend}. Ranges {ranges}; judged on "
            f"{len(others['images'])} images of {others['data']} that no range comes from."
        )


def add_options(parser: Parser) -> None:
    """The options that `open_study` reads."""
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="an FP32 file")
    parser.add_argument(
        "--data",
        required=True,
        metavar="SPEC",
        help="labelled images: some give the ranges, others judge",
    )
    add_range_options(parser)
    add_judging_options(parser, held_out=HELD_OUT)


def open_study(args: argparse.Namespace, target: Path) -> Study:
    """Read the model, find its ranges, and label the held-out images with FP32.

    Args:
        args: of a parser with `add_options`.
        target: a file that will be written; the ranges are kept beside it.

    Raises:
        UserError: whatever is wrong with the model, the data or the options.
    """
    file = ModelFile.read_fp32(args.model)
    check_method(args.method)
    judging_backend(args.backend)
    mixes = Mixes(file.proto)
    images = calibration_images(file, args.data, args.images)
    others = held_out_images(file, images, args.held_out, eval_data=args.eval_data)
    cache = args.cache or default_cache(target, args.model)
    tensors = possible_reads(mixes.folded)
    ranges = find_ranges(file, mixes, tensors, images, [args.method], cache=cache)
    mixes.ranges = ranges[args.method]
    for line in mixes.remarks():
        print(line)
    judge = Judge(file, others.samples, backend=args.backend, threads=args.threads)
    origin = provenance(file, mixes.tensors(), args.method)
    calibration = {**images.describe(), **origin}
    key = {
        "model_sha256": sha256(args.model),
        "images_sha256": images.sha256,
        "method": args.method,
        "held_out": others.describe(),
        "backend": judge.backend,
        "backend_version": machine.versions().get(judge.backend),
        "scores_version": SCORES_VERSION,
    }
    return Study(file, mixes, judge, calibration, key)
