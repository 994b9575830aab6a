from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from emca.errors import UserError
from runtime.backends import ModelFile
from runtime.backends.base import checked


def test_reads_card_and_input_shape(toys):
    file = ModelFile.read(toys.model(batch="N"))
    assert file.card.classes == toys.classes
    assert file.input_shape == (None, *toys.size, 3)
    assert ModelFile.read(toys.model()).input_shape == (1, *toys.size, 3)


def test_missing_file_is_named(toys):
    with pytest.raises(UserError, match=r"gone\.onnx: cannot read the model \(No such file"):
        ModelFile.read(toys.folder / "gone.onnx")


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.95])
def test_truncated_file_is_refused(toys, kept):
    path = toys.model()
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(UserError, match=r"model\.onnx .*export"):
        ModelFile.read(path)


def test_other_file_is_refused(toys):
    path = toys.folder / "notes.onnx"
    path.write_text("these are notes\n")
    with pytest.raises(UserError, match=r"notes\.onnx .*export it again"):
        ModelFile.read(path)


def test_other_producer_is_refused(toys):
    path = toys.model()
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"model\.onnx was not written by export\.to_onnx"):
        ModelFile.read(path)


@pytest.mark.parametrize(
    "input_",
    ["float[1,48,64,3] image", "uint8[1,48,64,3] x", "uint8[1,3,48,64] image", "uint8 image"],
)
def test_other_input_is_refused(toys, input_):
    card = ModelFile.read(toys.model()).card
    name = input_.split()[-1]
    text = '<ir_version: 9, opset_import: ["" : 18]> g (%s) => (float y) { y = Cast<to = 1>(%s) }'
    model = parser.parse_model(text % (input_, name))
    onnx.helper.set_model_props(model, card.to_props())
    path = toys.folder / "odd.onnx"
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"one input `image`, uint8 \[N,H,W,3\]"):
        ModelFile.read(path)


FIXED, DYNAMIC, PATH = (1, 48, 64, 3), (None, 48, 64, 3), Path("model.onnx")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 32, 64, 3), "uint8"), ((1, 48, 64, 3), "float32"), ((48, 64, 3), "uint8")],
)
def test_batch_that_does_not_fit_names_both_shapes(shape, dtype):
    with pytest.raises(UserError) as error:
        checked(np.zeros(shape, dtype), FIXED, PATH)
    assert "model.onnx takes images of uint8 [1, 48, 64, 3]" in str(error.value)
    assert f"{dtype} {list(shape)}" in str(error.value)


def test_fixed_batch_is_checked_and_dynamic_batch_is_free():
    two = np.zeros((2, 48, 64, 3), np.uint8)
    with pytest.raises(UserError, match=r"\[1, 48, 64, 3\], got uint8 \[2, 48, 64, 3\]"):
        checked(two, FIXED, PATH)
    assert checked(two, DYNAMIC, PATH) is two
    with pytest.raises(UserError, match=r"\[N, 48, 64, 3\], got uint8 \[0,"):
        checked(two[:0], DYNAMIC, PATH)


def test_views_become_contiguous():
    images = np.arange(48 * 64 * 3).reshape(FIXED).astype(np.uint8)
    result = checked(images[:, :, ::-1], FIXED, PATH)
    assert result.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(result[:, :, ::-1], images)
