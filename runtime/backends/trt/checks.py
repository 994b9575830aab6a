"""Whether an engine can run here, and what TensorRT means where it does not; needs no GPU."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from emca.errors import UserError
from runtime.backends.base import INPUT_NAME
from runtime.backends.cuda.memory import too_little
from runtime.backends.engine_file import EngineFile, Profile

_AMPERE = (8, 0)
_LEVELS = {"ampere_plus": "ampere+", "same_compute_capability": "sameComputeCapability"}


@dataclass(frozen=True)
class Here:
    """What an engine is to run on.

    Attributes:
        version: of TensorRT or TensorRT-RTX.
        device: name of the GPU.
        compute_capability: such as "7.5".
        free, total: bytes of GPU memory.
    """

    version: str
    device: str
    compute_capability: str
    free: int
    total: int


def rebuild(engine: EngineFile, profiles: Sequence[Profile] | None = None) -> str:
    """The command that builds the engine again where it is called, for its own profiles or others.

    Of plugin libraries the JSON knows no names: FILE stands for them.
    """
    model = str(engine.onnx) if engine.onnx.exists() else "MODEL.onnx"
    words = ["python", "-m", "runtime.build", model, "-o", str(engine.path)]
    words += _shape_words(engine.profiles if profiles is None else profiles)
    told = engine.settings
    plugins, level = told.get("plugins"), engine.hardware_compatibility
    given = {
        f"--backend={engine.backend}": engine.backend != "tensorrt",
        "--no-plugin": plugins == [],
        f"--plugins={','.join(plugins or [])}": plugins,
        f"--memPoolSize=workspace:{told.get('workspace')}B": told.get("workspace"),
        f"--builderOptimizationLevel={told.get('optimization_level')}": (
            told.get("optimization_level") is not None
        ),
        "--noTF32": told.get("tf32") is False,
        "--versionCompatible": engine.version_compatible,
        f"--hardwareCompatibilityLevel={_LEVELS.get(level, level)}": level != "none",
        "--keepAnyway": told.get("keep_anyway"),
    }
    words += [word for word, wanted in given.items() if wanted]
    words += ["--dynamicPlugins=FILE"] * len(told.get("libraries", ()))
    return shlex.join(words)


def _shape_words(profiles: Sequence[Profile]) -> list[str]:
    """The options for these profiles; none for the one that is built without any."""
    only = profiles[0]
    if len(profiles) == 1 and only.minimum[0] == only.maximum[0] == 1:
        return []
    words = []
    for index, profile in enumerate(profiles):
        words += [f"--profile={index}"] if len(profiles) > 1 else []
        sides = {"min": profile.minimum, "opt": profile.optimum, "max": profile.maximum}
        words += [f"--{side}Shapes={_spelled(shape)}" for side, shape in sides.items()]
    return words


def _spelled(shape: Sequence[int]) -> str:
    return f"{INPUT_NAME}:{'x'.join(map(str, shape))}"


def check_version(engine: EngineFile, installed: str) -> None:
    """UserError unless this version of the engine's backend reads it.

    It has to be the version that built it; a version-compatible engine takes later ones too.
    """
    # Some packages name three parts of the version, others four.
    pairs = list(zip(_numbers(engine.version), _numbers(installed), strict=False))
    built, here = ([pair[side] for pair in pairs] for side in (0, 1))
    if here == built or (engine.version_compatible and here > built):
        return
    later = " or later" if engine.version_compatible else ""
    raise UserError(
        f"{engine.path} needs {engine.backend} {engine.version}{later}, which built it, and "
        f"{installed} is installed; build it again here: {rebuild(engine)}"
    )


def check_device(engine: EngineFile, here: Here) -> None:
    """UserError unless the engine was built for a GPU of this kind."""
    if engine.hardware_compatibility == "ampere_plus":
        fits = _numbers(here.compute_capability) >= _AMPERE
        built = "GPUs of compute capability 8.0 or higher"
    else:
        wanted = engine.compute_capabilities
        fits = not wanted or here.compute_capability in wanted
        built = f"compute capability {' or '.join(wanted)}"
        if engine.device:
            built += f" ({engine.device})"
    if not fits:
        raise UserError(
            f"{engine.path} was built for {built} and {here.device} has "
            f"{here.compute_capability}; build it again here: {rebuild(engine)}"
        )


def pick_profile(engine: EngineFile, shape: tuple[int, ...]) -> int:
    """The index of the profile to run a batch of this shape [N,H,W,3] under.

    It is the one made for this very shape or, among those that allow it, the narrowest.

    Raises:
        UserError: no profile allows the shape.
    """
    fitting = [index for index, profile in enumerate(engine.profiles) if shape in profile]
    if fitting:
        return min(
            fitting,
            key=lambda index: (
                engine.profiles[index].optimum != shape,
                engine.profiles[index].maximum[0] - engine.profiles[index].minimum[0],
            ),
        )
    spans = dict.fromkeys(
        f"{p.minimum[0]} to {p.maximum[0]}" if p.minimum != p.maximum else f"{p.maximum[0]}"
        for p in engine.profiles
    )
    batches = [shape[0], *(size for p in engine.profiles for size in (p.minimum[0], p.maximum[0]))]
    _, height, width, channels = engine.profiles[0].optimum
    low, high = ((batch, height, width, channels) for batch in (min(batches), max(batches)))
    raise UserError(
        f"{engine.path} takes batches of {' or of '.join(spans)} images, got {shape[0]}; split "
        f"the batch or build it again: {rebuild(engine, [Profile(low, high, high)])}"
    )


def explain(engine: EngineFile, reason: str, here: Here) -> UserError:
    """What to tell the user where TensorRT refuses an engine.

    Args:
        reason: what TensorRT logged, in one line.
    """
    path, again = engine.path, f"build it again here: {rebuild(engine)}"
    if _said(reason, "out ?of ?memory", "could not be allocated", "Requested size was"):
        sizes = [int(size) for size in re.findall(r"(\d+)[ -]byte", reason)]
        return UserError(too_little(max(sizes, default=0), here.free, here.total, f" for {path}"))
    if match := re.search(r"[Cc]annot find plugin: ?([\w]+)", reason):
        return UserError(
            f"{path} needs the plugin {match[1]}, which {engine.backend} {here.version} does not "
            f"find ({reason}); {again}"
        )
    if _said(reason, "library version", "Version tag", "older TensorRT version"):
        return UserError(
            f"{path} is of another version than {engine.backend} {here.version} ({reason}); {again}"
        )
    if _said(reason, "incompatible device", "cannot run on this GPU", "compute capability"):
        return UserError(
            f"{path} does not run on {here.device}, compute capability "
            f"{here.compute_capability} ({reason}); {again}"
        )
    if _said(reason, "getEngineHostCodeAllowed"):
        return UserError(
            f"{path} is version-compatible but its JSON says that it is not; {again} "
            "--versionCompatible"
        )
    if _said(reason, "magic", "Serialization"):
        return UserError(f"{path} is damaged or no engine ({reason}); {again}")
    if _said(reason, "driver version is insufficient", "CUDA initialization failure"):
        other = " or pip install tensorrt-cu12" if engine.backend == "tensorrt" else ""
        return UserError(
            f"{path}: the NVIDIA driver is too old for {engine.backend} {here.version} ({reason}); "
            f"update the driver{other}"
        )
    return UserError(f"{path}: {engine.backend} {here.version} cannot run it ({reason})")


def _said(reason: str, *patterns: str) -> bool:
    return any(re.search(pattern, reason, re.IGNORECASE) for pattern in patterns)


def _numbers(version: str) -> tuple[int, ...]:
    """10.16.1.11 -> (10, 16, 1, 11)"""
    return tuple(int(part) for part in re.findall(r"\d+", version))
