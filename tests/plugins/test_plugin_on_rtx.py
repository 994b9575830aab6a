"""NVIDIA's own parser and builder take the plugin, here for a T4 on a machine without a GPU.

They stand in TensorRT-RTX, whose parser decides between plugin and function as TensorRT 11 does.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from one_node import ATTENTION_INPUTS, attention_model
from onnx import TensorProto

from plugins import OP_TYPE

FIXED = ((1, 100, 256), (1, 1024, 256), (1, 100, 1024))
SYMBOLIC = (("B", "M", "C"), ("B", "N", "C"), ("B", "M", "N"))
PROFILE = (
    "query=1x1x32:1x100x256:2x200x512",
    "feature=1x1x32:1x1024x256:2x4096x512",
    "mask_logits=1x1x1:1x100x1024:2x200x4096",
)
ELEMENTS = pytest.mark.parametrize(
    ("element", "kind", "engine_kind"),
    [(TensorProto.FLOAT16, "HALF", "Half"), (TensorProto.FLOAT, "FLOAT", "Float")],
    ids=("fp16", "fp32"),
)


def node_model(shapes=FIXED, *, element=TensorProto.FLOAT16, heads=8, **changed):
    return attention_model(shapes, heads=heads, element=element, **changed)


@pytest.fixture
def build(tmp_path, plugin_library, rtx_environment):
    """`build(model, *options)` -> what build_on_rtx.py reports."""

    def build(model, *options):
        file = tmp_path / "node.onnx"
        onnx.save(model, file)
        script = Path(__file__).with_name("build_on_rtx.py")
        result = subprocess.run(
            [sys.executable, script, file, *options],
            env={**rtx_environment, "EMCA_PLUGIN": str(plugin_library)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return build


def workspace_bytes(engine):
    return [int(x) for x in re.findall(r"_wksp[^,]*, Dimensions: \[(\d+)\]", " ".join(engine))]


def key_bytes(batch, queries, positions, heads):
    """What the kernels keep: 8 bytes for each query, head and chunk of 64 positions."""
    return 8 * batch * queries * heads * -(-positions // 64)


@ELEMENTS
def test_the_node_becomes_one_plugin_layer(build, element, kind, engine_kind):
    report = build(node_model(element=element), "--plugin")
    assert report["network"] == {"PLUGIN_V3": 1}
    assert report["outputs"] == [[[1, 100, 256], kind]] * 2
    assert report["errors"] == []
    (layer,) = report["engine"]
    assert "LayerType: custom_layer" in layer
    tensors = re.findall(r"Name: (\w+), Dimensions.*?Datatype: (\w+), Format: \((\w+)\)", layer)
    expected = (*ATTENTION_INPUTS, "attended", "prototype")
    assert tensors[:5] == [(name, engine_kind, "Linear") for name in expected]
    assert workspace_bytes(report["engine"]) == [key_bytes(1, 100, 1024, 8)]
    assert report["bytes"] > 0
    assert report["kept"]


@ELEMENTS
def test_every_size_may_be_dynamic_and_the_workspace_is_for_the_largest(
    build, element, kind, engine_kind
):
    report = build(node_model(SYMBOLIC, element=element), "--plugin", "--profile", *PROFILE)
    assert report["network"] == {"PLUGIN_V3": 1}
    assert report["outputs"] == [[[-1, -1, -1], kind]] * 2
    assert report["errors"] == []
    assert workspace_bytes(report["engine"]) == [key_bytes(2, 200, 4096, 8)]


def test_without_the_library_the_function_is_built(build):
    report = build(node_model())
    assert "PLUGIN_V3" not in report["network"]
    assert report["network"]["MATRIX_MULTIPLY"] == 1
    assert sum(report["network"].values()) > 10


def test_another_plugin_version_is_silently_the_function_so_layers_are_to_be_counted(build):
    report = build(node_model(plugin_version="2"), "--plugin")
    assert report["errors"] == []
    assert "PLUGIN_V3" not in report["network"]
    assert report["network"]["MATRIX_MULTIPLY"] == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"plugin_version": "2"}, "Plugin not found"),
        ({"num_heads": 0}, "num_heads is 0; expected at least 1"),
        ({"num_heads": 8.0}, 'layer "cross": num_heads is no single INT'),
        ({"num_heads": 7}, "C is 256 and num_heads 7; expected C of 1 to 512"),
    ],
)
def test_a_wrong_attribute_stops_the_parser_where_there_is_no_function(build, changed, reason):
    model = node_model(**changed)
    del model.functions[:]
    report = build(model, "--plugin")
    assert report["network"] == {}
    assert reason in " ".join(report["errors"])


@pytest.mark.parametrize(
    ("shapes", "element", "reason"),
    [
        (
            ((1, 100, 1024), (1, 9, 1024), (1, 100, 9)),
            TensorProto.FLOAT16,
            "C is 1024 and num_heads 8; expected C of 1 to 512, a multiple of num_heads",
        ),
        (
            ((1, 100, 256), (1, 9, 256), (1, 99, 9)),
            TensorProto.FLOAT16,
            "M is 100 in one input and 99 in another",
        ),
        (
            ((1, 100, 256), (2, 9, 256), (1, 100, 9)),
            TensorProto.FLOAT16,
            "B is 1 in one input and 2 in another",
        ),
        (
            ((100, 256), (9, 256), (100, 9)),
            TensorProto.FLOAT16,
            "have 2, 2 and 2 dimensions; expected [B,M,C], [B,N,C] and [B,M,N]",
        ),
        (FIXED, TensorProto.INT32, "expected FP32 (0) or FP16 (1) for all three"),
    ],
)
def test_inputs_that_do_not_fit_stop_the_parser(build, shapes, element, reason):
    report = build(node_model(shapes, element=element), "--plugin")
    assert report["network"] == {}
    assert f"emca {OP_TYPE}: " in " ".join(report["errors"])
    assert reason in " ".join(report["errors"])


def test_a_profile_that_the_kernels_do_not_take_stops_the_builder(build):
    wide = [entry.replace("x512", "x1024") for entry in PROFILE]
    report = build(node_model(SYMBOLIC), "--plugin", "--profile", *wide)
    assert report["bytes"] == 0
    assert "query [2,200,1024], feature [2,4096,1024]" in " ".join(report["errors"])
