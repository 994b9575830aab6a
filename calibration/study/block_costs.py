"""What INT8 costs in each block of a model: the block alone, and all others without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from calibration.rewrite.mixes import Mixes
from calibration.study.accuracy import Judge, Score
from emca.cli import progress

Mix = frozenset[str]  # names of the blocks in INT8


@dataclass(frozen=True)
class Change:
    """How one version of a model differs from another; negative is worse.

    Attributes:
        miou: in points, that is hundredths.
        agreement: with the labels of FP32, in points.
    """

    miou: float
    agreement: float

    @classmethod
    def between(cls, before: Score, after: Score) -> Change:
        """From one score to another."""
        return cls(100 * (after.miou - before.miou), 100 * (after.agreement - before.agreement))

    def __neg__(self) -> Change:
        return Change(-self.miou, -self.agreement)


@dataclass(frozen=True)
class BlockCost:
    """What INT8 costs in one block.

    Attributes:
        block: its name.
        layers: how many layers of it INT8 can run.
        alone: the score with it in INT8 and the rest in FP16.
        switched: the score with all usual blocks in INT8 but it; of a block that is not among
            them, with all of them and it.
        is_usual: whether it is among them.
        loss: what quantising it alone changes.
        gain: what its being in FP16 gives to the INT8 file.
    """

    block: str
    layers: int
    alone: Score
    switched: Score
    is_usual: bool
    loss: Change
    gain: Change


@dataclass(frozen=True)
class Sensitivity:
    """The cost of INT8 in each block, and what it is measured against.

    Attributes:
        fp32, fp16, int8: the whole model; INT8 is that of `calibration.int8`.
        blocks: in the order of the network.
        scores: of every mix that was judged.
    """

    fp32: Score
    fp16: Score
    int8: Score
    blocks: tuple[BlockCost, ...]
    scores: Mapping[Mix, Score]


def runs(mixes: Mixes) -> list[Mix]:
    """The mixes to judge, each once: nothing, the usual blocks, each block alone and switched."""
    usual = frozenset(mixes.usual)
    found = [frozenset(), usual]
    for block in mixes.blocks:
        found += [frozenset({block}), usual ^ {block}]
    return list(dict.fromkeys(found))


def score_all(
    wanted: Iterable[Mix],
    mixes: Mixes,
    judge: Judge,
    *,
    known: Mapping[Mix, Score],
    save: Callable[[Mapping[Mix, Score]], None],
    desc: str,
) -> dict[Mix, Score]:
    """Judge the mixes that are not known yet, and return all that are known then.

    Args:
        save: called with all scores after each one that is new, so that a run which is broken
            off loses no more than the one under way.
        desc: what the progress bar says.
    """
    scores = dict(known)
    for mix in progress([mix for mix in wanted if mix not in scores], desc=desc):
        backend = judge.load(mixes.build(mix))
        try:
            scores[mix] = judge.score(backend)
        finally:
            backend.close()
        save(scores)
    return scores


def sensitivity(
    mixes: Mixes,
    judge: Judge,
    *,
    known: Mapping[Mix, Score] | None = None,
    save: Callable[[Mapping[Mix, Score]], None] = lambda scores: None,
) -> Sensitivity:
    """Judge each block in INT8 alone, and the INT8 file with it switched over.

    Args:
        mixes: with ranges for every tensor that some mix quantises.
        known: scores of the same judge from before, which are not measured again.
        save: as in `score_all`.
    """
    scores = score_all(runs(mixes), mixes, judge, known=known or {}, save=save, desc="sensitivity")
    usual: Mix = frozenset(mixes.usual)
    fp16, int8 = scores[frozenset()], scores[usual]
    found = []
    for block, layers in mixes.blocks.items():
        alone, switched = scores[frozenset({block})], scores[usual ^ {block}]
        change = Change.between(int8, switched)
        found.append(
            BlockCost(
                block,
                len(layers),
                alone,
                switched,
                is_usual=block in usual,
                loss=Change.between(fp16, alone),
                gain=change if block in usual else -change,
            )
        )
    return Sensitivity(judge.reference, fp16, int8, tuple(found), scores)
