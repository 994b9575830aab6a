import pytest
from one_graph import LINEAR, TOKENS, parse

from calibration.rewrite.fold import folded
from calibration.rewrite.placement import place

BLOCK = """
    a = Conv <pads = [1,1,1,1]> (x, w1) ar = Relu (a)
    b = Conv <pads = [1,1,1,1]> (ar, w2)
    s = Add (b, x) y0 = Relu (s)
    c = Conv (y0, w3) y = LpNormalization (c)
"""
KERNELS = {"w1": (4, 4, 3, 3), "w2": (4, 4, 3, 3), "w3": (4, 4, 1, 1), "w4": (4, 4, 1, 1)}
IMAGE = "float[1,4,8,8] x", "float[1,4,8,8] y"


def reads(model):
    return {name: set(readers) for name, readers in place(model).reads.items()}


def test_identity_shortcut_shares_the_pair_of_the_first_convolution():
    assert reads(parse(BLOCK, *IMAGE, **KERNELS)) == {"x": {"a", "s"}, "ar": {"b"}, "y0": {"c"}}


@pytest.mark.parametrize("order", ["b, p", "p, b"])
def test_projected_shortcut_is_quantised_and_the_last_convolution_is_not(order):
    body = BLOCK.replace("s = Add (b, x)", f"p = Conv (x, w4) s = Add ({order})")
    assert reads(parse(body, *IMAGE, **KERNELS)) == {
        "x": {"a", "p"},
        "ar": {"b"},
        "p": {"s"},
        "y0": {"c"},
    }


def test_a_sum_that_nobody_reads_in_int8_stays_float():
    body = "a = Conv (x, w4) s = Add (a, x) y = Sigmoid (s)"
    assert reads(parse(body, *IMAGE, **KERNELS)) == {"x": {"a"}}


def test_a_convolution_that_others_read_too_is_not_fused():
    body = "a = Conv (x, w4) s = Add (a, x) c = Conv (s, w3) y = Add (c, a)"
    assert reads(parse(body, *IMAGE, **KERNELS)) == {"x": {"a"}, "s": {"c"}}


def test_pooling_happens_in_int8():
    body = "r = Relu (x) m = MaxPool <kernel_shape = [1,1]> (r) c = Conv (m, w3)"
    body += "y = LpNormalization (c)"
    assert reads(parse(body, *IMAGE, **KERNELS)) == {"r": {"m"}}


def test_pooling_with_a_float_reader_is_left_alone():
    body = "m = MaxPool <kernel_shape = [1,1]> (x) c = Conv (m, w3) n = LpNormalization (c) "
    body += "y = Mul (n, m)"
    assert reads(parse(body, *IMAGE, **KERNELS)) == {"m": {"c"}}


def test_gates_stay_float():
    body = """
        p = GlobalAveragePool (x) g = Conv (p, w4) q = Sigmoid (g) m = Mul (x, q) c = Conv (m, w3)
        y = LpNormalization (c)
    """
    assert reads(parse(body, *IMAGE, **KERNELS)) == {"m": {"c"}}


def test_products_of_activations_and_heads_stay_float():
    body = """
        q = MatMul (x, v1) n = LpNormalization (q)
        e = MatMul (n, v2) r = Relu (e) f = MatMul (r, v3)
        t = Transpose <perm = [0,2,1]> (n) y = MatMul (f, t)
    """
    assert reads(parse(body, *TOKENS, **LINEAR)) == {"x": {"q"}}


def test_a_feed_forward_layer_before_a_residual_is_no_head():
    body = """
        h = MatMul (x, v1) r = Relu (h) o = MatMul (r, v2) s = Add (x, o) y = MatMul (s, v3)
    """
    assert reads(parse(body, *TOKENS, **LINEAR)) == {"x": {"h"}, "r": {"o"}}


def test_what_makes_masks_is_a_head():
    body = """
        n = LpNormalization (x) l = MatMul (n, v2) t = Transpose <perm = [0,2,1]> (n)
        m = MatMul (l, t)
        a, p = emca.PrototypeAttention <num_heads = 1> (n, n, m)
        o = MatMul (p, v1) y = Add (x, o)
    """
    assert reads(parse(body, "float[1,5,8] x", "float[1,5,8] y", **LINEAR)) == {"p": {"o"}}


def test_what_is_compared_with_a_threshold_is_a_head():
    body = """
        z = Constant <value_float = 0.0> ()
        l = MatMul (x, v2) b = Less (l, z) w = Where (b, x, z)
        n = LpNormalization (w) o = MatMul (x, v1) y = Add (n, o)
    """
    model = folded(parse(body, "float[1,5,8] x", "float[1,5,8] y", **LINEAR))
    assert reads(model) == {"x": {"o"}}


def test_the_convolution_that_classifies_pixels_is_a_head():
    body = """
        a = Conv (x, w4) r = Relu (a) b = Conv (r, w3) size = Constant <value_ints = [1,4,8,8]> ()
        z = Resize <mode = "linear"> (b, , , size) y = Sigmoid (z)
    """
    assert reads(parse(body, *IMAGE, **KERNELS)) == {"x": {"a"}}


def test_mask_features_are_no_head():
    body = """
        a = Conv (x, w4) flat = Constant <value_ints = [1,4,64]> () f = Reshape (a, flat)
        y = MatMul (e, f)
    """
    inputs = f"{IMAGE[0]}, float[1,5,4] e"
    assert reads(parse(body, inputs, "float[1,5,64] y", **KERNELS)) == {"x": {"a"}}


def test_what_says_where_to_sample_is_a_head():
    """Offsets and weights of deformable operators; their values are quantised."""
    body = """
        v = MatMul (x, v1)
        o = MatMul (x, v2) l = Add (o, places)
        w = MatMul (x, v3) p = Softmax (w)
        s = emca.MultiscaleDeformableAttnPlugin_TRT (v, sizes, starts, l, p)
        y = LpNormalization (s)
    """
    inputs = f"{TOKENS[0]}, int32[1,2] sizes, int32[1] starts"
    model = parse(body, inputs, TOKENS[1], places=(8,), **LINEAR)
    assert reads(model) == {"x": {"v"}}
    body = """
        o = Conv (x, w1) m = Conv (x, w4) g = Sigmoid (m)
        s = emca.ModulatedDeformConv2d (x, o, g, w2) c = Conv (s, w3) y = LpNormalization (c)
    """
    assert reads(parse(body, *IMAGE, **KERNELS)) == {"s": {"c"}}


def test_axes_of_the_output_channels():
    body = """
        a = MatMul (x, v1) n = LpNormalization (a)
        b = Gemm <transB = 1> (n, v2) c = Relu (b)
        d = Gemm (c, v3) y = LpNormalization (d)
    """
    placement = place(parse(body, "float[5,8] x", "float[5,8] y", **LINEAR))
    assert placement.weights == {"a": 1, "b": 0, "d": 1}


def test_what_is_the_same_for_every_image_stays_float():
    body = """
        size = Shape (x) wide = Expand (e, size) a = MatMul (wide, v1) b = MatMul (x, v2)
        n = LpNormalization (a) m = LpNormalization (b) y = Add (n, m)
    """
    model = parse(body, "float[N,5,8] x", "float[N,5,8] y", e=(1, 5, 8), **LINEAR)
    assert reads(model) == {"x": {"b"}}
