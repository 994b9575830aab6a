import time

import numpy as np
import pytest

from runtime.backends import load
from runtime.evaluate import predict
from runtime.timing.end_to_end import LEAST_PASSES, STAGES, EndToEnd, end_to_end, table


class Slow:
    """A backend that takes a while, of a real one."""

    def __init__(self, real, seconds):
        self.real, self.seconds, self.seen = real, seconds, []
        self.input_shape, self.least_batch = real.input_shape, real.least_batch

    def infer(self, images):
        self.seen.append(images)
        time.sleep(self.seconds)
        return self.real.infer(images)


def test_stages_are_those_of_predict(toys):
    backend = Slow(load(toys.model(), "onnxruntime", threads=1), 0.02)
    rng = np.random.default_rng(0)
    images = [np.repeat(toys.paint(toys.stripes(shift=k)), 2, 1) for k in rng.permutation(2)]
    found = end_to_end({"FP32": backend}, images, duration_s=0)["FP32"]
    assert tuple(found.ms) == STAGES
    assert found.passes == LEAST_PASSES
    assert found.ms["infer"] >= 20
    assert all(0 < found.ms[stage] < 20 for stage in ("decode", "fit", "labels"))
    assert found.total_ms >= found.ms["infer"]
    values = found.to_dict()
    assert sum(values[stage]["share"] for stage in STAGES) == pytest.approx(1)
    # What reached the model is the image, as far as JPEG keeps it, and every image had its turn.
    counted = backend.seen[1:]
    assert len(counted) == LEAST_PASSES
    backend.seen.clear()
    for image in images:
        predict(backend, image)
    for place, fitted in enumerate(counted):
        difference = fitted.astype(int) - backend.seen[(place + 1) % 2]
        assert np.abs(difference).mean() < 12


def test_batches_hold_several_images(toys):
    backend = Slow(load(toys.model(batch="N"), "onnxruntime", threads=1), 0.01)
    images = [toys.paint(toys.stripes(shift=k)) for k in range(2)]
    found = end_to_end({"FP32": backend}, images, duration_s=0, batch=3)["FP32"]
    assert {images.shape for images in backend.seen} == {(3, *toys.size, 3)}
    first, second = backend.seen[:2]
    assert (first[0] == first[2]).all()
    assert (first[0] != first[1]).any()
    assert (second[0] == first[1]).all()
    assert found.batch == 3
    assert found.images_per_second == pytest.approx(3000 / found.total_ms)


def test_it_goes_on_for_the_duration(toys):
    backend = Slow(load(toys.model(), "onnxruntime", threads=1), 0.005)
    began = time.perf_counter()
    found = end_to_end({"a": backend}, [toys.paint(toys.stripes())], duration_s=0.2)["a"]
    assert time.perf_counter() - began >= 0.2
    assert found.passes > LEAST_PASSES


def test_table_shows_milliseconds_and_shares():
    one = EndToEnd({"decode": 2.0, "fit": 1.0, "infer": 16.0, "labels": 1.0}, 21.0, 9)
    head, _, line = table({"FP32": one}).splitlines()
    assert head.split("  ")[0] == "format"
    cells = ["FP32", "2.00 (10 %)", "1.00 (5 %)", "16.00 (80 %)", "1.00 (5 %)", "21.00", "47.6"]
    assert [cell.strip() for cell in line.split("  ") if cell.strip()] == cells
