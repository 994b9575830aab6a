import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from emca.errors import UserError
from runtime.backends.base import ModelFile
from runtime.backends.onnx_runtime import PROVIDERS, OnnxRuntimeBackend

# A layer as calibration.int8 writes it: it reads and writes INT8, with scales in FP16.
LAYER = """
<ir_version: 9, opset_import: ["" : 19]>
net (uint8[1,4,6,3] image) => (float[1,2,4,6] scores)
<int8 z = {0}, int8[2] wz = {0, 0}>
{
    pixels = Cast <to = 10> (image) planes = Transpose <perm = [0, 3, 1, 2]> (pixels)
    x = Mul (planes, per_255)
    xq = QuantizeLinear (x, xs, z) xd = DequantizeLinear (xq, xs, z)
    wd = DequantizeLinear <axis = 0> (w, ws, wz)
    a = Conv (xd, wd, bias)
    aq = QuantizeLinear (a, ys, z) y = DequantizeLinear (aq, ys, z)
    scores = Cast <to = 1> (y)
}
"""
BIAS = np.array([0.5, -0.75], np.float16)


@pytest.mark.parametrize("step", [2e-6, 1e-4])
def test_a_bias_survives_scales_whose_product_fp16_cannot_hold(toys, step):
    model = onnx.parser.parse_model(LAYER)
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (2, 3, 1, 1)).astype(np.int8)
    steps = np.full(2, step, np.float16)
    scalars = {"xs": 1 / 127, "ys": 1 / 64, "per_255": 1 / 255}
    values = {"w": weight, "ws": steps, "bias": BIAS}
    values.update({name: np.float16(value) for name, value in scalars.items()})
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    file = ModelFile.read(toys.model())
    file = dataclasses.replace(file, proto=model, input_shape=(1, 4, 6, 3))
    image = rng.integers(0, 256, (1, 4, 6, 3), dtype=np.uint8)
    scores = OnnxRuntimeBackend(file).infer(image)["scores"]
    kernel = weight[:, :, 0, 0].astype(np.float32) * steps[:, None].astype(np.float32)
    expected = np.einsum("bhwc,kc->bkhw", image / 255, kernel) + BIAS.reshape(2, 1, 1)
    np.testing.assert_allclose(scores, expected, atol=0.01)


GPU = [name for name in PROVIDERS if name != "onnxruntime"]


@pytest.mark.parametrize("name", GPU)
def test_a_provider_that_cannot_start_is_an_error_and_not_the_cpu(toys, name, capfd):
    file = ModelFile.read(toys.model())
    wanted = PROVIDERS[name][0][0]
    try:
        OnnxRuntimeBackend(file, name=name)
    except UserError as error:
        said = str(error)
    else:
        pytest.skip(f"{wanted} starts here")
    assert "pip install" in said
    assert "onnxruntime-gpu" in said
    if wanted not in onnxruntime.get_available_providers():
        assert said.startswith(f"onnxruntime {onnxruntime.__version__} has no {wanted}; ")
    assert "\n" not in said
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
@pytest.mark.parametrize("name", GPU)
def test_a_provider_labels_as_the_cpu_does(toys, name):
    file = ModelFile.read(toys.model(batch="N"))
    try:
        backend = OnnxRuntimeBackend(file, name=name)
    except UserError as error:
        pytest.skip(str(error))
    assert backend.name == name
    labels = np.stack([toys.stripes(shift=k) for k in range(3)])
    for count in (3, 1):
        result = backend.infer(toys.paint(labels[:count]))["labels"]
        np.testing.assert_array_equal(result, labels[:count])
