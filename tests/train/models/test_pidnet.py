"""The expected numbers were printed by the released code (XuJiacong/PIDNet, models/pidnet.py) for
the weights of `filled` under its own names and the normalised image of `picture`."""

import pytest
import torch

from emca.errors import UserError
from train.models.pidnet import build_pidnet
from train.pixel_loss import PixelLoss

NAMES = ("pidnet_s", "pidnet_m", "pidnet_l")

# For 19 classes: with the heads of training, and without.
PARAMETERS = {
    "pidnet_s": (7_720_935, 7_625_715),
    "pidnet_m": (28_763_111, 28_538_515),
    "pidnet_l": (37_314_311, 36_939_571),
}

# Scores, auxiliary and boundary logits: three values, standard deviation, mean.
RELEASED = {
    "pidnet_s": (
        ((9.1271, 11.9032, 10.8587), 20.749, 6.1004),
        ((-0.8572, 1.0641, 1.7612), 3.8641, 0.7467),
        ((0.3289, -0.5045, 0.1988), 0.3627, -0.0349),
    ),
    "pidnet_m": (
        ((4.4336, 57.6539, 45.8698), 37.0811, 16.8137),
        ((2.9857, 2.283, 2.1783), 3.0747, 0.7021),
        ((0.7305, 1.0016, -0.5432), 0.7888, 0.3398),
    ),
    "pidnet_l": (
        ((18.5086, 6.568, 6.659), 7.3217, -0.385),
        ((4.2033, 3.3115, 3.2657), 3.2372, -0.0078),
        ((2.7809, 5.0706, 2.2462), 2.0227, 2.0192),
    ),
}


def pattern(shape, seed):
    """The same numbers in -0.5..0.5 on any machine."""
    index = torch.arange(torch.Size(shape).numel())
    return ((index * 7919 + seed * 31) % 1013 / 1012 - 0.5).view(shape)


def filled(state):
    """Weights that depend on the released name and the shape alone."""
    out = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            out[name] = tensor
            continue
        value = pattern(tensor.shape, len(name.partition(".")[2]))
        if tensor.ndim == 4:
            value *= (12 / tensor[0].numel()) ** 0.5
        elif name.endswith(("weight", "running_var")):
            value += 1
        out[name] = value
    return out


def picture(size=(64, 96)):
    return ((torch.arange(3 * size[0] * size[1]) * 7919) % 256).view(1, 3, *size).to(torch.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_released_code(name):
    model = build_pidnet(name=name, num_classes=4).eval()
    model.load_state_dict(filled(model.state_dict()))
    model.head.training = True  # all three heads, with the statistics of evaluation
    with torch.no_grad():
        predictions = model(picture())
    for logits, (values, std, mean) in zip(predictions, RELEASED[name], strict=True):
        got = torch.tensor([*logits[0, 0, 3, ::4], logits.std(), logits.mean()])
        torch.testing.assert_close(got, torch.tensor([*values, std, mean]), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts(name):
    model = build_pidnet(name=name, num_classes=19)
    total = sum(p.numel() for p in model.parameters())
    heads = sum(p.numel() for n, p in model.named_parameters() if n.startswith("head.seghead_"))
    assert (total, total - heads) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["pidnet_s", "pidnet_l"])
@pytest.mark.parametrize("size", [(64, 96), (75, 101), (32, 32)])
def test_any_size(name, size):
    model = build_pidnet(name=name, num_classes=5).eval()
    with torch.no_grad():
        predictions = model(picture(size))
    assert predictions.scores.shape == (1, 5, -(-size[0] // 8), -(-size[1] // 8))
    assert predictions.scores.isfinite().all()
    assert predictions.auxiliary is None
    assert predictions.boundary is None


@pytest.mark.parametrize("name", ["pidnet_s", "pidnet_l"])
def test_gradient_reaches_every_parameter(name):
    torch.manual_seed(0)
    model = build_pidnet(name=name, num_classes=3).train()
    labels = torch.zeros(2, 75, 101, dtype=torch.uint8)
    labels[:, 20:50, 30:80] = 1
    labels[1, 60:, :40] = 2
    predictions = model(torch.rand(2, 3, 75, 101) * 255)
    assert predictions.scores.shape == predictions.auxiliary.shape == (2, 3, 10, 13)
    assert predictions.boundary.shape == (2, 1, 10, 13)
    sum(PixelLoss(ohem_threshold=0.9)(predictions, labels, [0, 1]).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    model = build_pidnet(name="pidnet_s", num_classes=2).train()
    labels = torch.zeros(2, 64, 96, dtype=torch.uint8)
    labels[:, 16:48, 30:80] = 1
    image = 100.0 * labels.unsqueeze(1) + torch.rand(2, 3, 64, 96) * 50
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9)
    loss = PixelLoss(ohem_threshold=0.9)
    history = []
    for _ in range(25):
        terms = loss(model(image), labels, [0, 1])
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        history.append({name: value.item() for name, value in terms.items()})
    for name, value in history[-1].items():
        assert value < 0.5 * history[0][name], name


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r"model\.backbone=pidnet_x.*pidnet_s, pidnet_m, pidnet_l"):
        build_pidnet(name="pidnet_x", num_classes=5)
