"""Every architecture in FP16 and INT8, small and hardly trained, on onnxruntime."""

import dataclasses

import numpy as np
import pytest
from tiny import tiny_config

from calibration.fp16 import to_fp16
from calibration.int8 import to_int8
from calibration.rewrite.edit import Links
from export.to_onnx import export_checkpoint
from runtime.backends.base import ModelFile
from runtime.backends.onnx_runtime import OnnxRuntimeBackend
from segdata.datasets import open_dataset
from train.loop import Trainer

SIZE = (64, 96)
MASK2FORMER = {
    "pixel_decoder": "msdeform",
    "cross_attention": "masked",
    "encoder_layers": 2,
    "encoder_feedforward_dim": 64,
    "pre_norm": False,
    "project_levels": False,
}
# What must stay in floating point: the layers that decide, by the module they belong to.
MASKS = {"decoder.mask_embed", "decoder.class_embed"}
NETWORKS = {
    "segformer": ({"architecture": "segformer", "backbone": "mit_b0"}, {"head.classifier"}),
    "mask2former": (
        MASK2FORMER,
        MASKS | {"self_attn.sampling_offsets", "self_attn.attention_weights"},
    ),
    "maskformer": ({"architecture": "maskformer"}, MASKS),
    "semantic_fpn": (
        {"architecture": "semantic_fpn", "backbone": "swiftformer_xs"},
        {"head.classifier"},
    ),
    "pidnet": ({"architecture": "pidnet", "backbone": "pidnet_s"}, {"head.final_layer.conv2"}),
    "pem": ({"backbone": "stdc1", "pixel_decoder": "pem"}, MASKS | {"dcn_offset"}),
}


@pytest.fixture(scope="module")
def images():
    dataset = open_dataset(f"scenes:n=6,size={SIZE[0]}x{SIZE[1]}:train", labels=False)
    return [dataset[i].image for i in range(len(dataset))]


@pytest.fixture(scope="module", params=list(NETWORKS))
def network(request, tmp_path_factory):
    """The architecture's file in FP32, and the modules that make its heads.

    It is trained a little: of random weights one class wins everywhere, and random masks flip at
    the first rounding.
    """
    changes, heads = NETWORKS[request.param]
    out = tmp_path_factory.mktemp(request.param)
    config = tiny_config(
        model=changes,
        train_data=f"scenes:n=16,size={SIZE[0]}x{SIZE[1]}:train",
        iterations=80,
        eval_every=0,
    )
    Trainer(config, out, resume=False).run()
    assert export_checkpoint(out / "model.pth", out / "model.onnx")
    return ModelFile.read(out / "model.onnx"), heads


def agreement(file, changed, images):
    """Share of pixels whose label stays the same."""
    before, after = (
        OnnxRuntimeBackend(dataclasses.replace(file, proto=proto), threads=1)
        for proto in (file.proto, changed)
    )
    expected, actual = (
        np.stack([backend.infer(image[None])["labels"][0] for image in images])
        for backend in (before, after)
    )
    assert len(np.unique(expected)) > 2
    return (expected == actual).mean()


@pytest.mark.slow
def test_fp16_keeps_the_labels(network, images):
    file, _ = network
    cast = to_fp16(file.proto)
    assert [f.name for f in cast.functions] == [f.name for f in file.proto.functions]
    assert agreement(file, cast, images) > 0.99


@pytest.mark.slow
def test_int8_keeps_the_labels_and_leaves_heads_alone(network, images):
    file, heads = network
    quantised = to_int8(file.proto, images[:4])
    assert [f.name for f in quantised.functions] == [f.name for f in file.proto.functions]
    links = Links(quantised.graph)
    missed = set(heads)
    layers = 0
    for node in quantised.graph.node:
        producer = links.producer.get(node.input[1]) if len(node.input) > 1 else None
        in_int8 = producer is not None and producer.op_type == "DequantizeLinear"
        layers += in_int8
        if node.op_type in {"Conv", "MatMul", "Gemm"}:
            found = {head for head in heads if head in node.name}
            assert not (found and in_int8), node.name
            missed -= found
    assert not missed
    assert layers > 25
    assert agreement(file, quantised, images) > 0.9
