"""A small ONNX model from its text."""

import numpy as np
import onnx
from onnx import numpy_helper

# Inputs and outputs, and weights, of matrix products.
TOKENS = "float[1,5,8] x", "float[1,5,5] y"
LINEAR = {"v1": (8, 8), "v2": (8, 8), "v3": (8, 8)}


def parse(body, inputs, output, **weights):
    """The model that computes `body`; `weights` are shapes of random constants."""
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 18, "emca" : 1]> '
        f"net ({inputs}) => ({output}) {{ {body} }}"
    )
    rng = np.random.default_rng(0)
    for name, shape in weights.items():
        value = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model
