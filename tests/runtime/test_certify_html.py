import copy

import pytest
from html_pages import check_page

from runtime.certify_html import page
from runtime.page_html import Panel, Picture


def check(name, unit, value, bound, passed, **more):
    ends = {"low": None, "high": None, "remark": ""}
    return {"name": name, "unit": unit, "value": value, "bound": bound, "passed": passed} | (
        ends | more
    )


def iou(name, delta, low=None, high=None):
    return {
        **{"name": name, "reference": 0.5, "candidate": 0.5, "delta": delta},
        **{"low": low, "high": high},
    }


CONTENT = {
    **{"date": "2030-01-02T03:04:05+00:00", "command": "python -m runtime.certify a <b>"},
    **{"machine": {"cpu": "a <fast> one", "cores": 4, "os": "Linux", "python": "3.12"}},
    **{"versions": {"numpy": "2.1"}, "certified": True, "missed": []},
    "reference": {"path": "x/model.onnx", "sha256": "ab" * 32, "precision": "fp32"}
    | {"backend": "openvino"},
    "candidate": {"path": "x/model.int8.onnx", "sha256": "cd" * 32, "precision": "int8"}
    | {"backend": "onnxruntime"},
    **{"data": "camvid:d:val", "images": 101, "labelled": True, "confidence": 0.95},
    **{"resamples": 2000, "seed": 7, "boundary": 3, "threads": 0},
    "thresholds": {"max_class_drop": None},
    "checks": [
        check("label agreement", "%", 99.5, 98.0, True, low=99.4, high=99.6),
        check("ΔmIoU", "points", -0.15, -0.5, True, low=-0.24, high=-0.07),
        check("labels in batches", "%", None, 99.0, None, remark="batch 1 only"),
    ],
    "batches": {"images": 0},
    "classes": ["sky", "a & b", "gone"],
    "iou": [iou("sky", 0.01, -0.1, 0.12), iou("a & b", -1.5, -2, -1), iou("gone", None)],
    **{"worst": [], "notes": ["Mind the <gap>."]},
}
LEGEND = [("only the reference is right", (1, 2, 3))]


def render(panels=(), **changes):
    content = copy.deepcopy(CONTENT) | changes
    palette = [[0, 0, 9]] * len(content["classes"])
    return page(content, palette=palette, panels=panels, present=[0, 1], legend=LEGEND)


def test_page_is_whole_stands_alone_and_tells_everything():
    text = render([Panel("0.png", [Picture("difference", "data:x", "97 % the same")])])
    check_page(text)
    for part in (
        *("Certified:", "model.int8.onnx in place of model.onnx", "101 images of camvid:d:val"),
        *("int8 on onnxruntime", "99.50", "99.40 … 99.60", "−0.15", "−0.24 … −0.07", "✓ met"),
        *("batch 1 only", "a &amp; b", "−2.00 … −1.00", "Mind the &lt;gap&gt;.", "a &lt;b&gt;"),
        *("2000 resamples", "seed 7", "cd" * 32, "a &lt;fast&gt; one", "97 % the same"),
        "only the reference is right",
    ):
        assert part in text
    assert "✗" not in text


def test_the_verdict_comes_first_and_a_refusal_says_why():
    failed = copy.deepcopy(CONTENT["checks"])
    failed[0] |= {"passed": False}
    text = render(
        certified=False, missed=["label <agreement> is low", "so is ΔmIoU"], checks=failed
    )
    assert "Not certified:" in text
    assert "label &lt;agreement&gt; is low<br>so is ΔmIoU" in text
    assert "✗ missed" in text
    body = text[text.index("<body>") :]
    assert body.index("Not certified:") < body.index("is low") < body.index("Measures")


def test_files_of_one_name_are_told_apart():
    text = render(candidate=CONTENT["candidate"] | {"path": "y/model.onnx"})
    assert "y/model.onnx in place of x/model.onnx" in text


def test_absent_classes_have_a_dash_and_no_drawing():
    text = render()
    assert text.count('<svg class="cell') == 2
    gone = text[text.index(">gone<") :]
    assert "<td>–</td>" in gone[: gone.index("</tr>")]


def test_without_labels_nothing_is_said_of_classes_or_miou():
    text = render(labelled=False, iou=[], checks=CONTENT["checks"][:1])
    assert "IoU of each class" not in text
    assert "ΔmIoU" not in text


def test_of_many_classes_those_that_lose_most_are_shown():
    rows = [iou(f"class {k}", -k / 100, -k / 100, 0) for k in range(150)]
    text = render(iou=rows, classes=[row["name"] for row in rows])
    assert "126 more classes" in text
    shown, folded = text.split("<details>")
    assert "class 149<" in shown
    assert "class 10<" in folded
    assert "class 10<" not in shown


@pytest.mark.parametrize(("limit", "marks"), [(None, 0), (1.0, 2)])
def test_a_threshold_on_classes_is_marked(limit, marks):
    assert render(thresholds={"max_class_drop": limit}).count('class="mark"') == marks


def test_batches_are_explained_where_they_were_run():
    assert "one by one" not in render()
    assert "16 of the images were labelled one by one" in render(batches={"images": 16})
