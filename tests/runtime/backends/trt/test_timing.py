import numpy as np
import pytest
from engines import SIZE, profile, write_engine
from host_gpu import COMPUTE_MS, COPY_MS, HostGpu, HostTensorRt

from emca.errors import UserError
from runtime.backends.trt.engine import TensorRtBackend
from runtime.backends.trt.run import say

OUTPUTS = 2
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)


@pytest.fixture
def opened(tmp_path):
    say.cache_clear()

    def open_(*, gpu=None, graphs=True, **changes):
        gpu = gpu or HostGpu()
        engine = write_engine(tmp_path, **changes)
        trt = HostTensorRt(gpu, engine.profiles)
        return TensorRtBackend(engine, graphs=graphs, cuda=gpu, trt=trt), gpu, trt

    return open_


@pytest.mark.parametrize("graphs", [True, False])
def test_layers_alone_are_timed_without_transfers(opened, graphs):
    backend, gpu, trt = opened(graphs=graphs)
    queries = backend.timed(IMAGES)
    assert gpu.copies == 1  # the batch, once
    traces = queries.turn(0, 5, 0.0)
    assert len(traces) >= 5
    assert gpu.copies == 1
    assert gpu.launches == (len(traces) if graphs else 0)
    assert len(trt.executed) == (2 if graphs else 1 + len(traces))
    for trace in traces:
        assert trace.compute == trace.latency == COMPUTE_MS
        assert trace.upload == trace.download == 0
        assert trace.start_upload == trace.end_upload == trace.start_compute
        assert trace.end_download == trace.end_compute
        assert 0 < trace.enqueue < 1000
    starts = [trace.start_compute for trace in traces]
    assert starts == sorted(set(starts))


def test_transfers_are_stages_of_their_own(opened):
    backend, gpu, _ = opened()
    queries = backend.timed(IMAGES, transfers=True)
    before = gpu.copies
    traces = queries.turn(0, 4, 0.0)
    assert gpu.copies - before == len(traces) * (1 + OUTPUTS)
    for trace in traces:
        assert (trace.upload, trace.compute, trace.download) == (
            *(COPY_MS, COMPUTE_MS),
            OUTPUTS * COPY_MS,
        )
        assert trace.latency == COMPUTE_MS + 3 * COPY_MS
        assert trace.end_upload <= trace.start_compute
        assert trace.end_compute <= trace.start_download


def test_a_turn_lasts_as_long_as_it_shall(opened):
    backend, *_ = opened()
    queries = backend.timed(IMAGES)
    traces = queries.turn(50, 1, 0.0)
    span = traces[-1].end_download - traces[0].start_upload
    assert 50 - COMPUTE_MS <= span <= 50 + 4 * COMPUTE_MS


def test_streams_have_contexts_of_their_own(opened):
    backend, gpu, trt = opened(graphs=False)
    queries = backend.timed(IMAGES, streams=3)
    assert trt.contexts == 3
    assert len(queries.turn(0, 9, 0.0)) >= 9
    queries.close()
    backend.close()
    assert gpu.live == {}


def test_closing_gives_everything_back(opened):
    backend, gpu, _ = opened()
    before = len(gpu.live)
    queries = backend.timed(IMAGES, transfers=True)
    queries.turn(0, 2, 0.0)
    queries.close()
    assert len(gpu.live) == before


def test_too_little_memory_leaks_nothing(opened):
    backend, gpu, _ = opened(gpu=HostGpu(size=1500))
    before = len(gpu.live)
    with pytest.raises(UserError, match="too little GPU memory"):
        backend.timed(IMAGES, streams=8)
    assert len(gpu.live) == before


def test_layers_that_cannot_be_captured_are_launched(opened, capsys):
    backend, gpu, trt = opened()
    trt.fails_in_capture = True
    assert len(backend.timed(IMAGES).turn(0, 3, 0.0)) >= 3
    assert gpu.launches == 0
    assert "runs without a CUDA graph" in capsys.readouterr().err


def test_a_batch_that_no_profile_takes(opened):
    backend, *_ = opened(profiles=(profile(1, 1, 2),))
    with pytest.raises(UserError, match="takes batches of 1 to 2 images, got 3"):
        backend.timed(IMAGES)
