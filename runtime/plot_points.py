"""What a plot of a comparison shows: a point for each model in each format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Point:
    """One model in one format: median latency in ms, mIoU in percent, NaN where not measured."""

    model: str
    format: str
    latency: float
    miou: float = math.nan


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both latency and mIoU, by ascending latency."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency, -p.miou)):
        if not front or point.miou > front[-1].miou:
            front.append(point)
    return front


def coordinates(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Latencies and mIoUs, as matplotlib takes them."""
    return [point.latency for point in points], [point.miou for point in points]


def steps(front: Sequence[Point]) -> list[tuple[float, float]]:
    """The corners of the line through a front: the best mIoU up to each latency."""
    corners = [
        spot for a, b in pairwise(front) for spot in ((a.latency, a.miou), (b.latency, a.miou))
    ]
    return corners + [(point.latency, point.miou) for point in front[-1:]]
