import pytest
import torch
from tiny import tiny_config

from train.models import build_model
from train.models.fake_quantize import ActivationQuantizer, remove_quantizers
from train.quantize import quantize

NETWORKS = {
    "emca": {},
    "mask2former": {"pixel_decoder": "msdeform", "cross_attention": "masked"},
    "pem": {"backbone": "stdc1", "pixel_decoder": "pem"},
    "maskformer": {"architecture": "maskformer"},
    "segformer": {"architecture": "segformer", "backbone": "mit_b0"},
    "semantic_fpn": {"architecture": "semantic_fpn"},
    "pidnet": {"architecture": "pidnet", "backbone": "pidnet_s"},
}


def network(**model):
    torch.manual_seed(0)
    return build_model(tiny_config(model=model).model, num_classes=4)


def quantizers(model):
    return {
        name.removesuffix(".input_quantizer"): module
        for name, module in model.named_modules()
        if isinstance(module, ActivationQuantizer)
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_gradients_stay_and_the_result_differs_a_little(name):
    model = network(**NETWORKS[name]).eval()
    image = torch.randint(0, 256, (2, 3, 64, 64)).float()
    names, expected = model.state_dict().keys(), model.class_scores(model(image)).detach()
    quantize(model)
    for module in quantizers(model).values():
        module.observes, module.momentum = True, 1.0
    model(image)
    for module in quantizers(model).values():
        module.observes = False
    rounded = model.class_scores(model(image))
    assert 0 < (rounded - expected).abs().max() < expected.abs().max()
    rounded.square().mean().backward()
    missed = [
        name
        for name, module in model.named_modules()
        if hasattr(module, "weight_quantizer")
        and isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
        and "seghead" not in name
        and module.weight.grad is None
    ]
    assert not missed
    added = model.state_dict().keys() - names
    assert names <= model.state_dict().keys()
    assert len(added) > 15
    assert all(name.endswith("_quantizer.range") for name in added)
    remove_quantizers(model)
    torch.testing.assert_close(model.class_scores(model(image)), expected)


def test_heads_gates_and_what_no_image_changes_stay_float():
    model = network()
    quantize(model)
    layers = quantizers(model)
    kept_float = {
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)) and name not in layers
    }
    kinds = {".".join(part for part in name.split(".") if part.isalpha()) for name in kept_float}
    assert "decoder.transformer_cross_attention_layers.0.query_proj.1" in kept_float
    assert "decoder.transformer_cross_attention_layers.1.query_proj.1" in layers
    assert {name.split(".")[1] for name in kept_float} == {
        "class_embed", "mask_embed", "transformer_cross_attention_layers",
        "global_context", "modulation",
    }, kinds  # fmt: skip
    assert sum(name.endswith("shortcut.output_quantizer") for name in layers) == 8
