"""What `runtime.build` can be told, spelled as in NVIDIA's trtexec wherever it has it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emca.cli import Parser
from emca.errors import UserError, nearest
from emca.files import sha256
from plugins import DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION, OP_TYPE
from runtime.backends.base import INPUT_NAME, InputShape
from runtime.backends.engine_file import Profile, Shape
from runtime.backends.trt.module import NAMES

PLUGIN_OPS = (OP_TYPE, DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION)
HARDWARE_LEVELS = {
    "none": "none",
    "ampere+": "ampere_plus",
    "samecomputecapability": "same_compute_capability",
}
UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
LEVELS = range(6)
MOST_IMAGES, MOST_BYTES = 2**31 - 1, 2**63 - 1  # what TensorRT's integers hold
CPU_ONLY_TARGET = "7.5"
SIDES = ("minimum", "optimum", "maximum")
SIDE_OF = {  # --shapes alone stands for all of them
    "--minShapes": "minimum",
    "--optShapes": "optimum",
    "--maxShapes": "maximum",
    "--shapes": "optimum",
}
WHERE = ("device", "verbose", "dynamicPlugins")  # not what to build but where and with what


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What the builder is told.

    Attributes:
        backend: "tensorrt" or "tensorrt-rtx".
        compute_capability: the GPU to build for, such as "7.5"; empty: the one at hand.
        profiles: one at least.
        plugins: the operators that shall be plugins; None: those that are known to be worth it.
        timing_cache: a file to read and to bring up to date.
        workspace: the most bytes that a layer may use beside its tensors; None: all there are.
        optimization_level: 0 (quickest build) .. 5; None: the builder's own default.
        version_compatible: let later versions of TensorRT run the engine.
        hardware_compatibility: "none", "ampere_plus" or "same_compute_capability".
        tf32: let FP32 products on Ampere and newer GPUs round their inputs to TF32.
        libraries: plugin libraries to load beside this project's.
    """

    backend: str
    compute_capability: str = ""
    profiles: tuple[Profile, ...]
    plugins: tuple[str, ...] | None = None
    timing_cache: Path | None = None
    workspace: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatibility: str = "none"
    tf32: bool = True
    libraries: tuple[Path, ...] = ()

    def settings(self) -> dict[str, Any]:
        """What shapes the engine beyond its target and profiles, as plain values."""
        return {
            "plugins": None if self.plugins is None else list(self.plugins),
            "workspace": self.workspace,
            "optimization_level": self.optimization_level,
            "tf32": self.tf32,
            # Left out where there are none, as it is in engines of before.
            **({"libraries": [sha256(path) for path in self.libraries]} if self.libraries else {}),
        }


class _Shapes(argparse.Action):
    """Keeps --profile, --minShapes, --optShapes and --maxShapes in the order they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = [*(getattr(namespace, self.dest) or []), (option_string, values)]
        setattr(namespace, self.dest, given)


def add_build_options(parser: Parser) -> None:
    """The options of every command that builds engines; read them with `build_options`."""
    group = parser.add_argument_group("engines")
    add = group.add_argument
    shape = f"{INPUT_NAME}:1x512x512x3"
    for option in ("--minShapes", "--optShapes", "--maxShapes"):
        add(option, dest="shapes", action=_Shapes, metavar="SPEC", help=f"such as {shape}")
    add("--profile", dest="shapes", action=_Shapes, metavar="N", help="begins a further profile")
    add("--timingCacheFile", type=Path, metavar="FILE", help="timings to reuse and add to")
    add("--memPoolSize", metavar="SPEC", help="such as workspace:1024M (default: all there is)")
    add("--builderOptimizationLevel", type=int, metavar="N", help="0 to 5 (default 3)")
    add("--versionCompatible", action="store_true", help="for later versions of TensorRT too")
    add("--hardwareCompatibilityLevel", default="none", metavar="LEVEL",
        help="none (default), ampere+ or sameComputeCapability")  # fmt: skip
    add("--noTF32", action="store_true", help="FP32 products in full precision")
    add("--sm", metavar="CC", help="with tensorrt-rtx: build for this GPU, such as 75 for a T4")
    add("--no-plugin", action="store_true", help="compute custom operators by standard ones")
    add("--keepAnyway", action="store_true",
        help="keep an engine that fails the checks after the build")  # fmt: skip
    add("--plugins", metavar="OP,…", help=f"operators that become plugins: {', '.join(PLUGIN_OPS)}")
    add("--dynamicPlugins", type=Path, action="append", default=[], metavar="FILE",
        help="a library with plugins, beside this project's; may be given again")  # fmt: skip
    add("--device", type=int, metavar="N", help="the GPU to use, of those that CUDA lists")
    add("--verbose", action="store_true", help="TensorRT's whole log, and what figures mean")


def build_options(args: argparse.Namespace, backend: str, shape: InputShape) -> BuildOptions:
    """The options of `add_build_options` for a model whose input is of this shape.

    Raises:
        UserError: a value out of its range, or an option that this backend does not have.
    """
    if backend not in NAMES:
        hint = nearest(backend, NAMES)
        raise UserError(f'"{backend}" builds no engines{hint}; take {" or ".join(NAMES)}')
    _check_backend(args, backend)
    level = args.builderOptimizationLevel
    if level is not None and level not in LEVELS:
        raise UserError(f"--builderOptimizationLevel={level} is out of range; take 0 to 5")
    return BuildOptions(
        backend=backend,
        compute_capability=_compute_capability(args.sm) if args.sm is not None else "",
        profiles=profiles(args.shapes or (), shape),
        plugins=_plugins(args.plugins, without=args.no_plugin),
        timing_cache=args.timingCacheFile,
        workspace=_workspace(args.memPoolSize) if args.memPoolSize is not None else None,
        optimization_level=level,
        version_compatible=args.versionCompatible,
        hardware_compatibility=_hardware_level(args.hardwareCompatibilityLevel),
        tf32=not args.noTF32,
        libraries=libraries(args),
    )


def libraries(args: argparse.Namespace) -> tuple[Path, ...]:
    """The libraries of --dynamicPlugins; UserError where one is no file."""
    for path in args.dynamicPlugins:
        if not path.is_file():
            raise UserError(f"--dynamicPlugins={path}: no such file; name a plugin library (.so)")
    return tuple(path.resolve() for path in args.dynamicPlugins)


def refuse_build_options(args: argparse.Namespace) -> None:
    """UserError where an option of `add_build_options` is given and nothing will be built."""
    parser = Parser()
    add_build_options(parser)
    for name, default in vars(parser.parse_args([])).items():
        if name not in WHERE and getattr(args, name) != default:
            option = args.shapes[0][0] if name == "shapes" else f"--{name.replace('_', '-')}"
            raise UserError(
                f"{option} is for building engines; leave it out, or give an ONNX file and "
                f"--backend={' or --backend='.join(NAMES)}"
            )


def profiles(given: Sequence[tuple[str, str]], shape: InputShape) -> tuple[Profile, ...]:
    """The optimization profiles that options in this order describe.

    What is left out of a profile is taken from its neighbour, as trtexec does; without any option
    the batch is the model's own, or 1 where that is open.

    Args:
        given: (option, value) of --profile, --minShapes, --optShapes, --maxShapes, --shapes.
        shape: what the model takes, (N, H, W, 3); N is None where it is open.

    Raises:
        UserError: a shape that cannot be read or that the model does not take.
    """
    groups: list[dict[str, Shape]] = [{}]
    for option, value in given:
        if option == "--profile":
            if groups != [{}]:
                groups.append({})
            if value != str(len(groups) - 1):
                raise UserError(
                    f"--profile={value}: number profiles 0, 1, … in the order they are given"
                )
            continue
        side = SIDE_OF[option]
        if side in groups[-1]:
            raise UserError(f"{option} is given twice; begin a further profile with --profile=N")
        groups[-1][side] = read_shape(option, value, shape)
    if groups == [{}]:
        _, height, width, channels = shape
        only = (shape[0] or 1, height, width, channels)
        return (Profile(only, only, only),)
    return tuple(_profile(group, index) for index, group in enumerate(groups))


def _profile(group: dict[str, Shape], index: int) -> Profile:
    if not group:
        raise UserError(f"--profile={index} has no shapes; add --maxShapes={INPUT_NAME}:…")
    sides = [group[side] for side in SIDES if side in group]
    least, most = group.get("minimum", sides[0]), group.get("maximum", sides[-1])
    best = group.get("optimum", most)
    if not least[0] <= best[0] <= most[0]:
        raise UserError(
            f"profile {index}: batch sizes {least[0]}, {best[0]}, {most[0]} of --minShapes, "
            "--optShapes and --maxShapes must not fall"
        )
    return Profile(least, best, most)


def read_shape(option: str, text: str, model: InputShape) -> Shape:
    """The shape in `image:4x512x512x3`, [N,H,W,3]; UserError where the model does not take it."""
    name, _, sizes = text.rpartition(":")
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)", sizes)
    wanted = "x".join("N" if size is None else str(size) for size in model)
    if name.strip("'") != INPUT_NAME or not match or not 0 < int(match[1]) <= MOST_IMAGES:
        raise UserError(f"{option}={text}: write {option}={INPUT_NAME}:{wanted}")
    batch, height, width, channels = (int(size) for size in match.groups())
    if (height, width, channels) != model[1:]:
        raise UserError(f"{option}={text}: the model takes {wanted}; export it with another --size")
    if model[0] not in (None, batch):
        raise UserError(
            f"{option}={text}: the model takes batches of {model[0]} only; export it with "
            "--dynamic-batch"
        )
    return batch, height, width, channels


def _check_backend(args: argparse.Namespace, backend: str) -> None:
    if backend == "tensorrt" and args.sm is not None:
        raise UserError(
            f"--sm={args.sm}: TensorRT builds for the GPU that it runs on; build there and leave "
            "--sm out, or take --backend=tensorrt-rtx"
        )
    if backend == "tensorrt":
        return
    for option, given in {
        "--timingCacheFile": args.timingCacheFile,
        "--builderOptimizationLevel": args.builderOptimizationLevel is not None,
        "--versionCompatible": args.versionCompatible,
        "--hardwareCompatibilityLevel": args.hardwareCompatibilityLevel.lower() != "none",
    }.items():
        if given:
            raise UserError(f"{option} has no effect in TensorRT-RTX; leave it out")


def _compute_capability(text: str) -> str:
    """`75`, `7.5`, `sm_75` or `SM75` -> `7.5`."""
    match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", text, re.IGNORECASE)
    if not match:
        raise UserError(f"--sm={text}: write a compute capability such as 75 (T4) or 86")
    return f"{match[1]}.{match[2]}"


def _plugins(text: str | None, *, without: bool) -> tuple[str, ...] | None:
    if without and text:
        raise UserError(f"--plugins={text} contradicts --no-plugin; give one of them")
    if text is None:
        return () if without else None
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in PLUGIN_OPS:
            raise UserError(
                f"--plugins={text}: no operator {name!r}{nearest(name, PLUGIN_OPS)}; there are "
                f"{', '.join(PLUGIN_OPS)}"
            )
    return names


def _workspace(text: str) -> int:
    """Bytes in `workspace:1024M`; without a unit they are MiB."""
    match = re.fullmatch(r"workspace:(\d+(?:\.\d+)?)([BKMG]?)", text, re.IGNORECASE)
    size = int(float(match[1]) * UNITS[match[2].upper() or "M"]) if match else 0
    if not 0 < size <= MOST_BYTES:
        raise UserError(f"--memPoolSize={text}: write workspace:SIZE, such as workspace:1024M")
    return size


def _hardware_level(text: str) -> str:
    level = HARDWARE_LEVELS.get(text.lower())
    if level is None:
        raise UserError(
            f"--hardwareCompatibilityLevel={text}{nearest(text, HARDWARE_LEVELS)}: there are none, "
            "ampere+ and sameComputeCapability"
        )
    return level
