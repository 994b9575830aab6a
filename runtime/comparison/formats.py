"""The files that runtime.bench measures, by format; those that are missing are made first."""

from __future__ import annotations

import argparse
from pathlib import Path

from emca.errors import UserError
from emca.files import sha256
from runtime.backends import ENGINE_BACKENDS, ModelFile
from runtime.backends.engine_file import EngineFile, is_engine
from segdata.datasets import open_dataset

REFERENCE = "FP32"


def is_current(target: Path, model: Path) -> bool:
    """Whether the target exists and was made from the model as it is now."""
    return target.exists() and ModelFile.read(target).card.source_sha256 == sha256(model)


def formats(
    model: Path, *, fp16: bool, int8: bool, calibration_data: str | None
) -> dict[str, Path]:
    """The files to measure by format; those that are missing or outdated are made first.

    Raises:
        UserError: formats are wanted of a file that is not FP32 itself, or an INT8 file without
            images.
    """
    wanted = [name for name, flag in (("FP16", fp16), ("INT8", int8)) if flag]
    if not wanted:
        return {ModelFile.read(model).card.precision.upper(): model}
    ModelFile.read_fp32(model)
    from calibration.files import default_target

    files = {name: default_target(model, name.lower()) for name in wanted}
    outdated = [name for name in wanted if not is_current(files[name], model)]
    for name in set(wanted) - set(outdated):
        if (precision := ModelFile.read(files[name]).card.precision) != name.lower():
            raise UserError(
                f"{files[name]} is an {precision} file; give it another name, then it is made anew"
            )
    if "INT8" in outdated and calibration_data is None:
        raise UserError(
            f"--int8 needs images to calibrate {files['INT8']} on; add --calibData=NAME:PATH "
            "or --data=NAME:PATH"
        )
    if "FP16" in outdated:
        from calibration.fp16 import cast_file

        print(f"Casting {model} to {files['FP16']}")
        print(cast_file(model, files["FP16"], data=calibration_data))
    if "INT8" in outdated and calibration_data is not None:
        from calibration.int8 import quantize_file
        from calibration.options import DEFAULT_IMAGES

        images = min(DEFAULT_IMAGES, len(open_dataset(calibration_data, labels=False)))
        print(f"Calibrating {files['INT8']} on {images} images of {calibration_data}")
        print(quantize_file(model, files["INT8"], data=calibration_data, images=images))
    return {REFERENCE: model, **files}


def model_files(args: argparse.Namespace, command: str) -> dict[str, Path]:
    """The files to measure by format, made first where they are missing or outdated.

    With an engine backend these are engines. With --buildOnly and formats to build, the FP32 file
    is no engine's reference and none is built of it, nor where the backend cannot.

    Raises:
        UserError: as `formats` and `runtime.build`.
    """
    if is_engine(args.onnx):
        if args.fp16 or args.int8:
            raise UserError(
                f"{args.onnx} is an engine of one format; leave --fp16 and --int8 out or give the "
                "FP32 ONNX file"
            )
        return {EngineFile.read(args.onnx).card.precision.upper(): args.onnx}
    engines = args.backend in ENGINE_BACKENDS
    without_fp32 = ""
    if engines:
        from runtime.engines import current as bench_engines

        without_fp32 = bench_engines.check(args)  # before files are made
    files = formats(
        args.onnx, fp16=args.fp16, int8=args.int8, calibration_data=args.calibData or args.data
    )
    if without_fp32 and REFERENCE in files:
        print(f"No engine of {files.pop(REFERENCE).name}: {without_fp32}.")
    return bench_engines.engines(files, args.backend, args, command) if engines else files
