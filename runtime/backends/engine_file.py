"""An engine and the JSON beside it, which holds what a plan cannot carry.

`model.fp16.engine` is a plain plan, as trtexec and Triton take it; `model.fp16.engine.json` says
what it was made from and for, and what the builder made of it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emca.errors import UserError
from emca.files import atomic_path, sha256
from runtime.backends.base import InputShape
from runtime.backends.trt.module import NAMES
from segdata import card as cards
from segdata.card import ModelCard

ENGINE_FORMAT = "1"
SUFFIXES = (".engine", ".plan")

Shape = tuple[int, int, int, int]


def is_engine(path: str | Path) -> bool:
    """Whether the name is that of an engine."""
    return Path(path).suffix in SUFFIXES


def json_path(engine: Path) -> Path:
    """`model.fp16.engine` -> `model.fp16.engine.json`."""
    return engine.with_name(f"{engine.name}.json")


@dataclass(frozen=True)
class Profile:
    """An optimization profile: the shapes [N,H,W,3] of `image` that it was made for."""

    minimum: Shape
    optimum: Shape
    maximum: Shape

    def __contains__(self, shape: object) -> bool:
        """Whether a batch of this shape runs under the profile."""
        if not isinstance(shape, tuple) or len(shape) != len(self.minimum):
            return False
        spans = zip(self.minimum, shape, self.maximum, strict=True)
        return all(low <= size <= high for low, size, high in spans)


@dataclass(frozen=True)
class Layer:
    """A layer of the engine as its inspector lists it.

    Attributes:
        name: the builder's.
        kind: the builder's word for what it does, such as "gemm" or "PluginV3".
        inputs, outputs: types of its tensors: "fp32", "fp16", "int8", "int32" and the like.
        nodes: names of the ONNX nodes that went into it.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EngineFile:
    """An engine on disk.

    Attributes:
        path: of the engine.
        card: of the ONNX file that it was built from; its precision is the engine's.
        backend: "tensorrt" or "tensorrt-rtx".
        version: of that package at the build, which is the one that runs it.
        device: the GPU it was built on; empty when it was built without one.
        compute_capabilities: what it was built for, such as ("7.5",).
        version_compatible: whether later versions of TensorRT run it too.
        hardware_compatibility: "none", "ampere_plus" or "same_compute_capability".
        profiles: one at least.
        plugins: how many layers of each operator run as a plugin: {"PrototypeAttention": 9}.
        onnx_path: of the ONNX file, relative to the folder of the engine.
        onnx_sha256, engine_sha256: fingerprints of both files.
        layers: every layer of the engine.
        settings: what the builder was told.
    """

    path: Path
    card: ModelCard
    backend: str
    version: str
    device: str
    compute_capabilities: tuple[str, ...]
    version_compatible: bool
    hardware_compatibility: str
    profiles: tuple[Profile, ...]
    plugins: dict[str, int]
    onnx_path: str
    onnx_sha256: str
    engine_sha256: str
    layers: tuple[Layer, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def input_shape(self) -> InputShape:
        """(N, H, W, 3) of `image`; N is None where the profiles allow several batch sizes."""
        batches = {size for p in self.profiles for size in (p.minimum[0], p.maximum[0])}
        _, height, width, channels = self.profiles[0].optimum
        return (batches.pop() if len(batches) == 1 else None), height, width, channels

    @property
    def least_batch(self) -> int:
        """The smallest batch size that the profiles allow."""
        return min(profile.minimum[0] for profile in self.profiles)

    @property
    def onnx(self) -> Path:
        """Where the ONNX file stood at the build; it may be gone."""
        return self.path.parent / self.onnx_path

    @classmethod
    def read(cls, path: str | Path) -> EngineFile:
        """Read the JSON of an engine and check that it belongs to it.

        Raises:
            UserError: no engine, no JSON beside it, one of another version or that is not
                complete, or an engine that was replaced after the JSON was written.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: no such engine; build it with python -m runtime.build")
        described = json_path(path)
        try:
            values = json.loads(described.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"{described} is missing; keep it beside its engine, or build both again with "
                "python -m runtime.build"
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no JSON"
            raise UserError(
                f"{described}: cannot be read ({reason}); build the engine again"
            ) from error
        engine = cls._from_values(path, values, described)
        if engine.engine_sha256 != sha256(path):
            raise UserError(
                f"{path} is not the engine that {described.name} describes; copy both files "
                "together, or build the engine again"
            )
        return engine

    def write(self, origin: Mapping[str, Any]) -> Path:
        """Write the JSON beside the engine; `origin` is `results.output.origin` of the command.

        Returns:
            Its path.
        """
        values = dataclasses.asdict(self)
        del values["path"]
        target = json_path(self.path)
        text = ",\n".join(
            f'  "{key}": {_lines(value)}'
            for key, value in {"format_version": ENGINE_FORMAT, **origin, **values}.items()
        )
        with atomic_path(target) as temporary:
            temporary.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")
        return target

    @classmethod
    def _from_values(cls, path: Path, values: Any, where: Path) -> EngineFile:
        version = values.get("format_version") if isinstance(values, dict) else None
        if version != ENGINE_FORMAT:
            raise UserError(
                f"{where} has format {version!r} but this version reads {ENGINE_FORMAT!r}; build "
                "the engine again or update this package"
            )
        try:
            own = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name != "path"}
            own["card"] = _card(own["card"], where)
            own["compute_capabilities"] = tuple(own["compute_capabilities"])
            own["profiles"] = tuple(
                Profile(**{key: _shape(shape) for key, shape in profile.items()})
                for profile in own["profiles"]
            )
            own["layers"] = tuple(
                Layer(
                    layer["name"],
                    layer["kind"],
                    *(tuple(layer[key]) for key in ("inputs", "outputs", "nodes")),
                )
                for layer in own["layers"]
            )
        except KeyError as error:
            raise UserError(f"{where}: key {error} is missing; build the engine again") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(f"{where} is damaged ({error}); build the engine again") from None
        if own["backend"] not in tuple(NAMES):
            raise UserError(f"{where}: no backend {own['backend']!r}; build the engine again")
        names = [own[key] for key in ("version", "device", "onnx_path")]
        if not all(isinstance(name, str) for name in (*names, *own["compute_capabilities"])):
            raise UserError(f"{where} is damaged (a name is no text); build the engine again")
        if len(re.findall(r"\d+", own["version"])) < 2:
            raise UserError(
                f"{where} is damaged (version {own['version']!r}); build the engine again"
            )
        if not all(isinstance(own[key], dict) for key in ("plugins", "settings")):
            raise UserError(f"{where} is damaged (plugins or settings); build the engine again")
        if not own["profiles"]:
            raise UserError(f"{where} has no profile; build the engine again")
        return cls(path=path, **own)


def _lines(value: Any) -> str:
    """JSON of a value on one line, or one line for each of several objects, such as layers."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        return "[\n    " + ",\n    ".join(map(json.dumps, value)) + "\n  ]"
    return json.dumps(value)


def _card(values: dict[str, Any], where: Path) -> ModelCard:
    """The card, which stands in the JSON as plain values."""
    props = {key: json.dumps(value) for key, value in values.items()}
    return ModelCard.from_props({**props, "format_version": cards.FORMAT_VERSION}, str(where))


def _shape(values: list[int]) -> Shape:
    batch, height, width, channels = values
    if not all(type(size) is int and size > 0 for size in values):
        raise ValueError(f"{values} is no shape")
    return batch, height, width, channels
