import dataclasses

import foreign
import pytest
import torch

from emca.errors import UserError
from train.models import build_model
from train.sources.mask2former import matches, read, read_hugging_face


@pytest.fixture(scope="module")
def network():
    return foreign.network(foreign.MASK2FORMER)


@pytest.fixture
def state(network):
    return foreign.mask2former_detectron2(network)


def without_counters(network):
    state = network.state_dict()
    return {name: x for name, x in state.items() if not name.endswith("num_batches_tracked")}


def check_tensors(imported, network):
    expected = without_counters(network)
    assert imported.conversion.left_over == []
    assert imported.conversion.tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(imported.conversion.tensors[name], value), name


@pytest.mark.parametrize("released", [True, False])
def test_both_layouts_of_the_authors_files(network, released):
    state = foreign.mask2former_detectron2(network, released=released)
    assert ("sem_seg_head.predictor.static_query.weight" in state) != released
    assert matches(state)
    imported = read(state)
    assert imported.kind == "Mask2Former (detectron2)"
    assert imported.model == foreign.MASK2FORMER
    assert (imported.num_classes, imported.classes) == (foreign.CLASSES, None)
    assert imported.conversion.unneeded == ["criterion.empty_weight"] * released
    check_tensors(imported, network)


def test_a_swin_and_projected_levels():
    config = dataclasses.replace(
        foreign.MASK2FORMER, backbone="swin_tiny", hidden_dim=96, project_levels=True
    )
    network = foreign.network(config, classes=3)
    imported = read(foreign.mask2former_detectron2(network))
    assert imported.model == config
    assert imported.num_classes == 3
    check_tensors(imported, network)
    assert sum("relative_position_index" in n for n in imported.conversion.unneeded) == 12


def test_the_published_files_have_this_many_tensors():
    """Six encoder and nine decoder layers with a Swin-T, as counted in the authors' own module."""
    with torch.device("meta"):
        config = dataclasses.replace(
            foreign.MASK2FORMER, backbone="swin_tiny", encoder_layers=6, decoder_layers=9
        )
        state = foreign.mask2former_detectron2(build_model(config, num_classes=150))
    assert len(state) == 482
    imported = read(state)
    assert len(imported.conversion.converted) == 469
    assert imported.model == config


def test_what_no_rule_knows_is_left_over(state):
    alien = ["sem_seg_head.pixel_decoder.adapter_2.weight", "sem_seg_head.task_mlp.weight"]
    assert read(state | dict.fromkeys(alien, torch.ones(1))).conversion.left_over == alien


def test_other_networks_do_not_match(network):
    assert not matches({})
    assert not matches(network.state_dict())
    assert not matches(foreign.hugging_face("mask2former").state_dict())
    assert not matches({"sem_seg_head.pixel_decoder.layer_1.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("predictor.class_embed.weight", "decoder.class_embed.weight"),
        ("predictor.query_feat.weight", "decoder.query_feat.weight"),
        ("pixel_decoder.mask_features.weight", "pixel_decoder.mask_features.weight"),
    ],
)
def test_a_part_of_a_checkpoint_is_refused(state, lost, named):
    del state[f"sem_seg_head.{lost}"]
    with pytest.raises(UserError, match=rf"lacks what becomes '{named}'; give the whole model"):
        read(state)


def test_other_deformable_attention_is_refused(state):
    name = "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.self_attn.attention_weights"
    state[f"{name}.weight"] = torch.ones(128, 64)  # four levels
    with pytest.raises(UserError, match="takes 128 samples, not 8 heads x 3 levels x 4 points"):
        read(state)


@pytest.mark.parametrize("option", [{"pre_norm": True}, {"activation_function": "gelu"}])
def test_options_of_hugging_face_that_no_released_model_has_are_refused(option):
    model = foreign.hugging_face("mask2former", **option)
    ((name, value),) = option.items()
    with pytest.raises(UserError, match=f"Mask2Former with {name}={value} is not supported"):
        read_hugging_face(model.state_dict(), model.config)


def test_the_configuration_of_hugging_face_counts_one_layer_more():
    model = foreign.hugging_face("mask2former", hidden_dim=32, enforce_input_projection=True)
    imported = read_hugging_face(model.state_dict(), model.config)
    assert imported.model == dataclasses.replace(
        foreign.MASK2FORMER, hidden_dim=32, num_heads=4, project_levels=True
    )
    assert imported.conversion.left_over == []
    ours = build_model(imported.model, num_classes=imported.num_classes).state_dict()
    shapes = {name: value.shape for name, value in imported.conversion.tensors.items()}
    assert shapes == {name: value.shape for name, value in ours.items()}
