"""Measures held against thresholds: what a certificate says yes or no to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emca.errors import UserError
from runtime.accuracy.batches import BatchCheck
from runtime.accuracy.counts import (
    Counts,
    Floats,
    Interval,
    iou_differences,
    miou,
    miou_difference,
    share,
)
from runtime.comparison.rows import NOT_MEASURED, aligned


@dataclass(frozen=True)
class Thresholds:
    """What a candidate has to meet; None leaves a measure without a threshold.

    Attributes:
        max_drop: points of mIoU that it may lose against the reference.
        min_agreement: percent of pixels labelled as by the reference.
        min_boundary: the same among the pixels near a border of the reference's labels.
        max_class_drop: points of IoU that any class may lose.
        min_batch: percent of pixels labelled in batches as one by one.
        strict: the whole confidence interval of mIoU has to lie within `max_drop`.

    Raises:
        UserError: a value outside 0..100.
    """

    max_drop: float = 0.5
    min_agreement: float = 98.0
    min_boundary: float | None = 90.0
    max_class_drop: float | None = None
    min_batch: float = 99.0
    strict: bool = False

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "strict" and value is not None and not 0 <= value <= 100:
                unit = "points" if name.startswith("max") else "percent"
                raise UserError(
                    f"--{name.replace('_', '-')}={value:g} is out of range; give 0 to 100 {unit}"
                )


@dataclass(frozen=True)
class Check:
    """One measure and what is asked of it.

    Attributes:
        name: of the measure; `unit` is "%" or "points".
        value, low, high: in that unit; None where it was not measured.
        bound: the least that is allowed, None where nothing is asked.
        option: the threshold as the command line spells it.
        strict: `low` has to meet the bound, not just `value`.
        remark: what a reader has to know about the value.
    """

    name: str
    unit: str
    value: float | None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    option: str = ""
    strict: bool = False
    remark: str = ""

    @property
    def judged(self) -> float | None:
        """What is held against the bound."""
        return self.low if self.strict else self.value

    @property
    def passed(self) -> bool | None:
        """None where nothing was asked or measured."""
        if self.bound is None or self.judged is None:
            return None
        return self.judged >= self.bound

    @property
    def complaint(self) -> str:
        """Which threshold is missed and by how much; empty where none is."""
        if self.passed is not False or self.judged is None or self.bound is None:
            return ""
        what = f"{self.name}{', low end of its interval,' if self.strict else ''}"
        gap = self.bound - self.judged
        text = f"{gap:.2f}" if gap >= 0.01 else f"{gap:.1g}"
        return (
            f"{what} is {form(self.judged, self.unit)}, {text} below "
            f"{form(self.bound, self.unit)} ({self.option})"
        )

    @property
    def doubt(self) -> str:
        """A line where the interval crosses the bound that the value meets; else empty."""
        if not self.passed or self.low is None or self.bound is None or self.low >= self.bound:
            return ""
        return (
            f"{self.name}: the interval reaches down to {form(self.low, self.unit)}, beyond "
            f"{form(self.bound, self.unit)} ({self.option}); more images would settle it."
        )

    @property
    def cells(self) -> tuple[str, str, str]:
        """Value, interval and bound as text, a dash where there is none."""
        ends = (self.value, self.low, self.high, self.bound)
        value, low, high, bound = (
            NOT_MEASURED if end is None else form(end, self.unit) for end in ends
        )
        return value, NOT_MEASURED if self.low is None else f"{low} … {high}", bound

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "passed": self.passed}


@dataclass(frozen=True)
class Verdict:
    """The certificate of one candidate, granted or refused.

    Attributes:
        candidate: its file.
        checks: every measure; it is certified when none of them failed.
        notes: what a reader has to know about them.
        json, html: where the certificate stands.
    """

    candidate: Path
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    json: Path
    html: Path

    @property
    def certified(self) -> bool:
        """Whether every threshold is met."""
        return not self.missed

    @property
    def missed(self) -> list[str]:
        """Each threshold that is not met, and by how much."""
        return [check.complaint for check in self.checks if check.complaint]

    @property
    def text(self) -> str:
        """The verdict as one line."""
        if self.certified:
            return f"certified: {self.candidate} meets every threshold"
        return f"NOT certified: {self.candidate}: {'; '.join(self.missed)}"


def judge(
    reference: Counts,
    candidate: Counts,
    weights: Floats,
    *,
    thresholds: Thresholds,
    batches: BatchCheck,
    classes: Sequence[str],
    boundary: int,
    labelled: bool,
) -> list[Check]:
    """Every measure of a candidate against its threshold.

    Args:
        weights: the resamples, `runtime.accuracy.counts.draws`.
        boundary: the width in pixels that `near` was counted with.
        labelled: whether there is a truth, without which nothing is said of mIoU.
    """
    found = [
        _percent(
            "label agreement",
            share(candidate.equal, candidate.pixels, weights),
            thresholds.min_agreement,
            "--min-agreement",
        ),
        _percent(
            f"boundary agreement ({boundary} px)",
            share(candidate.near_equal, candidate.near, weights),
            thresholds.min_boundary,
            "--min-boundary",
        ),
    ]
    if labelled:
        found += _accuracy(reference, candidate, weights, thresholds, classes)
    alone = batches.agreement
    found.append(
        Check(
            "labels in batches",
            "%",
            None if alone is None else 100 * alone,
            bound=thresholds.min_batch,
            option="--min-batch",
            remark=batches.text,
        )
    )
    return found


def table(checks: Sequence[Check]) -> str:
    """The measures as aligned text."""
    head = ("measure", "value", "95 % interval", "at least", "met", "")
    told = {None: NOT_MEASURED, True: "yes", False: "NO"}
    lines = [(check.name, *check.cells, told[check.passed], check.remark) for check in checks]
    return aligned(head, lines)


def form(value: float, unit: str) -> str:
    """A value in its unit: a difference with its sign; nothing that rounds to nothing has one."""
    return f"{round(value, 2) + 0.0:+.2f} points" if unit == "points" else f"{value:.2f} %"


def _percent(name: str, measured: Interval, bound: float | None = None, option: str = "") -> Check:
    percent = measured.scaled(100)
    return Check(name, "%", percent.value, percent.low, percent.high, bound, option)


def _accuracy(
    reference: Counts,
    candidate: Counts,
    weights: Floats,
    thresholds: Thresholds,
    classes: Sequence[str],
) -> Iterator[Check]:
    """mIoU of both, its difference, and that of the class that loses most."""
    yield _percent("mIoU of the reference", miou(reference, weights))
    yield _percent("mIoU of the candidate", miou(candidate, weights))
    points = miou_difference(reference, candidate, weights).scaled(100)
    yield Check(
        *("ΔmIoU", "points", points.value, points.low, points.high),
        bound=-thresholds.max_drop,
        option="--max-drop",
        strict=thresholds.strict,
    )
    differences = {
        name: one.scaled(100)
        for name, one in zip(classes, iou_differences(reference, candidate, weights), strict=True)
    }
    known = {name: one.value for name, one in differences.items() if one.value is not None}
    if known:
        name = min(known, key=lambda key: known[key])
        worst, limit = differences[name], thresholds.max_class_drop
        yield Check(
            *(f"ΔIoU of {name}", "points", worst.value, worst.low, worst.high),
            bound=None if limit is None else -limit,
            option="--max-class-drop",
            remark="the lowest of the classes",
        )
