from pathlib import Path

import pytest

from emca.errors import UserError
from runtime.comparison import sweep_set
from runtime.comparison.sweep_set import read_set

TEXT = """
base: demo
data: "scenes:n=4:val"
set:
  eval_size: [64, 96]
  model: {conv_dim: 32, backbone_weights: null}
  loss.num_points: 128
variants:
  EMCA: []
  mean prototype: [model.prototype=mean]
  nothing: null
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "set.yaml"
        path.write_text(text.replace("  nothing: null\n", ""))
        return str(path)

    return write


def test_a_set_becomes_words_for_the_training(written):
    plan = read_set(written(TEXT))
    assert plan.base == "demo"
    assert plan.base_file is not None
    assert plan.base_file.name == "demo.yaml"
    assert plan.data == "scenes:n=4:val"
    common = [
        *("eval_size=64x96", "model.conv_dim=32", "model.backbone_weights="),
        "loss.num_points=128",
    ]
    assert plan.overrides("EMCA") == common
    assert plan.overrides("mean prototype") == [*common, "model.prototype=mean"]


def test_the_command_line_replaces_what_is_common(written):
    words = ["loss.num_points=64", "iterations=3", "val_data=camvid:x:val"]
    plan = read_set(written(TEXT), words)
    assert plan.overrides("mean prototype")[3:] == [*words, "model.prototype=mean"]
    assert plan.data == "camvid:x:val"


def test_data_of_the_comparison_may_be_those_of_the_validation(written):
    lines = TEXT.replace('data: "scenes:n=4:val"', "").replace("set:", "set:\n  val_data: a:b")
    assert read_set(written(lines)).data == "a:b"
    assert read_set(written("base: x\nvariants: {a: []}")).data is None
    assert read_set(written("base: x\nvariants: {a: []}")).base_file is None


def test_sets_that_come_along_are_known_by_name():
    folder = Path(sweep_set.__file__).resolve().parents[2] / "train" / "configs" / "sets"
    names = [path.stem for path in folder.glob("*.yaml")]
    assert "ablation" in names
    for name in names:
        plan = read_set(name)
        assert plan.base_file is not None
        assert plan.data
        assert len(plan.variants) > 1
    words = {word for own in read_set("ablation").variants.values() for word in own}
    assert {
        *("model.prototype=mean", "model.interaction=identity", "model.cross_attention=masked"),
        *("model.pixel_decoder=msdeform", "model.pixel_decoder=pem"),
    } <= words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "must hold 'key: value' lines"),
        ("base: [", "is not YAML"),
        ("bases: demo", r"unknown key 'bases' \(did you mean \"base\"\?\)"),
        ("variants: {a: []}", "'base' must name a preset"),
        ("base: demo", "'variants' must hold lines of the form NAME"),
        ("base: demo\nvariants: {}", "'variants' must hold"),
        ("base: demo\nvariants: {a/b: []}", "'a/b' cannot name a variant"),
        ("base: demo\nvariants: {..: []}", "'..' cannot name a variant"),
        ("base: demo\nvariants: {a=b: []}", "'a=b' cannot name a variant"),
        ("base: demo\nvariants: {a: x=1}", r"variant 'a' must be a list \[key=value"),
        ("base: demo\nvariants: {a: [seed]}", "'seed' is not of the form key=value"),
        ("base: demo\nvariants: {a: [x=1], b: [x=1]}", "variants 'a' and 'b' are the same"),
        ("base: demo\nset: [a]\nvariants: {a: []}", "'set' must hold"),
        ("base: demo\ndata: [a]\nvariants: {a: []}", "'data' must be NAME:PATH:SPLIT"),
    ],
)
def test_what_is_wrong_is_named(written, text, message):
    with pytest.raises(UserError, match=message):
        read_set(written(text))


def test_unknown_names_and_words(written):
    with pytest.raises(UserError, match=r"no set or file 'ablations' .*\"ablation\""):
        read_set("ablations")
    with pytest.raises(UserError, match="the command line: '=3' is not of the form key=value"):
        read_set(written(TEXT), ["=3"])


def test_without_pyyaml_the_remedy_is_said(written, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UserError, match="pip install pyyaml"):
        read_set(written(TEXT))
