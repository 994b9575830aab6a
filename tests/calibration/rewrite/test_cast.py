import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from calibration.rewrite.cast import SMALLEST, halve, to_half
from calibration.rewrite.edit import element_types

NORM = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[1,8] x) => (float[1,8] y, float[1,8] other)
<float[8] c = {1,2,3,4,5,6,7,8}, float eps = {1e-12}, int64[1] axes = {-1}>
{
    a = Mul (x, c)
    n = ReduceL2 (a, axes)
    m = Clip (n, eps)
    y = Div (a, m)
    other = Add (a, a)
}
"""
RESIZE = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[1,1,2,2] x) => (float[1,1,4,4] y)
<float[4] factors = {1,1,2,2}>
{
    h = Relu (x)
    y = Resize <mode = "nearest"> (h, , factors)
}
"""


def halved(text):
    model = onnx.parser.parse_model(text)
    halve(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True)
    return model


def run(model, **inputs):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


def test_an_island_is_entered_and_left_once():
    model = halved(NORM)
    types = element_types(model)
    assert [types[name] for name in ("n", "m")] == [TensorProto.FLOAT] * 2
    assert types["a"] == TensorProto.FLOAT16
    casts = [n.input[0] for n in model.graph.node if n.op_type == "Cast"]
    # x and a once each, although two nodes read a; `other` back to float32; y is float32 already
    assert sorted(casts) == ["a", "other/fp16", "x"]


def test_norm_of_tiny_vector_survives():
    x = np.full((1, 8), 1e-6, np.float32)
    y, other = run(halved(NORM), x=x)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(np.linalg.norm(y), 1, rtol=0.05)
    np.testing.assert_allclose(other, 2 * x * np.arange(1, 9), rtol=0.05)


def test_outputs_keep_name_and_type():
    model = halved(NORM)
    assert [output.name for output in model.graph.output] == ["y", "other"]
    types = {o.type.tensor_type.elem_type for o in (*model.graph.input, *model.graph.output)}
    assert types == {TensorProto.FLOAT}


def test_factors_of_resize_stay_float():
    model = halved(RESIZE)
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert constants == {"factors": TensorProto.FLOAT}
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(run(model, x=x)[0], x.repeat(2, 2).repeat(2, 3))


def test_old_quantisation_keeps_float_scales():
    model = halved("""
        <ir_version: 9, opset_import: ["" : 18]>
        net (float[4] x) => (float[4] y)
        <float s = {0.5}, int8 z = {0}>
        { h = Mul (x, x) q = QuantizeLinear (h, s, z) d = DequantizeLinear (q, s, z) y = Relu (d) }
    """)
    types = element_types(model)
    assert types["h"] == TensorProto.FLOAT16
    assert types["s"] == types["d"] == TensorProto.FLOAT
    x = np.array([0, 1, 2, 3], np.float32)
    np.testing.assert_array_equal(run(model, x=x)[0], [0, 1, 4, 9])


def test_to_half_never_makes_zeros_or_infinities():
    values = np.array([0, 1e-12, -1e-30, 1e9, -1e9, np.inf, -np.inf, 1.5], np.float32)
    half = to_half(values)
    assert half.dtype == np.float16
    expected = [0, SMALLEST, -SMALLEST, 65504, -65504, np.inf, -np.inf, 1.5]
    np.testing.assert_array_equal(half, np.array(expected, np.float16))


def test_made_up_floats_are_cast_where_they_are_used():
    model = halved("""
        <ir_version: 9, opset_import: ["" : 18]>
        net (float[3] x, int64[1] n) => (float[3] y)
        { zeros = ConstantOfShape (n) y = Add (x, zeros) }
    """)
    assert element_types(model)["zeros"] == TensorProto.FLOAT
    result = run(model, x=np.array([1, 2, 3], np.float32), n=np.array([3]))[0]
    np.testing.assert_array_equal(result, [1, 2, 3])


def test_weights_are_halved(scores_model):
    model = onnx.ModelProto()
    model.CopyFrom(scores_model)
    halve(model)
    kernels = [n.input[1] for n in model.graph.node if n.op_type == "Conv"]
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert {constants[name].dtype for name in kernels} == {np.dtype(np.float16)}
    assert model.ByteSize() < 0.7 * scores_model.ByteSize()


def test_an_unknown_type_is_named():
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 18, "other" : 1]>
        net (float[3] x) => (float[3] y) { h = other.Mystery (x) y = Relu (h) }
    """)
    with pytest.raises(ValueError, match="type of tensor 'h' \\(Mystery\\) cannot be inferred"):
        halve(model)
