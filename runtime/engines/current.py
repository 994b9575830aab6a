"""Engines of the files to measure, made where they are missing or outdated."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import plugins
from emca.errors import UserError
from emca.files import sha256
from plugins import OP_TYPE
from runtime.backends.base import ModelFile
from runtime.backends.cuda.memory import open_cuda
from runtime.backends.engine_file import EngineFile
from runtime.backends.trt.module import RTX, module
from runtime.backends.trt.run import log_of
from runtime.build import build, default_target, report
from runtime.engines.device import target_device
from runtime.engines.graph import custom_operators
from runtime.engines.job import settings
from runtime.engines.options import BuildOptions, build_options

NO_FP32 = "7.5"  # TensorRT-RTX: "FP32 GEMM is not supported"


def check(args: argparse.Namespace) -> str:
    """Why there will be no FP32 engine; empty where there will be one.

    Raises:
        UserError: what would stop `engines`, or the measuring after it, later on.
    """
    module(args.backend)
    if args.verbose:
        listen(args.backend)
    options = build_options(args, args.backend, ModelFile.read(args.onnx).input_shape)
    if not args.buildOnly or args.device is not None:
        open_cuda()
    if not args.fp16 and not args.int8:
        return ""
    if args.buildOnly:
        return "FP32 is not asked for"
    target = target_device(options)[1]
    limited = args.backend == RTX and target == NO_FP32
    return f"TensorRT-RTX builds none for compute capability {target}" if limited else ""


def engines(
    files: Mapping[str, Path], backend: str, args: argparse.Namespace, command: str
) -> dict[str, Path]:
    """An engine for each ONNX file, by format; prints the layers of those that are built.

    That of the last format stands where --saveEngine says, the others beside their files.

    Args:
        args: with the options of `add_build_options`.
        command: what to name in the engines' JSON as the way to them.

    Raises:
        UserError: as `runtime.build`.
    """
    version = str(module(backend).__version__)
    found = {}
    for name, path in files.items():
        file = ModelFile.read(path)
        options = build_options(args, backend, file.input_shape)
        last = path == list(files.values())[-1]
        target = args.saveEngine if args.saveEngine and last else default_target(path, backend)
        found[name] = target
        if is_current(target, file, options, version, keep_anyway=args.keepAnyway):
            print(f"{target} is up to date.")
            continue
        print(f"Building {target}")
        engine, built = build(
            path,
            target,
            options,
            command=command,
            keep_anyway=args.keepAnyway,
            verbose=args.verbose,
        )
        print(report(engine, built))
    return found


def listen(backend: str) -> None:
    """Show all that the package of this backend logs in this process, on standard error."""
    log_of(module(backend)).tell = lambda message: print(message, file=sys.stderr)


def is_current(
    target: Path, file: ModelFile, options: BuildOptions, version: str, *, keep_anyway: bool
) -> bool:
    """Whether the target is what a build of this file with these options would give now."""
    try:
        engine = EngineFile.read(target)
    except UserError:
        return False
    device, capability = target_device(options)
    wanted = {
        "backend": options.backend,
        "version": version,
        "device": device,
        "compute_capabilities": (capability,),
        "version_compatible": options.version_compatible,
        "hardware_compatibility": options.hardware_compatibility,
        "profiles": options.profiles,
        "onnx_sha256": sha256(file.path),
        "settings": settings(options, keep_anyway=keep_anyway),
    }
    if any(getattr(engine, key) != value for key, value in wanted.items()):
        return False
    by_choice = options.plugins is not None or options.backend != RTX
    has_operator = OP_TYPE in custom_operators(file.proto)
    library = bool(plugins.find() or options.libraries)
    return by_choice or not has_operator or (OP_TYPE in engine.plugins) == library
