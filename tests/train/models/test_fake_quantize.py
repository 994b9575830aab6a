import copy

import numpy as np
import pytest
import torch
from torch import nn

from calibration.rewrite.qdq import scales
from train.models.decoder import MaskedCrossAttention, SelfAttentionLayer
from train.models.fake_quantize import (
    LEVELS,
    ActivationQuantizer,
    WeightQuantizer,
    quantize_layer,
    quantize_output,
    remove_quantizers,
    step,
)
from train.models.msdeform import ConvNorm


def set_ranges(module, value):
    for part in module.modules():
        if isinstance(part, ActivationQuantizer):
            part.range.fill_(value)


def test_steps_are_those_of_the_file():
    largest = torch.tensor([0.0, 1e-9, 0.03, 1.0, 2.5, 127.0, 5e4])
    np.testing.assert_array_equal(step(largest).numpy(), scales(largest.numpy()))


def test_activations_are_rounded_and_clipped_and_pass_gradients():
    quantizer = ActivationQuantizer()
    quantizer.range.fill_(127.0)
    x = torch.tensor([-300.0, -126.6, 0.4, 0.6, 2.5, 126.9, 200.0], requires_grad=True)
    y = quantizer(x)
    assert y.tolist() == [-127, -127, 0, 1, 2, 127, 127]
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]
    half = quantizer(torch.tensor([126.6], dtype=torch.bfloat16))
    assert half.dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_rounded_away(value):
    bad = torch.tensor([[1.0, value], [1.0, 2.0]])
    quantizer = ActivationQuantizer()
    quantizer.range.fill_(127.0)
    assert quantizer(bad).isnan().all()
    quantizer.range.fill_(value)
    assert quantizer(bad[1]).isnan().any()
    rounded = WeightQuantizer()(bad)
    assert rounded[0].isnan().any()
    assert rounded[1].isfinite().all()


def test_ranges_follow_in_training_alone():
    quantizer = ActivationQuantizer()
    quantizer.observes, quantizer.momentum = True, 1.0
    x = torch.tensor([1.0, -3.0])
    assert torch.equal(quantizer.eval()(x), x)
    assert quantizer.range == 3
    quantizer.observes, quantizer.momentum = False, 0.5
    quantizer(torch.tensor([5.0]))
    assert quantizer.range == 3
    quantizer.train()(torch.tensor([5.0]))
    assert quantizer.range == 4
    quantizer.momentum = 0.0
    quantizer(torch.tensor([50.0]))
    assert quantizer.range == 4


def test_each_output_channel_has_its_own_step():
    weight = torch.randn(4, 3, 3, 3)
    weight[1] *= 1000
    weight[2] = 0
    weight.requires_grad_()
    rounded = WeightQuantizer()(weight)
    largest = weight.detach().flatten(1).abs().amax(1)
    error = (rounded - weight).detach().flatten(1).abs().amax(1)
    assert (error <= largest / LEVELS / 2 * 1.001).all()
    assert (error[[0, 1, 3]] > 0).all()
    rounded.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_batch_norm_after_a_convolution_leaves_the_integers_alone():
    weight, factor = torch.randn(6, 5, 3, 3), torch.randn(6)
    folded = WeightQuantizer()(weight * factor.view(-1, 1, 1, 1))
    torch.testing.assert_close(folded, WeightQuantizer()(weight) * factor.view(-1, 1, 1, 1))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 8, 8)),
        (nn.Conv2d(4, 4, 3, groups=4), (2, 4, 8, 8)),
        (ConvNorm(4, 32, 1), (2, 4, 8, 8)),
        (nn.Linear(4, 6), (2, 5, 4)),
    ],
)
def test_a_layer_keeps_its_names_and_rounds(layer, shape):
    x = torch.randn(shape)
    names, expected = layer.state_dict().keys(), layer(x)
    quantize_layer(layer)
    assert layer.state_dict().keys() - names == {"input_quantizer.range"}
    set_ranges(layer, x.abs().max())
    rounded = layer(x)
    assert 0 < (rounded - expected).abs().max() < 0.15
    rounded.sum().backward()
    assert layer.weight.grad.abs().max() > 0
    remove_quantizers(layer)
    assert torch.equal(layer(x), expected)
    assert layer.state_dict().keys() == names


def attention_of(pre_norm):
    torch.manual_seed(0)
    yield (
        SelfAttentionLayer(dim=16, num_heads=4, pre_norm=pre_norm),
        (torch.randn(2, 5, 16), torch.randn(1, 5, 16)),
    )
    mask = torch.randn(2, 5, 12)
    mask[0, 3] = -1
    yield (
        MaskedCrossAttention(dim=16, num_heads=4, pre_norm=pre_norm),
        (
            torch.randn(2, 5, 16),
            torch.randn(2, 16, 3, 4),
            mask,
            torch.randn(1, 5, 16),
            torch.randn(1, 16, 3, 4),
        ),
    )


@pytest.mark.parametrize("pre_norm", [True, False])
def test_attention_in_plain_operations_is_that_of_torch(pre_norm):
    for layer, inputs in attention_of(pre_norm):
        expected = layer(*inputs)
        quantized = copy.deepcopy(layer)
        for module in list(quantized.modules()):
            quantize_layer(module)
        names = quantized.state_dict().keys() - layer.state_dict().keys()
        assert len(names) == 4
        assert all(name.endswith("quantizer.range") for name in names)
        set_ranges(quantized, 4.0)
        assert 0 < (quantized(*inputs) - expected).abs().max() < 0.2
        remove_quantizers(quantized)
        torch.testing.assert_close(quantized(*inputs), expected)


def test_an_output_is_rounded_where_asked():
    shortcut = nn.Identity()
    quantize_output(shortcut)
    set_ranges(shortcut, 127.0)
    assert shortcut(torch.tensor([0.6])) == 1
    again = copy.deepcopy(shortcut)
    set_ranges(again, 0.0)
    assert shortcut(torch.tensor([0.6])) == 1


def test_the_output_of_a_sequence_is_rounded_once():
    shortcut = nn.Sequential(nn.Identity())
    quantize_output(shortcut)
    set_ranges(shortcut, 127.0)
    calls = []
    shortcut.output_quantizer.register_forward_hook(lambda *_: calls.append(1))
    assert shortcut(torch.tensor([0.6])) == 1
    assert len(calls) == 1
    remove_quantizers(shortcut)
    assert shortcut(torch.tensor([0.6])) == 0.6


def test_other_layers_are_left_alone():
    layer = nn.ConvTranspose2d(3, 3, 2)
    quantize_layer(layer)
    assert type(layer) is nn.ConvTranspose2d
