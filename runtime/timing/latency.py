"""Latency and throughput of several loaded models in one interleaved run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emca.cli import progress
from runtime.backends import Backend
from runtime.backends.base import GpuTrace, TimesItself
from runtime.timing.host_queries import HostQueries, ms_since
from segdata.preprocess import fit

ROUNDS = 5


@dataclass
class Timing:
    """The queries of one model; all times in ms since the measurement of all models began.

    Attributes:
        queries: when each of them began and ended.
        traces: their stages, where the GPU told them; else empty.
        wall_ms: the time that this model had for itself.
        streams: how many queries ran at once.
        batch: images in each of them.
    """

    warmup_queries: int = 0
    warmup_ms: float = 0.0
    queries: list[tuple[float, float]] = field(default_factory=list)
    wall_ms: float = 0.0
    traces: list[GpuTrace] = field(default_factory=list)
    streams: int = 1
    batch: int = 1

    @property
    def latencies(self) -> NDArray[np.float64]:
        """Milliseconds of each query, ascending."""
        if self.traces:
            return np.sort(np.asarray([trace.latency for trace in self.traces], np.float64))
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
        """The latency in ms that `percent` of the queries do not exceed; see `percentile`."""
        return percentile(self.latencies, percent)


def percentile(ascending: NDArray[np.float64], percent: float) -> float:
    """The value that `percent` of them do not exceed, as trtexec takes it.

    It is always a value that occurred, never one between two.
    """
    part = np.float32(1) - np.float32(percent) / np.float32(100)  # its rounding, too
    excluded = int(part * np.float32(len(ascending)))
    return float(ascending[max(len(ascending) - 1 - excluded, 0)])


def measure(
    backends: Mapping[str, Backend],
    image: NDArray[np.uint8],
    *,
    warmup_ms: float = 200,
    duration_s: float = 3,
    iterations: int = 10,
    batch: int | None = None,
    streams: int = 1,
    stages: bool = False,
    transfers: bool = False,
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
        batch: images a query, where the model leaves that open; None: the fewest it takes.
        streams: queries at once; load the models with as many.
        stages: let engines be timed on the GPU, stage by stage, instead of from outside.
        transfers: of engines that are: copy inputs and outputs with each query.
    """
    with ExitStack() as stack:
        turns: dict[str, _Turns] = {}
        for name, backend in backends.items():
            images = repeated(backend, image, batch)
            turn = _turn(backend, images, streams, stages, transfers, stack)
            turns[name] = _Turns(turn, Timing(streams=streams, batch=len(images)))
        for each in turns.values():
            each.warm_up(warmup_ms)
        names = list(backends)
        order = [name for n in range(ROUNDS) for name in (names if n % 2 == 0 else names[::-1])]
        origin = time.perf_counter()
        for name in progress(order, desc="measuring"):
            turns[name].take(1000 * duration_s / ROUNDS, math.ceil(iterations / ROUNDS), origin)
    return {name: each.timing for name, each in turns.items()}


def repeated(
    backend: Backend, image: NDArray[np.uint8], batch: int | None = None
) -> NDArray[np.uint8]:
    """The image uint8 [N,H,W,3], as often as the model's batch has it.

    Where that is open `batch` times, or without it as often as the smallest batch has it.
    """
    own, height, width, _ = backend.input_shape
    size = own or batch or backend.least_batch
    return np.repeat(fit(image, (height, width))[None], size, axis=0)


# At least so many ms, at least so many queries, the origin of the clock -> the queries, whose
# stages are told or not.
_Turn = Callable[[float, int, float], tuple[list[tuple[float, float]], list[GpuTrace]]]


def _turn(
    backend: Backend,
    images: NDArray[np.uint8],
    streams: int,
    stages: bool,
    transfers: bool,
    stack: ExitStack,
) -> _Turn:
    if stages and isinstance(backend, TimesItself):
        timed = backend.timed(images, streams=streams, transfers=transfers)
        stack.callback(timed.close)

        def on_gpu(
            least_ms: float, least: int, origin: float
        ) -> tuple[list[tuple[float, float]], list[GpuTrace]]:
            traces = timed.turn(least_ms, least, origin)
            return [(trace.start_upload, trace.end_download) for trace in traces], traces

        return on_gpu
    queries = HostQueries(backend, images, streams)
    stack.callback(queries.close)
    return lambda least_ms, least, origin: (queries.turn(least_ms, least, origin), [])


@dataclass
class _Turns:
    """The turns of one model and what came of them."""

    turn: _Turn
    timing: Timing

    def warm_up(self, least_ms: float) -> None:
        """Queries that are not counted but told; one at least."""
        origin = time.perf_counter()
        self.timing.warmup_queries = len(self.turn(least_ms, 1, origin)[0])
        self.timing.warmup_ms = ms_since(origin)

    def take(self, least_ms: float, least_queries: int, origin: float) -> None:
        """Add a turn's queries to the timing."""
        self.turn(0, 1, origin)
        queries, traces = self.turn(least_ms, least_queries, origin)
        self.timing.queries += queries
        self.timing.traces += traces
        self.timing.wall_ms += max(end for _, end in queries) - queries[0][0]
