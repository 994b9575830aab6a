"""The fastest mix of INT8 and FP16 blocks that keeps the accuracy; it measures nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from calibration.study.accuracy import Score
from calibration.study.block_costs import Mix

NOTHING: Mix = frozenset()

Scores = Callable[[Sequence[Mix]], Mapping[Mix, Score]]
Latencies = Callable[[Sequence[Mix]], Mapping[Mix, float]]


@dataclass(frozen=True)
class Choice:
    """What a search found.

    Attributes:
        usual: the blocks that it may choose among.
        saves: block -> ms that INT8 saves there, all the others being in INT8.
        margin: the ms below which a saving is none.
        idle: the blocks that save no time, alone and together.
        scores, latencies: of every mix that was tried.
        path: from all that pay to nothing, each step without the block that harms most per ms.
        best: the fastest mix within the allowed drop; None where there is none.
    """

    usual: Mix
    saves: dict[str, float]
    margin: float
    idle: Mix
    scores: dict[Mix, Score]
    latencies: dict[Mix, float]
    path: list[Mix] = field(default_factory=list)
    best: Mix | None = None


@dataclass(frozen=True)
class _Terms:
    """What a search asks and keeps to; see `choose`."""

    score: Scores
    latency: Latencies
    lowest: float
    noise: Callable[[], float]
    worth: float


def choose(
    usual: Collection[str],
    harm: Mapping[str, float],
    *,
    score: Scores,
    latency: Latencies,
    lowest: float,
    noise: Callable[[], float],
    worth: float,
) -> Choice:
    """Search the mixes of `usual`.

    1. Blocks that save no time in INT8 leave it, as many as can without a loss of time together.
    2. Of the others, one after the other leaves, the most harmful per millisecond first. This
       gives the curve of accuracy over latency.
    3. To the fastest mix on it that is accurate enough, blocks come back where that keeps it so:
       what left early may not have been to blame.
    4. That one, all blocks and none are timed again. Nothing in INT8 is the result where INT8
       saves less than `worth`.

    Args:
        harm: block -> what it does in INT8 alone, such as the share of labels that change.
        score, latency: judge mixes, many at once.
        lowest: the lowest mIoU allowed, 0..1.
        noise: the share of a latency below which a difference is none; asked after measuring.
        worth: the share of the latency of nothing in INT8 that INT8 has to save.
    """
    terms = _Terms(score, latency, lowest, noise, worth)
    every: Mix = frozenset(usual)
    singles = {block: every - {block} for block in usual}
    times = dict(latency([NOTHING, every, *singles.values()]))
    saves = {block: times[mix] - times[every] for block, mix in singles.items()}
    margin = noise() * times[every]
    idle = _idle(every, saves, margin, times, terms)
    found = Choice(every, saves, margin, idle, {}, times)
    found.path.extend(_path(found, harm, margin))
    missing = [mix for mix in found.path if mix not in times]
    times |= latency(missing)
    found.scores.update(score([*found.path, every]))
    return _with_best(found, terms)


def _idle(
    every: Mix, saves: Mapping[str, float], margin: float, times: dict[Mix, float], terms: _Terms
) -> Mix:
    """As many as possible of the blocks that save no time alone, without a loss of time together.

    Many small blocks save together what cannot be told of each. The least useful ones go first:
    all of them, three quarters, half or a quarter are timed side by side.
    """
    order = sorted((block for block in every if saves[block] <= margin), key=saves.__getitem__)
    counts = {len(order) * quarters // 4 for quarters in (4, 3, 2, 1)} - {0}
    groups = [frozenset(order[:count]) for count in sorted(counts)]
    if not groups:
        return NOTHING
    timed = terms.latency([every, *(every - group for group in groups)])
    times.update(timed)
    longest = min(timed.values()) * (1 + terms.noise())
    return max((g for g in groups if timed[every - g] <= longest), key=len, default=NOTHING)


def _path(found: Choice, harm: Mapping[str, float], least: float) -> list[Mix]:
    """From what pays to nothing; a block's saving counts as `least` at least."""
    left = sorted(
        found.usual - found.idle, key=lambda b: (harm[b] / max(found.saves[b], least, 1e-9), b)
    )
    return [frozenset(left[:count]) for count in range(len(left), -1, -1)]


def _with_best(found: Choice, terms: _Terms) -> Choice:
    within = [mix for mix, result in found.scores.items() if result.miou >= terms.lowest]
    if not within:
        return found
    best = min(within, key=lambda mix: (found.latencies[mix], -found.scores[mix].agreement))
    out = found.usual - found.idle - best
    for block in sorted(out, key=lambda block: -found.saves[block]):
        more = best | {block}
        if more not in found.scores:
            found.scores.update(terms.score([more]))
        if found.scores[more].miou < terms.lowest:
            continue
        if more not in found.latencies:
            found.latencies.update(terms.latency([more]))
        if found.latencies[more] < found.latencies[best] * (1 - terms.noise()):
            best = more
    return replace(found, best=_fastest({NOTHING, found.usual, best}, found, terms))


def _fastest(finalists: set[Mix], found: Choice, terms: _Terms) -> Mix:
    """Of the accurate ones, measured once more: the luckiest of many measurements won so far."""
    found.latencies.update(terms.latency(sorted(finalists, key=len)))
    accurate = [mix for mix in finalists if found.scores[mix].miou >= terms.lowest]
    best = min(accurate, key=lambda mix: found.latencies[mix])
    least = max(terms.worth, terms.noise())
    no_gain = found.latencies[best] > found.latencies[NOTHING] * (1 - least)
    return NOTHING if no_gain and NOTHING in accurate else best
