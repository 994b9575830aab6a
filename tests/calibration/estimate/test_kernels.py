import numpy as np
import pytest
from quantised import Quantised

from calibration.estimate.kernels import Access, kernels
from calibration.fp16 import to_fp16


def ops(model):
    """The operators of each kernel."""
    return [[node.op_type for node in kernel.nodes] for kernel in kernels(model)]


def test_activation_and_quantising_run_in_the_int8_convolution_before_them():
    b = Quantised()
    middle = b.quantised(b.node("Relu", b.conv(b.quantised("x"), int8=True)))
    model = b.model(b.conv(middle, int8=True))
    first, second, last = kernels(model)
    assert [node.op_type for node in first.nodes] == ["QuantizeLinear", "DequantizeLinear"]
    assert [node.op_type for node in second.nodes] == [
        "Conv", "Relu", "QuantizeLinear", "DequantizeLinear",
    ]  # fmt: skip
    assert second.int8
    assert last.int8
    (middle_int8,) = second.writes
    assert middle_int8.int8
    assert middle_int8 in last.reads
    assert {access.int8 for access in last.writes} == {False}


def test_int8_convolution_read_by_float_layers_too_writes_float_and_is_quantised_apart():
    b = Quantised()
    middle = b.node("Relu", b.conv(b.quantised("x"), int8=True))
    model = b.model(b.conv(b.quantised(middle), int8=True), b.conv(middle))
    assert ops(model) == [
        ["QuantizeLinear", "DequantizeLinear"],
        ["Conv", "Relu"],
        ["QuantizeLinear", "DequantizeLinear"],
        ["Conv"],
        ["Conv"],
    ]


@pytest.mark.parametrize("int8_residual", [True, False])
def test_quantising_is_fused_past_an_addition_only_if_the_other_operand_is_int8(int8_residual):
    b = Quantised()
    x = b.quantised("x")
    total = b.node("Add", b.conv(x, int8=True), x if int8_residual else "x")
    model = b.model(b.conv(b.quantised(b.node("Relu", total)), int8=True))
    fused = ["Conv", "Add", "Relu"]
    quantising = ["QuantizeLinear", "DequantizeLinear"]
    apart = [[*fused, *quantising]] if int8_residual else [fused, quantising]
    assert ops(model) == [quantising, *apart, ["Conv"]]


def test_one_addition_of_two_convolutions_is_fused_with_the_later_one():
    b = Quantised()
    model = b.model(b.node("Relu", b.node("Add", b.conv("x"), b.conv("x"))))
    assert ops(model) == [["Conv"], ["Conv", "Add", "Relu"]]


def test_a_second_residual_is_no_longer_fused():
    b = Quantised()
    once = b.node("Add", b.conv("x"), "x")
    assert ops(b.model(b.node("Add", once, "x"))) == [["Conv", "Add"], ["Add"]]


def test_result_with_two_readers_is_no_end_of_a_convolution():
    b = Quantised()
    y = b.conv("x")
    model = b.model(b.node("Mul", y, b.node("Sigmoid", y)))
    conv, silu = kernels(model)
    assert [node.op_type for node in silu.nodes] == ["Sigmoid", "Mul"]
    assert silu.reads == conv.writes == {Access(y)}


def test_float_layer_that_reads_int8_needs_a_kernel_to_dequantise():
    b = Quantised()
    model = b.model(b.conv(b.quantised("x")))
    quantise, dequantise, conv = kernels(model)
    assert [node.op_type for node in quantise.nodes] == ["QuantizeLinear"]
    assert [node.op_type for node in dequantise.nodes] == ["DequantizeLinear"]
    assert dequantise.reads == quantise.writes
    assert dequantise.writes < conv.reads
    assert not conv.int8


def test_pointwise_kernel_reads_int8_as_it_is():
    b = Quantised()
    model = b.model(b.node("Relu", b.quantised("x")))
    quantise, relu = kernels(model)
    assert relu.reads == quantise.writes == {Access("QuantizeLinear0", int8=True)}


def test_int8_goes_through_pooling():
    b = Quantised()
    pooled = b.node("MaxPool", b.quantised("x"), kernel_shape=[2, 2], strides=[2, 2])
    model = b.model(b.conv(pooled, int8=True))
    _, pool, conv = kernels(model)
    assert pool.writes == {Access(pooled, int8=True)}
    assert pool.writes < conv.reads
    assert conv.int8


def test_chain_of_pointwise_nodes_and_the_reduction_behind_it_are_one_kernel():
    b = Quantised()
    shifted = b.node("Mul", b.node("Exp", "x"), b.constant(np.float16(2)))
    assert len(ops(b.model(b.node("Softmax", shifted, axis=1)))) == 1


def reachable(model):
    """First outputs of the nodes that depend on the graph's inputs."""
    known = {value.name for value in model.graph.input}
    found = []
    for node in model.graph.node:
        if known.intersection(node.input) and node.op_type != "Shape":
            known.update(node.output)
            found.append(node.output[0])
    return found


@pytest.mark.parametrize("format", ["fp32", "fp16", "int8"])
def test_every_node_of_a_network_is_in_one_kernel(format, scores_model, int8_scores):
    model = {"fp32": scores_model, "fp16": to_fp16(scores_model), "int8": int8_scores}[format]
    grouped = kernels(model)
    outputs = [node.output[0] for kernel in grouped for node in kernel.nodes]
    assert sorted(outputs) == sorted(reachable(model))
    made = {access for kernel in grouped for access in kernel.writes}
    read = {access for kernel in grouped for access in kernel.reads}
    missing = {access.tensor for access in read - made}
    computed = {name for node in model.graph.node for name in node.output} & {*outputs}
    assert not missing & computed, "what is read from memory has been written to it"
