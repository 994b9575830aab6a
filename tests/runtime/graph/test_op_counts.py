import pytest
from onnx import helper

from runtime.graph.op_counts import COUNTERS, Sizes, UnknownShape, deformable_conv_shape


def flops(op, *shapes, out=(), **attributes):
    """Of a node whose inputs have these shapes."""
    names = [f"x{k}" for k in range(len(shapes))]
    node = helper.make_node(op, names, ["out"], **attributes)
    return COUNTERS[op](node, Sizes({**dict(zip(names, shapes, strict=True)), "out": out}))


def test_convolutions_by_hand():
    # 12 channels from 8 in 2 groups at 8 x 10 places, 4 * 9 products each
    counted = flops("Conv", (1, 8, 16, 20), (12, 4, 3, 3), out=(1, 12, 8, 10), group=2)
    assert counted == 2 * 12 * 8 * 10 * 4 * 9
    # transposed: every one of 8 * 16 * 20 values goes into 5 channels at 2 x 2 places
    counted = flops("ConvTranspose", (1, 8, 16, 20), (8, 5, 2, 2), out=(1, 5, 32, 40))
    assert counted == 2 * 8 * 16 * 20 * 5 * 4


def test_matrix_products_by_hand():
    # attention of 16 rows on 14 rows of 20, for 8 heads
    product = 2 * 8 * 16 * 14 * 20
    assert flops("MatMul", (1, 8, 16, 20), (1, 8, 20, 14), out=(1, 8, 16, 14)) == product
    # a size that only the other operand knows
    assert flops("MatMul", (1, 8, 16, None), (1, 8, 20, 14), out=(1, 8, 16, 14)) == product
    assert flops("MatMul", (1, 8, 16, 20), (20,), out=(1, 8, 16)) == 2 * 8 * 16 * 20
    assert flops("Gemm", (6, 10), (6, 4), (4,), out=(10, 4), transA=1) == 2 * 10 * 6 * 4
    assert flops("Gemm", (6, 10), (4, 10), out=(6, 4), transB=1) == 2 * 6 * 10 * 4


@pytest.mark.parametrize(
    ("equation", "weight", "expected"),
    [
        ("bchw,qc->bqhw", (5, 8), 2 * 5 * 8 * 16 * 20),
        ("bchw, qc", (5, 8), 2 * 5 * 8 * 16 * 20),
        ("...hw,wk->...hk", (20, 3), 2 * 8 * 16 * 20 * 3),
        ("bchw,c->bchw", (8,), 0),  # an element-wise product
    ],
)
def test_einsum_by_hand(equation, weight, expected):
    assert flops("Einsum", (1, 8, 16, 20), weight, equation=equation) == expected


def test_einsum_of_one_operand_is_no_product():
    assert flops("Einsum", (1, 8, 16, 20), equation="bchw->bhwc") == 0


def test_custom_operators_by_hand():
    # 5 queries and 12 tokens of 4 heads with 8 channels each: similarity, then a product each
    counted = flops("PrototypeAttention", (1, 5, 32), (1, 12, 32), (1, 5, 12), num_heads=4)
    assert counted == 2 * 4 * 5 * 12 * 8 + 5 * 32
    # 7 queries, 4 heads of 8 channels, 3 levels, 2 points: 5 products per sample and channel
    counted = flops(
        *("MultiscaleDeformableAttnPlugin_TRT", (1, 99, 4, 8), (3, 2), (3,)),
        *((1, 7, 4, 3, 2, 2), (1, 7, 4, 3, 2)),
    )
    assert counted == 2 * 5 * 7 * 4 * 3 * 2 * 8
    # a 3x3 convolution of 8 to 6 channels at 8 x 10 places, and 5 products per value read
    shapes = ((1, 8, 16, 20), (1, 18, 8, 10), (1, 9, 8, 10), (6, 8, 3, 3))
    counted = flops("ModulatedDeformConv2d", *shapes)
    assert counted == 8 * 10 * (2 * 6 * 8 * 9 + 2 * 5 * 8 * 9)
    node = helper.make_node("ModulatedDeformConv2d", list("abcd"), ["out"])
    sizes = Sizes(dict(zip("abcd", shapes, strict=True)))
    assert deformable_conv_shape(node, sizes) == [1, 6, 8, 10]


def test_unknown_sizes_are_an_error():
    with pytest.raises(UnknownShape, match="out"):
        flops("MatMul", (1, 4), (4, 7), out=(None, 7))
    with pytest.raises(UnknownShape, match="x0"):
        flops("MatMul", (1, None), (None, 7), out=(1, 7))
