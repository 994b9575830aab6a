"""Engine files with their JSON, made without a builder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cards import make_card

from emca.files import sha256
from runtime.backends.engine_file import EngineFile, Profile

SIZE = (6, 8)


def profile(low: int, best: int, high: int, size: tuple[int, int] = SIZE) -> Profile:
    """A profile by its batch sizes."""
    return Profile(*((batch, *size, 3) for batch in (low, best, high)))


def write_engine(folder: Path, *, plan: bytes = b"no engine", **changes: Any) -> EngineFile:
    """`model.engine` and its JSON in the folder; keywords change what the JSON says."""
    path = folder / changes.pop("name", "model.engine")
    path.write_bytes(plan)
    values: dict[str, Any] = {
        "card": make_card(precision="fp16", input_size=SIZE),
        "backend": "tensorrt",
        "version": "10.3.0",
        "device": "Tesla T4",
        "compute_capabilities": ("7.5",),
        "version_compatible": False,
        "hardware_compatibility": "none",
        "profiles": (profile(1, 1, 4),),
        "plugins": {},
        "onnx_path": "model.fp16.onnx",
        "onnx_sha256": "0" * 64,
        "engine_sha256": sha256(path),
    }
    engine = EngineFile(path=path, **values | changes)
    engine.write({"date": "today"})
    return engine
