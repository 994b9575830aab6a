"""What a search found, as a table, as JSON and as the points of its curve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from calibration.pictures import MixPoint
from calibration.rewrite.blocks import HEADS
from calibration.study.accuracy import Score
from calibration.study.block_costs import Change, Mix
from calibration.study.choice import NOTHING, Choice
from calibration.study.latency import Clock
from calibration.study.study import Study
from runtime.comparison.rows import aligned, points

CHOSEN = "chosen"
NOISY = 0.05


@dataclass(frozen=True)
class Result:
    """A finished search.

    Attributes:
        study: what was searched.
        choice: what was found.
        alone: block -> the score with nothing but it in INT8.
        scores: of every mix that was judged.
        max_drop: points of mIoU that were allowed.
        fp32_latency: of the FP32 file in ms, None where it could not run.
        clock: what told the latencies.
    """

    study: Study
    choice: Choice
    alone: dict[str, Score]
    scores: dict[Mix, Score]
    max_drop: float
    fp32_latency: float | None
    clock: Clock

    @property
    def lowest(self) -> float:
        """The lowest mIoU allowed, 0..1."""
        return self.study.judge.reference.miou - self.max_drop / 100

    @property
    def shown(self) -> Mix:
        """The chosen mix or, where there is none, the most accurate."""
        scores = self.choice.scores
        if self.choice.best is not None:
            return self.choice.best
        return max(scores, key=lambda mix: (scores[mix].miou, scores[mix].agreement))

    @property
    def name(self) -> str:
        """What the curve calls the mix that is shown."""
        named = {NOTHING: "FP16", self.choice.usual: "INT8"}
        return named.get(self.shown, CHOSEN)

    def drop(self, mix: Mix) -> float:
        """Points of mIoU that a mix loses against FP32."""
        return -Change.between(self.study.judge.reference, self.choice.scores[mix]).miou


def why(result: Result, block: str) -> str:
    """Why a block is in INT8 or is not, in a few words."""
    choice, mix = result.choice, result.shown
    if block == HEADS:
        return "decide the labels"
    if block in choice.idle:
        return "INT8 saves no time"
    pays = choice.saves[block] > choice.margin
    saved = f"saves {choice.saves[block]:.2f} ms" if pays else "saves time with others"
    if block in mix:
        return saved
    if choice.best is None:
        return "no mix is accurate enough"
    if mix == NOTHING and result.drop(choice.path[0]) <= result.max_drop:
        return f"INT8 saves less than {_least(result)} as a whole"
    changed = 100 * (1 - result.alone[block].agreement)
    return f"{saved} but changes {changed:.2f} % of the labels"


def report(result: Result) -> str:
    """The blocks, the formats side by side, and the verdict."""
    return "\n\n".join((_blocks(result), _formats(result), verdict(result)))


def _blocks(result: Result) -> str:
    lines = []
    fp16 = result.choice.scores[NOTHING]
    for block, layers in result.study.mixes.blocks.items():
        form = "INT8" if block in result.shown else "FP16"
        alone = result.alone.get(block)
        cells = ("-", "-", "-")
        if alone:
            change = Change.between(fp16, alone)
            saves = result.choice.saves[block]
            cells = (f"{saves:.2f}", points(change.miou), f"{100 * alone.agreement:.2f}")
        lines.append((block, form, str(len(layers)), *cells, why(result, block)))
    head = ("block", "format", "layers", "saves ms", "alone Δ points", "same labels %", "why")
    text = aligned(head, lines, left=2)
    text += "\n\nsaves: what leaving this block alone out of INT8 costs; these do not add up"
    if result.clock.noise > NOISY:
        text += (
            f"\ntimes vary by {100 * result.clock.noise:.0f} % here: repeat when nothing else runs"
        )
    return text


def _formats(result: Result) -> str:
    head = ("version", result.clock.what, "ratio", "mIoU %", "Δ points", "same labels %")
    lines = []
    fp16 = result.choice.latencies[NOTHING]
    for name, latency, score in _versions(result):
        change = Change.between(result.study.judge.reference, score)
        lines.append(
            (
                name,
                "-" if latency is None else f"{latency:.2f}",
                "-" if latency is None else f"{latency / fp16:.3f}",
                f"{100 * score.miou:.2f}",
                points(change.miou),
                f"{100 * score.agreement:.2f}",
            )
        )
    return aligned(head, lines)


def _versions(result: Result) -> Iterator[tuple[str, float | None, Score]]:
    choice = result.choice
    yield "FP32", result.fp32_latency, result.study.judge.reference
    yield "FP16", choice.latencies[NOTHING], choice.scores[NOTHING]
    yield "INT8", choice.latencies[choice.usual], choice.scores[choice.usual]
    if result.shown not in (NOTHING, choice.usual):
        name = CHOSEN if choice.best is not None else "best found"
        yield name, choice.latencies[result.shown], choice.scores[result.shown]


def verdict(result: Result) -> str:
    """The result as one line."""
    choice, mix = result.choice, result.shown
    lost = f"has {points(-result.drop(mix))} points, allowed are -{result.max_drop:g}"
    if choice.best is None:
        return (
            f"nothing keeps within {result.max_drop:g} points; the best found, with "
            f"{_count(mix, choice)} in INT8, {lost}: allow more, or keep FP32"
        )
    ratio = choice.latencies[NOTHING] / choice.latencies[mix]
    if mix == NOTHING:
        return f"FP16 wins here: no INT8 mix within the drop saves {_least(result)}; FP16 {lost}"
    return f"{_count(mix, choice)} in INT8: {ratio:.2f} times as fast as FP16, {lost}"


def _least(result: Result) -> str:
    return f"{100 * max(result.clock.worth, result.clock.noise):.0f} %"


def _count(mix: Mix, choice: Choice) -> str:
    return f"{len(mix)} of {len(choice.usual)} blocks"


def curve(result: Result) -> list[MixPoint]:
    """Every mix whose latency and accuracy are known, and FP32."""
    choice = result.choice
    named = {NOTHING: "FP16", choice.usual: "INT8", result.shown: result.name}
    points = [
        MixPoint(
            named.get(mix, f"{len(mix)} blocks"),
            latency,
            choice.scores[mix].miou,
            tuple(sorted(mix)),
        )
        for mix, latency in choice.latencies.items()
        if mix in choice.scores
    ]
    if result.fp32_latency is None:
        return points
    return [MixPoint("FP32", result.fp32_latency, result.study.judge.reference.miou), *points]


def document(result: Result) -> dict[str, Any]:
    """The result for JSON."""
    choice = result.choice
    return {
        "max_drop_points": result.max_drop,
        "latency": result.clock.what,
        "noise": result.clock.noise,
        "verdict": verdict(result),
        "chosen": None if choice.best is None else sorted(choice.best),
        "formats": [
            {"name": name, "ms": latency, "miou": score.miou, "agreement": score.agreement}
            for name, latency, score in _versions(result)
        ],
        "blocks": [
            {
                "block": block,
                "format": "int8" if block in result.shown else "fp16",
                "layers": len(layers),
                "saves_ms": choice.saves.get(block),
                "alone": _plain(result.alone.get(block)),
                "why": why(result, block),
            }
            for block, layers in result.study.mixes.blocks.items()
        ],
        "curve": [
            {"name": point.name, "ms": point.latency, "miou": point.miou, "int8": point.blocks}
            for point in curve(result)
        ],
    }


def _plain(score: Score | None) -> dict[str, float] | None:
    return None if score is None else {"miou": score.miou, "agreement": score.agreement}
