import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from calibration.fp16 import cast_file, main, to_fp16
from calibration.rewrite.edit import element_types
from emca.errors import UserError
from plugins import OP_TYPE
from runtime.backends.base import ModelFile


@pytest.fixture(scope="module")
def half(scores_model):
    return to_fp16(scores_model)


def test_scores_stay_close(half, scores_model, scenes, run):
    expected, actual = run(scores_model, scenes[6:]), run(half, scenes[6:])
    assert actual.dtype == np.float32
    assert np.corrcoef(expected.ravel(), actual.ravel())[0, 1] > 0.9995
    assert expected.std() > 0.1


def test_labels_stay(labels_model, scenes, run):
    expected, actual = run(labels_model, scenes[6:]), run(to_fp16(labels_model), scenes[6:])
    assert actual.dtype == np.uint8
    assert np.bincount(expected.ravel()).max() < 0.6 * expected.size  # more than one class
    assert (expected == actual).mean() > 0.98


def test_openvino_runs_it(half, scores_model, scenes, run, compile_openvino):
    actual = next(iter(compile_openvino(half)(scenes[7][None]).values()))
    expected = run(scores_model, scenes[7:8])
    assert np.corrcoef(expected.ravel(), actual.ravel())[0, 1] > 0.9995


def test_tensorrt_builds_it_for_a_t4(labels_model, build_with_tensorrt):
    engine = build_with_tensorrt(to_fp16(labels_model), "fp16", "7.5")
    assert {ran for _, ran in engine} == {"fp16"}
    assert engine["convolution", "fp16"] > 10
    assert engine["matrix product", "fp16"] > 10


def test_types_are_consistent_and_layers_run_in_half(half):
    onnx.checker.check_model(half, full_check=True)
    onnx.shape_inference.infer_shapes(half, strict_mode=True)
    types = element_types(half)
    assert types["image"] == TensorProto.UINT8
    for node in half.graph.node:
        floats = {types[name] for name in node.input if name} & {
            TensorProto.FLOAT,
            TensorProto.FLOAT16,
        }
        if node.op_type in {"Conv", "MatMul", OP_TYPE}:
            assert floats == {TensorProto.FLOAT16}, node.name
        if node.op_type in {"LayerNormalization", "ReduceL2", "Softmax", "Div"}:
            assert floats == {TensorProto.FLOAT}, node.name


def test_the_function_stays(half, scores_model):
    assert [function.name for function in half.functions] == [OP_TYPE]
    assert half.functions == scores_model.functions


def test_file_is_half_as_large_and_says_what_it_is(file, scenes):
    target = file.with_name("half.onnx")
    words = cast_file(file, target)
    assert float(words.split()[5]) > 97
    assert target.stat().st_size < 0.75 * file.stat().st_size
    card = ModelFile.read(target).card
    assert card.precision == "fp16"
    assert len(card.source_sha256) == 64


def test_command_line(file, capsys):
    main([str(file), "--data", "scenes:n=1"])
    target = file.with_name("model.fp16.onnx")
    assert target.is_file()
    assert capsys.readouterr().out.startswith(f"{target}: labels agree with FP32 on 9")
    with pytest.raises(UserError, match="is fp16 already"):
        main([str(target)])


def test_cast_and_quantised_graphs_are_refused(half, int8_scores):
    with pytest.raises(UserError, match="is in FP16 already"):
        to_fp16(half)
    with pytest.raises(UserError, match="is quantised already"):
        to_fp16(int8_scores)


def test_a_missing_file_is_one_line(tmp_path):
    command = [sys.executable, "-m", "calibration.fp16", str(tmp_path / "none.onnx")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "none.onnx" in result.stderr


def test_torch_is_not_needed():
    code = "import sys, calibration.fp16, calibration.int8; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr
