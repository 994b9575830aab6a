import pytest
from onnx import helper

from calibration.rewrite.blocks import HEADS, _block, blocks
from calibration.rewrite.fold import folded
from calibration.rewrite.placement import layers


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("backbone.model.embedder.embedder.normalization", "backbone.embedder"),
        ("backbone.model.encoder.stages.2.layers.0.layer.0.convolution", "backbone.2"),
        ("backbone.swin.encoder.layers.1.blocks.0.attention.self.query", "backbone.1"),
        ("pixel_decoder.in_projections.3.bn", "pixel_decoder.3"),
        ("pixel_decoder.smooth.3.bn", "pixel_decoder.3"),
        ("pixel_decoder.transformer.encoder.layers.4.linear1", "pixel_decoder.4"),
        ("pixel_decoder.input_proj.0.0", "pixel_decoder.input_proj"),
        ("pixel_decoder.mask_features", "pixel_decoder.mask_features"),
        ("decoder.transformer_cross_attention_layers.5.feature_proj.out", "decoder.5"),
        ("decoder.transformer_ffn_layers.5.linear2", "decoder.5"),
        ("backbone.layer3_d.0.conv", "backbone.layer3_d"),
        ("head", "head"),
    ],
)
def test_a_block_is_an_entry_of_a_list_or_a_module(module, block):
    assert _block(helper.make_node("Conv", ["x", "w"], ["y"], name=f"{module}/Conv_12")) == block


def test_a_layer_without_a_module_stands_alone():
    assert _block(helper.make_node("Conv", ["x", "w"], ["y"], name="n12_Conv")) == "n12_Conv"
    assert _block(helper.make_node("Conv", ["x", "w"], ["y"])) == "y"


def test_every_layer_is_in_one_block_and_the_heads_are_last(labels_model):
    model = folded(labels_model)
    found = blocks(model)
    outputs = [output for layers_ in found.values() for output in layers_]
    assert sorted(outputs) == sorted(layers(model))
    assert list(found)[-1] == HEADS
    # class logits; three layers of mask embedding, twice, of which the first is a constant's
    assert {layers(model)[output].is_head for output in found[HEADS]} == {True}
    assert not any(layers(model)[o].is_head for name in found if name != HEADS for o in found[name])
