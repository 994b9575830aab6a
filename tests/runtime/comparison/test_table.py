from dataclasses import replace
from pathlib import Path

import pytest
from cards import make_card
from engines import write_engine

from runtime.comparison.rows import Row
from runtime.comparison.table import Model, document, entries, markdown, notes, tables
from runtime.graph.flops import COMPONENTS, Cost

CARD = make_card()


def cost(uncounted=(), **flops):
    none = dict.fromkeys(COMPONENTS, 0)
    return Cost(none | flops, none | {"head": 1_500_000}, uncounted)


def row(name, latency, **accuracy):
    return Row(name, "m.onnx", 12.5, latency, 1.1 * latency, 2 * latency, 50, 0.5, 10, **accuracy)


@pytest.fixture
def models():
    first = Model("a|b", Path("a/m.onnx"), CARD, (64, 96), cost(backbone=10**9), "s")
    second = replace(first, name="second", cost=cost(backbone=2 * 10**9, head=3_400_000))
    return [first, second]


@pytest.fixture
def found(models):
    rows = {
        "a|b": [row("FP32", 20.0, miou=0.5, delta_miou=0.0), row("INT8", 10.0)],
        "second": [row("FP32", 30.0), row("INT8", 8.0, miou=0.25, delta_miou=-1.5)],
    }
    return entries(rows, models)


def test_ratios_are_those_to_the_first_model_in_the_same_format(found):
    assert [entry.ratio_to_first for entry in found] == [1, 1, 1.5, 0.8]


def test_tables_are_aligned(models, found):
    costs, speed = tables(models, found).split("\n\n")
    for table in (costs, speed):
        assert len({len(line) for line in table.splitlines()}) == 1
    head, _, first, second = costs.splitlines()
    assert head.split("  ")[-1].strip() == "head"
    assert "decoder" not in head
    assert first.split() == ["a|b", "64x96", "1.50", "1.00", "1.00", "-"]
    assert second.split()[2:] == ["1.50", "2.00", "2.00", "0.0034"]
    assert speed.splitlines()[-1].split() == [
        *("second", "INT8", "12.50", "8.00", "8.80", "50.0", "0.800", "0.500", "25.00", "-1.50")
    ]


def test_notes_say_once_what_holds_for_all(models):
    formats = {"a|b": ["all the same", "only here"], "second": ["all the same"]}
    lines = notes(models, formats, measured=False)
    assert lines[1:] == [
        "all the same",
        "a|b: only here",
        "Accuracy not measured: no data were given.",
    ]
    old = replace(models[1], cost=cost(("x/MatMul_1", "y"), other=5 * 10**8), input_size=(32, 32))
    blank = replace(models[0], name="blank", card=replace(CARD, trained_iterations=0))
    text = "\n".join(notes([blank, old], {"blank": [], "second": []}, measured=True))
    assert "Input sizes differ (blank 64x96, second 32x32)" in text
    assert "blank is not trained" in text
    assert "second: 0.50 GFLOPs in nodes whose names" in text
    assert "second: GFLOPs without 2 nodes of unknown shape, such as x/MatMul_1." in text
    assert "not measured" not in text


def test_markdown_holds_both_tables(models, found):
    page = markdown(models, found, lines=["note"], facts={"date": "today"}, picture="x.svg")
    lines = page.splitlines()
    assert (
        "| a\\|b | FP32 | 12.50 | 20.00 | 22.00 | 50.0 | 1.000 | 0.500 | 50.00 | +0.00 |" in lines
    )
    assert "| second | 64x96 | 1.50 | 2.00 | 2.00 | 0.0034 |" in lines
    assert "- note" in lines
    assert "| date | today |" in lines


def test_plain_values(models, found):
    content = document(models, found, Path("out"))
    assert content["models"][0]["path"] == "../a/m.onnx"
    assert content["models"][1]["gflops"]["total"] == pytest.approx(2.0034)
    assert content["models"][1]["params"] == {
        **dict.fromkeys(COMPONENTS, 0),
        "head": 1_500_000,
        "total": 1_500_000,
    }
    last = content["rows"][-1]
    assert (last["ratio_to_first"], last["ratio_to_fp32"]) == (0.8, 0.5)
    assert (last["model"], last["format"], last["miou"]) == ("second", "INT8", 0.25)
    assert "ratio" not in last


def test_an_engine_has_no_fp32_file_beside_it(models, tmp_path):
    file = write_engine(tmp_path)
    plan = replace(models[0], name="plan", card=file.card, cost=None, engine=file)
    rows = {
        "a|b": [row("FP32", 20.0, miou=0.5, delta_miou=0.0), row("FP16", 10.0)],
        "plan": [row("FP16", 5.0, miou=0.25, delta_miou=0.0, agreement=1.0)],
    }
    found = entries(rows, [models[0], plan])
    assert [entry.ratio_to_first for entry in found] == [1, 1, 0.5]
    assert [entry.ratio_to_fp32 for entry in found] == [0.5, 0.5, None]
    costs, speed = tables([models[0], plan], found).split("\n\n")
    assert costs.splitlines()[-1].split() == ["plan", "64x96", "-", "-", "-"]
    assert speed.splitlines()[-1].split()[5:] == ["50.0", "0.500", "-", "25.00", "-"]
    lines = notes([models[0], plan], {"a|b": [], "plan": []}, measured=True)
    assert "plan is an engine of tensorrt 10.3.0 for Tesla T4." in lines
    assert "plan: the FP32 file to count operations in is not there." in lines
    content = document([models[0], plan], found, tmp_path)
    written = content["models"][1]
    assert written["gflops"] is written["params"] is None
    assert written["engine"] == {"backend": "tensorrt", "version": "10.3.0"}
    assert content["models"][0]["engine"] is None
    last = content["rows"][-1]
    assert last["ratio_to_fp32"] is last["delta_miou"] is last["agreement"] is None
    assert last["miou"] == 0.25


def test_a_format_that_the_first_model_lacks_has_no_ratio(models):
    rows = {"a|b": [row("FP16", 20.0)], "second": [row("FP32", 30.0), row("FP16", 10.0)]}
    found = entries(rows, models)
    assert [entry.ratio_to_first for entry in found] == [1, None, 0.5]
