"""How many instances of a model a load needs, from the figures of a bench.

python -m runtime.serve_capacity BENCH.json --fps 300 [--latency-ms 50] [--headroom 0.7]
python -m runtime.serve_capacity BENCH.json --cameras 20x15

BENCH.json is what runtime/bench.py --exportTable wrote, on the kind of machine that will serve;
20x15 are twenty cameras of 15 images per second. An instance is that machine running one model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emca.cli import Parser, run
from emca.errors import UserError
from runtime.comparison.rows import aligned, number
from runtime.serving.config import DEFAULT_DELAY_US, MOST_DELAY_US, count_of

SERVED_BY = ("tensorrt", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt")
HEADROOM = 0.7
TAIL = 0.01  # of the requests may wait longer than said
MOST = 100_000  # instances; beyond that the load is a slip of the pen
HEAD = ("format", "FPS", "instances", "in use %", "p99 ms", "mIoU %")
ASSUMED = (
    "FPS: images per second of one instance in the bench, batch {batch}, nothing else running.",
    "Instances: so many that none is busy more than {headroom:.0%} of the time{latency}.",
    "p99 ms: 99 % of the requests are answered within it, when they come at random (Poisson) and "
    "are spread evenly: the bench's p99, the wait for those before, and {delay:g} ms at most for "
    "others to join the batch.",
    "Not in it: network, decoding and resizing, which the client does.",
)
WITHOUT_COPIES = (
    "The bench left out the copies to and from the GPU, which a server makes for every request: "
    "run it again with --includeDataTransfers."
)


@dataclass(frozen=True)
class Speed:
    """One format of a bench.

    Attributes:
        format: "FP32", "FP16", …
        fps: images per second of one instance.
        median_ms, p99_ms: latency of one batch.
        batch: images in it.
        miou: 0..1, or None where it was not measured.
    """

    format: str
    fps: float
    median_ms: float
    p99_ms: float
    batch: int
    miou: float | None = None


@dataclass(frozen=True)
class Bench:
    """What a bench file says.

    Attributes:
        speeds: its formats.
        backend: what ran them.
        copies: whether the copies to and from a GPU are in the times.
    """

    speeds: list[Speed]
    backend: str
    copies: bool

    def notes(self) -> list[str]:
        """What the bench has to do with a server."""
        notes = [f"Measured on {self.backend}."]
        if self.backend not in SERVED_BY:
            notes = [
                f"Measured on {self.backend}, which Triton does not run: bench engines with "
                "--backend=tensorrt, ONNX files for a CPU with --backend=onnxruntime."
            ]
        return notes if self.copies else [*notes, WITHOUT_COPIES]


@dataclass(frozen=True)
class Need:
    """What a load asks of one format.

    Attributes:
        speed: the format.
        instances: None where no number of them meets the latency.
        busy: share of the time that each is busy, 0..1.
        p99_ms: estimated latency of a request.
    """

    speed: Speed
    instances: int | None
    busy: float
    p99_ms: float


def need(
    speed: Speed,
    fps: float,
    *,
    headroom: float,
    latency_ms: float | None,
    delay_ms: float = DEFAULT_DELAY_US / 1000,
) -> Need:
    """The fewest instances that carry `fps` images per second within the limits.

    Args:
        delay_ms: how long a request may wait for others to fill its batch.
        headroom: how busy an instance may be, 0..1.
        latency_ms: what 99 % of the requests may take; None for anything.

    Raises:
        UserError: it would take more than 100,000 instances.
    """
    count = math.ceil(fps / (speed.fps * headroom))
    if count > MOST:
        raise UserError(f"{fps:g} images per second need {count} {speed.format} instances; check")
    found = Need(speed, count, fps / count / speed.fps, _p99_ms(speed, fps / count, delay_ms))
    if latency_ms is None or found.p99_ms <= latency_ms:
        return found
    # An idle server is the best there is.
    for more in range(count + 1, _enough(speed, fps, count) + 1):
        p99 = _p99_ms(speed, fps / more, delay_ms)
        if p99 <= latency_ms:
            return Need(speed, more, fps / more / speed.fps, p99)
    return Need(speed, None, found.busy, found.p99_ms)


def read_bench(path: Path) -> Bench:
    """The figures of a bench file.

    Raises:
        UserError: it is none, or one of its figures cannot be.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = values["rows"]
        found = [_speed(row) for row in rows]
        backend = str(values["backend"])
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no result of runtime/bench.py --exportTable ({error}); give one"
        ) from error
    if not found:
        raise UserError(f"{path} has no rows; run the bench again")
    return Bench(found, backend, values.get("data_transfers") is not False)


def _speed(row: dict[str, Any]) -> Speed:
    fps, median, p99 = (float(row[key]) for key in ("fps", "median_ms", "p99_ms"))
    if not (fps > 0 and 0 < median <= p99 and math.isfinite(fps + p99)):
        raise ValueError(f"fps {fps}, median {median}, p99 {p99}")
    batch, miou = int(row.get("batch", 1)), row.get("miou")
    if batch < 1:
        raise ValueError(f"batch {batch}")
    return Speed(str(row["format"]), fps, median, p99, batch, None if miou is None else float(miou))


def _p99_ms(speed: Speed, fps: float, delay_ms: float) -> float:
    """Estimated latency of a request to an instance that gets so many images per second.

    A batch waits until it is full, or until its first request has waited for `delay_ms`: one that
    was measured alone may have to wait for others all the same.

    The wait is that of an M/D/1 queue in heavy traffic (Kingman's exponential bound): the share
    of requests that wait longer than t is busy * exp(-2 (1 - busy) t / service time).
    """
    service = 1000 * speed.batch / speed.fps
    busy = fps / speed.fps
    waiting = service / (2 * (1 - busy)) * math.log(max(busy / TAIL, 1)) if busy < 1 else math.inf
    filling = delay_ms if speed.batch == 1 else min(1000 * (speed.batch - 1) / fps, delay_ms)
    return speed.p99_ms + waiting + filling


def _enough(speed: Speed, fps: float, count: int) -> int:
    """So many instances that hardly any request waits: more cannot help."""
    return min(max(count, math.ceil(fps / (speed.fps * TAIL))), MOST)


def table(needs: Sequence[Need]) -> str:
    """The needs as text."""
    lines = [
        (
            each.speed.format,
            f"{each.speed.fps:.1f}",
            "-" if each.instances is None else str(each.instances),
            "-" if each.instances is None else f"{100 * each.busy:.0f}",
            "-" if each.instances is None else f"{each.p99_ms:.1f}",
            number(each.speed.miou, "{:.2f}", 100),
        )
        for each in needs
    ]
    return aligned(HEAD, lines)


def _verdicts(needs: Sequence[Need], fps: float, headroom: float, limit: float) -> list[str]:
    """Formats that the latency rules out, or makes dear."""
    lines = []
    for each in needs:
        name, least = each.speed.format, math.ceil(fps / (each.speed.fps * headroom))
        if each.instances is None:
            alone = f"a batch alone takes {each.speed.p99_ms:.1f} ms in 1 % of cases"
            why = alone if each.speed.p99_ms > limit else "with the wait for its batch to fill"
            lines.append(f"{name} does not meet {limit:g} ms: {why}")
        elif each.instances > 2 * least:
            lines.append(f"{name}: {least} would carry the load, the latency asks for the others")
    return lines


def _cameras(text: str) -> float:
    """`20x15` -> 300."""
    count, _, rate = text.partition("x")
    try:
        return _above_zero("--cameras", count) * _above_zero("--cameras", rate)
    except UserError:
        raise UserError(f"--cameras={text} is not COUNTxFPS such as 20x15") from None


def _above_zero(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"{flag}={text} is no number above 0")
    return value


def main(argv: list[str] | None = None) -> None:
    """The command line; see the top of this file."""
    parser = Parser(
        prog="python -m runtime.serve_capacity",
        description="How many instances of a model a load needs.",
    )
    parser.add_argument("bench", type=Path, metavar="BENCH.json")
    parser.add_argument("--fps", help="images per second of all clients together")
    parser.add_argument("--cameras", metavar="20x15", help="cameras times images per second")
    parser.add_argument("--latency-ms", help="what 99 %% of the requests may take")
    parser.add_argument(
        "--delay-us",
        default=str(DEFAULT_DELAY_US),
        help=f"how long a request may wait for others; default {DEFAULT_DELAY_US}",
    )
    parser.add_argument("--headroom", default=str(HEADROOM), help=f"default {HEADROOM}")
    args = parser.parse_args(argv)
    if (args.fps is None) == (args.cameras is None):
        raise UserError("give the load by --fps or by --cameras, one of them")
    fps = _above_zero("--fps", args.fps) if args.cameras is None else _cameras(args.cameras)
    limit = None if args.latency_ms is None else _above_zero("--latency-ms", args.latency_ms)
    headroom = _above_zero("--headroom", args.headroom)
    if headroom >= 1:
        raise UserError(f"--headroom={args.headroom} leaves no time to spare; take less than 1")
    delay = count_of("--delay-us", 0, MOST_DELAY_US)(args.delay_us) / 1000
    bench = read_bench(args.bench)
    needs = [
        need(speed, fps, headroom=headroom, latency_ms=limit, delay_ms=delay)
        for speed in bench.speeds
    ]
    print(f"{fps:g} images per second\n\n{table(needs)}\n")
    if limit is not None:
        print("".join(f"{line}\n" for line in _verdicts(needs, fps, headroom, limit)), end="")
    within = "" if limit is None else f" and 99 % of the requests take at most {limit:g} ms"
    for line in (*bench.notes(), *ASSUMED):
        batch = bench.speeds[0].batch
        print(line.format(batch=batch, headroom=headroom, latency=within, delay=delay))


if __name__ == "__main__":
    run(main)
