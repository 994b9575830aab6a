"""What plots are made of: a scale with ticks, and the frame of the drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 460
SERIES = 8  # colours of the style sheet
# Left of, below and right of the plotting area there is room for axis labels.
LEFT, RIGHT, TOP, BOTTOM = 54, 20, 16, 44
LOG_SPREAD = 10


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels with round tick values.

    Attributes:
        low, high: the range of values shown.
        start, end: their positions in pixels.
        ticks: values to mark.
        log: equal ratios are equally long, instead of equal differences.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    @classmethod
    def over(cls, low: float, high: float, start: float, end: float, count: int = 5) -> Axis:
        """An axis that covers low..high, widened to round numbers, with about `count` steps."""
        step = _round_step((high - low) / count)
        first, last = math.floor(low / step), math.ceil(high / step)
        ticks = tuple(round(k * step, 10) for k in range(first, max(last, first + 1) + 1))
        return cls(ticks[0], ticks[-1], start, end, ticks)

    @classmethod
    def across(cls, values: Sequence[float]) -> Axis:
        """The axis of latencies below a plot; wide ranges are logarithmic."""
        low, high = min(values), max(values)
        if low > 0 and high / low > LOG_SPREAD:
            spare = (high / low) ** 0.1
            low, high = low / spare, high * spare
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            marks = [round(f * 10.0**k, 10) for k in powers for f in (1, 2, 5)]
            ticks = tuple(mark for mark in marks if low <= mark <= high)
            return cls(low, high, LEFT, WIDTH - RIGHT, ticks, log=True)
        # Not narrower than a fifth of the latency, lest noise looks like a difference.
        spare = max(0.12 * (high - low), 0.1 * high)
        return cls.over(max(low - spare, 0), high + spare or 1, LEFT, WIDTH - RIGHT)

    def at(self, value: float) -> float:
        """The position of a value, in pixels."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)


def svg(height: float, content: str, title: str, width: float = WIDTH) -> str:
    """The frame of a plot; `title` is what it shows, for those who do not see it."""
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}">{content}</svg>'
    )


def tick_label(value: float) -> str:
    """A value beside an axis, short."""
    return f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:g}".replace("-", "−")


def clip(text: str, most: int) -> str:
    """The text, cut off where it is too long for a plot."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _round_step(step: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return power * next(f for f in (1, 2, 2.5, 5, 10) if f * power >= step * 0.999)
