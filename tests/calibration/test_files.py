from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration.files import agreement, default_target, write
from emca.errors import UserError
from emca.files import sha256
from runtime.backends.base import ModelFile


def test_default_target_stands_beside_the_source():
    assert default_target(Path("a/model.onnx"), "fp16") == Path("a/model.fp16.onnx")
    assert default_target(Path("b/v1.2.onnx"), "int8") == Path("b/v1.2.int8.onnx")


def test_card_tells_where_the_file_comes_from(file, tmp_path):
    source, target = ModelFile.read_fp32(file), tmp_path / "new" / "model.int8.onnx"
    model = onnx.ModelProto()
    model.CopyFrom(source.proto)
    write(model, target, source, precision="int8", calibration={"method": "minmax"})
    card = ModelFile.read(target).card
    assert card.precision == "int8"
    assert card.source_sha256 == sha256(file)
    assert card.calibration == {"method": "minmax"}
    assert card.classes == source.card.classes
    assert ModelFile.read_fp32(file).card.precision == "fp32"
    with pytest.raises(UserError, match="is int8 already; give the FP32 file"):
        ModelFile.read_fp32(target)


def test_the_source_is_not_overwritten(file):
    source = ModelFile.read_fp32(file)
    with pytest.raises(UserError, match="would overwrite the FP32 file"):
        write(source.proto, file.parent / "." / file.name, source, precision="fp16")


def test_agreement_counts_pixels(file, scenes):
    source = ModelFile.read_fp32(file)
    assert agreement(source, source.proto, scenes[:1]) == (
        "labels agree with FP32 on 100.00 % of pixels (1 image)"
    )
    other = onnx.ModelProto()
    other.CopyFrom(source.proto)
    zero = onnx.numpy_helper.from_array(np.array(0, np.uint8), "zero")
    other.graph.initializer.append(zero)
    other.graph.node[-1].output[0] = "kept"
    other.graph.node.append(onnx.helper.make_node("Mul", ["kept", "zero"], ["labels"]))
    words = agreement(source, other, scenes[:2])
    assert words.endswith("(2 images)")
    assert float(words.split()[5]) < 60


def test_outputs_that_are_not_finite_are_refused(scores_model, tmp_path, scenes):
    path = tmp_path / "scores.onnx"
    onnx.save(scores_model, path)
    source = ModelFile.read_fp32(path)
    assert "largest difference 0 (1 image)" in agreement(source, source.proto, scenes[:1])
    broken = onnx.ModelProto()
    broken.CopyFrom(source.proto)
    broken.graph.node[-1].op_type = "Log"  # of Identity's input, which has zeros
    zero = onnx.numpy_helper.from_array(np.array(0, np.float32), "zero")
    broken.graph.initializer.append(zero)
    name = broken.graph.node[-1].input[0]
    broken.graph.node[-1].input[0] = "nothing"
    broken.graph.node.insert(
        len(broken.graph.node) - 1, onnx.helper.make_node("Mul", [name, "zero"], ["nothing"])
    )
    with pytest.raises(UserError, match="output 'scores' is not finite"):
        agreement(source, broken, scenes[:1])
