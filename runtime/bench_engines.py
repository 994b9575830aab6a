"""Engines of the files to measure, made where they are missing or outdated."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import plugins
from plugins import OP_TYPE
from runtime.backends.base import ModelFile
from runtime.backends.engine_file import EngineFile
from runtime.backends.trt_module import module
from runtime.build import build, default_target, report
from runtime.build_device import target_device
from runtime.build_graph import custom_operators
from runtime.build_job import settings
from runtime.build_options import BuildOptions, build_options
from runtime.build_plugins import RTX
from segdata.errors import UserError
from segdata.files import sha256


def engines(
    files: Mapping[str, Path], backend: str, args: argparse.Namespace, command: str
) -> dict[str, Path]:
    """An engine for each ONNX file, by format; prints the layers of those that are built.

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
        target = default_target(path, backend)
        found[name] = target
        if is_current(target, file, options, version, any_precision=args.anyPrecision):
            print(f"{target} is up to date.")
            continue
        print(f"Building {target}")
        engine, built = build(
            path, target, options, command=command, any_precision=args.anyPrecision
        )
        print(report(engine, built))
    return found


def is_current(
    target: Path, file: ModelFile, options: BuildOptions, version: str, *, any_precision: bool
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
        "settings": settings(options, any_precision=any_precision),
    }
    if any(getattr(engine, key) != value for key, value in wanted.items()):
        return False
    by_choice = options.plugins is not None or options.backend != RTX
    has_operator = OP_TYPE in custom_operators(file.proto)
    return by_choice or not has_operator or (OP_TYPE in engine.plugins) == bool(plugins.find())
