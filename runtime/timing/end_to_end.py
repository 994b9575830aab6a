"""From the bytes of a JPEG to labels of its size: what each stage of it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emca.cli import progress
from runtime.backends import Backend
from runtime.comparison.rows import aligned
from runtime.evaluate import to_labels
from segdata.preprocess import fit, restore

STAGES = ("decode", "fit", "infer", "labels")
MOST_IMAGES = 8
LEAST_PASSES = 5
JPEG_QUALITY = 95


@dataclass(frozen=True)
class EndToEnd:
    """The stages of one model.

    Attributes:
        ms: median milliseconds by stage: "decode" of the JPEGs, "fit" to the model's size,
            "infer", "labels" from the outputs and back to the sizes of the images.
        total_ms: the median of all stages together.
        passes: how many batches were taken from one end to the other.
        batch: images in each of them.
    """

    ms: dict[str, float]
    total_ms: float
    passes: int
    batch: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; shares are of the sum of the stages."""
        whole = sum(self.ms.values())
        stages = {
            name: {"median_ms": ms, "share": ms / whole if whole else 0.0}
            for name, ms in self.ms.items()
        }
        return {
            **stages,
            "total_ms": self.total_ms,
            "images_per_second": self.images_per_second,
            "passes": self.passes,
            "batch": self.batch,
        }

    @property
    def images_per_second(self) -> float:
        """One batch after the other, nothing overlapping."""
        return 1000 * self.batch / self.total_ms


def end_to_end(
    backends: Mapping[str, Backend],
    images: Sequence[NDArray[np.uint8]],
    *,
    duration_s: float,
    batch: int | None = None,
) -> dict[str, EndToEnd]:
    """Take images through all stages, a batch at a time and one model after the other.

    Args:
        images: RGB uint8 [h,w,3], encoded as JPEG first.
        duration_s: seconds for each model, about; five batches at least.
        batch: images a query where the model leaves that open; None: the fewest it takes.
    """
    files = [_jpeg(image) for image in images]
    taken: dict[str, list[list[float]]] = {name: [] for name in backends}
    sizes = {name: one.input_shape[0] or batch or one.least_batch for name, one in backends.items()}
    for name, backend in progress(backends.items(), desc="end to end"):
        endless = cycle(files)
        _pass(backend, [*islice(endless, sizes[name])])
        until = time.perf_counter() + duration_s
        while len(taken[name]) < LEAST_PASSES or time.perf_counter() < until:
            taken[name].append(_pass(backend, [*islice(endless, sizes[name])]))
    return {
        name: EndToEnd(
            ms={stage: median(row[place] for row in rows) for place, stage in enumerate(STAGES)},
            total_ms=median(sum(row) for row in rows),
            passes=len(rows),
            batch=sizes[name],
        )
        for name, rows in taken.items()
    }


def table(found: Mapping[str, EndToEnd]) -> str:
    """The stages of each model as aligned text."""
    head = ("format", *(f"{stage} ms" for stage in STAGES), "total ms", "images/s")
    lines = []
    for name, one in found.items():
        stages = one.to_dict()
        cells = [f"{one.ms[s]:.2f} ({100 * stages[s]['share']:.0f} %)" for s in STAGES]
        lines.append((name, *cells, f"{one.total_ms:.2f}", f"{one.images_per_second:.1f}"))
    return aligned(head, lines)


def _pass(backend: Backend, files: Sequence[NDArray[np.uint8]]) -> list[float]:
    """Milliseconds of each stage for a batch; the stages are those of `evaluate.predict`."""
    size = backend.input_shape[1:3]
    marks = [time.perf_counter()]
    images = [_decoded(data) for data in files]
    marks.append(time.perf_counter())
    batch = np.stack([fit(image, size) for image in images])
    marks.append(time.perf_counter())
    outputs = backend.infer(batch)
    marks.append(time.perf_counter())
    for place, image in enumerate(images):
        labels = to_labels({name: value[place] for name, value in outputs.items()}, size)
        restore(labels, (image.shape[0], image.shape[1]))
    marks.append(time.perf_counter())
    return [1000 * (end - start) for start, end in pairwise(marks)]


def _jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
    return np.asarray(encoded, np.uint8)


def _decoded(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None  # our own
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
