from dataclasses import replace

import numpy as np
import onnx
import pytest
from quantised import Quantised

from calibration.estimate.devices import Device, find_device
from calibration.fp16 import to_fp16
from calibration.roofline import estimate, main, milliseconds
from emca.errors import UserError
from runtime.graph.flops import count

# Peaks that make hand calculation easy.
WHOLE = {"int8": 1.0, "fp16": 1.0, "fp32": 1.0, "memory": 1.0}
PLAIN = Device("plain", 1, 10, 20, 100, "made up", efficiency=WHOLE, launch_us=0.1, fill_us=0.2)
T4 = find_device("t4")

PIXELS = 16 * 16
OPERATIONS = 2 * 32 * 32 * 9 * PIXELS  # of a 3x3 convolution of 32 channels


def lone(*, int8, channels, size):
    """Three convolutions with Relu, the middle one in INT8 or all in FP16."""
    b = Quantised(channels, size)
    x = b.node("Relu", b.conv("x"))
    x = b.node("Relu", b.conv(b.quantised(x) if int8 else x, int8=int8))
    return b.model(b.conv(x))


def test_fp16_convolution_by_hand():
    b = Quantised()
    (cost,) = estimate(b.model(b.node("Relu", b.conv("x"))), PLAIN)
    assert (cost.op, cost.format, cost.flops) == ("Conv", "fp16", OPERATIONS)
    assert cost.bytes == 2 * (2 * 32 * PIXELS + 32 * 32 * 9)
    compute, memory = OPERATIONS / 10e6, cost.bytes / 100e3
    assert memory > compute
    assert cost.microseconds == pytest.approx(memory + 0.3)
    assert cost.bound == "memory"
    assert cost.outputs == ("Conv0", "Relu1")


@pytest.mark.parametrize(("quantised_output", "size"), [(True, 1), (False, 2)])
def test_int8_convolution_by_hand(quantised_output, size):
    b = Quantised()
    y = b.conv(b.quantised("x"), int8=True)
    model = b.model(b.node("Relu", b.quantised(y)) if quantised_output else y)
    cost = next(cost for cost in estimate(model, PLAIN) if cost.op == "Conv")
    assert (cost.format, cost.flops) == ("int8", OPERATIONS)
    assert cost.bytes == (1 + size) * 32 * PIXELS + 32 * 32 * 9
    compute, memory = OPERATIONS / 20e6, cost.bytes / 100e3
    assert cost.microseconds == pytest.approx(max(compute, memory) + 0.3)


def test_kernel_that_only_quantises_counts_as_int8_and_is_not_charged_for_filling():
    b = Quantised()
    cost = estimate(b.model(b.conv(b.quantised("x"), int8=True)), PLAIN)[0]
    assert (cost.op, cost.format, cost.flops) == ("QuantizeLinear", "int8", 0)
    assert cost.bytes == 3 * 32 * PIXELS
    assert cost.microseconds == pytest.approx(3 * 32 * PIXELS / 100e3 + 0.1)


def test_small_int8_layer_alone_among_fp16_layers_is_slower_than_fp16():
    in_int8 = milliseconds(estimate(lone(int8=True, channels=32, size=32), T4))
    assert in_int8 > milliseconds(estimate(lone(int8=False, channels=32, size=32), T4))


def test_large_int8_layer_alone_is_faster_than_fp16():
    in_int8 = milliseconds(estimate(lone(int8=True, channels=512, size=64), T4))
    assert in_int8 < milliseconds(estimate(lone(int8=False, channels=512, size=64), T4))


@pytest.mark.parametrize(
    ("shape", "speedup"),
    [
        ({"before": 32, "after": 32}, 2),
        ({"before": 16, "after": 32}, 1),  # padded to 32 channels
        ({"before": 8, "after": 8}, 0.4),  # on the ordinary cores
    ],
)
def test_int8_gains_nothing_where_channels_are_few(shape, speedup):
    device = replace(PLAIN, bandwidth_gbs=1e9, launch_us=0, fill_us=0)
    times = []
    for int8 in (False, True):
        b = Quantised(shape["before"])
        x = b.quantised("x") if int8 else "x"
        costs = estimate(b.model(b.conv(x, int8=int8, **shape)), device)
        times.append(next(cost.microseconds for cost in costs if cost.op == "Conv"))
    assert times[0] / times[1] == pytest.approx(speedup, rel=1e-3)


def test_depthwise_convolution_runs_at_the_rate_of_fp32():
    b = Quantised()
    device = replace(PLAIN, bandwidth_gbs=1e9, launch_us=0, fill_us=0)
    (cost,) = estimate(b.model(b.conv("x", group=32)), device)
    assert cost.microseconds == pytest.approx(2 * 32 * 9 * PIXELS / 1e6, rel=1e-3)


def test_operations_are_those_that_flops_counts(scores_model, int8_scores):
    total = count(scores_model).total_flops
    assert total > 0
    for model in (scores_model, to_fp16(scores_model), int8_scores):
        # What depends on constants alone is no kernel, and the queries are constant here.
        assert 0.9 * total < sum(cost.flops for cost in estimate(model, T4)) <= total


def test_narrower_formats_are_faster_where_launches_are_free(scores_model, int8_scores):
    device = replace(T4, launch_us=0, fill_us=0)
    models = scores_model, to_fp16(scores_model), int8_scores
    times = [milliseconds(estimate(model, device)) for model in models]
    assert times[0] > 1.5 * times[1]
    assert times[1] > 1.05 * times[2]


def test_faster_devices_take_less_time(int8_scores):
    before = milliseconds(estimate(int8_scores, T4))
    for change in (
        {"bandwidth_gbs": 640},
        {"int8_tops": 260},
        {"fp16_tflops": 130},
        {"fp32_tflops": 16.2},
        {"launch_us": 2.5},
        {"fill_us": 4},
    ):
        assert milliseconds(estimate(int8_scores, replace(T4, **change))) <= before
    twice = replace(T4, bandwidth_gbs=640, fp32_tflops=16.2, fp16_tflops=130, int8_tops=260)
    half = replace(twice, launch_us=2.5, fill_us=4)
    assert milliseconds(estimate(int8_scores, half)) == pytest.approx(before / 2)


def test_open_size_is_refused():
    b = Quantised()
    model = b.model(b.conv("x"))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(UserError, match="is open; export the model with a fixed input size"):
        estimate(model, T4)


def test_command_prints_total_shares_and_the_most_expensive_kernels(tmp_path, capsys, int8_scores):
    path = tmp_path / "model.onnx"
    onnx.save(int8_scores, path)
    main([str(path), "--device", "orin-nano"])
    lines = capsys.readouterr().out.splitlines()
    costs = estimate(int8_scores, find_device("orin-nano"))
    assert lines[0].startswith("estimated, not measured: orin-nano")
    assert lines[1] == f"{milliseconds(costs):.2f} ms in {len(costs)} kernels"
    assert [line.split()[0] for line in lines[2:5]] == ["INT8", "FP16", "FP32"]
    shares = [float(line.split()[-1].rstrip("%")) for line in lines[2:5]]
    assert sum(shares) == pytest.approx(100, abs=2)
    shown = [float(line.split()[0]) for line in lines[5:]]
    assert shown == sorted(shown, reverse=True)
    assert np.isclose(shown[0], max(cost.microseconds for cost in costs), atol=0.06)
    assert len(shown) == 10


def test_command_refuses_what_is_no_model(tmp_path):
    (tmp_path / "model.onnx").write_text("no model")
    with pytest.raises(UserError, match=r"model\.onnx"):
        main([str(tmp_path / "model.onnx")])
