"""FP16 version of an exported model: `python -m calibration.fp16 MODEL.onnx [-o FILE]`."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto

from calibration.files import agreement, check_target, default_target, write
from calibration.rewrite.cast import halve
from calibration.rewrite.edit import check_is_float
from calibration.rewrite.fold import folded
from emca.cli import Parser, run
from runtime.backends import ModelFile
from segdata.datasets import open_dataset
from segdata.preprocess import fit


def to_fp16(model: ModelProto) -> ModelProto:
    """Cast an FP32 model to FP16; the argument is left alone, metadata are copied as they are.

    Inputs and outputs keep their types, PrototypeAttention stays a local function, and
    `calibration.rewrite.fp32_nodes` says what stays FP32.

    Raises:
        UserError: the model is in FP16 or quantised already, or has control flow.
    """
    check_is_float(model)
    cast = folded(model)
    halve(cast)
    return cast


def cast_file(source: Path, target: Path, *, data: str | None = None) -> str:
    """Write the FP16 version of an exported file, its card saying where it comes from.

    Both are run on one image before: the first of the data set `data`, or a generated scene.

    Returns:
        In a few words, how well the two agree.

    Raises:
        UserError: `source` is missing, not ours or not FP32, or the result is not finite.
    """
    file = ModelFile.read_fp32(source)
    check_target(target, source)
    cast = to_fp16(file.proto)
    height, width = file.card.input_size
    images = open_dataset(data or f"scenes:n=1,size={height}x{width}", labels=False)
    result = agreement(file, cast, [fit(images[0].image, (height, width))])
    write(cast, target, file, precision="fp16")
    return result


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(prog="calibration.fp16", description="Cast an exported ONNX model to FP16.")
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="an FP32 file")
    parser.add_argument("-o", "--output", type=Path, help="default: MODEL.fp16.onnx")
    parser.add_argument("--data", metavar="SPEC", help="try it on an image of this data set")
    args = parser.parse_args(argv)
    target = args.output or default_target(args.model, "fp16")
    print(f"{target}: {cast_file(args.model, target, data=args.data)}")


if __name__ == "__main__":
    run(main)
