from collections import Counter

import pytest

from calibration.ranges.calibrate import measure
from calibration.rewrite.blocks import HEADS
from calibration.rewrite.mixes import Mixes
from calibration.rewrite.placement import possible_reads
from calibration.study.accuracy import Judge, Score
from calibration.study.block_costs import Change, runs, sensitivity
from runtime.backends import ModelFile
from segdata.datasets import open_dataset


@pytest.fixture(scope="module")
def judge(labels_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("costs") / "model.onnx"
    path.write_bytes(labels_model.SerializeToString())
    dataset = open_dataset("scenes:n=3,size=96x128:val")
    return Judge(ModelFile.read(path), list(dataset), backend="onnxruntime", threads=1)


@pytest.fixture
def mixes(labels_model, scenes):
    mixes = Mixes(labels_model)
    tensors = possible_reads(mixes.folded)
    mixes.ranges = measure(mixes.folded, tensors, scenes[:3], ["minmax"])["minmax"]
    return mixes


def few(mixes, count):
    """Only some of the blocks, lest the test takes long; the heads among them."""
    kept = [*mixes.usual[:count], HEADS]
    mixes.blocks = {name: mixes.blocks[name] for name in kept}
    mixes.usual = tuple(kept[:-1])
    return mixes


def test_every_mix_is_judged_once(mixes):
    wanted = runs(mixes)
    assert wanted[:2] == [frozenset(), frozenset(mixes.usual)]
    assert len(wanted) == len(set(wanted)) == 2 + 2 * len(mixes.blocks)
    assert frozenset(mixes.blocks) in wanted  # the heads are added
    assert frozenset(mixes.usual[1:]) in wanted
    assert frozenset([HEADS]) in wanted
    assert len(runs(few(mixes, 1))) == 4  # the one block alone is the INT8 file, without it FP16


def test_changes_are_in_points():
    before, after = Score(0.5, 0.99, []), Score(0.48, 0.97, [])
    change = Change.between(before, after)
    assert change.miou == pytest.approx(-2)
    assert -change == Change(-change.miou, pytest.approx(2))


def test_a_spoilt_block_is_the_most_sensitive(mixes, judge):
    few(mixes, 6)
    readers = Counter(name for block in mixes.blocks for name in mixes.tensors([block]))
    own = {
        block: [name for name in mixes.tensors([block]) if readers[name] == 1]
        for block in mixes.usual
    }
    spoilt = [block for block in mixes.usual if own[block]][2]
    for name in own[spoilt]:
        mixes.ranges[name] /= 50
    found = sensitivity(mixes, judge)
    by_block = {cost.block: cost for cost in found.blocks}
    assert list(by_block) == list(mixes.blocks)
    worst = by_block[spoilt]
    assert worst.loss.agreement < -3
    for block, cost in by_block.items():
        if block != spoilt:
            assert cost.loss.agreement > worst.loss.agreement / 2
            assert cost.gain.agreement < worst.gain.agreement / 2
    assert found.fp32 == judge.reference
    assert found.fp16.agreement > 0.99 > found.int8.agreement
    alone = judge.score(judge.load(mixes.build([spoilt])))
    assert worst.alone == alone
    assert worst.loss == Change.between(found.fp16, alone)
    without = judge.score(judge.load(mixes.build(set(mixes.usual) - {spoilt})))
    assert worst.gain == Change.between(found.int8, without)
    heads = by_block[HEADS]
    assert not heads.is_usual
    assert heads.switched == judge.score(judge.load(mixes.build(mixes.blocks)))
    assert heads.gain == Change.between(heads.switched, found.int8)


def test_what_is_known_is_not_judged_again(mixes, judge, monkeypatch):
    few(mixes, 3)
    built, saved = [], []
    build = mixes.build
    monkeypatch.setattr(mixes, "build", lambda mix: built.append(mix) or build(mix))

    def save(scores):
        saved.append(dict(scores))
        if len(saved) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sensitivity(mixes, judge, save=save)
    assert [len(scores) for scores in saved] == [1, 2]
    found = sensitivity(mixes, judge, known=saved[-1], save=lambda scores: None)
    assert built == runs(mixes)  # each once in both together
    built.clear()
    assert sensitivity(mixes, judge, known=found.scores) == found
    assert not built
