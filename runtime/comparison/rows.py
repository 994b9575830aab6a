"""Formats side by side: what each costs and how far its labels are from those of FP32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runtime.backends import Backend
from runtime.evaluate import Accuracy
from runtime.timing.latency import Timing

NOT_MEASURED = "-"
HEAD = (
    *("format", "MB", "median ms", "p90 ms", "p99 ms", "FPS", "ratio"),
    *("mIoU %", "Δ points", "same labels %"),
)


@dataclass(frozen=True)
class Row:
    """One format. Accuracy fields are None where no data were given.

    Attributes:
        format: "FP32", "FP16" or "INT8".
        file: name of the model file.
        size_mb: of the file, in 10^6 bytes.
        median_ms, p90_ms, p99_ms: latency of one batch.
        fps: images per second.
        ratio: median latency over that of the first row; of several streams, whose queries wait
            for each other, the time an image takes of all of them.
        queries: how many batches were timed.
        throughput: queries per second, over all streams.
        batch: images in a query.
        streams: queries at once.
        miou, pixel_accuracy, iou: 0..1; an IoU is None where the class never occurs.
        delta_miou: difference to the first row in points, that is percent of mIoU.
        agreement: share of pixels labelled as in the first row, 0..1.
    """

    format: str
    file: str
    size_mb: float
    median_ms: float
    p90_ms: float
    p99_ms: float
    fps: float
    ratio: float
    queries: int
    miou: float | None = None
    delta_miou: float | None = None
    agreement: float | None = None
    pixel_accuracy: float | None = None
    iou: list[float | None] | None = None
    throughput: float | None = None
    batch: int = 1
    streams: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def rows(
    backends: Mapping[str, Backend],
    timings: Mapping[str, Timing],
    accuracies: Mapping[str, Accuracy] | None,
) -> list[Row]:
    """One row per format, in order; the first is the reference of ratio, difference, agreement."""
    first = next(iter(backends))
    cost = {name: _cost(timing) for name, timing in timings.items()}
    return [
        Row(
            format=name,
            file=backend.path.name,
            size_mb=backend.path.stat().st_size / 1e6,
            median_ms=timings[name].median,
            p90_ms=timings[name].percentile(90),
            p99_ms=timings[name].percentile(99),
            fps=timings[name].throughput * timings[name].batch,
            ratio=cost[name] / cost[first],
            queries=len(timings[name].queries),
            throughput=timings[name].throughput,
            batch=timings[name].batch,
            streams=timings[name].streams,
            **(_accuracy(accuracies[name], accuracies[first]) if accuracies else {}),
        )
        for name, backend in backends.items()
    ]


def _cost(timing: Timing) -> float:
    """What a format is compared by: ms of a query, or of each of several at once."""
    return timing.median if timing.streams == 1 else 1000 / timing.throughput


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    lines = [
        (
            row.format,
            f"{row.size_mb:.2f}",
            f"{row.median_ms:.2f}",
            f"{row.p90_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.fps:.1f}",
            f"{row.ratio:.3f}",
            number(row.miou, "{:.2f}", 100),
            points(row.delta_miou),
            number(row.agreement, "{:.3f}", 100),
        )
        for row in rows
    ]
    return aligned(HEAD, lines)


def aligned(head: Sequence[str], lines: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A text table; the first `left` columns are flush left, the others right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *lines, strict=True)]
    text = [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in (head, *lines)
    ]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def number(value: float | None, form: str, factor: float = 1) -> str:
    """`factor` times the value in this form, or a dash where there is none."""
    return NOT_MEASURED if value is None else form.format(factor * value)


def points(delta: float | None) -> str:
    """A difference in points, or a dash; what rounds to nothing has no minus."""
    return number(None if delta is None else round(delta, 2) + 0.0, "{:+.2f}")


def notes(backends: Mapping[str, Backend], rows: Sequence[Row]) -> list[str]:
    """What a reader of the table has to know about it."""
    found = format_notes(backends)
    if rows[0].miou is None:
        found.append("Accuracy not measured: no data were given.")
    return found


def format_notes(backends: Mapping[str, Backend]) -> list[str]:
    """How the files of other formats came about, and what they are not."""
    found = []
    if "FP16" in backends and backends["FP16"].name == "openvino":
        found.append("OpenVINO computes FP16 files in FP32 here: they save space, not time.")
    for name, backend in backends.items():
        if how := backend.card.calibration:
            found.append(f"{name} {_ranges(how)}.")
    return found


def _accuracy(accuracy: Accuracy, reference: Accuracy) -> dict[str, Any]:
    scores = accuracy.matrix.to_dict()
    both = scores["miou"] is not None
    return {
        "miou": scores["miou"],
        "delta_miou": 100 * (accuracy.matrix.miou - reference.matrix.miou) if both else None,
        "agreement": accuracy.agreement,
        "pixel_accuracy": scores["pixel_accuracy"],
        "iou": scores["iou"],
    }


def _ranges(how: Mapping[str, Any]) -> str:
    """What a card says about its calibration, as the rest of a sentence."""
    text = f"ranges: {how['method']} over {len(how['images'])} images of {how['data']}"
    if how["method"] == "learnt":
        text = "ranges: learnt in training"
    mixed = f"; {len(how['int8'])} blocks in INT8, the rest in FP16" if "int8" in how else ""
    return text + mixed
