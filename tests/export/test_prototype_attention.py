import numpy as np
import onnx
import pytest
from one_node import attention_model, on_onnxruntime, on_openvino
from onnx import TensorProto

from export.functions import add_functions
from plugins.reference import prototype_attention

SYMBOLIC = (("B", "M", "C"), ("B", "N", "C"), ("B", "M", "N"))


def build(num_heads, element=TensorProto.FLOAT, opset=18, shapes=SYMBOLIC):
    return attention_model(shapes, heads=num_heads, element=element, opset=opset)


def unit_rows(rng, *shape):
    rows = rng.standard_normal(shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def random_inputs(seed, batch, queries, positions, channels):
    """Unit vectors and mask logits with some fully masked rows."""
    rng = np.random.default_rng(seed)
    mask = rng.standard_normal((batch, queries, positions))
    mask[:, ::3] = -np.abs(mask[:, ::3])
    return (
        unit_rows(rng, batch, queries, channels),
        unit_rows(rng, batch, positions, channels),
        mask,
    )


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
@pytest.mark.parametrize(
    ("batch", "queries", "positions", "channels", "heads"),
    [(1, 7, 63, 32, 8), (2, 5, 17, 24, 1), (2, 3, 1, 16, 8), (1, 1, 300, 8, 4)],
)
def test_matches_the_reference(run, batch, queries, positions, channels, heads):
    inputs = [x.astype(np.float32) for x in random_inputs(0, batch, queries, positions, channels)]
    attended, prototype = run(build(heads), inputs)
    expected_attended, expected_prototype = prototype_attention(*inputs, heads)
    # A prototype is a copy of a feature: equal bits mean that every index is the same.
    np.testing.assert_array_equal(prototype, expected_prototype)
    np.testing.assert_allclose(attended, expected_attended, rtol=1e-6)


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
def test_ties_masked_rows_and_zero_logits(run):
    rng = np.random.default_rng(1)
    # Eighths: products and sums are exact, so that equal stays equal in whatever order they are
    # added, which differs between processors.
    feature = np.tile(rng.integers(-8, 9, (1, 3, 8)) / 8, (1, 3, 1)).astype(np.float32)
    feature[0, :, 0] = np.arange(9) / 1024  # tells the copies apart
    query = (rng.integers(-8, 9, (1, 4, 8)) / 8).astype(np.float32)
    query[..., 0] = 0  # and does not enter the similarity
    mask = np.full((1, 4, 9), -1, np.float32)
    mask[0, 1, 4:] = 0.0  # zero counts as visible
    mask[0, 2, 8] = 1e-30
    mask[0, 3] = 5
    attended, prototype = run(build(1), (query, feature, mask))
    expected_attended, expected_prototype = prototype_attention(query, feature, mask, 1)
    np.testing.assert_array_equal(prototype, expected_prototype)
    np.testing.assert_allclose(attended, expected_attended, rtol=1e-6)
    assert prototype[0, 2, 0] == feature[0, 8, 0]


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
def test_one_body_serves_half_precision(run):
    inputs = [x.astype(np.float16) for x in random_inputs(2, 2, 9, 33, 32)]
    attended, prototype = run(build(4, TensorProto.FLOAT16), inputs)
    assert attended.dtype == prototype.dtype == np.float16
    query, feature, mask = inputs
    # FP16 similarities may tie where exact ones do not: the choice must be within their rounding.
    exact_prototype = prototype_attention(query, feature, mask, 4)[1]
    chosen, best = (
        (query.astype(np.float32) * p).reshape(2, 9, 4, 8).sum(-1)
        for p in (prototype, exact_prototype)
    )
    assert np.all(best - chosen <= 1e-3)
    assert (prototype == exact_prototype).mean() > 0.95
    visible = (mask >= 0) | (mask < 0).all(-1, keepdims=True)
    for b, m in np.ndindex(2, 9):
        for h in range(4):
            head = slice(8 * h, 8 * h + 8)
            hits = (feature[b][:, head] == prototype[b, m, head]).all(-1)
            assert (hits & visible[b, m]).any()
    np.testing.assert_allclose(attended, query * prototype, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("opset", [17, 18, 19])
def test_opsets_pass_the_checker_and_agree(opset):
    model = build(2, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert len(inferred.functions) == 1
    inputs = [x.astype(np.float32) for x in random_inputs(3, 1, 4, 10, 8)]
    np.testing.assert_array_equal(
        on_onnxruntime(model, inputs)[1], prototype_attention(*inputs, 2)[1]
    )


def test_add_function_can_be_repeated():
    model = build(2)
    before = model.SerializeToString()
    add_functions(model)
    assert model.SerializeToString() == before


def test_an_old_opset_is_refused():
    model = build(2)
    model.opset_import[0].version = 16
    with pytest.raises(ValueError, match="opset 16; custom ops need 17"):
        add_functions(model)


def test_tensorrt_builds_it_for_a_t4_in_half_precision(build_for_t4):
    shapes = ((1, 100, 256), (1, 1024, 256), (1, 100, 1024))
    assert build_for_t4(build(8, TensorProto.FLOAT16, shapes=shapes)) > 10
