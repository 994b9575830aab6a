import pytest
import torch
from torch import nn

from train.models import build_model
from train.optimizer import WeightAverage, build_optimizer, learning_rate, set_learning_rate


def test_every_parameter_has_one_group_with_the_right_decay_and_rate(tiny):
    tiny.backbone_factor = 0.1
    model = build_model(tiny.model, num_classes=4)
    optimizer = build_optimizer(model, tiny)
    set_learning_rate(optimizer, 1e-3)
    rates, decays = {}, {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in rates
            rates[id(parameter)], decays[id(parameter)] = group["lr"], group["weight_decay"]
    for name, parameter in model.named_parameters():
        expected = 1e-4 if name.startswith("backbone") else 1e-3
        assert rates[id(parameter)] == pytest.approx(expected), name
        plain = parameter.ndim == 1 or name.endswith(("alpha",)) or "query_" in name.split(".")[1]
        plain = plain or "level_embed" in name
        assert decays[id(parameter)] == (0.0 if plain else tiny.weight_decay), name


def test_poly_and_cosine_end_at_zero_after_a_linear_warmup(tiny):
    tiny.iterations, tiny.warmup_iterations, tiny.learning_rate = 1000, 10, 1.0
    for schedule, halfway in (("poly", 0.5**0.9), ("cosine", 0.5)):
        tiny.schedule = schedule
        rates = [learning_rate(tiny, step) for step in range(1000)]
        assert rates[0] == pytest.approx(0.1)
        assert rates[500] == pytest.approx(halfway)
        assert 0 < rates[-1] < 0.01
        assert max(rates) == max(rates[:15])


def test_the_average_follows_early_and_smooths_late():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        average.state["0.weight"].fill_(0.0)
        average.update(model, 0)
    assert average.state["0.weight"].item() == pytest.approx(0.9)
    average.state["0.weight"].fill_(0.0)
    average.update(model, 10_000)
    assert average.state["0.weight"].item() == pytest.approx(0.1)
    model[1].num_batches_tracked += 7
    average.update(model, 10_000)
    assert average.state["1.num_batches_tracked"] == 7
