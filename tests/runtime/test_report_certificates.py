from pathlib import Path

from results import certificate

from runtime.report_certificates import certificate as section
from runtime.report_certificates import headline, names, overview, row
from runtime.results.finding import Result

REFUSED = certificate("model.fp16.onnx", certified=False, missed=["ΔmIoU is <low>"])


def test_headline_is_the_verdict():
    assert headline(certificate()) == "Certified: model.int8.onnx in place of model.onnx"
    assert headline(REFUSED).startswith("Not certified: model.fp16.onnx")


def test_overview_has_verdict_interval_and_drawing_of_each():
    unlabelled = certificate(checks=certificate()["checks"][:1], iou=[])
    text = overview(
        [row(one, f"n{k}") for k, one in enumerate((certificate(), REFUSED, unlabelled))]
    )
    assert text.count("✓ certified") == 2
    assert text.count("✗ refused") == 1
    assert text.count("−0.24 … −0.07</td>") == 2
    assert text.count('<svg class="cell') == 2
    assert text.count("<td>99.50</td>") == 3
    assert "from −0.2 to +0.2 points" in text
    assert "drawings" not in overview([row(unlabelled, "n")])


def test_candidates_of_one_file_name_are_told_apart():
    kinds = ("certificate", Path("x.json"))
    found = [Result(*kinds, name, certificate()) for name in ("small", "large")]
    found.append(Result(*kinds, "third", REFUSED))
    assert names(found) == ["model.int8.onnx (small)", "model.int8.onnx (large)", "model.fp16.onnx"]


def test_one_certificate_is_open_and_several_are_folded():
    text = section(certificate(), "model.int8.onnx", False)
    for part in ("99.40 … 99.60", "✓ met", "101 images of camvid:d:val", "Mind the &lt;gap&gt;."):
        assert part in text
    assert text.startswith('<div class="card"><h3>Certified')
    folded = section(REFUSED, "m.onnx (small)", True)
    assert "ΔmIoU is &lt;low&gt;" in folded[: folded.index("<details>")]
    assert "<summary>Not certified: m.onnx (small) in place of model.onnx, onnxruntime" in folded
