"""What of `make gpu-check` can be tried without a GPU."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from plugins.reference import prototype_attention

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import gpu_backends
import gpu_check
import gpu_kernels
import gpu_models

from emca.cli import run


def test_the_unfused_operator_is_the_same_operator():
    query, feature, mask = (x.float() for x in gpu_kernels.random_inputs(50, "cpu"))
    attended, prototype = gpu_kernels.unfused(query, feature, mask, 8)
    expected = prototype_attention(query.numpy(), feature.numpy(), mask.numpy(), 8)
    np.testing.assert_array_equal(prototype.numpy(), expected[1])
    np.testing.assert_allclose(attended.numpy(), expected[0], rtol=1e-6)


def test_kernels_take_the_place_of_every_prototype_attention():
    from untrained import model_config, network

    config = model_config("demo", decoder_layers=3)
    model = network(config)
    replaced = gpu_models.with_kernels(model, kernels=lambda q, f, m, h: (torch.zeros_like(q),) * 2)
    names = [type(module).__name__ for module in replaced.modules()]
    assert names.count("KernelAttention") == 3
    assert "PrototypeAttention" not in names
    assert "PrototypeAttention" in [type(module).__name__ for module in model.modules()]
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(
            replaced(image).class_logits[-1], model.eval()(image).class_logits[-1]
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_backend_that_does_not_run_says_why():
    found = gpu_backends.measure(None, None, (64, 64))
    assert found["model"] == "ade20k_resnet50"
    assert sorted(found["backends"]) == [
        "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt", "tensorrt-rtx",
    ]  # fmt: skip
    for reason in found["backends"].values():
        assert reason.startswith("not run: ")
        assert "\n" not in reason


def test_shares_of_the_bound():
    line = {"cold_us": 10.0, "bound_us": 2.0, "two_empty_launches_us": 5.0}
    assert gpu_check.shares([line])[0] == {
        **line,
        "bound_percent": 20.0,
        "bound_with_launches_percent": 50.0,
    }


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (0, "x\n========= ERROR SUMMARY: 0 errors\n", "0 errors"),
        (
            0,
            "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)",
            "0 hazards displayed (0 errors, 0 warnings)",
        ),
        (1, "========= Error: Device not supported\n", "not run: exit code 1, Error: Device not"),
        (0, "", "not run: exit code 0, no output"),
    ],
)
def test_sanitizer_results_are_read(code, output, expected):
    assert gpu_check.sanitizer_result(code, output).startswith(expected)


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (9, "========= ERROR SUMMARY: 3 errors"),
        (9, "killed"),
        (0, "========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)"),
    ],
)
def test_what_a_sanitizer_finds_ends_the_check(code, output):
    with pytest.raises(SystemExit, match="compute-sanitizer: "):
        gpu_check.sanitizer_result(code, output)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_line(capsys):
    with pytest.raises(SystemExit) as exit_info:
        run(gpu_check.main, [])
    assert exit_info.value.code == 2
    assert "no CUDA device for PyTorch" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_whole_check_runs(tmp_path):
    target = tmp_path / "gpu.json"
    gpu_check.main(["-o", str(target)])
    assert target.exists()
