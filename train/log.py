"""What a run leaves to read: `metrics.jsonl` and TensorBoard, both continued on resume."""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from segdata.files import atomic_path


class MetricsLog:
    """Appends one JSON object a line, and the same numbers to TensorBoard.

    Args:
        out: folder of the run.
        start: first step to come; lines of later steps, left by a killed run, are dropped.
    """

    def __init__(self, out: Path, *, start: int) -> None:
        path = out / "metrics.jsonl"
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # the line being written at the kill
                    break
                if entry["step"] > start:
                    break
                kept.append(line + "\n")
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept))
        self._file = path.open("a")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)

    def write(self, step: int, **values: float) -> None:
        """Log `values` as the state after `step` optimizer steps."""
        rounded = {key: float(f"{value:.6g}") for key, value in values.items()}
        self._file.write(json.dumps({"step": step, **rounded}) + "\n")
        self._file.flush()
        for key, value in values.items():
            self._board.add_scalar(key, value, step)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._board.close()
