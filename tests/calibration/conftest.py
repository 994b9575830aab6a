"""A small EMCA network built node by node, with weights that behave like trained ones."""

import dataclasses
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from cards import make_card
from onnx import TensorProto, helper, inliner, numpy_helper

from calibration.int8 import to_int8
from export.functions import add_functions
from export.prototype_attention import attributes
from plugins import DOMAIN, OP_TYPE
from runtime.backends.engine_file import Profile
from runtime.backends.ov.backend import core
from runtime.build import build as build_tensorrt
from runtime.engines.options import BuildOptions
from segdata.card import ModelCard
from segdata.classes import SCENES
from segdata.datasets import open_dataset
from segdata.preprocess import MEAN, STD

SIZE = (96, 128)
WIDTH = 32
QUERIES = 20


class Builder:
    """Appends nodes; every method returns the name of its result."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.initializers = [], []

    def node(self, op, *inputs, outputs=1, **attrs):
        names = [f"t{len(self.nodes)}_{op}_{i}" for i in range(outputs)]
        node = helper.make_node(op, list(inputs), names, name=f"n{len(self.nodes)}_{op}", **attrs)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def constant(self, value, label="c"):
        name = f"{label}{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def random(self, *shape, scale=1.0):
        return (scale * self.rng.standard_normal(shape)).astype(np.float32)

    def uniform(self, low, high, size):
        return self.rng.uniform(low, high, size).astype(np.float32)

    def conv(self, x, before, after, kernel, stride=1, group=1, bias=False):
        fan_in = before // group * kernel * kernel
        inputs = [
            self.constant(self.random(after, before // group, kernel, kernel, scale=fan_in**-0.5))
        ]
        if bias:
            inputs.append(self.constant(self.random(after, scale=0.1)))
        pads = [kernel // 2] * 4
        return self.node("Conv", x, *inputs, strides=[stride] * 2, pads=pads, group=group)

    def norm(self, x, width):
        parts = (
            self.uniform(0.8, 1.6, width),
            self.random(width, scale=0.2),
            self.random(width, scale=0.1),
            self.uniform(0.3, 1.0, width),
        )
        return self.node("BatchNormalization", x, *map(self.constant, parts))

    def conv_norm_relu(self, x, before, after, kernel, stride=1):
        return self.node("Relu", self.norm(self.conv(x, before, after, kernel, stride), after))

    def block(self, x, before, after, stride):
        inner = self.conv_norm_relu(x, before, after, 3, stride)
        inner = self.norm(self.conv(inner, after, after, 3), after)
        shortcut = x
        if stride > 1:
            shortcut = self.norm(self.conv(x, before, after, 1, stride), after)
        return self.node("Relu", self.node("Add", inner, shortcut))

    def linear(self, x, before, after, gain=1.0):
        """As exporters leave it: the weight behind a Transpose."""
        weight = self.constant(
            self.random(after, before, scale=gain * before**-0.5), "linear.weight"
        )
        weight = self.node("Transpose", weight, perm=[1, 0])
        return self.node(
            "Add", self.node("MatMul", x, weight), self.constant(self.random(after, scale=0.1))
        )

    def layer_norm(self, x, width):
        scale, shift = self.uniform(0.8, 1.2, width), self.random(width, scale=0.1)
        return self.node(
            "LayerNormalization", x, self.constant(scale), self.constant(shift), axis=-1
        )

    def unit_length(self, x):
        axes = self.constant(np.array([-1], np.int64))
        length = self.node("ReduceL2", x, axes, keepdims=1)
        length = self.node("Clip", length, self.constant(np.float32(1e-12)))
        return self.node("Div", x, length)

    def tokens(self, x):
        shape = self.constant(np.array([0, 0, -1], np.int64))
        return self.node("Transpose", self.node("Reshape", x, shape), perm=[0, 2, 1])

    def mask_embedding(self, x, weights):
        for index, weight in enumerate(weights):
            x = self.node("MatMul", x, weight)
            if index + 1 < len(weights):
                x = self.node("Relu", x)
        return x


def build(head="labels", seed=1):
    """The network; `seed` draws its weights."""
    b = Builder(seed)
    x = b.node("Transpose", b.node("Cast", "image", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    x = b.node("Div", b.node("Sub", x, b.constant(mean)), b.constant(std))

    x = b.conv_norm_relu(x, 3, 16, 7, stride=2)
    x = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    fine = b.block(x, 16, 16, 1)
    coarse = b.block(fine, 16, WIDTH, 2)

    pooled = b.node("ReduceMean", coarse, b.constant(np.array([2, 3], np.int64)), keepdims=1)
    gate = b.node("Sigmoid", b.conv(pooled, WIDTH, WIDTH, 1, bias=True))
    coarse = b.node("Mul", coarse, gate)
    size = b.constant(np.array([1, WIDTH, SIZE[0] // 4, SIZE[1] // 4], np.int64))
    upsampled = b.node("Resize", coarse, "", "", size, mode="linear")
    merged = b.node("Add", b.conv(fine, 16, WIDTH, 1, bias=True), upsampled)
    mask_features = b.conv(b.conv_norm_relu(merged, WIDTH, WIDTH, 3), WIDTH, WIDTH, 1, bias=True)

    memory = b.node("Add", coarse, b.constant(b.random(1, WIDTH, 1, 1, scale=0.3)))
    memory = b.conv(b.norm(memory, WIDTH), WIDTH, WIDTH, 3, group=WIDTH, bias=True)
    feature = b.unit_length(b.linear(b.tokens(memory), WIDTH, WIDTH))
    queries = b.constant(b.random(1, QUERIES, WIDTH), "queries")
    query = b.unit_length(b.linear(b.layer_norm(queries, WIDTH), WIDTH, WIDTH))
    embed = [b.constant(b.random(WIDTH, WIDTH, scale=WIDTH**-0.5), "mask_embed") for _ in range(3)]
    embedded = b.mask_embedding(b.layer_norm(queries, WIDTH), embed)
    small = b.constant(np.array([1, WIDTH, SIZE[0] // 8, SIZE[1] // 8], np.int64))
    flat = b.constant(np.array([0, 0, -1], np.int64))
    low = b.node("Reshape", b.node("Resize", mask_features, "", "", small, mode="linear"), flat)
    attended, prototype = b.node(
        OP_TYPE, query, feature, b.node("MatMul", embedded, low),
        outputs=2, domain=DOMAIN, **attributes(4),
    )  # fmt: skip
    update = b.linear(b.node("Add", attended, prototype), WIDTH, WIDTH, gain=0.3)
    tokens = b.layer_norm(b.node("Add", queries, update), WIDTH)
    hidden = b.node("Relu", b.linear(tokens, WIDTH, 2 * WIDTH))
    tokens = b.node("Add", tokens, b.linear(hidden, 2 * WIDTH, WIDTH))

    tokens = b.layer_norm(tokens, WIDTH)
    class_logits = b.linear(tokens, WIDTH, len(SCENES.classes) + 1, gain=4)
    rows = b.node("Reshape", mask_features, flat)
    mask_logits = b.node("MatMul", b.mask_embedding(tokens, embed), rows)

    probabilities = b.node("Softmax", class_logits, axis=-1)
    first, last, axis = (b.constant(np.array([v], np.int64)) for v in (0, -1, -1))
    probabilities = b.node("Slice", probabilities, first, last, axis)
    by_class = b.node("Transpose", probabilities, perm=[0, 2, 1])
    scores = b.node("MatMul", by_class, b.node("Sigmoid", mask_logits))
    map_shape = (1, len(SCENES.classes), SIZE[0] // 4, SIZE[1] // 4)
    scores = b.node("Reshape", scores, b.constant(np.array(map_shape, np.int64)))
    if head == "labels":
        full = b.constant(np.array([*map_shape[:2], *SIZE], np.int64))
        best = b.node(
            "ArgMax", b.node("Resize", scores, "", "", full, mode="linear"), axis=1, keepdims=0
        )
        b.node("Cast", best, to=TensorProto.UINT8)
        output = helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, *SIZE])
    else:
        b.node("Identity", scores)
        output = helper.make_tensor_value_info("scores", TensorProto.FLOAT, map_shape)
    b.nodes[-1].output[0] = output.name

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, *SIZE, 3])
    graph = helper.make_graph(b.nodes, "net", [image], [output], b.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    add_functions(model)
    card = make_card(classes=SCENES.classes, palette=SCENES.palette, input_size=SIZE, head=head)
    onnx.helper.set_model_props(model, card.to_props())
    return model


@pytest.fixture(scope="session")
def labels_model():
    return build("labels")


@pytest.fixture(scope="session")
def scores_model():
    return build("scores")


@pytest.fixture(scope="session")
def scenes():
    """Images of the model's size: the first six to calibrate with, the others to test on."""
    dataset = open_dataset(f"scenes:n=10,size={SIZE[0]}x{SIZE[1]}:train", labels=False)
    return [dataset[i].image for i in range(len(dataset))]


@pytest.fixture(scope="session")
def run():
    """`run(model, images)` -> the outputs on onnxruntime, one image after the other."""
    return on_onnxruntime


def on_onnxruntime(model, images):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


@pytest.fixture(scope="session")
def compile_openvino():
    """`compile_openvino(model)` -> OpenVINO's compiled model, functions inlined."""

    def compile_model(model):
        inlined = inliner.inline_local_functions(model)
        network = core().read_model(inlined.SerializeToString())
        config = {"INFERENCE_PRECISION_HINT": "f32"}
        return core().compile_model(network, "CPU", config)

    return compile_model


@pytest.fixture(scope="session")
def int8_scores(scores_model, scenes):
    return to_int8(scores_model, scenes[:6])


@pytest.fixture
def file(labels_model, tmp_path):
    """An exported file in FP32."""
    path = tmp_path / "model.onnx"
    onnx.save(labels_model, path)
    return path


@pytest.fixture
def build_with_tensorrt(tmp_path):
    """`build_with_tensorrt(model, "fp16", "7.5")` -> the products of the engine by kind and type.

    The builder refuses engines whose layers run in other types than the model asks.
    """
    pytest.importorskip("tensorrt_rtx")

    def build_engine(model, precision, capability):
        path = tmp_path / f"model.{precision}.onnx"
        props = {entry.key: entry.value for entry in model.metadata_props}
        card = dataclasses.replace(ModelCard.from_props(props, str(path)), precision=precision)
        onnx.helper.set_model_props(model, card.to_props())
        onnx.save(model, path)
        profile = Profile(*[(1, *SIZE, 3)] * 3)
        options = BuildOptions(
            backend="tensorrt-rtx", compute_capability=capability, profiles=(profile,), plugins=()
        )
        _, built = build_tensorrt(path, path.with_suffix(".engine"), options, command="test")
        return Counter((outcome.product.kind, outcome.ran) for outcome in built.outcomes)

    return build_engine
