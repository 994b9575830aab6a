"""How long a mix takes: measured on a backend, or estimated for a GPU that is not at hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
from onnx import ModelProto

from calibration.estimate.devices import Device
from calibration.files import write
from calibration.rewrite.mixes import Mixes
from calibration.roofline import estimate, milliseconds
from calibration.study.block_costs import Mix
from emca.errors import UserError
from runtime.backends import Backend, ModelFile, load
from runtime.timing.latency import measure
from segdata.samples import Sample

GROUP = 6  # models that are loaded at a time
REPEATS = 7  # of the measurement of a group
DURATION_S = 0.2  # of each model in each of them
LEAST_NOISE = 0.002

Open = Callable[[ModelProto], Backend]


class Clock(Protocol):
    """Tells latencies.

    Attributes:
        what: what they are, with the unit, for tables and axes.
        noise: the share of a latency below which a difference is none, as known by now.
        worth: the share that INT8 has to save as a whole to be preferred to FP16.
    """

    what: str
    noise: float
    worth: float

    def latencies(self, mixes: Sequence[Mix]) -> dict[Mix, float]:
        """Milliseconds of one batch for each mix; comparable with those of every other call."""
        ...

    def fp32(self) -> float | None:
        """Milliseconds of the FP32 file, or None where it cannot run."""
        ...


class Stopwatch:
    """Measures. Mixes take turns with all usual blocks in INT8, by whose time theirs is scaled.

    Each group is measured several times for a moment, and the median of the ratios counts. That
    mix runs twice under two names: how far the two differ is the noise of the group, whose median
    over the groups is the noise of all.
    """

    worth = 0.02

    def __init__(
        self, mixes: Mixes, source: ModelProto, sample: Sample, *, open: Open, what: str
    ) -> None:
        """Take what to measure.

        Args:
            source: the FP32 model.
            sample: the image that is inferred over and over.
            open: puts a model into the backend to measure on.
        """
        self.what = f"median latency on {what}, ms"
        self.noise = LEAST_NOISE
        self._mixes, self._source, self._image, self._open = mixes, source, sample.image, open
        self._reference = 0.0  # ms, of the first measurement
        self._noises: list[float] = []

    def latencies(self, mixes: Sequence[Mix]) -> dict[Mix, float]:
        """See `Clock.latencies`."""
        found = {}
        for start in range(0, len(mixes), GROUP):
            group = list(mixes[start : start + GROUP])
            times = self._take([self._mixes.build(mix) for mix in group])
            found.update(dict(zip(group, times, strict=True)))
        return found

    def fp32(self) -> float | None:
        """See `Clock.fp32`."""
        return self._take([self._source])[0]

    def _take(self, models: Sequence[ModelProto]) -> list[float]:
        usual = self._mixes.build()
        with ExitStack() as stack:
            backends = {
                str(place): stack.enter_context(closing(self._open(model)))
                for place, model in enumerate([usual, *models, usual])
            }
            runs = [self._ratios(backends) for _ in range(REPEATS)]
        first, *ratios, second = np.median(runs, axis=0).tolist()
        self._noises.append(abs(first - second))
        self.noise = max(LEAST_NOISE, median(self._noises))
        return [ratio * self._reference for ratio in ratios]

    def _ratios(self, backends: Mapping[str, Backend]) -> list[float]:
        """Medians in the order of the models, over the mean of the first and the last."""
        timings = measure(backends, self._image, warmup_ms=0, duration_s=DURATION_S, iterations=1)
        times = [timing.median for timing in timings.values()]
        reference = (times[0] + times[-1]) / 2
        self._reference = self._reference or reference
        return [time / reference for time in times]


class EngineShop:
    """Builds engines with runtime.build, in a folder for this run, and loads them."""

    def __init__(self, file: ModelFile, backend: str, folder: Path) -> None:
        self._file, self._backend, self._folder = file, backend, folder

    def __call__(self, model: ModelProto) -> Backend:
        """The model as a loaded engine; UserError where it cannot be built or loaded."""
        source, engine = (self._folder / f"mix.{suffix}" for suffix in ("onnx", "engine"))
        write(model, source, self._file, precision="int8")
        command = [sys.executable, "-m", "runtime.build", str(source), f"--saveEngine={engine}"]
        command += [f"--backend={self._backend}", "--keepAnyway"]
        if self._backend == "tensorrt":  # TensorRT-RTX has none
            command += [f"--timingCacheFile={self._folder / 'timings'}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise UserError(f"a mix cannot be built: {said[-1].removeprefix('error: ')}")
        return load(engine)


class Estimate:
    """Adds up the roofline of a device (`calibration.roofline`); nothing is run."""

    noise = 0.0
    worth = 0.15  # below it the estimate can be wrong about which of two is faster

    def __init__(self, mixes: Mixes, source: ModelProto, device: Device) -> None:
        self.what = f"estimated latency on {device.name}, ms"
        self._mixes, self._source, self._device = mixes, source, device

    def latencies(self, mixes: Sequence[Mix]) -> dict[Mix, float]:
        """See `Clock.latencies`."""
        return {mix: self._of(self._mixes.build(mix)) for mix in mixes}

    def fp32(self) -> float | None:
        """See `Clock.fp32`."""
        return self._of(self._mixes.folded)

    def _of(self, model: ModelProto) -> float:
        return milliseconds(estimate(model, self._device))
