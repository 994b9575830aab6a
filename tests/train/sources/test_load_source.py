"""`train.sources.load_source`; folders of Hugging Face are in `test_hugging_face.py`."""

import dataclasses

import foreign
import pytest
import torch

from emca.errors import UserError
from segdata.classes import CITYSCAPES, SCENES
from train.checkpoint import Checkpoint, save_checkpoint
from train.config import Config
from train.sources import load_source

# Of each kind: our configuration, the release's tensors, the file's name, what it is called.
KINDS = {
    "mask2former.pkl": (
        foreign.MASK2FORMER, foreign.mask2former_detectron2, "Mask2Former (detectron2)"
    ),
    "mask2former.pth": (
        foreign.MASK2FORMER, foreign.mask2former_detectron2, "Mask2Former (detectron2)"
    ),
    "pem.pth": (foreign.PEM, foreign.pem, "PEM with stdc1"),
    "pidnet.pt": (foreign.PIDNET, foreign.pidnet, "PIDNet-S"),
    "pidnet_bare.pt": (foreign.PIDNET, lambda net: foreign.pidnet(net, prefix=""), "PIDNet-S"),
    "pidnet_parallel.pt": (
        foreign.PIDNET, lambda net: foreign.pidnet(net, prefix="module.model."), "PIDNet-S"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def networks():
    """One network of ours for each configuration."""
    made = {}

    def network(config):
        key = (config.architecture, config.pixel_decoder)
        if key not in made:
            made[key] = foreign.network(config)
        return made[key]

    return network


def write(path, state):
    if path.suffix == ".pkl":
        return foreign.write_pickle(path, state)
    # As training leaves it: much else beside the weights.
    wrapped = {"model": state, "iteration": 159_999, "optimizer": {"state": {}, "lr": [1e-4]}}
    torch.save(state if "pidnet" in path.name else wrapped, path)
    return path


def load(path):
    lines = []
    return load_source(str(path), tell=lines.append), lines


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_file_gives_the_network_that_it_was_made_from(networks, tmp_path, name):
    config, release, kind = KINDS[name]
    network = networks(config)
    checkpoint, lines = load(write(tmp_path / name, release(network)))
    assert checkpoint.imported_from == f"{kind}: {name}"
    assert checkpoint.config == dataclasses.replace(Config(), model=config, eval_size=(1024, 2048))
    assert (checkpoint.classes, checkpoint.palette) == (CITYSCAPES.classes, CITYSCAPES.palette)
    assert (checkpoint.iterations, checkpoint.miou, checkpoint.training) == (0, None, None)
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(checkpoint.model[key], value), key
    assert len(lines) == 1
    assert lines[0].startswith(f"{kind}: ")
    assert " converted, " in lines[0]
    assert lines[0].endswith(" 0 left over, 0 missing")
    image = torch.randint(0, 256, (1, 3, 64, 96))
    with torch.no_grad():
        ours, theirs = checkpoint.build()(image), network(image)
    assert torch.equal(ours[0], theirs[0])
    assert theirs[0].std() > 0.01


def test_our_own_files_are_read_as_they_are(tmp_path):
    config = dataclasses.replace(Config(), model=foreign.MASK2FORMER)
    network = foreign.network(config.model, classes=len(SCENES.classes))
    own = Checkpoint(
        config, SCENES.classes, SCENES.palette, iterations=7, miou=0.25, model=network.state_dict()
    )
    save_checkpoint(own, tmp_path / "model.pth")
    checkpoint, lines = load(tmp_path / "model.pth")
    assert lines == []
    for field in ("config", "classes", "palette", "iterations", "miou", "imported_from"):
        assert getattr(checkpoint, field) == getattr(own, field)
    assert all(torch.equal(value, own.model[key]) for key, value in checkpoint.model.items())


def test_what_was_imported_stays_known_through_a_file_of_ours(networks, tmp_path):
    network = networks(foreign.MASK2FORMER)
    state = foreign.mask2former_detectron2(network)
    checkpoint, _ = load(foreign.write_pickle(tmp_path / "zoo.pkl", state))
    save_checkpoint(checkpoint, tmp_path / "model.pth")
    again, _ = load(tmp_path / "model.pth")
    assert again.imported_from == "Mask2Former (detectron2): zoo.pkl"
    assert again.config == checkpoint.config


def test_half_precision_becomes_single_and_counters_stay_whole(networks, tmp_path):
    state = foreign.pidnet(networks(foreign.PIDNET))
    half = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
    checkpoint, _ = load(write(tmp_path / "pidnet.pt", half))
    assert {x.dtype for x in checkpoint.model.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "mask2former.pkl",
            lambda s: s.pop("sem_seg_head.predictor.mask_embed.layers.1.bias"),
            r"lacks 1 tensors, first what becomes 'decoder\.mask_embed\.layers\.1\.bias'",
        ),
        (
            "mask2former.pth",
            lambda s: s.update({"sem_seg_head.task_mlp.weight": torch.ones(1)}),
            r"1 tensors are left over, first 'sem_seg_head\.task_mlp\.weight'; it is no plain Mask",
        ),
        (
            "mask2former.pth",
            lambda s: s.update({"sem_seg_head.predictor.class_embed.bias": torch.ones(151)}),
            r"tensor 'sem_seg_head\.predictor\.class_embed\.bias' gives 'decoder\.class_embed"
            r"\.bias' the shape \(151,\), the rest of the checkpoint implies \(20,\)",
        ),
        (
            "mask2former.pkl",
            lambda s: s.pop("sem_seg_head.predictor.class_embed.weight"),
            r"mask2former\.pkl': the Mask2Former checkpoint lacks what becomes",
        ),
        (
            "pem.pth",
            lambda s: s.pop("backbone.features.2.avd_layer.0.weight"),
            r"lacks 1 tensors, first what becomes 'backbone\.features\.2\.avd_layer\.0\.weight'",
        ),
        (
            "pidnet.pt",
            lambda s: s.update({"model.final_layer.conv2.weight": torch.ones(7, 128, 1, 1)}),
            r"the shape \(19,\), the rest of the checkpoint implies \(7,\)",
        ),
        (
            "pidnet.pt",
            lambda s: s.update({"model.aspp.weight": torch.ones(1)}),
            r"1 tensors are left over, first 'model\.aspp\.weight'; it is no plain PIDNet-S",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(networks, tmp_path, name, change, message):
    config, release, _ = KINDS[name]
    state = release(networks(config))
    change(state)
    with pytest.raises(UserError, match=message) as error:
        load(write(tmp_path / name, state))
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_account_is_told_before_the_refusal(networks, tmp_path):
    state = foreign.mask2former_detectron2(networks(foreign.MASK2FORMER))
    lost = "sem_seg_head.predictor.decoder_norm.weight"
    state = {name: x for name, x in state.items() if name != lost} | {"alien": torch.ones(1)}
    lines = []
    with pytest.raises(UserError, match="first 'alien'"):
        load_source(str(write(tmp_path / "a.pkl", state)), tell=lines.append)
    assert lines[0].endswith("1 left over (alien), 1 missing (decoder.decoder_norm.weight)")


def test_panoptic_checkpoints_are_refused_by_their_classes(tmp_path):
    state = foreign.mask2former_detectron2(foreign.network(foreign.MASK2FORMER, classes=133))
    with pytest.raises(UserError, match=r"is a COCO panoptic segmentation .*\(133 classes\)"):
        load(foreign.write_pickle(tmp_path / "model_final.pkl", state))


def test_what_is_no_known_checkpoint_is_said(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"features.weight": torch.ones(1), "classifier": torch.ones(1)}, path)
    with pytest.raises(UserError, match=r"other\.pth' holds 2 tensors of no model .*'classifier'"):
        load(path)
    with pytest.raises(UserError, match=r"no checkpoint at '.*nothing\.pth'"):
        load(tmp_path / "nothing.pth")
    with pytest.raises(UserError, match=r"safetensors': give the folder .* config\.json"):
        load(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.int8\.onnx' is an exported file; give the check"):
        load(tmp_path / "model.int8.onnx")
