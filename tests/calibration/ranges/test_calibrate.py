import numpy as np
import onnx
import pytest

from calibration.ranges import calibrate as ranges
from calibration.ranges.calibrate import METHODS, measure
from emca.errors import UserError

MODEL = """
<ir_version: 9, opset_import: ["" : 18]>
net (uint8[N,2,2,3] image) => (float[N,2,2,3] y)
<float ten = {10}, float zero = {0}>
{
    f = Cast <to = 1> (image)
    shifted = Sub (f, ten)
    nothing = Mul (f, zero)
    inverse = Reciprocal (f)
    y = Add (shifted, nothing)
}
"""


@pytest.fixture
def model():
    return onnx.parser.parse_model(MODEL)


def images(*values):
    return [np.full((2, 2, 3), value, np.uint8) for value in values]


def test_minmax_sees_both_signs_over_all_images(model):
    tensors = ["shifted", "y", "nothing"]
    assert measure(model, tensors, images(2, 5), ["minmax"])["minmax"] == {
        "shifted": 8.0,
        "y": 8.0,
        "nothing": 0.0,
    }
    assert measure(model, ["shifted"], images(2, 5, 100), ["minmax"])["minmax"] == {"shifted": 90.0}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_covers_what_there_is(model, method):
    found = measure(model, ["shifted", "nothing"], images(2, 4, 19), [method])[method]
    assert 8 < found["shifted"] <= 9
    assert found["nothing"] == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_is_not_finite_is_named(model, method):
    with pytest.raises(UserError, match="tensor 'inverse' is inf on a calibration image"):
        measure(model, ["inverse"], images(1, 0), [method])


def test_the_model_is_left_alone(model):
    before = model.SerializeToString()
    measure(model, ["shifted"], images(2), ["minmax"])["minmax"]
    assert model.SerializeToString() == before


def test_little_memory_takes_more_runs_to_the_same_ranges(scores_model, scenes, monkeypatch):
    tensors = [n.output[0] for n in scores_model.graph.node if n.op_type in {"Conv", "Relu"}]
    expected = measure(scores_model, tensors, scenes[:2], ["percentile"])["percentile"]
    monkeypatch.setattr("calibration.ranges.calibrate.MEMORY", 300_000)
    built = []
    build = ranges._session_with_outputs
    monkeypatch.setattr(
        ranges, "_session_with_outputs", lambda m, group: built.append(group) or build(m, group)
    )
    found = measure(scores_model, tensors, scenes[:2], ["percentile"])["percentile"]
    assert found == pytest.approx(expected, rel=1e-4)
    assert len(built) > 3
    assert sorted(name for group in built for name in group) == sorted(tensors)


def test_all_methods_from_one_pass_are_those_of_each(scores_model, scenes):
    tensors = [n.output[0] for n in scores_model.graph.node if n.op_type == "Relu"]
    together = measure(scores_model, tensors, scenes[:2], list(METHODS))
    assert list(together) == list(METHODS)
    for method in METHODS:
        assert together[method] == measure(scores_model, tensors, scenes[:2], [method])[method]
    assert len({tuple(found.values()) for found in together.values()}) > 2
