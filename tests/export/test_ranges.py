import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from cards import make_card
from tiny import tiny_config

from calibration.rewrite.fold import folded
from calibration.rewrite.placement import place
from calibration.rewrite.qdq import insert
from emca.errors import UserError
from export.passes import finish
from export.ranges import take_ranges
from export.to_onnx import export_checkpoint, export_model
from export.wrapper import DeployModel
from plugins import DOMAIN
from segdata.card import ModelCard
from segdata.datasets import open_dataset
from train.checkpoint import load_checkpoint
from train.loop import Trainer
from train.models import build_model
from train.models.fake_quantize import ActivationQuantizer, WeightQuantizer
from train.quantize import quantize

SIZE = (64, 96)


def graph(body):
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18, "emca" : 1]>
        net (float[1,4,8,8] x) => (float[1,4,8,8] y)
        <float[4,4,1,1] w> {{ {body} }}
    """)


def test_nodes_of_ranges_go_and_the_larger_range_stays():
    model = graph("""
        r = Relu (x)
        a = emca.Range <largest = 2.0> (r) b = emca.Range <largest = 3.0> (r)
        c = Conv (a, w) d = emca.Range <largest = 1.0> (c) e = Add (b, d) y = Sigmoid (e)
    """)
    assert take_ranges(model) == {"r": 3.0, "c": 1.0}
    assert [(node.op_type, *node.input) for node in model.graph.node] == [
        ("Relu", "x"), ("Conv", "r", "w"), ("Add", "r", "c"), ("Sigmoid", "e"),
    ]  # fmt: skip
    assert [entry.domain for entry in model.opset_import] == [""]
    assert take_ranges(model) == {}


@pytest.mark.parametrize(
    ("reader", "name"), [("emca.Range <largest = 2.0> (m)", "r"), ("Relu (m)", "m")]
)
def test_the_range_behind_a_pooling_is_that_before_it(reader, name):
    model = graph(f"""
        r = Relu (x) m = MaxPool <kernel_shape = [1,1]> (r)
        a = emca.Range <largest = 2.0> (m) b = {reader} c = Conv (a, w) y = Add (b, c)
    """)
    assert take_ranges(model) == {name: 2.0}


def test_nodes_in_a_row_are_one():
    model = graph("""
        r = Relu (x) a = emca.Range <largest = 2.0> (r) b = emca.Range <largest = 3.0> (a)
        c = Conv (b, w) y = Sigmoid (c)
    """)
    assert take_ranges(model) == {"r": 3.0}
    assert [tuple(node.input) for node in model.graph.node] == [("x",), ("r", "w"), ("c",)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_range_that_is_not_finite_is_refused(value):
    model = graph("r = Relu (x) a = emca.Range <largest = 2.0> (r) y = Conv (a, w)")
    model.graph.node[1].attribute[0].f = value
    with pytest.raises(UserError, match=f"the range of 'r' is {value}; train the checkpoint again"):
        take_ranges(model)


def test_other_nodes_of_the_domain_keep_it():
    model = graph("a = emca.Range <largest = 2.0> (x) y = emca.ModulatedDeformConv2d (a)")
    take_ranges(model)
    assert DOMAIN in [entry.domain for entry in model.opset_import]


ONE_LAYER = {"decoder_layers": 1, "encoder_layers": 1}
# Of these architectures the training knows every tensor that the file quantises, as it does of
# EMCA (the last test).
WHOLE = {
    "mask2former": {
        "pixel_decoder": "msdeform",
        "cross_attention": "masked",
        "encoder_feedforward_dim": 64,
        "pre_norm": False,
        "project_levels": False,
        **ONE_LAYER,
        "decoder_layers": 2,
    },
    "pem": {"backbone": "stdc1", "pixel_decoder": "pem", **ONE_LAYER},
    "segformer": {"architecture": "segformer", "backbone": "mit_b0"},
    "maskformer": {"architecture": "maskformer"},
    "semantic_fpn": {"architecture": "semantic_fpn"},
    "pidnet": {"architecture": "pidnet", "backbone": "pidnet_s"},
}


def scene(size):
    return open_dataset(f"scenes:n=1,size={size[0]}x{size[1]}:val")[0].image[None]


def observed(config, size):
    """A new network and an image; its ranges are the maxima on that image, without any rounding."""
    torch.manual_seed(0)
    network = build_model(tiny_config(model=config).model, num_classes=9).eval()
    quantize(network)
    model, image = DeployModel(network, head="labels"), scene(size)
    for module in network.modules():
        if isinstance(module, ActivationQuantizer):
            module.observes, module.momentum = True, 1.0
        if isinstance(module, WeightQuantizer):
            module.forward = lambda weight: weight
    with torch.no_grad():
        model(torch.from_numpy(image))
    return model, image


def maxima(model, names, image):
    """The largest absolute value of each tensor."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    outputs = [onnx.helper.make_tensor_value_info(name, 1, None) for name in names]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    tensors = session.run(None, {"image": image})
    return {name: np.abs(x).max() for name, x in zip(names, tensors, strict=True)}


@pytest.mark.parametrize("name", WHOLE)
def test_training_rounds_what_the_file_does(name):
    # So wide that no pooled map of PIDNet is a single pixel.
    size = (64, 576) if name == "pidnet" else SIZE
    model, image = observed(WHOLE[name], size)
    file = export_model(model, size=size)
    ranges = take_ranges(file)
    finish(file, make_card(input_size=size))
    assert not any(node.op_type == "Range" and node.domain for node in file.graph.node)
    quantised = folded(file)
    reads = place(quantised).reads
    assert ranges.keys() == reads.keys()
    expected = maxima(quantised, list(reads), image)
    assert ranges == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert len({round(float(value), 4) for value in expected.values()}) > len(expected) // 2


@pytest.fixture(scope="module")
def fine_tuned(checkpoint, tmp_path_factory):
    """The trained network after ten steps with rounding."""
    out = tmp_path_factory.mktemp("fine_tuned")
    config = tiny_config(
        train_data="scenes:n=16,size=64x96:train",
        init=str(checkpoint),
        quantize="int8",
        iterations=10,
        learning_rate=1e-4,
        eval_every=0,
    )
    Trainer(config, out, resume=False).run()
    return out / "model.pth"


def run(model, images):
    """Scores, and what the first convolution puts out."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    stem = next(n for n in model.graph.node if "embedder" in n.name and n.op_type == "Relu")
    model.graph.output.append(onnx.helper.make_tensor_value_info(stem.output[0], 1, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results = [session.run(None, {"image": image[None]}) for image in images]
    return [np.concatenate(column) for column in zip(*results, strict=True)]


def run_torch(network, images):
    """The same of a network."""
    kept = []
    stem = network.backbone.model.embedder.embedder
    stem.register_forward_hook(lambda module, inputs, output: kept.append(output.numpy().copy()))
    with torch.no_grad():
        scores = DeployModel(network, head="scores")(torch.from_numpy(images))
    return [scores.numpy(), *kept]


def test_the_int8_file_computes_what_training_saw(fine_tuned, tmp_path):
    """Built from the exported file and its ranges, without any calibration."""
    path = tmp_path / "model.onnx"
    assert export_checkpoint(fine_tuned, path, head="scores")
    file = onnx.load(path)
    props = {entry.key: entry.value for entry in file.metadata_props}
    card = ModelCard.from_props(props, str(path))
    assert (card.precision, card.trained_iterations) == ("fp32", 10)
    assert not any("quantizer" in tensor.name for tensor in file.graph.initializer)
    quantised = folded(file)
    placement = place(quantised)
    assert card.ranges.keys() == placement.reads.keys()
    quantizers = load_checkpoint(fine_tuned).build().modules()
    learnt = {float(part.range) for part in quantizers if isinstance(part, ActivationQuantizer)}
    assert learnt >= set(card.ranges.values())
    insert(quantised, placement, card.ranges)

    dataset = open_dataset("scenes:n=6,size=64x96:val", labels=False)
    images = np.stack([dataset[i].image for i in range(len(dataset))])
    exact, rounded = run(folded(file), images), run(quantised, images)
    in_training = run_torch(load_checkpoint(fine_tuned).build(), images)

    def distance(a, b):
        return np.abs(a - b).mean()

    # At first the roundings are the same. Later each falls its own way, as between two runtimes,
    # but their size stays the same.
    assert distance(rounded[1], in_training[1]) < 0.3 * distance(rounded[1], exact[1])
    assert 0.5 < distance(in_training[0], exact[0]) / distance(rounded[0], exact[0]) < 2
    labels = [scores.argmax(axis=1) for scores in (rounded[0], in_training[0])]
    assert len(np.unique(labels[0])) > 2
    assert (labels[0] == labels[1]).mean() > 0.95
