import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from runtime.backends.ov.backend import core
from runtime.backends.ov.zero_points import shift_activations

# Two convolutions that meet in a Concat before a third one, as in a block of STDC.
MODEL = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[1,8,16,16] x) => (float[1,4,16,16] y)
<float s = {0.03}, int8 z = {0}, float ws = {0.01}, int8 wz = {0}>
{
    xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, z)
    w1d = DequantizeLinear (w1, ws, wz) w2d = DequantizeLinear (w2, ws, wz)
    w3d = DequantizeLinear (w3, ws, wz)
    a = Conv (xd, w1d) ar = Relu (a)
    b = Conv (xd, w2d) br = Relu (b)
    c = Concat <axis = 1> (ar, br)
    cq = QuantizeLinear (c, s, z) cd = DequantizeLinear (cq, s, z)
    y = Conv (cd, w3d)
}
"""


@pytest.fixture
def model():
    model = onnx.parser.parse_model(MODEL)
    rng = np.random.default_rng(0)
    for name, shape in {"w1": (16, 8, 1, 1), "w2": (8, 8, 1, 1), "w3": (4, 24, 1, 1)}.items():
        values = rng.integers(-127, 128, shape).astype(np.int8)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def image():
    return np.random.default_rng(1).standard_normal((1, 8, 16, 16)).astype(np.float32)


def on_onnxruntime(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": image()})[0]


def test_the_arithmetic_stays(model):
    expected = on_onnxruntime(model)
    assert np.abs(expected).max() > 1
    shift_activations(model)
    np.testing.assert_array_equal(on_onnxruntime(model), expected)
    zeros = {
        t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name in ("z", "wz")
    }
    assert (zeros["z"], zeros["z"].dtype) == (128, np.uint8)
    assert (zeros["wz"], zeros["wz"].dtype) == (0, np.int8)


def test_openvino_computes_what_stands_behind_a_concat(model):
    expected = on_onnxruntime(model)
    shift_activations(model)
    compiled = core().compile_model(core().read_model(model.SerializeToString()), "CPU")
    actual = next(iter(compiled({"x": image()}).values()))
    assert np.corrcoef(expected.ravel(), actual.ravel())[0, 1] > 0.9999
