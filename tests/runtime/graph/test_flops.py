import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from runtime.graph.flops import component, count


def model(body, weights=None, functions="", signature="float[1,8,16,20] image", names=None):
    """A graph of this text; `names` are the names of its nodes in order."""
    text = f"""
        <ir_version: 9, opset_import: ["" : 18, "own" : 1, "emca" : 1]>
        net ({signature}) => (float[?] out) {{ {body} }}
        {functions}"""
    made = parser.parse_model(text)
    for name, shape in (weights or {}).items():
        tensor = numpy_helper.from_array(np.ones(shape, np.float32), name)
        made.graph.initializer.append(tensor)
    for node, name in zip(made.graph.node, names or [], strict=bool(names)):
        node.name = name
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return made


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("backbone.model.encoder.stages.0/Conv_12", "backbone"),
        ("pixel_decoder.layer_1/Conv_40", "pixel_decoder"),
        ("pixel_decoder/Resize_1", "pixel_decoder"),
        ("decoder.transformer_ffn_layers.0.linear1/MatMul_3", "decoder"),
        ("decoder.mask_embed.layers.0/Gemm_4", "decoder"),
        ("decoder/MatMul_9", "decoder"),
        ("decoder.class_embed/Gemm_7", "head"),
        ("decoder.mask_product/MatMul_8", "head"),
        ("head.classifier/Conv_1", "head"),
        ("/Softmax_99", "head"),
        ("something.else/Conv_1", "other"),
        ("node_Conv_1146", "other"),
        ("", "other"),
    ],
)
def test_component_of_a_node(name, part):
    assert component(name) == part


def test_what_is_not_counted():
    body = """a = Relu(image) b = Softmax(a) c = MaxPool<kernel_shape = [2, 2]>(b)
              d = GlobalAveragePool(c) e = Mul(d, d) out = Add(e, image)"""
    assert count(model(body)).total_flops == 0


def test_shapes_behind_deformable_convolutions():
    body = """
        a = own.ModulatedDeformConv2d(image, offset, mask, w)
        b = Relu(a)
        c = own.ModulatedDeformConv2d(b, offset, mask, v)
        out = Conv(c, u)"""
    signature = "float[1,8,16,20] image, float[1,18,16,20] offset, float[1,9,16,20] mask"
    weights = {"w": (6, 8, 3, 3), "v": (4, 6, 3, 3), "u": (5, 4, 1, 1)}
    names = ["pixel_decoder.a/D_0", "", "pixel_decoder.b/D_2", "head/Conv_3"]
    cost = count(model(body, weights, signature=signature, names=names))
    assert cost.uncounted == ()
    assert cost.flops["head"] == 2 * 5 * 4 * 16 * 20
    assert cost.flops["pixel_decoder"] == 2 * 16 * 20 * 9 * (6 * 8 + 5 * 8 + 4 * 6 + 5 * 6)
    assert cost.total_params == 6 * 8 * 9 + 4 * 6 * 9 + 5 * 4


FUNCTIONS = """
<domain: "own", opset_import: ["" : 18, "own" : 1]>
Twice (x, w) => (y) { z = own.Product(x, w) y = own.Product(z, w) }
<domain: "own", opset_import: ["" : 18]>
Product (x, w) => (y) { y = MatMul(x, w) }
"""


def test_operations_of_a_function_belong_to_the_caller():
    body = "a = own.Twice(image, w) b = own.Product(a, v) out = MatMul(b, w)"
    names = ["pixel_decoder.attention/Twice_0", "backbone.stage/Product_1", "/MatMul_2"]
    weights = {"w": (20, 20), "v": (20, 20)}
    cost = count(model(body, weights, FUNCTIONS, names=names))
    product = 2 * 8 * 16 * 20 * 20
    assert cost.flops == {
        "backbone": product,
        "pixel_decoder": 2 * product,
        "decoder": 0,
        "head": product,
        "other": 0,
    }


def test_parameters_are_weights_and_belong_to_their_module():
    body = """
        a = Conv(image, unnamed)
        b = Add(a, decoder.query.bias)
        c = Add(b, positions)
        d = Transpose<perm = [1, 0]>(backbone.stem.weight)
        out = MatMul(c, d)"""
    weights = {
        "unnamed": (8, 8, 1, 1),
        "decoder.query.bias": (1, 8, 1, 1),
        "positions": (1, 8, 16, 20),  # computed in advance: no parameter
        "backbone.stem.weight": (5, 20),
    }
    body = body.replace("decoder.query.bias", "q").replace("backbone.stem.weight", "s")
    made = model(
        body,
        {"q" if "query" in k else "s" if "stem" in k else k: v for k, v in weights.items()},
        names=["pixel_decoder/Conv_0", "/Add_1", "/Add_2", "/Transpose_3", "/MatMul_4"],
    )
    rename = {"q": "decoder.query.bias", "s": "backbone.stem.weight"}  # no names for the parser
    for tensor in made.graph.initializer:
        tensor.name = rename.get(tensor.name, tensor.name)
    for node in made.graph.node:
        node.input[:] = [rename.get(name, name) for name in node.input]
    made.graph.initializer.append(numpy_helper.from_array(np.ones(7, np.int64), "backbone.a.b"))
    assert count(made).params == {
        "backbone": 100,
        "pixel_decoder": 64,
        "decoder": 8,
        "head": 0,
        "other": 0,
    }


def test_an_open_batch_counts_as_one_image_and_a_fixed_one_is_divided(toys):
    costs = []
    for batch in (1, 3, '"batch"'):
        path = toys.model(batch=batch if isinstance(batch, int) else "batch")
        costs.append(count(onnx.load(path)))
    assert costs[0] == costs[1] == costs[2]
    height, width = toys.size
    # four colours from three planes, then the attention's query and its 12 x 16 pooled tokens
    pooled = (height // 4) * (width // 4)
    assert costs[0].total_flops == (
        2 * 4 * 3 * height * width + 2 * 4 * 4 * pooled + 4 * 4 * (2 * pooled + 1)
    )


def test_nodes_of_unknown_shape_are_named():
    body = "rows = NonZero(image) some = Cast<to = 1>(rows) out = MatMul(w, some)"
    cost = count(model(body, {"w": (7, 4)}, names=["/NonZero_0", "/Cast_1", "decoder/MatMul_2"]))
    assert cost.uncounted == ("decoder/MatMul_2",)
    assert cost.total_flops == 0


def resnet50():
    """The convolutions of ResNet-50 (arXiv 1512.03385, table 1) at 512x512, in place of 224x224."""
    nodes, weights = [], {}

    def conv(source, dims, stride=1):
        name = f"t{len(nodes)}"
        pads = [dims[2] // 2] * 4
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"{name}_weight"],
                [name],
                name=f"backbone/Conv_{len(nodes)}",
                strides=[stride, stride],
                pads=pads,
            )
        )
        weights[f"{name}_weight"] = dims
        return name

    conv("image", (64, 3, 7, 7), 2)
    x = "pooled"
    nodes.append(
        helper.make_node(
            "MaxPool", ["t0"], [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        )
    )
    width = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        inner = 64 << stage
        for layer in range(depth):
            stride = 2 if stage and not layer else 1
            if not layer:
                conv(x, (4 * inner, width, 1, 1), stride)  # the shortcut
            x = conv(x, (inner, width, 1, 1))
            x = conv(x, (inner, inner, 3, 3), stride)
            x = conv(x, (4 * inner, inner, 1, 1))
            width = 4 * inner
    made = model("out = Identity(image)", weights, signature="float[1,3,512,512] image")
    nodes.append(helper.make_node("Identity", [x], ["out"]))
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def test_resnet50_costs_what_is_known():
    cost = count(resnet50())
    assert cost.flops["backbone"] / 1e9 == pytest.approx(42.7, abs=0.05)
    assert cost.params["backbone"] == 23_454_912  # 25.56 M less the classifier and the norms


EXPORT = """
import json, sys
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
import onnx
from export.passes import finish
from export.to_onnx import export_model
from export.wrapper import DeployModel
from segdata.card import ModelCard
from segdata.preprocess import MEAN, STD
from train.config import load_config
from train.models import build_model

torch.manual_seed(0)
size = (64, 96)
config = load_config("demo", ["model.cross_attention=masked"]).model
network = build_model(config, num_classes=9).eval()
with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
    network.class_scores(network(torch.rand(1, 3, *size)))
counts = {name: sum(own.values()) for name, own in counter.get_flop_counts().items()}
file = export_model(DeployModel(network, head="labels").eval(), size=size)
finish(file, ModelCard(
    classes=tuple("abcdefghi"), palette=((0, 0, 0),) * 9, mean=MEAN, std=STD, ignore_index=255,
    input_size=size, head="labels", precision="fp32", checkpoint_sha256="", trained_iterations=0,
    versions={}, command=""))
onnx.save(file, sys.argv[1])
norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
print(json.dumps({
    "flops": {name.rpartition(".")[2]: value for name, value in counts.items()},
    "params": sum(p.numel() for p in network.parameters()),
    "decoder": sum(p.numel() for p in network.decoder.parameters()),
    "norms": sum(p.numel() for norm in norms for p in norm.parameters()),
}))
"""


@pytest.mark.slow
def test_an_exported_network_costs_what_torch_counts(tmp_path):
    target = tmp_path / "model.onnx"
    words = [sys.executable, "-W", "ignore", "-c", EXPORT, str(target)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    torch = json.loads(done.stdout.splitlines()[-1])
    cost = count(onnx.load(target))
    assert cost.uncounted == ()
    assert cost.flops["backbone"] == torch["flops"]["backbone"]
    assert cost.flops["pixel_decoder"] == torch["flops"]["pixel_decoder"]
    assert cost.total_flops == torch["flops"]["Global"]
    assert cost.flops["head"] > 0
    # Batch normalisation is folded into the convolutions, the embeddings into other constants.
    assert cost.total_params == pytest.approx(torch["params"] - torch["norms"], rel=1e-3)
    assert cost.params["decoder"] > 0.9 * torch["decoder"]
