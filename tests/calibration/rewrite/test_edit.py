import onnx
import pytest

from calibration.rewrite.edit import (
    Links,
    check_is_float,
    element_types,
    raise_opset,
    replace_nodes,
)
from calibration.rewrite.edit import opset as opset_of
from emca.errors import UserError
from runtime.graph.reading import attribute, shapes

MODEL = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[1,4,N] x) => (float[1,4,N] y)
<float[4,1] w = {1,2,3,4}, float[1] unused = {9}>
{
    a = Mul (x, w)
    b = Softmax <axis = 1> (a)
    y = Add (a, b)
}
"""


@pytest.fixture
def model():
    return onnx.parser.parse_model(MODEL)


def test_links_know_makers_and_readers(model):
    links = Links(model.graph)
    mul, softmax, add = model.graph.node
    assert links.producer["b"] == softmax
    assert links.consumers["a"] == [softmax, add]
    assert links.activations(mul) == ["x"]
    assert links.only_reader("a") is None
    assert links.only_reader("b") == add
    assert links.only_reader("y") is None


def test_only_reader_counts_the_graph_output(model):
    model.graph.output.append(onnx.ValueInfoProto(name="b"))
    assert Links(model.graph).only_reader("b") is None


def test_types_and_shapes_are_inferred_through_local_functions(labels_model):
    types = element_types(labels_model)
    prototype = next(n for n in labels_model.graph.node if n.op_type == "PrototypeAttention")
    assert types[prototype.output[1]] == onnx.TensorProto.FLOAT
    assert types["labels"] == types["image"] == onnx.TensorProto.UINT8
    assert shapes(labels_model)["image"] == [1, 96, 128, 3]


def test_open_sizes_are_none(model):
    assert shapes(model)["a"] == [1, 4, None]


def test_replace_nodes_drops_unused_constants(model):
    replace_nodes(model.graph, list(model.graph.node))
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]


def test_attribute_has_a_default(model):
    softmax = model.graph.node[1]
    assert attribute(softmax, "axis", -1) == 1
    assert attribute(softmax, "other", 7) == 7


def test_raise_opset_takes_functions_along(labels_model):
    copy = onnx.ModelProto()
    copy.CopyFrom(labels_model)
    raise_opset(copy, 19)
    assert opset_of(copy) == opset_of(copy.functions[0]) == 19
    onnx.checker.check_model(copy, full_check=True)


def test_control_flow_is_refused():
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 18]>
        net (bool c, float[2] x) => (float[2] y)
        { y = If (c) <then_branch = t () => (float[2] u) { u = Neg (x) },
                      else_branch = e () => (float[2] v) { v = Identity (x) }> }
    """)
    with pytest.raises(UserError, match=r"\(If\) holds a subgraph.*without control flow"):
        check_is_float(model)
