import time

import numpy as np
import pytest

from runtime.backends import load
from runtime.backends.base import GpuTrace
from runtime.timing.latency import ROUNDS, Timing, measure


class Recorder:
    """A backend that notes whose turn it is and takes a given time."""

    def __init__(self, name, log, seconds=0.0, shape=(1, 8, 12, 3)):
        self.name, self.log, self.seconds, self.input_shape = name, log, seconds, shape
        self.least_batch = shape[0] or 1

    def infer(self, images):
        assert images.shape == tuple(n or 1 for n in self.input_shape)
        self.log.append(self.name)
        time.sleep(self.seconds)


IMAGE = np.zeros((10, 10, 3), np.uint8)


def test_percentiles_are_latencies_that_occurred():
    timing = Timing(queries=[(0.0, float(n)) for n in range(100, 0, -1)], wall_ms=2000)
    assert list(timing.latencies) == [float(n) for n in range(1, 101)]
    assert timing.median == 50.5
    assert (timing.percentile(90), timing.percentile(95), timing.percentile(100)) == (90, 95, 100)
    # trtexec counts what it leaves out in single precision: 0.99999905 of 100 is none.
    assert timing.percentile(99) == 100
    assert timing.percentile(0) == 1
    assert timing.throughput == 50


def test_models_take_turns_every_second_round_backwards():
    log = []
    pair = {name: Recorder(name, log) for name in "ab"}
    timings = measure(pair, IMAGE, warmup_ms=0, duration_s=0, iterations=ROUNDS)
    # One warm-up each; then one uncounted and one counted query a turn.
    expected = "ab" + "".join("aabb" if n % 2 == 0 else "bbaa" for n in range(ROUNDS))
    assert "".join(log) == expected
    assert [len(t.queries) for t in timings.values()] == [ROUNDS, ROUNDS]


def test_runs_for_the_duration_and_the_iterations():
    log = []
    timing = measure(
        {"a": Recorder("a", log, 0.002)}, IMAGE, warmup_ms=20, duration_s=0.1, iterations=3
    )["a"]
    assert timing.warmup_ms >= 20
    assert 100 <= timing.wall_ms < 400
    assert len(log) == len(timing.queries) + timing.warmup_queries + ROUNDS
    assert 2 <= timing.median < 20
    assert timing.wall_ms == pytest.approx(timing.latencies.sum(), rel=0.05)
    slow = {"a": Recorder("a", [], 0.001)}
    few = measure(slow, IMAGE, warmup_ms=0, duration_s=0, iterations=7)["a"]
    assert len(few.queries) >= 7


def test_each_model_gets_its_own_size_and_batch():
    log = []
    sizes = {"a": (None, 16, 8, 3), "b": (3, 8, 16, 3)}
    measure(
        {name: Recorder(name, log, shape=shape) for name, shape in sizes.items()},
        IMAGE,
        warmup_ms=0,
        duration_s=0,
        iterations=1,
    )
    assert set(log) == {"a", "b"}


def test_times_a_real_model(toys, backend_name):
    backend = load(toys.model(), backend_name, threads=1)
    timing = measure({"toy": backend}, IMAGE, warmup_ms=1, duration_s=0.01)["toy"]
    assert len(timing.queries) >= 10
    assert all(0 < end - start < 1000 for start, end in timing.queries)


def test_a_batch_is_taken_where_the_model_leaves_it_open():
    log = []
    sizes = {"a": (None, 16, 8, 3), "b": (3, 8, 16, 3)}
    pair = {name: Recorder(name, log, shape=shape) for name, shape in sizes.items()}
    seen = []
    for one in pair.values():
        one.infer = lambda images: seen.append(images.shape)
    timings = measure(pair, IMAGE, warmup_ms=0, duration_s=0, iterations=1, batch=2)
    assert set(seen) == {(2, 16, 8, 3), (3, 8, 16, 3)}
    assert {name: timing.batch for name, timing in timings.items()} == {"a": 2, "b": 3}


def test_streams_share_the_wall_time(toys, backend_name):
    backend = load(toys.model(), backend_name, threads=2, streams=2)
    timing = measure(
        {"toy": backend}, IMAGE, warmup_ms=1, duration_s=0.05, streams=2, iterations=20
    )["toy"]
    assert timing.streams == 2
    assert len(timing.queries) >= 20
    assert timing.throughput == pytest.approx(1000 * len(timing.queries) / timing.wall_ms)
    # Both worked at the same time: their queries are longer than the time that passed.
    assert timing.latencies.sum() > 1.2 * timing.wall_ms


class OnGpu(Recorder):
    """Tells stages of 1, 2 and 1 ms."""

    def timed(self, images, *, streams, transfers):
        self.asked = (len(images), streams, transfers)
        return self

    def turn(self, least_ms, least_queries, origin):
        return [
            GpuTrace(10.0 * n, 10.0 * n + 0.5, *(10.0 * n + k for k in (0, 1, 2, 4, 6, 7)))
            for n in range(least_queries)
        ]

    def close(self):
        self.log.append("closed")


def test_stages_are_those_that_the_gpu_tells():
    gpu = OnGpu("a", [], shape=(2, 8, 12, 3))
    timing = measure(
        {"a": gpu}, IMAGE, duration_s=0, iterations=10, streams=3, stages=True, transfers=True
    )["a"]
    assert gpu.asked == (2, 3, True)
    assert gpu.log == ["closed"]
    assert len(timing.traces) == len(timing.queries) == 10
    assert (timing.median, timing.percentile(99)) == (4, 4)  # the pauses are not in it
    assert timing.queries[0] == (0, 7)
    assert timing.wall_ms == ROUNDS * 17  # two queries a turn
    plain = OnGpu("a", [])
    measure({"a": plain}, IMAGE, warmup_ms=0, duration_s=0, iterations=1)
    assert "a" in plain.log  # from outside, unless asked otherwise
