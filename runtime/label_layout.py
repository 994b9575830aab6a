"""Where to put the labels of a plot so that they cover neither one another nor the marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Spot = tuple[float, float]

_PASSES = 4
_DIRECTIONS = 16
_DISTANCES = (0.0, 4.0, 10.0, 18.0, 28.0, 42.0, 60.0, 85.0, 115.0)
# What a candidate costs, in pixels of distance: covering a mark or a label is never worth it.
_PER_COVERED_PIXEL = 50.0
_PER_COVERED_SPOT = 25.0


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, spot: Spot, width: float, height: float) -> Box:
        """The rectangle of this size about a centre."""
        x, y = spot
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    @property
    def centre(self) -> Spot:
        """Its middle."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0) * max(height, 0)

    def outside(self, area: Box) -> float:
        """How much of it lies outside an area."""
        own = (self.right - self.left) * (self.top - self.bottom)
        return own - self.overlap(area)

    def holds(self, spot: Spot) -> bool:
        """Whether a spot lies in it."""
        return self.left < spot[0] < self.right and self.bottom < spot[1] < self.top


@dataclass(frozen=True)
class Label:
    """A label to be placed.

    Attributes:
        anchors: centres of the marks that it may stand beside; it belongs to all of them.
        width, height: its size in pixels.
    """

    anchors: tuple[Spot, ...]
    width: float
    height: float


@dataclass(frozen=True)
class Placed:
    """Where a label went: its box and the mark that it stands beside."""

    box: Box
    anchor: Spot


def place(
    labels: Sequence[Label],
    *,
    marks: Sequence[Spot],
    mark_size: float,
    area: Box,
    lines: Sequence[Spot] = (),
) -> list[Placed]:
    """A place for each label inside `area`, near one of its marks.

    Each in turn takes the cheapest candidate around its marks, several times over, since a later
    label may leave a better place to an earlier one.

    Args:
        labels: what to place.
        marks: centres of all marks of the plot.
        mark_size: their width and height in pixels.
        area: where labels may stand.
        lines: spots along lines that are better not covered.
    """
    boxes = [Box.around(mark, mark_size, mark_size) for mark in marks]
    candidates = [sorted(_candidates(label, mark_size / 2), key=gap) for label in labels]
    placed: list[Placed | None] = [None] * len(labels)
    for _ in range(_PASSES):
        for index in range(len(labels)):
            others = [other.box for other in placed if other and other is not placed[index]]
            taken = boxes + others
            placed[index] = _cheapest(candidates[index], taken=taken, lines=lines, area=area)
    return [spot for spot in placed if spot]


def _cheapest(
    candidates: Sequence[Placed], *, taken: Sequence[Box], lines: Sequence[Spot], area: Box
) -> Placed:
    """The best of candidates in ascending order of their distance, which is part of the cost."""
    best, least = candidates[0], math.inf
    for candidate in candidates:
        distance = gap(candidate)
        if distance >= least:
            break
        box = candidate.box
        covered = sum(box.overlap(other) for other in taken) + box.outside(area)
        crossed = sum(box.holds(spot) for spot in lines)
        cost = distance + _PER_COVERED_PIXEL * covered + _PER_COVERED_SPOT * crossed
        if cost < least:
            best, least = candidate, cost
    return best


def _candidates(label: Label, reach: float) -> list[Placed]:
    """Boxes around each mark of a label, `reach` and more pixels away from its centre."""
    found = []
    for distance in _DISTANCES:
        for step in range(_DIRECTIONS):
            angle = 2 * math.pi * step / _DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            for x, y in label.anchors:
                centre = (
                    x + across * (reach + distance + label.width / 2),
                    y + up * (reach + distance + label.height / 2),
                )
                box = Box.around(centre, label.width, label.height)
                found.append(Placed(box, (x, y)))
    return found


def gap(placed: Placed) -> float:
    """The distance between a label and the centre of its mark, in pixels."""
    x, y = placed.anchor
    box = placed.box
    across = max(box.left - x, 0, x - box.right)
    up = max(box.bottom - y, 0, y - box.top)
    return math.hypot(across, up)
