import json

import pytest

from emca.errors import UserError
from runtime.backends.engine_file import Layer
from runtime.engines.graph import Product
from runtime.engines.layers import (
    check,
    check_plugins,
    layer_table,
    layers_of_inspector,
    layers_of_log,
    outcomes,
    product_table,
)

# The inspector of TensorRT 10: words of two kinds for a type, and metadata parted by \x1e.
OF_10 = {
    "Layers": [
        {
            "Name": "stem/Conv + stem/Relu",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "a", "Format/Datatype": "Channel major INT8 format where …"}],
            "Outputs": [{"Name": "b", "Format/Datatype": "Row major linear FP16 format"}],
            "ParameterType": "Convolution",
            "Metadata": "[ONNX Layer: stem/Conv]\x1e[ONNX Layer: stem/Relu | Local Function: f]",
        },
        {
            "Name": "__myl_MulAdd_myl0_1",
            "LayerType": "kgen",
            "Inputs": [{"Name": "b", "Format/Datatype": "Half"}],
            "Outputs": [{"Name": "c", "Format/Datatype": "Float"}],
            "Metadata": "[ONNX Layer: norm/Mul]\x1f[ONNX Layer: norm/Add]",
        },
        {"Name": "wait", "LayerType": "wait", "Inputs": [], "Outputs": []},
        {"Name": "attention", "LayerType": "PluginV3", "Inputs": [{"Format/Datatype": "Half"}]},
    ],
    "Bindings": ["image", "labels"],
}
# That of TensorRT 11: type and format apart.
OF_11 = {
    "Layers": [
        {
            "Name": "head/MatMul_myl0_7",
            "LayerType": "gemm",
            "Inputs": [{"Datatype": "Half", "Format": "(Linear) Row major linear format"}],
            "Outputs": [{"Datatype": "BFloat16", "Format": "(Linear) Row major linear format"}],
            "Metadata": "[ONNX Layer: head/MatMul]",
        }
    ],
    "I/O Tensors": [{"Name": "image"}],
}
# The log of TensorRT-RTX 1.7.
LOG = [
    "Name: a/Conv_7_myl0_11, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [1,8,4,4], "
    "Strides: [128,1,32,8], Datatype: Int8, Format: (NHWC) Channel major format }, { Name: y, "
    "Dimensions: [8,8,1,1], Datatype: Int8, Format: (NHWC) }], Constants: [ { Name: k, Dimensions: "
    "[1], Datatype: Float, Format: (Linear) }], Outputs: [ { Name: z, Dimensions: [1,8,4,4], "
    "Datatype: Half, Format: (NHWC) }], TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: "
    "[ONNX Layer: a/Conv_7][ONNX Layer: relu]",
    "Name: m_myl0_12, LayerType: gemm, Inputs: [], Constants: [ { Name: k, Dimensions: [1], "
    "Datatype: Half, Format: (Linear) }], Outputs: [ { Name: z, Dimensions: [1], Datatype: Half, "
    "Format: (Linear) }], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: m]",
    "Name: wait_1, LayerType: wait, Inputs: [], Outputs: [], TacticName: w, Metadata: ",
]


def product(name, precision, kind="convolution"):
    return Product(name, kind, precision)


def layer(node, first, kind="correlation", *rest):
    return Layer(f"{node}_myl0_1", kind, (first, *rest), ("fp16",), (node,))


def test_inspector_of_tensorrt_10():
    first, second, plugin = layers_of_inspector(json.dumps(OF_10))
    assert first == Layer(
        "stem/Conv + stem/Relu",
        *("CaskConvolution", ("int8",), ("fp16",), ("stem/Conv", "stem/Relu")),
    )
    assert (second.inputs, second.outputs) == (("fp16",), ("fp32",))
    assert second.nodes == ("norm/Mul", "norm/Add")
    check_plugins([first, second, plugin], {"PrototypeAttention": 1})
    with pytest.raises(UserError, match="1 of 2 plugin layers are left in the engine"):
        check_plugins([first, second, plugin], {"PrototypeAttention": 2})


def test_inspector_of_tensorrt_11_with_raw_control_characters():
    text = json.dumps({"Layers": OF_11["Layers"] + OF_10["Layers"][:1]})
    found, other = layers_of_inspector(text.replace("\\u001e", "\x1e"))
    assert (found.kind, found.inputs, found.outputs) == ("gemm", ("fp16",), ("bf16",))
    assert other.nodes == ("stem/Conv", "stem/Relu")


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"Layers": ["a", "b"]}', '{"Layers": []}'])
def test_an_inspector_that_says_too_little(text):
    with pytest.raises(UserError, match="the engine inspector"):
        layers_of_inspector(text)


def test_log_of_tensorrt_rtx():
    convolution, gemm = layers_of_log(["Engine Layer Information:", *LOG])
    assert convolution == Layer(
        *("a/Conv_7_myl0_11", "correlation", ("int8", "int8"), ("fp16",), ("a/Conv_7", "relu"))
    )
    assert (gemm.kind, gemm.inputs, gemm.nodes) == ("gemm", ("fp16",), ("m",))
    with pytest.raises(UserError, match="log lists no layer with types"):
        layers_of_log(["Engine Layer Information:"])


def test_outcomes_prefer_the_layer_that_multiplies():
    wanted = [
        product("a", "int8"),
        product("b", "fp16"),
        product("c", "fp16"),
        product("d", "fp32"),
    ]
    layers = [
        layer("a", "fp32", "kgen"),  # what quantises its input
        layer("a", "int8"),
        layer("b", "fp32", "runtime_fusion", "fp16"),
        layer("d", "fp32", "gemm"),
        Layer("c + relu", "CaskConvolution", ("fp32",), ("fp16",)),  # no metadata: by its name
    ]
    assert [outcome.ran for outcome in outcomes(wanted, layers)] == ["int8", "fp16", "fp32", "fp32"]
    assert [outcome.ran for outcome in outcomes([product("gone", "fp16")], layers)] == [""]


def test_of_several_layers_for_products_the_widest_counts():
    found = outcomes([product("a", "fp16")], [layer("a", "fp16"), layer("a", "fp32")])
    assert [outcome.ran for outcome in found] == ["fp32"]


def test_a_layer_for_products_counts_more_than_others():
    layers = [layer("a", "int8", "kgen"), layer("a", "fp16"), layer("a", "int8", "Reformat")]
    found = outcomes([product("a", "int8")], layers)
    assert [outcome.ran for outcome in found] == ["fp16"]


def test_the_borders_of_a_subgraph_confirm_and_do_not_condemn():
    wanted = [product("a", "fp16"), product("b", "fp16")]
    found = outcomes(wanted, [layer("a", "fp32", "Myelin"), layer("b", "fp16", "kgen")])
    assert [outcome.ran for outcome in found] == ["", "fp16"]
    (note,) = check(found, "fp16", backend="tensorrt", target="7.5")
    assert note == "FP16 products whose layers do not tell their type: 1 of 2."


def test_types_that_the_inspector_leaves_out_are_unknown():
    found = outcomes([product("a", "fp16")], [layer("a", "other")])
    assert [outcome.ran for outcome in found] == [""]


def test_what_was_asked_is_right():
    wanted = [product("a", "fp16"), product("b", "fp32"), product("c", "fp16")]
    layers = [layer("a", "fp16"), layer("b", "fp32"), layer("c", "int8")]  # narrower is as good
    assert check(outcomes(wanted, layers), "fp16", backend="tensorrt", target="8.6") == []


def test_a_wider_type_is_an_error_that_names_layers():
    wanted = [product(name, "int8") for name in "abcde"]
    layers = [layer("a", "int8"), *(layer(name, "fp16") for name in "bcde")]
    with pytest.raises(UserError) as error:
        check(outcomes(wanted, layers), "int8", backend="tensorrt", target="7.5")
    assert str(error.value) == (
        "4 layers do not run in INT8 as the file asks: b (FP16), c (FP16), d (FP16) and 1 more"
    )


def test_a_known_limit_is_a_note():
    wanted = [product("a", "int8"), product("b", "int8"), product("m", "int8", "matrix product")]
    layers = [layer("a", "fp16"), layer("b", "fp16"), layer("m", "int8", "gemm")]
    found = outcomes(wanted, layers)
    (note,) = check(found, "int8", backend="tensorrt-rtx", target="7.5")
    assert note.startswith("INT8 convolutions that run in FP16: 2; tensorrt-rtx has no INT8")
    for backend, target in (("tensorrt-rtx", "8.6"), ("tensorrt", "7.5")):
        with pytest.raises(UserError, match=r"2 layers do not run in INT8 as the file asks: a"):
            check(found, "int8", backend=backend, target=target)
    worse = outcomes(wanted, [layer("a", "fp32"), layer("b", "fp32"), layer("m", "int8", "gemm")])
    with pytest.raises(UserError, match="do not run in INT8"):
        check(worse, "int8", backend="tensorrt-rtx", target="7.5")


def test_single_products_that_run_wider_are_a_note():
    wanted = [product(name, "int8") for name in "abc"]
    found = outcomes(wanted, [layer("a", "int8"), layer("b", "int8"), layer("c", "fp16")])
    (note,) = check(found, "int8", backend="tensorrt", target="7.5")
    assert note == "INT8 convolutions that run in FP16: 1."


def test_a_file_that_is_not_what_it_says():
    found = outcomes([product("a", "fp32")], [layer("a", "fp32")])
    with pytest.raises(UserError, match=r"calls itself fp16 but .* are fp32; .*calibration\.fp16"):
        check(found, "fp16", backend="tensorrt", target="7.5")


def test_layers_that_name_no_node_are_a_note():
    found = outcomes([product("a", "fp16")], [layer("b", "fp16")])
    (note,) = check(found, "fp16", backend="tensorrt", target="7.5")
    assert note == "FP16 products whose layers do not tell their type: 1 of 1."


def test_tables():
    layers = [layer("a", "fp16"), layer("b", "int8"), layer("c", "uint8", "kgen")]
    lines = layer_table(layers).splitlines()
    assert lines[0].split() == ["kind", "of", "layer", "layers", "INT8", "FP16", "FP32", "other"]
    assert [line.split() for line in lines[2:]] == [
        ["correlation", "2", "1", "1", "0", "0"],
        ["kgen", "1", "0", "0", "0", "1"],
        ["all", "3", "1", "1", "0", "1"],
    ]
    found = outcomes([product("a", "int8"), product("b", "int8"), product("x", "fp16")], layers)
    assert [line.split() for line in product_table(found).splitlines()[2:]] == [
        ["convolution", "FP16", "0", "0", "0", "0", "1"],
        ["convolution", "INT8", "1", "1", "0", "0", "0"],
    ]
