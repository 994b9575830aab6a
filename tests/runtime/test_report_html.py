import pytest

from runtime.report_html import headline, page


def row(name, ratio, miou=None, delta=None, fps=10.0):
    return {
        **{"format": name, "ratio": ratio, "fps": fps, "miou": miou, "delta_miou": delta},
        **{"size_mb": 4.2, "median_ms": 100 * ratio, "p90_ms": 1.0, "p99_ms": 1.0},
        **{"agreement": miou, "pixel_accuracy": miou, "queries": 7},
        "iou": None if miou is None else [miou, None],
    }


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([row("FP32", 1)], "FP32 runs at 10.0 images per second"),
        ([row("FP32", 1, 0.7)], "FP32 runs at 10.0 images per second with 70.0 % mIoU"),
        (
            [row("FP32", 1, 0.7, 0), row("FP16", 0.97, 0.7, 0)],
            "FP32 runs at 10.0 images per second with 70.0 % mIoU; no other format is faster here",
        ),
        (
            [row("FP32", 1, 0.7, 0), row("FP16", 0.8, 0.7, 0), row("INT8", 0.25, 0.69, -1.04)],
            "INT8 is 4.0× as fast as FP32 and loses 1.04 points of mIoU",
        ),
        (
            [row("FP32", 1, 0.7, 0), row("INT8", 0.5, 0.7, 0.3)],
            "INT8 is 2.0× as fast as FP32 and gains 0.30 points of mIoU",
        ),
        (
            [row("FP32", 1, 0.7, 0), row("INT8", 0.5, 0.7, 0.001)],
            "INT8 is 2.0× as fast as FP32 at the same mIoU",
        ),
        ([row("FP32", 1), row("INT8", 0.5)], "INT8 is 2.0× as fast as FP32"),
    ],
)
def test_headline(rows, text):
    assert headline(rows) == text


def bench(**changes):
    return {
        **{"date": "2030-01-02T03:04:05+00:00", "command": "python -m runtime.bench --onnx=m"},
        "machine": {"cpu": "a <fast> one", "cores": 4, "os": "Linux", "python": "3.12"},
        **{"versions": {"numpy": "2"}, "backend": "openvino", "threads": 0, "data": "x:y"},
        **{"images": 3, "input": [1, 48, 64, 3], "classes": ["sky", "road"], "notes": ["Mind."]},
        **{"palette": [[1, 2, 3], [4, 5, 6]], "trained_iterations": 5, "checkpoint_sha256": "ab"},
        "files": {"FP32": {"path": "m", "sha256": "0", "command": "python -m export.to_onnx c"}},
        "rows": [row("FP32", 1, 0.7, 0), row("INT8", 0.25, 0.69, -1.04)],
        **changes,
    }


def render(content):
    return page(content, title="T", log=[], panels=[], present=[], command="python -m report d")


def test_page_tells_numbers_machine_and_commands():
    text = render(bench())
    for part in (
        *("a &lt;fast&gt; one", "64×48 pixels", "2030-01-02", "4.00×", "−1.04", "70.00", "Mind."),
        *("python -m export.to_onnx c\npython -m runtime.bench --onnx=m\npython -m report d",),
        "Accuracy on 3 images of x:y.",
    ):
        assert part in text
    assert "never trained" not in text
    assert "Training loss" not in text


def test_untrained_weights_are_called_that():
    assert "was never trained" in render(bench(trained_iterations=0))
    assert "was never trained" in render(bench(trained_iterations=0, is_trained=False))
    assert "never trained" not in render(bench(trained_iterations=0, is_trained=True))  # imported


def test_unmeasured_accuracy_is_a_dash():
    text = render(bench(data=None, images=None, rows=[row("FP32", 1), row("INT8", 0.5)]))
    assert "<td>–</td>" in text
    assert "Speed and accuracy" not in text


def test_many_classes_are_folded():
    names = [f"class {k}" for k in range(150)]
    rows = [{**row("FP32", 1, 0.7, 0), "iou": [0.5] * 150}]
    text = render(bench(classes=names, palette=[[0, 0, 0]] * 150, rows=rows))
    assert "126 more classes" in text
    assert text.count('class="s0 bar"') == 150
