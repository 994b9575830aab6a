import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from plugins import OP_TYPE
from runtime.engines.graph import Plugin, Product, custom_operators, prepare, products

PLUGIN = {OP_TYPE: Plugin("7", "elsewhere")}


@pytest.fixture
def model(toys):
    return onnx.load(toys.model())


def test_a_plugin_loses_its_function_and_gets_the_registered_version(model):
    before = model.SerializeToString()
    graph = prepare(model, PLUGIN)
    assert model.SerializeToString() == before
    assert not graph.functions
    assert custom_operators(graph) == {OP_TYPE: 1}
    (node,) = (node for node in graph.graph.node if node.op_type == OP_TYPE)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert attributes["plugin_version"] == b"7"
    assert attributes["plugin_namespace"] == b"elsewhere"
    assert attributes["num_heads"] == 1


def test_without_a_plugin_the_function_is_put_in_place(model, toys):
    graph = prepare(model, {})
    assert not graph.functions
    assert custom_operators(graph) == {}
    names = [node.name for node in graph.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    labels = toys.stripes()
    assert (session.run(None, {"image": toys.paint(labels)[None]})[0][0] == labels).all()


def test_labels_become_bytes_by_way_of_floats(model):
    graph = prepare(model, {}).graph
    (to_bytes,) = (node for node in graph.node if node.output[0] == "labels")
    (before,) = (node for node in graph.node if node.output[0] == to_bytes.input[0])
    (origin,) = (node for node in graph.node if node.output[0] == before.input[0])
    kinds = [helper.get_attribute_value(node.attribute[0]) for node in (before, to_bytes)]
    assert kinds == [onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8]
    assert origin.op_type == "ArgMax"


def test_products_of_a_float_file(model):
    assert [(p.kind, p.precision) for p in products(prepare(model, PLUGIN))] == [
        ("convolution", "fp32"),
        ("matrix product", "fp32"),
    ]
    # One more inside the function.
    assert len(products(prepare(model, {}))) == 3


def test_products_behind_a_plugin_have_types():
    text = """
    <ir_version: 9, opset_import: ["" : 18, "emca" : 1]>
    g (float16[1,2,4] q, float16[1,3,4] f, float16[1,2,3] m, float16[4,4] w) => (float16[1,2,4] y) {
        attended, prototype = emca.PrototypeAttention<num_heads: int = 1>(q, f, m)
        y = MatMul(attended, w)
    }
    <domain: "emca", opset_import: ["" : 18]>
    PrototypeAttention <num_heads> (query, feature, mask_logits) => (attended, prototype) {
        prototype = Identity(query)
        attended = Mul(query, prototype)
    }
    """
    graph = prepare(parser.parse_model(text), PLUGIN)
    assert [product.precision for product in products(graph)] == ["fp16"]


def test_products_of_a_quantised_file():
    text = """
    <ir_version: 9, opset_import: ["" : 19]>
    g (float16[1,3,8,8] x, float16[8,8] a) => (float16[1,3,8,8] y, float16[8,8] s)
    {
        q = QuantizeLinear(x, scale, zero)
        d = DequantizeLinear(q, scale, zero)
        w = DequantizeLinear(weight, scale, zero)
        both = Conv(d, w)
        one = Conv(x, w)
        y = Add(both, one)
        folded = MatMul(unit, unit)
        s = MatMul(a, folded)
    }
    """
    model = parser.parse_model(text)
    constants = {
        "scale": np.float16(0.5),
        "zero": np.int8(0),
        "weight": np.ones((3, 3, 1, 1), np.int8),
        "unit": np.eye(8, dtype=np.float16),
    }
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    for node in model.graph.node:
        node.name = node.output[0]
    assert products(prepare(model, {})) == [
        Product("both", "convolution", "int8"),
        Product("one", "convolution", "fp16"),
        Product("s", "matrix product", "fp16"),
    ]
