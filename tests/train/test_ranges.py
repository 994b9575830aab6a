import math
import os
import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from emca.errors import UserError
from train.data import Batch
from train.models.fake_quantize import quantize_layer
from train.ranges import FOLLOWING, MOMENTUM, agree, follow, observe


@pytest.fixture
def layer():
    layer = nn.Conv2d(3, 2, 1)
    quantize_layer(layer)
    return layer.train()


def batches(*values):
    made = [
        Batch(torch.full((2, 3, 4, 4), value), torch.zeros(2, 4, 4), [0, 0]) for value in values
    ]
    return DataLoader(made, batch_size=None)


def test_the_observed_range_is_the_mean_of_the_maxima(layer):
    observe(layer, batches(1.0, -4.0, 2.5), Accelerator(cpu=True))
    quantizer = layer.input_quantizer
    torch.testing.assert_close(quantizer.range, torch.tensor(2.5))
    assert (quantizer.observes, quantizer.momentum) == (False, 0.0)


def test_ranges_follow_for_a_share_of_the_training_and_then_stay(layer):
    quantizer = layer.input_quantizer
    quantizer.range.fill_(1.0)
    follow(layer, FOLLOWING - 0.01)
    layer(torch.full((1, 3, 1, 1), 2.0))
    torch.testing.assert_close(quantizer.range, torch.tensor(1 + MOMENTUM))
    follow(layer, FOLLOWING)
    layer(torch.full((1, 3, 1, 1), 2.0))
    torch.testing.assert_close(quantizer.range, torch.tensor(1 + MOMENTUM))


def test_one_process_agrees_with_itself(layer):
    layer.input_quantizer.range.fill_(3.0)
    agree(layer, Accelerator(cpu=True))
    assert layer.input_quantizer.range == 3
    assert agree(nn.Linear(1, 1), Accelerator(cpu=True)) == 0


def test_ranges_that_are_not_finite_are_found(layer):
    with pytest.raises(
        UserError, match="a range of INT8 is nan on the training data; give another"
    ):
        observe(layer, batches(1.0, float("inf")), Accelerator(cpu=True))
    layers = nn.Sequential(layer, nn.Conv2d(2, 2, 1))
    quantize_layer(layers[1])
    layer.input_quantizer.range.fill_(float("nan"))
    layers[1].input_quantizer.range.fill_(9.0)
    assert math.isnan(agree(layers, Accelerator(cpu=True)))


PROBE = """
from accelerate import Accelerator
from torch import nn
from train.models.fake_quantize import quantize_layer
from train.ranges import agree
accelerator = Accelerator()
layers = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Linear(2, 2))
agree(layers, accelerator)
for layer in layers:
    quantize_layer(layer)
    layer.input_quantizer.range.fill_(1 + 2 * accelerator.process_index)
agree(layers, accelerator)
assert [float(layer.input_quantizer.range) for layer in layers] == [2, 2]
accelerator.end_training()
"""


def test_processes_agree_on_the_mean(tmp_path):
    probe = tmp_path / "probe.py"
    probe.write_text(PROBE)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    done = subprocess.run(
        [sys.executable, *launcher, str(probe)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
