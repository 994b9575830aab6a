import warnings

import numpy as np
import onnx
import pytest
import torch
from one_node import on_onnxruntime, on_openvino, with_function
from onnx import TensorProto, helper, numpy_helper

from export.deform_attention import (
    ATTRIBUTES,
    DeformableSamplingNode,
    deform_attention_function,
)
from plugins import DEFORMABLE_ATTENTION, DOMAIN
from train.models.msdeform import DeformableAttention, DeformableSampling, pixel_centres

NAMES = (
    "value", "spatial_shapes", "level_start_index", "sampling_locations", "attention_weights",
)  # fmt: skip
ELEMENT = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}
SIZES = [(3, 5), (6, 9), (11, 17)]
AREAS = [height * width for height, width in SIZES]


def random_inputs(dtype=np.float32, batch=2, heads=4, depth=8, queries=13):
    """As TensorRT's plugin takes them; some locations lie outside."""
    rng = np.random.default_rng(0)
    weights = rng.uniform(size=(batch, queries, heads, 3, 4))
    return [
        rng.normal(size=(batch, sum(AREAS), heads, depth)).astype(dtype),
        np.array(SIZES, np.int32),
        np.cumsum([0, *AREAS[:-1]]).astype(np.int32),
        rng.uniform(-0.2, 1.2, (batch, queries, heads, 3, 4, 2)).astype(dtype),
        (weights / weights.sum((-1, -2), keepdims=True)).astype(dtype),
    ]


def build(arrays, *, opset=18, dynamic=True):
    node = helper.make_node(DEFORMABLE_ATTENTION, NAMES, ["output"], domain=DOMAIN, **ATTRIBUTES)
    value = helper.make_tensor_value_info
    element = ELEMENT[arrays[0].dtype.type]
    elements = [element, TensorProto.INT32, TensorProto.INT32, element, element]
    shapes = [list(x.shape) for x in arrays]
    out = [*shapes[3][:3], shapes[0][3]]
    if dynamic:
        for shape in (shapes[0], shapes[3], shapes[4], out):
            shape[0] = "batch"
    graph = helper.make_graph(
        [node],
        "node",
        [value(*entry) for entry in zip(NAMES, elements, shapes, strict=True)],
        [value("output", element, out)],
    )
    return with_function(graph, deform_attention_function(opset), opset=opset)


def expect(arrays):
    value, sizes, _, locations, weights = arrays
    tensors = [torch.from_numpy(x.astype(np.float32)) for x in (value, locations, weights)]
    return DeformableSampling()(*tensors, [tuple(size) for size in sizes.tolist()]).numpy()


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
@pytest.mark.parametrize("dynamic", [True, False])
def test_every_runtime_computes_what_pytorch_does(run, dynamic):
    arrays = random_inputs()
    expected = expect(arrays)
    assert expected.shape == (2, 13, 4, 8)
    assert expected.std() > 0.1
    (out,) = run(build(arrays, dynamic=dynamic), arrays)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_an_open_batch_takes_any():
    arrays = random_inputs()
    model, expected = build(arrays), expect(arrays)
    for batch in (1, 2):
        cut = [x if x.dtype == np.int32 else x[:batch] for x in arrays]
        (out,) = on_onnxruntime(model, cut)
        np.testing.assert_allclose(out, expected[:batch], atol=1e-5)


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
def test_one_body_serves_half_precision(run):
    arrays = random_inputs(np.float16)
    (out,) = run(build(arrays), arrays)
    assert out.dtype == np.float16
    expected = expect(arrays)
    # A place in FP16 is off by up to 2**-11 of the level: a hundredth of a pixel here.
    np.testing.assert_allclose(out, expected, atol=0.02)
    assert np.abs(out - expected).mean() < 2e-3


@pytest.mark.parametrize("opset", [17, 18, 19])
def test_opsets_pass_the_checker_and_agree(opset):
    arrays = random_inputs()
    model = build(arrays, opset=opset, dynamic=False)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True)
    (out,) = on_onnxruntime(model, arrays)
    np.testing.assert_allclose(out, expect(arrays), atol=1e-5)


def test_the_levels_are_told_by_their_sizes_and_starts():
    """As the plugin does: levels may lie in any order."""
    arrays = random_inputs()
    value, sizes, starts, locations, weights = arrays
    parts = np.split(value, starts[1:], axis=1)
    order = [2, 0, 1]
    moved = np.concatenate([parts[i] for i in order], axis=1)
    places = np.cumsum([0, *(AREAS[i] for i in order)])[:-1].astype(np.int32)
    starts = np.array([places[order.index(i)] for i in range(3)], np.int32)
    (out,) = on_onnxruntime(build(arrays), [moved, sizes, starts, locations, weights])
    np.testing.assert_allclose(out, expect(arrays), atol=1e-5)


def export(module, inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own internals
        return torch.onnx.export(
            module, inputs, input_names=["x", "positions"], dynamo=True, opset_version=18,
            dynamic_shapes=({0: "B"}, {}), verbose=False,
        ).model_proto  # fmt: skip


def test_the_exporter_leaves_one_node_as_tensorrt_s_plugin_wants_it():
    torch.manual_seed(0)
    attention = DeformableAttention(dim=32, num_heads=4)
    torch.nn.init.normal_(attention.sampling_offsets.weight, std=0.2)
    torch.nn.init.normal_(attention.attention_weights.weight, std=0.2)
    reference = torch.cat([pixel_centres(size, device=torch.device("cpu")) for size in SIZES])

    class OnSizes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x, positions):
            return self.attention(x, positions, reference, SIZES)

    module = OnSizes().eval()
    inputs = torch.randn(2, sum(AREAS), 32), torch.randn(1, sum(AREAS), 32)
    with torch.no_grad():
        expected = module(*inputs).numpy()
    attention.sampling = DeformableSamplingNode()
    model = export(module, inputs)
    (node,) = (node for node in model.graph.node if node.domain == DOMAIN)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert (node.op_type, attributes) == (
        "MultiscaleDeformableAttnPlugin_TRT", {"plugin_namespace": b"", "plugin_version": b"1"},
    )  # fmt: skip
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    known |= {
        n.output[0]: numpy_helper.to_array(n.attribute[0].t)
        for n in model.graph.node
        if n.op_type == "Constant"
    }
    shapes, starts = known[node.input[1]], known[node.input[2]]
    assert (shapes.dtype, starts.dtype) == (np.int32, np.int32)
    assert shapes.tolist() == [list(size) for size in SIZES]
    assert starts.tolist() == [0, 15, 69]

    model.functions.append(deform_attention_function(18))
    for batch in (2, 1):
        (out,) = on_onnxruntime(model, [inputs[0][:batch].numpy(), inputs[1].numpy()])
        np.testing.assert_allclose(out, expected[:batch], atol=1e-5)


def test_tensorrt_builds_it_for_a_t4_in_half_precision(build_for_t4):
    arrays = random_inputs(np.float16, batch=1)
    model = build(arrays, dynamic=False)
    del model.graph.input[1:3]  # in exported files sizes and starts are constants
    for name, array in zip(NAMES[1:3], arrays[1:3], strict=True):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    assert build_for_t4(model) > 10
