import pytest
import torch
from torch import nn

from emca.errors import UserError
from train.initialise import initialise


def net(classes=4):
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5))
    model.head = nn.Linear(5, classes)
    model.extra = nn.Linear(2, 2)
    return model


def test_what_fits_is_taken_and_the_rest_is_named():
    model, other = net(), net(classes=7)
    del other.extra
    state = {**other.state_dict(), "alien.weight": torch.ones(3)}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    account = initialise(model, state, "zoo.pkl").splitlines()
    assert account == [
        "init=zoo.pkl: 7 of 11 tensors taken",
        "  starts fresh: head.weight (1 tensors), another shape: 'head.weight' is (7, 5) there, "
        "(4, 5) here",
        "  starts fresh: head.bias (1 tensors), another shape: 'head.bias' is (7,) there, "
        "(4,) here",
        "  starts fresh: extra.weight (1 tensors), not in the checkpoint",
        "  starts fresh: extra.bias (1 tensors), not in the checkpoint",
    ]
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name] if "backbone" in name else before[name]), name


def test_a_checkpoint_of_its_own_fills_all():
    model, other = net(), net()
    assert initialise(model, other.state_dict(), "a") == "init=a: 11 of 11 tensors taken"
    assert torch.equal(model.head.weight, other.head.weight)


def test_half_precision_is_taken_too():
    model, other = net(), net().half()
    initialise(model, other.state_dict(), "a")
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, other.head.weight.float())


def test_nothing_that_fits_is_an_error_even_where_vectors_do():
    state = {"head.bias": torch.ones(4), "head.weight": torch.ones(9, 5), "x": torch.ones(2, 2)}
    with pytest.raises(UserError, match=r"init=zoo\.pkl: none of its 3 tensors fits this model"):
        initialise(net(), state, "zoo.pkl")
