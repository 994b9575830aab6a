from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration.fp16 import to_fp16
from calibration.int8 import to_int8
from calibration.ranges.calibrate import measure
from calibration.rewrite.blocks import HEADS
from calibration.rewrite.mixes import Mixes
from calibration.rewrite.placement import place, possible_reads
from emca.errors import UserError


@pytest.fixture(scope="module")
def mixes(scores_model, scenes):
    mixes = Mixes(scores_model)
    tensors = possible_reads(mixes.folded)
    mixes.ranges = measure(mixes.folded, tensors, scenes[:4], ["minmax"])["minmax"]
    return mixes


def quantised_layers(model):
    weights = [t.name for t in model.graph.initializer if t.name.endswith("/quantized")]
    return len(weights)


def test_nothing_quantised_is_the_fp16_file(mixes, scores_model):
    assert mixes.build(()).SerializeToString() == to_fp16(scores_model).SerializeToString()


def test_the_usual_blocks_are_the_int8_file(mixes, scores_model, scenes):
    expected = to_int8(scores_model, scenes[:4], "minmax")
    assert mixes.build().SerializeToString() == expected.SerializeToString()
    assert HEADS not in mixes.usual
    assert {*mixes.usual, HEADS} == set(mixes.blocks)


def test_each_block_alone_and_each_left_out_is_a_valid_model(mixes, scenes, run):
    expected = run(mixes.folded, scenes[6:7])
    for name, layers in mixes.blocks.items():
        alone = mixes.build([name])
        onnx.checker.check_model(alone, full_check=True)
        assert quantised_layers(alone) == len({*layers}) or name == HEADS  # heads share weights
        assert np.corrcoef(expected.ravel(), run(alone, scenes[6:7]).ravel())[0, 1] > 0.95
        rest = mixes.build([other for other in mixes.usual if other != name])
        left = len(mixes.usual) - (name != HEADS)
        assert quantised_layers(rest) == left


def test_every_tensor_of_every_choice_has_been_foreseen(mixes):
    foreseen = possible_reads(mixes.folded)
    rng = np.random.default_rng(0)
    names = list(mixes.blocks)
    for _ in range(40):
        chosen = [name for name in names if rng.random() < 0.5]
        assert mixes.tensors(chosen) <= foreseen
    assert mixes.tensors() == set(place(mixes.folded).reads)


def test_a_layer_that_only_ever_saw_zero_stays_in_floating_point(mixes, scores_model):
    silent = Mixes(scores_model)
    layer = next(name for name in silent.usual if "MatMul" in name)
    read = next(iter(silent.tensors([layer])))
    silent.ranges = {**mixes.ranges, read: 0.0}
    assert quantised_layers(silent.build([layer])) == 0
    assert quantised_layers(silent.build()) < quantised_layers(mixes.build())
    assert silent.remarks()[0].startswith("1 layer")
    assert mixes.remarks() == []


def test_what_cannot_be_quantised_is_refused(int8_scores, scores_model):
    with pytest.raises(UserError, match="is quantised already"):
        Mixes(int8_scores)
    bare = onnx.ModelProto()
    bare.CopyFrom(scores_model)
    kept = [n for n in bare.graph.node if n.op_type in {"Cast", "Transpose"}][:2]
    del bare.graph.node[:]
    bare.graph.node.extend(kept)
    bare.graph.output[0].name = kept[-1].output[0]
    bare.graph.output[0].type.tensor_type.shape.Clear()
    with pytest.raises(UserError, match="no convolution and no matrix product"):
        Mixes(bare)


def test_weights_are_rounded_to_their_own_grid(mixes):
    model = mixes.build()
    for tensor in model.graph.initializer:
        if tensor.name.endswith("/quantized"):
            values = numpy_helper.to_array(tensor)
            assert values.dtype == np.int8
            assert np.abs(values.astype(int)).max() == 127
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["QuantizeLinear"] == len(mixes.tensors())
