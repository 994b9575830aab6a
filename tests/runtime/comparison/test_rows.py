import numpy as np
import pytest

from runtime.backends import load
from runtime.comparison import rows as parity
from runtime.evaluate import Accuracy
from runtime.timing.latency import Timing
from segdata.metrics import ConfusionMatrix


def timing(latency, count=10):
    spans = [(latency * n, latency * (n + 1)) for n in range(count)]
    return Timing(queries=spans, wall_ms=latency * count, batch=2, streams=3)


def accuracy(right, agreement):
    matrix = ConfusionMatrix(4)
    truth = np.zeros(100, np.uint8)
    guess = np.where(np.arange(100) < right, 0, 1).astype(np.uint8)
    matrix.update(truth, guess)
    return Accuracy(matrix, agreement)


@pytest.fixture
def rows(toys):
    model = toys.model(batch=2)
    other = toys.model("model.int8.onnx", batch=2, card={"precision": "int8"})
    backends = {"FP32": load(model, "onnxruntime"), "INT8": load(other, "onnxruntime")}
    timings = {"FP32": timing(20.0), "INT8": timing(5.0)}
    return parity.rows(backends, timings, {"FP32": accuracy(90, 1.0), "INT8": accuracy(80, 0.875)})


def test_rows_compare_with_the_first(rows, toys):
    first, second = rows
    assert (first.ratio, second.ratio) == (1, 0.25)
    # 200 batches of two images a second
    assert second.fps == pytest.approx(400)
    assert second.throughput == pytest.approx(200)
    assert (second.batch, second.streams) == (2, 3)
    assert second.size_mb == (toys.folder / second.file).stat().st_size / 1e6
    # classes 0 and 1 occur: (0.9 + 0) / 2 and (0.8 + 0) / 2
    assert (first.miou, second.miou) == (pytest.approx(0.45), pytest.approx(0.4))
    assert second.delta_miou == pytest.approx(-5)
    assert second.agreement == 0.875
    assert second.iou == [pytest.approx(0.8), 0, None, None]


def test_several_streams_are_compared_by_throughput_and_one_by_latency(toys):
    backends = {name: load(toys.model(f"{name}.onnx"), "onnxruntime") for name in ("FP32", "INT8")}
    spans = [(n, n + 30.0) for n in range(10)]  # queries that overlap
    slow, fast = ({"queries": spans, "wall_ms": wall} for wall in (200, 100))
    for streams, ratio in ((4, 0.5), (1, 1)):
        timings = {"FP32": Timing(**slow, streams=streams), "INT8": Timing(**fast, streams=streams)}
        assert parity.rows(backends, timings, None)[1].ratio == pytest.approx(ratio)


def test_table_is_aligned(rows):
    lines = parity.table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split()[-3:] == ["40.00", "-5.00", "87.500"]
    assert lines[0].split()[:2] == ["format", "MB"]


def test_columns_of_words_are_flush_left():
    text = parity.aligned(("a", "bb", "c"), [("long", "x", "1"), ("s", "y", "100")], left=2)
    assert text.splitlines() == [
        "a     bb    c",
        "-------------",
        "long  x     1",
        "s     y   100",
    ]


def test_differences_that_round_to_nothing_have_no_minus():
    assert [parity.points(value) for value in (-0.004, 0.0, -0.006, 1.5, None)] == [
        *("+0.00", "+0.00", "-0.01", "+1.50", "-")
    ]


def test_notes_say_what_to_know(toys):
    calibration = {"data": "scenes::train", "method": "minmax", "images": ["a", "b"]}
    paths = {
        "FP32": toys.model(),
        "FP16": toys.model("half.onnx"),
        "INT8": toys.model("int.onnx", card={"calibration": calibration}),
    }
    bare = [parity.Row(name, "m", *[1.0] * 6, 1) for name in paths]
    ranges, unmeasured = (
        "INT8 ranges: minmax over 2 images of scenes::train.",
        "Accuracy not measured: no data were given.",
    )
    reference = {name: load(path, "onnxruntime") for name, path in paths.items()}
    assert parity.notes(reference, bare) == [ranges, unmeasured]
    pytest.importorskip("openvino")
    fast = {name: load(path, "openvino") for name, path in paths.items()}
    assert "computes FP16 files in FP32" in parity.notes(fast, bare)[0]
    measured = [parity.Row("FP32", "m", *[1.0] * 6, 1, miou=0.5)]
    assert parity.notes({"FP32": reference["FP32"]}, measured) == []
