"""INT8 version of an exported model: `python -m calibration.int8 MODEL.onnx --data SPEC`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto

from calibration.files import check_target, default_target, try_and_write
from calibration.options import (
    DEFAULT_IMAGES,
    DEFAULT_METHOD,
    JUDGING,
    add_judging_options,
    add_range_options,
)
from calibration.ranges.cache import default_cache, find_ranges, provenance
from calibration.ranges.calibrate import check_method, measure
from calibration.ranges.images import Image, calibration_images
from calibration.rewrite.mixes import Mixes
from calibration.study.methods import quantize_by_best
from emca.cli import Parser, run
from emca.errors import UserError
from runtime.backends import ModelFile


def to_int8(model: ModelProto, images: Sequence[Image], method: str = DEFAULT_METHOD) -> ModelProto:
    """Quantise an FP32 model as a whole; the argument is left alone, metadata are copied.

    `calibration.rewrite` has what is quantised (`placement`) and in which form (`mixes`).

    Args:
        model: one uint8 input [N,H,W,3], opset 18 or newer.
        images: uint8 RGB [H,W,3] of that size, real ones.
        method: a key of `calibration.ranges.calibrate.METHODS`.

    Raises:
        UserError: no images, images of another size, an unknown method, a model in another
            number format, or one whose activations or weights are not finite.
    """
    check_method(method)
    mixes = Mixes(model)
    _check_images(model, images)
    mixes.ranges = measure(mixes.folded, mixes.tensors(), images, [method])[method]
    return mixes.build()


def quantize_file(
    source: Path,
    target: Path,
    *,
    data: str,
    images: int = DEFAULT_IMAGES,
    method: str = DEFAULT_METHOD,
    cache: Path | None = None,
) -> str:
    """Write the INT8 version of an exported file, its card naming the images behind the ranges.

    Args:
        data: a data set as in `segdata.datasets`; labels are not needed.
        images: how many to take, evenly spread over the data set.
        method: as in `to_int8`.
        cache: where ranges are kept for the next run (`calibration.ranges.cache`).

    Returns:
        In a few words, how well it agrees with the source on some of the images.

    Raises:
        UserError: as `to_int8`; also a bad `source` or `data`, or a data set with fewer images.
    """
    file = ModelFile.read_fp32(source)
    check_target(target, source)
    check_method(method)
    mixes = Mixes(file.proto)
    chosen = calibration_images(file, data, images)
    cache = cache or default_cache(target, source)
    ranges = find_ranges(file, mixes, mixes.tensors(), chosen, [method], cache=cache)
    mixes.ranges = ranges[method]
    for line in mixes.remarks():
        print(line)
    quantised, calibration = mixes.build(), provenance(file, mixes.tensors(), method)
    return try_and_write(quantised, target, file, chosen, precision="int8", calibration=calibration)


def _check_images(model: ModelProto, images: Sequence[Image]) -> None:
    if not len(images):
        raise UserError("no images to calibrate with; INT8 ranges come from real images only")
    sizes = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    for image in images:
        if image.dtype != np.uint8 or list(image.shape) != sizes[1:]:
            raise UserError(
                f"a calibration image is {image.dtype} {list(image.shape)} but the model takes "
                f"uint8 {sizes[1:]}; fit the images first"
            )


def _check_judging(args: argparse.Namespace) -> None:
    """UserError for an option that would have no effect."""
    if args.compare_methods and args.method != DEFAULT_METHOD:
        raise UserError(f"--compare-methods tries all; leave out --method={args.method}")
    defaults = {"held_out": DEFAULT_IMAGES, "eval_data": None, "backend": "auto", "threads": 0}
    for name, value in defaults.items():
        given = getattr(args, name)
        if given != value and not args.compare_methods:
            flag = f"--{name.replace('_', '-')}={given}"
            raise UserError(f"{flag} is for --compare-methods; add that or leave it out")


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="calibration.int8", description="Quantise an exported model to INT8.")
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="an FP32 file")
    parser.add_argument(
        "--data", required=True, metavar="SPEC", help="images like those the model will see"
    )
    add_range_options(parser)
    parser.add_argument(
        "--compare-methods",
        action="store_true",
        help="try every method on other, labelled images and take the one with the highest mIoU",
    )
    add_judging_options(parser, held_out=DEFAULT_IMAGES)
    parser.add_argument("-o", "--output", type=Path, help="default: MODEL.int8.onnx")
    args = parser.parse_args(argv)
    target = args.output or default_target(args.model, "int8")
    _check_judging(args)
    common = {"data": args.data, "images": args.images, "cache": args.cache}
    if args.compare_methods:
        judging = {name: getattr(args, name) for name in JUDGING}
        result = quantize_by_best(args.model, target, **common, **judging)
    else:
        result = quantize_file(args.model, target, method=args.method, **common)
    print(f"{target}: {result}")


if __name__ == "__main__":
    run(main)
