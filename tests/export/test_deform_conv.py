import warnings

import numpy as np
import onnx
import pytest
import torch
from one_node import on_onnxruntime, on_openvino, with_function
from onnx import TensorProto, helper, numpy_helper

from export.deform_conv import (
    ModulatedDeformConvNode,
    attributes,
    modulated_deform_conv_function,
)
from plugins import DEFORMABLE_CONVOLUTION, DOMAIN
from train.models.deform_conv import DeformConvolution, ModulatedDeformConv2d

ELEMENT = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}


def random_inputs(convolution, size, dtype=np.float32, in_dim=8, out_dim=12, kernel=3, batch=2):
    """x, offset, mask, weight; some sampling points fall outside."""
    rng = np.random.default_rng(0)
    c = convolution
    height, width = (
        (n + 2 * c.padding - c.dilation * (kernel - 1) - 1) // c.stride + 1 for n in size
    )
    points = c.deformable_groups * kernel**2
    arrays = (
        rng.normal(size=(batch, in_dim, *size)),
        rng.normal(0, 3, (batch, 2 * points, height, width)),
        rng.uniform(size=(batch, points, height, width)),
        rng.normal(size=(out_dim, in_dim // c.groups, kernel, kernel)),
    )
    return [array.astype(dtype) for array in arrays]


def build(convolution, arrays, *, opset=18, dynamic=True):
    """A model of one node, the weight being an initializer."""
    names = ("x", "offset", "mask")
    *data, weight = arrays
    node = helper.make_node(
        DEFORMABLE_CONVOLUTION,
        [*names, "weight"],
        ["out"],
        domain=DOMAIN,
        **attributes(convolution),
    )
    element = ELEMENT[weight.dtype.type]
    value = helper.make_tensor_value_info
    dims = [[None] * 4 if dynamic else x.shape for x in data]
    out = [None] * 4 if dynamic else (len(data[0]), len(weight), *data[1].shape[-2:])
    graph = helper.make_graph(
        [node],
        "node",
        [value(name, element, shape) for name, shape in zip(names, dims, strict=True)],
        [value("out", element, out)],
        [numpy_helper.from_array(weight, "weight")],
    )
    return with_function(graph, modulated_deform_conv_function(opset), opset=opset)


def expect(convolution, arrays):
    return convolution(*(torch.from_numpy(x.astype(np.float32)) for x in arrays)).numpy()


CASES = [
    ({"padding": 1}, (7, 11)),
    ({"padding": 2, "dilation": 2}, (13, 5)),
    ({"stride": 2, "padding": 1, "groups": 4, "deformable_groups": 2}, (9, 16)),
    ({"padding": 1, "groups": 2}, (1, 3)),
]


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
@pytest.mark.parametrize(("geometry", "size"), CASES)
def test_every_runtime_computes_what_pytorch_does(run, geometry, size, dynamic):
    convolution = DeformConvolution(**geometry)
    arrays = random_inputs(convolution, size)
    expected = expect(convolution, arrays)
    assert expected.std() > 0.5
    (out,) = run(build(convolution, arrays, dynamic=dynamic), arrays[:3])
    np.testing.assert_allclose(out, expected, atol=2e-5)


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
def test_one_body_serves_half_precision_and_samples_in_single(run):
    """In FP16 neighbouring columns beyond 512 are half a pixel apart."""
    convolution = DeformConvolution(padding=1)
    arrays = random_inputs(convolution, (3, 600), np.float16)
    expected = expect(convolution, arrays)
    (out,) = run(build(convolution, arrays), arrays[:3])
    assert out.dtype == np.float16
    np.testing.assert_allclose(out, expected, atol=4e-3 * np.abs(expected).max())


@pytest.mark.parametrize("opset", [17, 18, 19])
def test_opsets_pass_the_checker_and_agree(opset):
    convolution = DeformConvolution(padding=1)
    arrays = random_inputs(convolution, (6, 5))
    model = build(convolution, arrays, opset=opset, dynamic=False)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert len(inferred.functions) == 1
    (out,) = on_onnxruntime(model, arrays[:3])
    np.testing.assert_allclose(out, expect(convolution, arrays), atol=2e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_the_exporter_leaves_one_node(bias):
    torch.manual_seed(0)
    module = ModulatedDeformConv2d(in_dim=8, out_dim=6, kernel_size=3, padding=1, bias=bias).eval()
    if bias:
        torch.nn.init.normal_(module.bias)
    convolution = module.convolution
    arrays = random_inputs(convolution, (6, 5), out_dim=6)[:3]
    inputs = tuple(map(torch.from_numpy, arrays))
    with torch.no_grad():
        expected = module(*inputs).numpy()
    module.convolution = ModulatedDeformConvNode(convolution)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own internals
        model = torch.onnx.export(
            module,
            inputs,
            input_names=["x", "offset", "mask"],
            dynamo=True,
            opset_version=18,
            dynamic_shapes=({0: "B"}, {0: "B"}, {0: "B"}),
            verbose=False,
        ).model_proto
    assert [n.op_type for n in model.graph.node] == [DEFORMABLE_CONVOLUTION, *["Add"] * bias]
    model.functions.append(modulated_deform_conv_function(18))
    for batch in (2, 1):
        (out,) = on_onnxruntime(model, [x[:batch] for x in arrays])
        np.testing.assert_allclose(out, expected[:batch], atol=2e-5)


def test_the_node_is_as_tensorrt_s_plugin_wants_it():
    convolution = DeformConvolution(stride=2, padding=3, dilation=4, groups=5, deformable_groups=6)
    assert attributes(convolution) == {
        "stride": [2, 2],
        "padding": [3, 3],
        "dilation": [4, 4],
        "group": 5,
        "deformable_group": 6,
        "plugin_namespace": "",
        "plugin_version": "1",
    }


def test_tensorrt_builds_it_for_a_t4_in_half_precision(build_for_t4):
    convolution = DeformConvolution(padding=1)
    arrays = random_inputs(convolution, (64, 64), np.float16, in_dim=128, out_dim=128, batch=1)
    assert build_for_t4(build(convolution, arrays, dynamic=False)) > 10
