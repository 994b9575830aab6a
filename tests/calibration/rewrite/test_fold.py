import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from calibration.rewrite.fold import folded

CONSTANTS = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[2,3] x) => (float[2,2] y, float[4,3] z)
<float[2,3] w = {1,2,3,4,5,6}, float[1,3] row = {7,8,9}>
{
    wt = Transpose <perm = [1, 0]> (w)
    y = MatMul (x, wt)
    shape = Constant <value_ints = [4, 3]> ()
    wide = Expand (row, shape)
    z = Relu (wide)
}
"""
# `shared` is read by two nodes, so its normalisation cannot go into the convolution.
NORMS = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[1,2,5,5] x) => (float[1,3,5,5] y, float[1,3,5,5] z, float[1,2,5,5] v)
<float[3] bias = {1,-2,3}, float[3] g = {0.5,2,-1},
 float[3] b = {0.1,0.2,0.3}, float[3] m = {1,-1,0}, float[3] s = {0.5,2,1e-9},
 float[2] g2 = {2,3}, float[2] b2 = {4,5}>
{
    c = Conv <pads = [1, 1, 1, 1]> (x, w, bias)
    y = BatchNormalization <epsilon = 0.001> (c, g, b, m, s)
    shared = Conv (x, w1)
    n = BatchNormalization (shared, g, b, m, s)
    z = Add (n, shared)
    v = BatchNormalization (x, g2, b2, b2, g2)
}
"""


def run(model, x):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})


def operators(model):
    return [node.op_type for node in model.graph.node]


def test_constant_nodes_become_initializers_unless_they_grow():
    model = onnx.parser.parse_model(CONSTANTS)
    result = folded(model)
    assert operators(result) == ["MatMul", "Expand", "Relu"]
    constants = {t.name: numpy_helper.to_array(t) for t in result.graph.initializer}
    np.testing.assert_array_equal(constants["wt"], [[1, 4], [2, 5], [3, 6]])
    assert "w" not in constants
    assert len(model.graph.node) == 5  # the argument is left alone


def test_batch_norm_goes_into_the_convolution_or_becomes_affine():
    model = onnx.parser.parse_model(NORMS)
    rng = np.random.default_rng(0)
    for name, shape in {"w": (3, 2, 3, 3), "w1": (3, 2, 1, 1)}.items():
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    result = folded(model)
    assert operators(result) == ["Conv", "Conv", "Mul", "Add", "Add", "Mul", "Add"]
    x = rng.standard_normal((1, 2, 5, 5)).astype(np.float32)
    for actual, expected in zip(run(result, x), run(model, x), strict=True):
        assert np.abs(expected).max() > 1
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_a_whole_network_computes_the_same(scores_model, scenes, run):
    result = folded(scores_model)
    assert not {"BatchNormalization", "Constant"} & set(operators(result))
    assert operators(result).count("Transpose") < operators(scores_model).count("Transpose")
    expected = run(scores_model, scenes[6:8])
    np.testing.assert_allclose(run(result, scenes[6:8]), expected, atol=1e-3 * expected.max())
