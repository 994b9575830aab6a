import json

import pytest
import results
from html_pages import check_page

from emca.errors import UserError
from runtime.page_html import Panel, Picture
from runtime.report_bench import Gallery
from runtime.report_html import page
from runtime.results.finding import find


def render(folder, galleries=None):
    text = page(find(folder), galleries or {}, title="A <b>", command="python -m report d")
    check_page(text)
    return text


def body(text):
    return text[text.index("<body>") :]


def test_a_folder_with_everything_has_every_section(tmp_path):
    results.write_all(tmp_path)
    panel = Panel("0.png", [Picture(name, "data:x") for name in ("FP32", "INT8")])
    text = render(tmp_path, {tmp_path / "bench.json": Gallery([panel])})
    names = ("formats", "labels", "models", "certificates", "sensitivity-model", "search-model")
    for ident in (*names, "training"):
        assert f'<section class="group" id="{ident}">' in text
        assert f'<a href="#{ident}">' in text
    for part in (
        *("A &lt;b&gt;", "a &lt;fast&gt; one", "64×48 pixels", "2030-01-02", "iteration 59: 62.50"),
        *("python -m export.to_onnx c\npython -m made.up --thing\npython -m report d",),
        *("too &lt;low&gt;", "5 iterations"),
    ):
        assert part in text
    assert "<h1>INT8 is 11.1× as fast as FP32 and loses 1.04 points of mIoU</h1>" in text


@pytest.mark.parametrize(
    ("name", "content", "headline"),
    [
        ("times.json", results.times(), "80 queries were timed"),
        ("compare.json", results.compare(), "Model-number-0 INT8 is the fastest with 40.0 ms, "),
        ("m.certificate.json", results.certificate(), "Certified: model.int8.onnx in place of"),
        ("m.sensitivity.json", results.sensitivity(), "INT8 hurts most in pixel decoder mask"),
        ("m.mixed.json", results.search(), "2 of 3 blocks in INT8, has −0.20 points"),
        ("bench.json", results.bench(), "INT8 is 11.1×"),
    ],
)
def test_each_result_alone_makes_a_page(tmp_path, name, content, headline):
    (tmp_path / name).write_text(json.dumps(content))
    text = body(render(tmp_path))
    assert f"<h1>{headline}" in text
    assert "<nav" not in text
    assert text.count('class="group"') == 1


def test_a_training_log_alone_makes_a_page(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(results.training())
    text = render(tmp_path)
    assert "<h1>Trained for 59 iterations</h1>" in text
    assert "Validation mIoU" in text


def test_results_of_one_kind_are_told_apart(tmp_path):
    for name in ("a", "b c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bench.json").write_text(json.dumps(results.bench()))
        (tmp_path / name / "times.json").write_text(json.dumps(results.times()))
    text = render(tmp_path)
    for part in ('id="formats-a/"', 'id="formats-b%20c/"', "Formats side by side: b c/"):
        assert part in text
    assert text.count("Latency in ms: how often") == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bench.json", results.bench(rows=[])),
        ("bench.json", results.bench(machine={})),
        ("bench.json", results.bench(input=[1, 2])),
        ("times.json", [{"format": "FP32"}]),
        ("times.json", [{"format": "FP32", "latencyMs": 0}]),
        ("compare.json", results.compare() | {"rows": [{}]}),
        ("m.certificate.json", results.certificate(checks=[{"name": "x"}])),
        ("m.sensitivity.json", results.sensitivity(blocks=[{"block": "x"}])),
        ("m.mixed.json", results.search(curve="?")),
    ],
)
def test_damaged_content_is_one_line_with_the_file(tmp_path, name, content):
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"{name} is damaged .*; take it out"):
        page(find(tmp_path), {}, title="t", command="c")
