from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import parser

from runtime.backends.ov.argmax import replace_argmax
from runtime.backends.ov.backend import core


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize(("axis", "keepdims"), [(1, 0), (-1, 1), (0, 1), (2, 0)])
def test_the_lowest_index_of_the_maximum(opset: int, axis: int, keepdims: int) -> None:
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        g (float[3, 7, 5] x) => (int64[] y)
        {{ z = Neg (x)
           y = ArgMax <axis = {axis}, keepdims = {keepdims}> (z) }}
    """)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rewritten = replace_argmax(model)
    assert "ArgMax" not in {node.op_type for node in rewritten.graph.node}
    x = np.random.default_rng(0).integers(0, 3, (3, 7, 5)).astype(np.float32)  # many ties
    answers = [
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for m in (model, rewritten)
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert answers[0].shape == answers[1].shape
    assert answers[1].any()


@pytest.mark.parametrize("axis", [1, 3])
def test_openvino_too_takes_the_lowest(axis: int) -> None:
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[2, 150, 16, 24] x, float[1, 150, 1, 1] one) => (int64[] y)
        {{ z = Mul (x, one)
           y = ArgMax <axis = {axis}, keepdims = 0> (z) }}
    """)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    x = np.random.default_rng(1).integers(0, 9, (2, 150, 16, 24)).astype(np.float32)
    network = core().read_model(replace_argmax(model).SerializeToString())
    compiled = core().compile_model(network, "CPU")
    ours = compiled({"x": x, "one": np.ones((1, 150, 1, 1), np.float32)})[0]
    np.testing.assert_array_equal(ours, x.argmax(axis=axis))


def test_more_places_than_a_byte_counts() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[2, 1000] x) => (int64[2, 1] y)
        { z = Neg (x)
          y = ArgMax <axis = 1> (z) }
    """)
    session = ort.InferenceSession(
        replace_argmax(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(5).random((2, 1000), dtype=np.float32)
    expected = x.argmin(axis=1, keepdims=True)
    assert expected.max() > 255
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], expected)


def test_an_open_batch_stays_open() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[n, 4, 5] x) => (int64[n, 5] y)
        { z = Neg (x)
          y = ArgMax <axis = 1, keepdims = 0> (z) }
    """)
    session = ort.InferenceSession(
        replace_argmax(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for batch in (1, 3):
        x = np.random.default_rng(batch).random((batch, 4, 5), dtype=np.float32)
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], (-x).argmax(axis=1))


def test_what_cannot_be_rewritten_stays() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[3, n] x) => (int64[3, 1] y, int64[1, n] w)
        { z = Neg (x)
          y = ArgMax <axis = 1> (z)
          w = ArgMax <axis = 0, select_last_index = 1> (z) }
    """)
    rewritten = replace_argmax(model)
    assert [node.op_type for node in rewritten.graph.node] == ["Neg", "ArgMax", "ArgMax"]
