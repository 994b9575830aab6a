import pytest
from results import bench, row, times

from runtime import report_bench
from runtime.page_html import Panel, Picture
from runtime.report_bench import Gallery, formats, headline, labels, latencies


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


def test_formats_tell_the_numbers():
    text = formats(bench(), latencies(times()))
    for part in (
        *("11.11×", "−1.04", "70.00", "Mind.", "7 runs each or more", "a &amp; b, INT8: 34.50"),
        *("INT8, 99th percentile: 13.50 ms", "INT8, decode: 2.00 ms", "of 40 queries"),
    ):
        assert part in text
    assert report_bench.lead(bench()) == "Accuracy on 3 images of x:y."


def test_what_was_not_measured_is_absent():
    text = formats(bench(rows=[row("FP32", 1), row("INT8", 0.5)], end_to_end=None), {})
    assert "<td>–</td>" in text
    for part in ("Speed and accuracy", "IoU of each class", "how often", "JPEG"):
        assert part not in text


def test_clocks_of_the_gpu_are_told_where_they_are_known():
    states = {
        **{"available": True, "graphics_mhz": [900.0, 1500.0, 1590.0], "power_w": [20, 65, 70]},
        **{"temperature_c": None, "throttled": {"power cap": 0.5}},
    }
    told = formats(bench(clocks={"cpu": {}, "gpu": states}), {})
    assert "1500 MHz (900 to 1590), 65 W (20 to 70); held down by power cap." in told
    unseen = {"cpu": {}, "gpu": {"available": False, "reason": "no NVML"}}
    assert "The GPU" not in formats(bench(clocks=unseen), {})


def test_tables_of_before_have_neither_stages_nor_clocks():
    old = bench()
    del old["end_to_end"], old["clocks"]
    assert "JPEG" not in formats(old, {})


def test_many_classes_are_folded():
    names = [f"class {k}" for k in range(150)]
    rows = [{**row("FP32", 1, 0.7, 0), "iou": [0.5] * 150}]
    text = formats(bench(classes=names, rows=rows, end_to_end=None), {})
    assert "126 more classes" in text
    assert text.count("IoU in %</title>") == 150


def test_untrained_weights_are_called_that():
    assert "was never trained" in report_bench.warning(bench(trained_iterations=0))
    assert "never trained" in report_bench.warning(bench(trained_iterations=0, is_trained=False))
    imported = bench(trained_iterations=0, is_trained=True)
    assert report_bench.warning(imported) == ""


def test_the_slider_begins_with_the_first_and_the_last_format():
    captions = ["image", "truth", "FP32", "FP16", "INT8", "INT8 ≠ FP32"]
    panel = Panel("0.png", [Picture(caption, "data:x") for caption in captions])
    text = labels(bench(), Gallery([panel], [1], [("they differ", (9, 8, 7))]))
    assert 'data-left="FP32" data-right="INT8"' in text
    assert "rgb(4,5,6)" in text
    assert "rgb(9,8,7)" in text
    assert "they differ" in text
