"""Latency of several loaded models in one interleaved run."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime.backends import Backend
from segdata.cli import progress
from segdata.preprocess import fit

ROUNDS = 5


@dataclass
class Timing:
    """The queries of one model; all times in ms since the measurement of all models began."""

    warmup_queries: int = 0
    warmup_ms: float = 0.0
    queries: list[tuple[float, float]] = field(default_factory=list)
    wall_ms: float = 0.0

    @property
    def latencies(self) -> NDArray[np.float64]:
        """Milliseconds of each query, ascending."""
        spans = np.asarray(self.queries, dtype=np.float64).reshape(-1, 2)
        return np.sort(spans[:, 1] - spans[:, 0])

    @property
    def median(self) -> float:
        """The median latency in ms."""
        return float(np.median(self.latencies))

    @property
    def throughput(self) -> float:
        """Queries per second of the time that this model had for itself."""
        return 1000 * len(self.queries) / self.wall_ms

    def percentile(self, percent: float) -> float:
        """The latency in ms that `percent` of the queries do not exceed, as trtexec takes it.

        It is always a latency that occurred, never a value between two.
        """
        latencies = self.latencies
        excluded = int((100 - percent) * len(latencies) / 100)
        return float(latencies[max(len(latencies) - 1 - excluded, 0)])


def measure(
    backends: Mapping[str, Backend],
    image: NDArray[np.uint8],
    *,
    warmup_ms: float = 200,
    duration_s: float = 3,
    iterations: int = 10,
) -> dict[str, Timing]:
    """Time `infer`, and nothing but it, on batches of one repeated image.

    The models take turns over several rounds, every second one backwards, so that whatever else
    the machine does slows them alike. Each turn starts with a query that is not counted: it
    brings the model's weights back into the caches and lets another library's threads fall asleep.

    Args:
        image: RGB uint8 [h,w,3] of any size, fitted to each model.
        warmup_ms: uncounted time for each model before the first round.
        duration_s: seconds to measure each model for, at least.
        iterations: queries of each model, at least.
    """
    batches = {name: _batch(backend, image) for name, backend in backends.items()}
    timings = {name: Timing() for name in backends}
    for name, backend in backends.items():
        timings[name].warmup_queries, timings[name].warmup_ms = _warm_up(
            backend, batches[name], warmup_ms
        )

    names = list(backends)
    turns = [name for n in range(ROUNDS) for name in (names if n % 2 == 0 else names[::-1])]
    origin = time.perf_counter()
    for name in progress(turns, desc="measuring"):
        _take_turn(
            backends[name],
            batches[name],
            timings[name],
            origin=origin,
            least_ms=1000 * duration_s / ROUNDS,
            least_queries=math.ceil(iterations / ROUNDS),
        )
    return timings


def _take_turn(
    backend: Backend,
    batch: NDArray[np.uint8],
    timing: Timing,
    *,
    origin: float,
    least_ms: float,
    least_queries: int,
) -> None:
    """Add one turn's queries to the timing, at least so many over at least that time."""
    backend.infer(batch)
    began = now = _ms_since(origin)
    enough = len(timing.queries) + least_queries
    while now < began + least_ms or len(timing.queries) < enough:
        backend.infer(batch)
        finished = _ms_since(origin)
        timing.queries.append((now, finished))
        now = finished
    timing.wall_ms += now - began


def _batch(backend: Backend, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image as often as the model's batch takes it, uint8 [N,H,W,3]."""
    batch, height, width, _ = backend.input_shape
    return np.repeat(fit(image, (height, width))[None], batch or 1, axis=0)


def _warm_up(backend: Backend, batch: NDArray[np.uint8], warmup_ms: float) -> tuple[int, float]:
    """Queries made and milliseconds spent; one query at least."""
    origin = time.perf_counter()
    queries = 0
    while queries == 0 or _ms_since(origin) < warmup_ms:
        backend.infer(batch)
        queries += 1
    return queries, _ms_since(origin)


def _ms_since(origin: float) -> float:
    return 1000 * (time.perf_counter() - origin)
