"""INT8 version of an exported model: `python -m calibration.int8 MODEL.onnx --data SPEC`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto

from calibration.files import Image, agreement, default_target, read_float, write
from calibration.fold import folded
from calibration.graph import check_is_float, opset, raise_opset
from calibration.halving import OPSET_OF_HALF_SCALES, halve
from calibration.placement import insert, place
from calibration.ranges import METHODS, measure
from segdata.cli import Parser, progress, run
from segdata.datasets import open_dataset
from segdata.errors import UserError, nearest
from segdata.preprocess import fit

DEFAULT_IMAGES = 64
DEFAULT_METHOD = "minmax"
_TRIAL_IMAGES = 4


def to_int8(model: ModelProto, images: Sequence[Image], method: str = DEFAULT_METHOD) -> ModelProto:
    """Quantise an FP32 model; the argument is left alone, metadata are copied as they are.

    Explicit Q/DQ as TensorRT wants it: signed, symmetric, zero points 0, a scale per tensor for
    activations and per output channel for weights. `calibration.placement` says what is
    quantised. The rest is in FP16 with the FP32 islands of `calibration.fp16`: where it stands in
    FP32, TensorRT runs it without tensor cores or, on Turing with TensorRT-RTX, not at all.
    Quantisation with FP16 scales needs opset 19, to which the model is raised.

    Args:
        model: one uint8 input [N,H,W,3], opset 18 or newer.
        images: uint8 RGB [H,W,3] of that size, real ones.
        method: a key of `calibration.ranges.METHODS`.

    Raises:
        UserError: no images, images of another size, an unknown method, a model in another
            number format, or one whose activations or weights are not finite.
    """
    check_is_float(model)
    _check_method(method)
    _check_images(model, images)
    if opset(model) < 18:
        raise UserError(f"the model has opset {opset(model)}; export it with --opset 18 for INT8")
    quantised = folded(model)
    placement = place(quantised)
    if not placement.reads:
        raise UserError("the model has no convolution and no matrix product to quantise")
    ranges = measure(quantised, placement.reads, images, method)
    insert(quantised, placement, ranges)
    raise_opset(quantised, OPSET_OF_HALF_SCALES)
    halve(quantised)
    return quantised


def quantize_file(
    source: Path,
    target: Path,
    *,
    data: str,
    images: int = DEFAULT_IMAGES,
    method: str = DEFAULT_METHOD,
) -> str:
    """Write the INT8 version of an exported file, its card naming the images behind the ranges.

    Args:
        data: a data set as in `segdata.datasets`; labels are not needed.
        images: how many to take, evenly spread over the data set.
        method: as in `to_int8`.

    Returns:
        In a few words, how well it agrees with the source on some of the images.

    Raises:
        UserError: as `to_int8`; also a bad `source` or `data`, or a data set with fewer images.
    """
    file = read_float(source)
    _check_method(method)
    dataset = open_dataset(data, labels=False)
    indices = spread(len(dataset), images, data)
    names, fitted = dataset.names, []
    for index in progress(indices, desc="images"):
        fitted.append(fit(dataset[index].image, file.card.input_size))
    quantised = to_int8(file.proto, fitted, method)
    some = [fitted[i] for i in spread(images, min(images, _TRIAL_IMAGES), data)]
    result = agreement(file, quantised, some)
    calibration = {
        "data": data,
        "method": method,
        "images": [names[i] for i in indices],
        "sha256": _digest(fitted),
    }
    write(quantised, target, file, precision="int8", calibration=calibration)
    return result


def spread(available: int, wanted: int, data: str) -> list[int]:
    """`wanted` positions among `available`, evenly spread, the same every time.

    Raises:
        UserError: fewer available than wanted, or none wanted.
    """
    if wanted < 1:
        raise UserError(f"--images is {wanted}; calibration needs at least one image")
    if available < wanted:
        raise UserError(
            f"data {data!r} has {available} images but {wanted} are wanted; "
            f"give more data or --images {available}"
        )
    return [(2 * i + 1) * available // (2 * wanted) for i in range(wanted)]


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise UserError(
            f"no calibration method {method!r}{nearest(method, METHODS)}; "
            f"there are {', '.join(METHODS)}"
        )


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


def _digest(images: Sequence[Image]) -> str:
    """SHA-256 over the pixels of all images, in order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(image.tobytes())
    return digest.hexdigest()


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="calibration.int8", description="Quantise an exported model to INT8.")
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="an FP32 file")
    parser.add_argument(
        "--data", required=True, metavar="SPEC", help="images like those the model will see"
    )
    parser.add_argument(
        "--images", type=int, default=DEFAULT_IMAGES, help="how many (default %(default)s)"
    )
    parser.add_argument(
        "--method", default=DEFAULT_METHOD, help=f"{', '.join(METHODS)} (default %(default)s)"
    )
    parser.add_argument("-o", "--output", type=Path, help="default: MODEL.int8.onnx")
    args = parser.parse_args(argv)
    target = args.output or default_target(args.model, "int8")
    result = quantize_file(
        args.model, target, data=args.data, images=args.images, method=args.method
    )
    print(f"{target}: {result}")


if __name__ == "__main__":
    run(main)
