import sys

import pytest

from calibration.estimate.devices import DEVICES
from calibration.ranges.calibrate import measure
from calibration.rewrite.mixes import Mixes
from calibration.rewrite.placement import possible_reads
from calibration.roofline import estimate, milliseconds
from calibration.study.accuracy import Judge
from calibration.study.block_costs import score_all
from calibration.study.latency import EngineShop, Estimate, Stopwatch
from emca.errors import UserError
from runtime.backends.base import ModelFile
from segdata.datasets import open_dataset

NOTHING = frozenset()


@pytest.fixture
def model(file):
    return ModelFile.read(file)


@pytest.fixture
def mixes(model, scenes):
    mixes = Mixes(model.proto)
    tensors = possible_reads(mixes.folded)
    mixes.ranges = measure(mixes.folded, tensors, scenes[:2], ["minmax"])["minmax"]
    return mixes


class Slow:
    """A backend that takes as long as it is told."""

    def __init__(self, backend, seconds):
        self.backend, self.seconds = backend, seconds
        self.input_shape, self.closed = backend.input_shape, False

    def infer(self, images):
        import time

        time.sleep(self.seconds)
        return {}

    def close(self):
        self.closed = True


def test_measured_latencies_are_those_of_the_models(model, mixes, monkeypatch):
    monkeypatch.setattr("calibration.study.latency.DURATION_S", 0.02)
    monkeypatch.setattr("calibration.study.latency.REPEATS", 3)
    sample = open_dataset("scenes:n=1")[0]
    judge = Judge(model, [sample], backend="onnxruntime")
    opened = []

    def open(proto):  # a millisecond for each layer that is not in INT8
        left = 60 - sum(t.name.endswith("/quantized") for t in proto.graph.initializer)
        opened.append(Slow(judge.load(proto), left / 1000))
        return opened[-1]

    clock = Stopwatch(mixes, model.proto, sample, open=open, what="somewhere")
    usual = frozenset(mixes.usual)
    found = clock.latencies([NOTHING, usual, frozenset(mixes.usual[:5])])
    assert found[NOTHING] == pytest.approx(60, rel=0.1)
    assert found[usual] == pytest.approx(60 - len(usual), rel=0.1)
    assert found[usual] < found[frozenset(mixes.usual[:5])] < found[NOTHING]
    assert clock.fp32() == pytest.approx(60, rel=0.1)
    assert clock.noise >= 0.002
    assert clock.what == "median latency on somewhere, ms"
    assert all(backend.closed for backend in opened)


def test_medians_of_the_repetitions_count(model, mixes, monkeypatch):
    """Twice the reference takes the ms at the ends; half of the runs are disturbed."""
    runs = iter([(10, 20, 10), (10, 90, 10), (11, 21, 9), (30, 60, 30), (10, 20, 14)])

    class Timing:
        def __init__(self, median):
            self.median = median

    def measure(backends, image, **others):
        return {name: Timing(ms) for name, ms in zip(backends, next(runs), strict=True)}

    monkeypatch.setattr("calibration.study.latency.measure", measure)
    monkeypatch.setattr("calibration.study.latency.REPEATS", 5)
    sample = open_dataset("scenes:n=1")[0]
    backend = Slow(Judge(model, [sample], backend="onnxruntime").load(model.proto), 0)
    clock = Stopwatch(mixes, model.proto, sample, open=lambda proto: backend, what="x")
    assert clock.latencies([NOTHING]) == {NOTHING: pytest.approx(20)}
    assert clock.noise == 0.002


def test_estimates_are_those_of_the_roofline(model, mixes):
    device = DEVICES["t4"]
    clock = Estimate(mixes, model.proto, device)
    usual = frozenset(mixes.usual)
    found = clock.latencies([NOTHING, usual])
    assert found[usual] == milliseconds(estimate(mixes.build(), device))
    assert clock.fp32() > found[NOTHING]
    assert clock.noise == 0


def test_an_engine_is_built_of_each_mix(model, mixes, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    if sys.platform != "linux":
        pytest.skip("TensorRT-RTX builds for other GPUs on Linux alone")
    shop = EngineShop(model, "tensorrt-rtx", tmp_path)
    with pytest.raises(UserError, match=r"GPU|CUDA|driver"):  # built, but nothing here can run it
        shop(mixes.build())
    assert (tmp_path / "mix.engine").stat().st_size > 10_000


def test_an_engine_that_cannot_be_built_says_why(model, mixes, tmp_path, monkeypatch):
    monkeypatch.setattr("calibration.study.latency.write", lambda *args, **kwargs: None)
    with pytest.raises(UserError, match=r"a mix cannot be built: .*mix\.onnx"):
        EngineShop(model, "tensorrt-rtx", tmp_path)(mixes.build())


def test_scores_are_not_taken_twice(model, mixes):
    judge = Judge(model, [open_dataset("scenes:n=1")[0]], backend="onnxruntime")
    saved = []
    first = score_all([NOTHING], mixes, judge, known={}, save=saved.append, desc="x")
    again = score_all([NOTHING], mixes, judge, known=first, save=saved.append, desc="x")
    assert again == first
    assert len(saved) == 1
