import onnx
import pytest

from calibration.rewrite.fp32_nodes import float32_nodes


def islands(body, inputs="float[2,8] x", outputs="float y"):
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 18, "emca" : 1]> net ({inputs}) => ({outputs}) '
        "<float[8] c = {1,1,1,1,1,1,1,1}, float eps = {1e-12}, int64[1] axes = {-1}> "
        f"{{ {body} }}"
    )
    return float32_nodes(model.graph)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "n = ReduceL2 (x, axes) m = Clip (n, eps) y = Div (x, m)",
            {"n", "m", "y"},
        ),
        (
            "q = Mul (x, x) n = ReduceSum (q, axes) a = Add (n, eps) r = Sqrt (a) y = Div (x, r)",
            {"q", "n", "a", "r", "y"},
        ),
        (
            "two = Constant <value_float = 2.0> () q = Pow (x, two) n = ReduceMean (q, axes) "
            "r = Sqrt (n) i = Reciprocal (r) y = Mul (x, i)",
            {"q", "n", "r", "i"},
        ),
        ("n = ReduceSum (x, axes) y = Div (x, n)", set()),
        # What comes after the division is not part of the norm.
        ("n = ReduceL2 (x, axes) d = Div (x, n) e = Div (d, c) y = Add (e, d)", {"n", "d"}),
        ("l = LayerNormalization (x, c, c) y = Relu (l)", {"l"}),
        # An attention goes to FP16, the probabilities of classes do not.
        ("s = Softmax (x) y = MatMul (s, c)", set()),
        ("s = Softmax (x) y = Slice (s, axes, axes)", {"s"}),
    ],
)
def test_found_by_their_shape(body, expected):
    assert islands(body) == expected


def test_deformable_attention_with_its_places():
    """From the offsets in pixels on; values and weights are cast at its door."""
    body = """
        v = MatMul (x, c) o = MatMul (x, c) b = Add (o, c) r = Reshape (b, axes) d = Div (r, c)
        l = Add (d, c) w = MatMul (x, c) p = Softmax (w) q = MatMul (p, c)
        s = emca.MultiscaleDeformableAttnPlugin_TRT (v, axes, axes, l, q) y = MatMul (s, c)
    """
    assert islands(body) == {"b", "r", "d", "l", "s"}


def test_image_normalisation_up_to_the_first_layer():
    body = """
        f = Cast <to = 1> (x) t = Transpose (f) s = Sub (t, c) d = Div (s, c)
        m = MatMul (d, c) y = Mul (m, c)
    """
    assert islands(body, "uint8[8,8] x") == {"f", "t", "s", "d"}


def test_a_float_input_is_no_image():
    assert islands("s = Sub (x, c) y = Div (s, c)") == set()
