"""What goes to the builder's process and what comes back."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emca.files import sha256
from runtime.backends.engine_file import EngineFile, Layer
from runtime.engines.layers import Outcome
from runtime.engines.options import BuildOptions
from segdata.card import ModelCard


@dataclass(frozen=True)
class Job:
    """An engine to build.

    Attributes:
        model: the ONNX file.
        plan: where to write the engine.
        target: what the engine will be called, for messages.
        keep_anyway: keep an engine that is not what the file asks; its notes say why.
        verbose: send all that TensorRT logs to standard error.
    """

    model: Path
    plan: Path
    target: Path
    options: BuildOptions
    keep_anyway: bool = False
    verbose: bool = False


@dataclass(frozen=True, kw_only=True)
class Built:
    """What became of a job; see `EngineFile` for the fields of the same names."""

    version: str
    device: str
    compute_capability: str
    plugins: dict[str, int]
    layers: tuple[Layer, ...]
    outcomes: tuple[Outcome, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    parity: dict[str, Any] = field(default_factory=dict)


def engine_file(job: Job, built: Built, card: ModelCard, path: Path) -> EngineFile:
    """The description of an engine that was built and stands at `path` now."""
    options = job.options
    return EngineFile(
        path=path,
        card=card,
        backend=options.backend,
        version=built.version,
        device=built.device,
        compute_capabilities=(built.compute_capability,),
        version_compatible=options.version_compatible,
        hardware_compatibility=options.hardware_compatibility,
        profiles=options.profiles,
        plugins=built.plugins,
        onnx_path=Path(os.path.relpath(job.model, path.parent)).as_posix(),
        onnx_sha256=sha256(job.model),
        engine_sha256=sha256(path),
        layers=built.layers,
        settings=settings(options, keep_anyway=job.keep_anyway),
    )


def settings(options: BuildOptions, *, keep_anyway: bool) -> dict[str, Any]:
    """What shapes an engine beyond its target and profiles, as it stands in its JSON."""
    return {**options.settings(), "keep_anyway": keep_anyway}


@dataclass(frozen=True)
class Progress:
    """A phase of the build; `total` steps of which `done` are behind it."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Failure:
    """What the user has to mend, in one line."""

    reason: str


Tell = Callable[[Progress], None]
