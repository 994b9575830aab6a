import dataclasses

import foreign
import numpy as np
import pytest
import torch

from train.models import build_model
from train.models.msdeform import DeformableSampling, MSDeformPixelDecoder, pixel_centres

SIZES = [(2, 3), (4, 5), (7, 9)]


@pytest.fixture(scope="module", params=["resnet50", "swin_tiny"])
def small_pair(request):
    return foreign.pair("mask2former", request.param)


@pytest.mark.parametrize("size", [(128, 160), (75, 101)])
def test_equals_transformers(small_pair, size):
    foreign.check_equal(*small_pair, size)


def test_equals_transformers_with_queries_of_another_width():
    """Then each level is projected."""
    options = {"hidden_dim": 48, "enforce_input_projection": True}
    foreign.check_equal(*foreign.pair("mask2former", **options), (64, 96))


@pytest.mark.slow
def test_the_published_size_equals_transformers():
    sizes = {
        "feature_size": 256, "mask_feature_size": 256, "hidden_dim": 256, "num_queries": 100,
        "num_attention_heads": 8, "encoder_layers": 6, "encoder_feedforward_dim": 1024,
        "decoder_layers": 10, "dim_feedforward": 2048, "num_labels": 150,
    }  # fmt: skip
    foreign.check_equal(*foreign.pair("mask2former", "swin_tiny", **sizes), (512, 512))


def sample_slowly(value, locations, weights, sizes):
    """The definition, pixel by pixel: (x, y) in 0..1 spans a level, what lies outside is zero."""
    batch, _, heads, depth = value.shape
    _, queries, _, levels, points, _ = locations.shape
    starts = np.cumsum([0, *(h * w for h, w in sizes)])
    out = np.zeros((batch, queries, heads, depth))
    for b, q, head, level, point in np.ndindex(batch, queries, heads, levels, points):
        height, width = sizes[level]
        x, y = locations[b, q, head, level, point] * (width, height) - 0.5
        for row in (np.floor(y), np.floor(y) + 1):
            for column in (np.floor(x), np.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    pixel = value[b, starts[level] + int(row * width + column), head]
                    out[b, q, head] += weights[b, q, head, level, point] * share * pixel
    return out


def test_sampling_is_the_weighted_sum_of_bilinear_samples():
    rng = np.random.default_rng(0)
    positions = sum(h * w for h, w in SIZES)
    value = rng.normal(size=(2, positions, 2, 3))
    locations = rng.uniform(-0.4, 1.4, (2, 6, 2, 3, 4, 2))
    weights = rng.uniform(size=(2, 6, 2, 3, 4))
    outside = ((locations < 0) | (locations > 1)).any(-1)
    assert 0.2 < outside.mean() < 0.8
    out = DeformableSampling()(*map(torch.from_numpy, (value, locations, weights)), SIZES)
    np.testing.assert_allclose(out, sample_slowly(value, locations, weights, SIZES), atol=1e-12)


def test_the_centre_of_a_pixel_samples_that_pixel():
    value = torch.randn(1, 12, 1, 2)
    places = pixel_centres((3, 4), device=value.device)
    assert places[1].tolist() == pytest.approx([1.5 / 4, 0.5 / 3])
    locations = places.view(1, 12, 1, 1, 1, 2)
    out = DeformableSampling()(value, locations, torch.ones(1, 12, 1, 1, 1), [(3, 4)])
    torch.testing.assert_close(out, value)


def test_at_first_each_head_looks_in_its_own_direction():
    decoder = MSDeformPixelDecoder(
        in_channels=[8, 8, 8, 8], dim=32, mask_dim=4, num_heads=8, num_layers=1, feedforward_dim=8
    )
    offsets = decoder.transformer.encoder.layers[0].self_attn.sampling_offsets
    directions = offsets.bias.view(8, 3, 4, 2)
    assert torch.equal(directions[:, 0], directions[:, 2])
    torch.testing.assert_close(directions[:, 0, 3], 4 * directions[:, 0, 0])
    eight = torch.tensor([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1.0]])
    torch.testing.assert_close(directions[:, 0, 0], eight, atol=1e-6, rtol=0)
    assert not offsets.weight.any()


@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_maps_keep_their_sizes(size):
    model = foreign.network(foreign.MASK2FORMER)
    image = torch.randint(0, 256, (2, 3, *size))
    with torch.no_grad():
        features = model.backbone(model.normalize(image))
        mask_features, levels = model.pixel_decoder(features)
    assert mask_features.shape == (2, 32, *features[0].shape[2:])
    assert [x.shape for x in levels] == [(2, 64, *f.shape[2:]) for f in features[:0:-1]]


def test_gradients_reach_every_parameter():
    model = foreign.network(foreign.MASK2FORMER).train()
    output = model(torch.randint(0, 256, (2, 3, 64, 64)))
    (output.class_logits.square().mean() + output.mask_logits.square().mean()).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_bfloat16_places_samples_as_single_precision_does():
    model = foreign.network(foreign.MASK2FORMER)
    layer = model.pixel_decoder.transformer.encoder.layers[0].self_attn
    seen = []
    layer.sampling.register_forward_hook(lambda _, inputs, __: seen.append(inputs))
    image = torch.randint(0, 256, (1, 3, 96, 128), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(image)
    assert [x.dtype for x in seen[0][:3]] == [torch.float32] * 3


def test_evaluation_gives_the_last_training_prediction():
    model = foreign.network(foreign.MASK2FORMER)
    image = torch.randint(0, 256, (2, 3, 64, 64))
    with torch.no_grad():
        last = model(image)
        model.decoder.training = True
        every = model(image)
    rounds = foreign.MASK2FORMER.decoder_layers + 1
    assert last.class_logits.shape == (1, 2, 12, foreign.CLASSES + 1)
    assert every.mask_logits.shape == (rounds, 2, 12, 16, 16)
    torch.testing.assert_close(every.class_logits[-1:], last.class_logits)
    torch.testing.assert_close(every.mask_logits[-1:], last.mask_logits)
    assert not torch.allclose(every.mask_logits[-2], every.mask_logits[-1], atol=0.1)


def test_an_inner_prediction_is_that_of_a_shorter_decoder():
    model = foreign.network(foreign.MASK2FORMER)
    shorter = build_model(
        dataclasses.replace(foreign.MASK2FORMER, decoder_layers=2), num_classes=foreign.CLASSES
    ).eval()
    shorter.load_state_dict({n: model.state_dict()[n] for n in shorter.state_dict()})
    image = torch.randint(0, 256, (1, 3, 64, 64))
    with torch.no_grad():
        model.decoder.training = True
        torch.testing.assert_close(model(image).mask_logits[2], shorter(image).mask_logits[0])
