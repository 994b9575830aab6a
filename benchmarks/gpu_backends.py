"""An exported network on every backend for GPUs that runs here: FP16 beside FP32."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from untrained import export_untrained, model_config, network

from emca.errors import UserError
from export.to_onnx import export_checkpoint
from runtime import bench
from runtime.backends import BACKENDS, CPU_BACKENDS
from runtime.backends.engine_file import json_path

PRESET = "ade20k_resnet50"
SIZE = (512, 512)


def measure(checkpoint: Path | None, data: str | None, size: tuple[int, int] = SIZE) -> Any:
    """By backend: the rows of runtime.bench and the engines' parity, or why it did not run.

    Args:
        checkpoint: a trained model; else a preset with random weights, of this size.
        data: images with the checkpoint's classes, for mIoU and agreement.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        if checkpoint:
            export_checkpoint(checkpoint, model)
        else:
            export_untrained(network(model_config(PRESET)), model, size=size)
        found = {name: _run(name, model, data) for name in BACKENDS if name not in CPU_BACKENDS}
    return {"model": str(checkpoint.name if checkpoint else PRESET), "backends": found}


def _run(backend: str, model: Path, data: str | None) -> Any:
    table = model.with_name(f"{backend}.json")
    words = [f"--onnx={model}", "--fp16", f"--backend={backend}", f"--exportTable={table}"]
    try:
        bench.main([*words, f"--data={data}"] if data else words)
    except Exception as error:  # whatever it is, what was measured before must not be lost
        what = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return f"not run: {what}".replace(f"{model.parent}/", "")
    result = json.loads(table.read_text())
    engines = [model.parent / file["path"] for file in result["files"].values()]
    described = [json_path(engine) for engine in engines if json_path(engine).exists()]
    parity = {path.name: json.loads(path.read_text())["parity"] for path in described}
    return {"rows": result["rows"], "notes": result["notes"], "parity": parity}
