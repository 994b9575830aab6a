import numpy as np
import pytest
from engines import SIZE, profile, write_engine
from host_gpu import HostGpu, HostTensorRt

from emca.errors import UserError
from runtime.backends.trt.engine import TensorRtBackend

IMAGES = np.zeros((2, *SIZE, 3), np.uint8)


@pytest.fixture
def opened(tmp_path):
    def open_(version="10.3.0", **changes):
        gpu = HostGpu()
        engine = write_engine(tmp_path, version=version, **changes)
        trt = HostTensorRt(gpu, engine.profiles, version)
        return TensorRtBackend(engine, cuda=gpu, trt=trt), gpu, trt

    return open_


def test_each_run_is_told_layer_by_layer(opened):
    backend, gpu, trt = opened()
    before = len(gpu.live)
    times = backend.layer_times(IMAGES, 4)
    assert times.runs == 4
    assert times.layers == [("conv", [1.5] * 4), ("argmax", [0.25] * 4), ("argmax", [0.25] * 4)]
    assert len(trt.executed) == 5  # the first is not counted
    assert gpu.launches == 0  # a graph would hide the layers
    assert len(gpu.live) == before


def test_a_refusal_to_tell_is_one_line(opened, monkeypatch):
    backend, gpu, _ = opened()
    before = len(gpu.live)
    monkeypatch.setattr("host_gpu._Context.report_to_profiler", lambda self: False)
    with pytest.raises(UserError, match="cannot run it"):
        backend.layer_times(IMAGES, 1)
    assert len(gpu.live) == before


@pytest.mark.parametrize("version", ["10.3.0", "11.1.0"])
def test_the_inspector_tells_layers_of_this_shape(opened, version):
    backend, *_ = opened(version, profiles=(profile(1, 1, 1), profile(1, 2, 4)))
    info = backend.layer_info(IMAGES)
    assert info.lines == ["conv, image:2x6x8x3", "argmax"]
    assert info.layers == [{"Name": "conv", "Shape": "2x6x8x3"}]
    assert info.bindings == ["image"]


def test_words_that_are_no_json(opened, monkeypatch):
    backend, *_ = opened()
    monkeypatch.setattr("host_gpu._Inspector.get_engine_information", lambda self, _: "none")
    with pytest.raises(UserError, match="its layers cannot be told"):
        backend.layer_info(IMAGES)
