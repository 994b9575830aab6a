import numpy as np
import onnx
import pytest
from one_graph import LINEAR, TOKENS, parse
from onnx import numpy_helper

from calibration.rewrite.placement import place
from calibration.rewrite.qdq import LEVELS, insert, scales
from emca.errors import UserError


def test_weights_are_rounded_per_channel():
    model = parse("a = MatMul (x, v1) y = LpNormalization (a)", *TOKENS, **LINEAR)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[:, 3] *= 100
    weight[:, 5] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "v1"))
    insert(model, place(model), {"x": 3.0})
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    quantised, scale = constants["v1/axis1/quantized"], constants["v1/axis1/scale"]
    assert quantised.dtype == np.int8
    assert quantised.min() >= -LEVELS
    error = np.abs(quantised * scale - weight)
    assert (error <= scale / 2 * 1.001).all()
    assert scale[3] > 20 * scale[2]
    assert set(np.abs(quantised).max(0)[[0, 1, 2, 3, 4, 6, 7]]) <= {126, 127}
    np.testing.assert_array_equal(quantised[:, 5], 0)


def test_shared_weights_are_quantised_once():
    body = "a = MatMul (x, v1) n = Relu (a) b = MatMul (n, v1) y = LpNormalization (b)"
    model = parse(body, "float[1,5,8] x", "float[1,5,8] y", **LINEAR)
    insert(model, place(model), {"x": 1.0, "n": 1.0})
    assert [t.name for t in model.graph.initializer if t.name.endswith("axis1/quantized")] == [
        "v1/axis1/quantized"
    ]
    onnx.checker.check_model(model, full_check=True)


def test_broken_weights_are_named():
    model = parse("a = MatMul (x, v1) y = LpNormalization (a)", *TOKENS, **LINEAR)
    weight = np.full((8, 8), np.nan, np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "v1"))
    with pytest.raises(UserError, match="weight 'v1' holds NaN or infinity"):
        insert(model, place(model), {"x": 1.0})


def test_scales_cover_the_range_and_are_exact_in_half_precision():
    largest = np.array([0.0, 1e-9, 0.03, 1.0, 127.0, 5e4])
    steps = scales(largest)
    assert steps.dtype == np.float32
    np.testing.assert_array_equal(steps, steps.astype(np.float16))
    assert (steps * LEVELS >= largest).all()
    assert (steps[2:] * LEVELS <= largest[2:] * 1.01).all()
    assert (steps > 0).all()
