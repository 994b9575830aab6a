"""What a run leaves to read: `metrics.jsonl` and TensorBoard, both continued on resume."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from emca.files import atomic_path
from train.data import Batch


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


class Meter:
    """Means of the loss terms, step time and share of it spent waiting for data."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, float] = {}
        self.steps, self.waited, self.elapsed = 0, 0.0, 0.0

    def timed(self, batches: Iterable[Batch], *, start: int) -> Iterator[tuple[int, Batch]]:
        """Number the batches from `start`, timing how long each is waited for."""
        source = iter(batches)
        step = start
        while True:
            self.asked = time.perf_counter()
            batch = next(source, None)
            if batch is None:
                return
            self.waited += time.perf_counter() - self.asked
            yield step, batch
            step += 1

    def add(self, terms: dict[str, float]) -> None:
        """Count a step that has just ended."""
        self.elapsed += time.perf_counter() - self.asked
        self.steps += 1
        for key, value in terms.items():
            self.sums[key] = self.sums.get(key, 0.0) + value

    def read(self) -> dict[str, float]:
        """Means since the last reading."""
        values = {key: value / self.steps for key, value in self.sums.items()}
        values["step_seconds"] = self.elapsed / self.steps
        values["data_wait"] = self.waited / self.elapsed
        self._reset()
        return values
