import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import foreign
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from emca.errors import UserError
from emca.files import sha256
from export import to_onnx
from export.functions import add_functions
from export.parity import Parity, check_parity
from export.to_onnx import default_target, digest, export_checkpoint, export_model, main
from export.wrapper import DeployModel
from plugins import DEFORMABLE_ATTENTION, DEFORMABLE_CONVOLUTION, DOMAIN, OP_TYPE
from segdata.card import ModelCard
from segdata.classes import CITYSCAPES, SCENES
from segdata.datasets import open_dataset
from train.checkpoint import load_checkpoint
from train.sources import load_source


def run(path, image):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    assert export_checkpoint(checkpoint, path, dynamic_batch=True)
    return path


def scenes(count, size):
    dataset = open_dataset(f"scenes:n={count},size={size}:val")
    return np.stack([dataset[i].image for i in range(count)])


def test_labels_are_those_of_the_model_at_any_batch(checkpoint, exported):
    images = scenes(3, "64x96")
    with torch.no_grad():
        expected = DeployModel(load_checkpoint(checkpoint).build(), head="labels")(
            torch.from_numpy(images)
        ).numpy()
    assert len(np.unique(expected)) > 2
    assert (run(exported, images)[0] == expected).mean() > 0.999
    assert (run(exported, images[:1])[0] == expected[:1]).mean() > 0.999


def test_the_graph_keeps_its_promises(exported):
    model = onnx.load(exported)
    graph = model.graph
    assert [o.version for o in model.opset_import if o.domain == ""] == [18]
    assert [i.name for i in graph.input] == ["image"]
    image = graph.input[0].type.tensor_type
    assert image.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value for d in image.shape.dim] == [0, 64, 96, 3]
    labels = graph.output[0].type.tensor_type
    assert (graph.output[0].name, labels.elem_type) == ("labels", onnx.TensorProto.UINT8)
    first = [node.op_type for node in graph.node if "image" in node.input]
    assert first == ["Cast"]
    nodes = [node for node in graph.node if node.op_type == OP_TYPE]
    assert len(nodes) == 3
    for node in nodes:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes == {
            "num_heads": 4, "plugin_namespace": b"emca", "plugin_version": b"1",
        }  # fmt: skip
    assert [(f.domain, f.name) for f in model.functions] == [(DOMAIN, OP_TYPE)]
    names = {tensor.name for tensor in graph.initializer}
    assert any(name.startswith("backbone.") for name in names)
    assert "decoder.class_embed.bias" in names
    assert not any(tensor.HasField("data_location") and tensor.data_location for tensor in
                   graph.initializer)  # fmt: skip


def test_inner_heads_are_gone_and_masks_are_predicted_at_their_level(exported):
    """One class head; of the mask products only the last one is at stride 4."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load(exported))
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in inferred.graph.value_info
    }
    uses = Counter(name for node in inferred.graph.node for name in node.input)
    assert uses["decoder.class_embed.bias"] == 1
    full = 64 * 96 // 16
    products = [
        shapes.get(node.output[0], [])
        for node in inferred.graph.node
        if node.op_type == "MatMul" and full in shapes.get(node.output[0], [])
    ]
    assert sorted(shape[-2] for shape in products) == [len(SCENES.classes), 12]


def test_the_card_says_where_the_file_comes_from(checkpoint, exported):
    props = {p.key: p.value for p in onnx.load(exported).metadata_props}
    card = ModelCard.from_props(props, "tiny.onnx")
    assert card.classes == SCENES.classes
    assert card.input_size == (64, 96)
    assert (card.head, card.precision, card.trained_iterations) == ("labels", "fp32", 80)
    assert card.checkpoint_sha256 == sha256(checkpoint)
    assert "python -m export.to_onnx" in card.command
    assert {"torch", "onnx", "emca"} <= set(card.versions)
    assert b"/site-packages/" not in exported.read_bytes()


@pytest.mark.parametrize(
    ("head", "size", "shapes"),
    [
        ("scores", (75, 101), [(1, 9, 19, 26)]),
        ("masks", (64, 64), [(1, 12, 10), (1, 12, 16, 16)]),
    ],
)
def test_other_heads_and_odd_sizes(checkpoint, tmp_path, head, size, shapes):
    path = tmp_path / "model.onnx"
    assert export_checkpoint(checkpoint, path, head=head, size=size, opset=17)
    image = scenes(1, f"{size[0]}x{size[1]}")
    outputs = run(path, image)
    assert [o.shape for o in outputs] == shapes
    with torch.no_grad():
        expected = DeployModel(load_checkpoint(checkpoint).build(), head=head)(
            torch.from_numpy(image)
        )
    for a, b in zip(outputs, expected if head == "masks" else [expected], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
        assert np.ptp(a) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["swin_tiny", "mit_b0", "stdc1", "resnet50"])
def test_other_backbones_export(backbone, write_checkpoint, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model.pth", backbone=backbone)
    assert export_checkpoint(checkpoint, tmp_path / "model.onnx", size=(75, 101))


def test_masked_attention_exports_without_the_custom_op(write_checkpoint, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model.pth", cross_attention="masked")
    assert export_checkpoint(checkpoint, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert not model.functions


def test_a_file_that_disagrees_is_not_written(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(to_onnx, "check_parity", lambda *_, **__: Parity(1.0, 0.5))
    target = tmp_path / "model.onnx"
    assert main([str(checkpoint), "-o", str(target)]) == 1
    assert "disagrees with its model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# Of each file and folder of other projects: what it is called, and the custom ops in its graph.
SOURCES = {
    "mask2former.pkl": ("Mask2Former (detectron2)", {DEFORMABLE_ATTENTION}),
    "mask2former/": ("Mask2Former (Hugging Face)", {DEFORMABLE_ATTENTION}),
    "maskformer/": ("MaskFormer (Hugging Face)", set()),
    "segformer/": ("SegFormer-B0", set()),
    "pem.pth": ("PEM with stdc1", {DEFORMABLE_CONVOLUTION, OP_TYPE}),
    "pidnet.pt": ("PIDNet-S", set()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_source_goes_all_the_way(name, tmp_path, capsys):
    kind, functions = SOURCES[name]
    source = foreign.write_source(name, tmp_path)
    assert main([str(source), "--size", "64x96", "--head", "scores"]) == 0
    account, parity, _ = capsys.readouterr().out.splitlines()
    assert account.startswith(f"{kind}: ")
    assert account.endswith("0 left over, 0 missing")
    assert parity.startswith("onnxruntime against PyTorch")

    target = source / "model.onnx" if source.is_dir() else source.with_suffix(".onnx")
    model = onnx.load(target)
    card = ModelCard.from_props({p.key: p.value for p in model.metadata_props}, "model.onnx")
    checkpoint = load_source(str(source), tell=print)
    assert card.imported_from == checkpoint.imported_from == f"{kind}: {source.name}"
    assert card.classes == CITYSCAPES.classes
    fingerprint = digest(checkpoint.model) if source.is_dir() else sha256(source)
    assert card.checkpoint_sha256 == fingerprint
    assert {f.name for f in model.functions} == functions
    network = checkpoint.build()
    modules = {module for module, _ in network.named_modules()}
    for node in model.graph.node:
        module, _, rest = node.name.partition("/")
        assert module in modules
        assert re.fullmatch(rf"{node.op_type}_\d+", rest)
    named = {node.name.partition(".")[0] for node in model.graph.node}
    assert {child for child, _ in network.named_children()} <= named

    image = scenes(1, "64x96")
    with torch.no_grad():
        expected = DeployModel(network, head="scores")(torch.from_numpy(image)).numpy()
    (scores,) = run(target, image)
    assert expected.std(axis=(2, 3)).min() > 1e-4
    np.testing.assert_allclose(scores, expected, atol=1e-4 * np.abs(expected).max())


def test_output_files_have_the_names_of_their_sources(tmp_path):
    (tmp_path / "run.v2").mkdir()
    (tmp_path / "zoo.final.pkl").touch()
    assert default_target(str(tmp_path / "run.v2")) == tmp_path / "run.v2" / "model.onnx"
    assert default_target(str(tmp_path / "zoo.final.pkl")) == tmp_path / "zoo.final.onnx"
    assert default_target("nvidia/segformer-b0") == Path("segformer-b0.onnx")


def test_the_official_order_upsamples_every_mask_first(checkpoint, tmp_path):
    labels = {}
    for order in ("fast", "official"):
        path = tmp_path / f"{order}.onnx"
        assert main([str(checkpoint), "-o", str(path), "--head-order", order]) == 0
        props = {p.key: p.value for p in onnx.load(path).metadata_props}
        assert ModelCard.from_props(props, path.name).head_order == order
        labels[order] = run(path, scenes(2, "64x96")[1:])[0]
    network = load_checkpoint(checkpoint).build()
    with torch.no_grad():
        predictions = network(torch.from_numpy(scenes(2, "64x96")[1:]).permute(0, 3, 1, 2))
        masks = torch.nn.functional.interpolate(
            predictions.mask_logits[0], size=(64, 96), mode="bilinear"
        ).sigmoid()
        classes = predictions.class_logits[0].softmax(-1)[..., :-1]
        expected = torch.einsum("bmk,bmhw->bkhw", classes, masks).argmax(1).numpy()
    assert (labels["official"] == expected).mean() > 0.999
    differs = (labels["official"] != labels["fast"]).mean()
    assert 0 < differs < 0.1


@pytest.mark.parametrize("option", ["--head=masks", "--head-order=official"])
def test_pixel_classifiers_have_no_masks(write_checkpoint, tmp_path, option):
    checkpoint = write_checkpoint(tmp_path / "model.pth", architecture="semantic_fpn")
    with pytest.raises(
        UserError, match=rf"{option.replace('=', ' ')}: '.*model\.pth' classifies p"
    ):
        main([str(checkpoint), option])


@pytest.mark.parametrize("head", ["scores", "masks"])
def test_the_official_order_concerns_labels_alone(checkpoint, head):
    with pytest.raises(UserError, match=f"concerns --head labels alone; .* with --head {head}"):
        main([str(checkpoint), "--head-order=official", f"--head={head}"])


@pytest.mark.parametrize("spoil", [torch.Tensor.neg_, lambda weight: weight.fill_(torch.nan)])
def test_parity_of_masks_covers_the_classes(checkpoint, spoil):
    model = DeployModel(load_checkpoint(checkpoint).build(), head="masks").eval()
    file = export_model(model, size=(64, 64))
    add_functions(file)
    assert check_parity(model, file, size=(64, 64))
    with torch.no_grad():
        spoil(model.model.decoder.class_embed.weight)
    assert not check_parity(model, file, size=(64, 64))


def test_parity_notices_a_changed_weight(checkpoint, exported):
    file = onnx.load(exported)
    model = DeployModel(load_checkpoint(checkpoint).build(), head="labels")
    assert check_parity(model, file, size=(64, 96))
    with torch.no_grad():
        model.model.decoder.class_embed.weight.neg_()
    parity = check_parity(model, file, size=(64, 96))
    assert not parity
    assert parity.largest_difference > 0.01


@pytest.mark.parametrize("size", ["512", "512x", "0x0", "16x512", "axb"])
def test_a_bad_size_is_named(checkpoint, size):
    with pytest.raises(UserError, match=f"--size {size}: write HEIGHTxWIDTH"):
        main([str(checkpoint), "--size", size])


def test_mistakes_are_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"not a checkpoint")
    (tmp_path / "bad.onnx").write_bytes(b"precious")
    (tmp_path / "empty.pkl").touch()
    for arguments in (
        ["bad.pth"], ["missing.pth"], ["empty.pkl"], ["bad.onnx"], ["bad.pth", "--sise", "64x64"]
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "export.to_onnx", *arguments],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert (tmp_path / "bad.onnx").read_bytes() == b"precious"
