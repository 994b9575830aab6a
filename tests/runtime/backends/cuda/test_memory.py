import inspect
import os
import re
import sys

import numpy as np
import pytest

from emca.errors import UserError
from runtime.backends.cuda import cuda_python
from runtime.backends.cuda import memory as cuda_memory
from runtime.backends.cuda.cuda_python import CudaPython
from runtime.backends.cuda.memory import ADAPTERS, NO_DRIVER, gpu_name, open_cuda, too_little
from runtime.backends.cuda.py_cuda import PyCuda


def adapter(name):
    """The GPU through this package; skips where there is no package or no GPU."""
    try:
        return ADAPTERS[name]()
    except (ModuleNotFoundError, UserError) as error:
        pytest.skip(f"{name}: {error}")


@pytest.fixture(params=list(ADAPTERS))
def cuda(request):
    return adapter(request.param)


@pytest.mark.parametrize(
    ("reason", "versions", "message"),
    [
        ("cudaErrorInsufficientDriver", {}, "no NVIDIA driver is loaded; install it"),
        (
            "cudaErrorInsufficientDriver",
            {"driver": 12060, "runtime": 13040},
            r'knows CUDA up to 12\.6 .* is for 13\.4; pip install "cuda-python<13"',
        ),
        ("cudaErrorStubLibrary", {"driver": 12060}, "no NVIDIA driver is loaded"),
        ("libcuda.so.1: cannot open shared object file", {}, "no NVIDIA driver is loaded"),
        ("cudaErrorNoDevice", {}, r"CUDA finds no GPU \(CUDA_VISIBLE_DEVICES is ''\)"),
        ("cuInit failed: no CUDA-capable device is detected", {}, "CUDA finds no GPU"),
        ("cudaErrorSystemNotReady", {}, r"cannot start \(cudaErrorSystemNotReady\); nvidia-smi"),
    ],
)
def test_why_no_gpu_can_be_used(monkeypatch, reason, versions, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    error = cuda_memory.start_error(reason, **versions)
    assert re.search(message, str(error))
    assert "\n" not in str(error)


def test_without_a_package_both_are_named(monkeypatch):
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"cuda-python: no module cuda.*; pycuda: no module pycuda"):
        open_cuda.__wrapped__()


def test_without_a_driver_cuda_python_says_so():
    api = pytest.importorskip("cuda.bindings.runtime")
    try:
        status, count = api.cudaGetDeviceCount()
        if status == api.cudaError_t.cudaSuccess and count:
            pytest.skip("there is a GPU")
    except RuntimeError:
        pass
    for _ in range(2):  # cuda-python 12 words it differently from the second time on
        with pytest.raises(UserError, match=re.escape(NO_DRIVER)):
            CudaPython()
    assert gpu_name() == ""


def test_without_a_driver_pycuda_says_so():
    pytest.importorskip("pycuda")
    try:
        PyCuda()
    except UserError as error:
        said = str(error)
    else:
        pytest.skip("there is a GPU")
    assert said == NO_DRIVER or "CUDA finds no GPU" in said


def test_cuda_python_has_every_name_in_use():
    api = pytest.importorskip("cuda.bindings.runtime")
    source = inspect.getsource(cuda_python)
    functions = set(re.findall(r'"(cuda[A-Z]\w+)"', source)) - {"cudaErrorNoDevice"}
    names = functions | set(re.findall(r"_api\.(cuda\w+)", source))
    assert {"cudaMalloc", "cudaGraphLaunch", "cudaMemcpyKind"} <= names
    assert [name for name in names if not hasattr(api, name)] == []
    members = re.findall(r"_api\.(cuda\w+)\.(cuda\w+)", source)
    members += [("cudaDeviceAttr", name) for name in re.findall(r"(cudaDevAttr\w+)", source)]
    assert len(members) >= 6
    assert [(k, name) for k, name in members if not hasattr(getattr(api, k), name)] == []


def test_too_little_memory_names_what_there_is():
    assert too_little(2_500_000_000, 300_000_000, 4_000_000_000, " for a.engine") == (
        "too little GPU memory for a.engine: 2500 MB wanted, 300 MB of 4000 MB free; end other "
        "programs on the GPU or build with a smaller --maxShapes"
    )


@pytest.mark.gpu
def test_copies_there_and_back(cuda):
    stream = cuda.create_stream()
    address = cuda.allocate(1 << 20)
    there, back = cuda.allocate_pinned(1 << 20), cuda.allocate_pinned(1 << 20)
    there[:] = np.random.default_rng(0).integers(0, 256, 1 << 20)
    back[:] = 0
    cuda.upload(address, there, stream)
    cuda.download(back, address, stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(there, back)
    cuda.free(address)
    cuda.free_pinned(there)
    cuda.free_pinned(back)
    cuda.destroy_stream(stream)


@pytest.mark.gpu
def test_names_the_gpu(cuda):
    assert cuda.device
    assert re.fullmatch(r"\d+\.\d", cuda.compute_capability)
    free, total = cuda.memory()
    assert 0 < free <= total


@pytest.mark.gpu
def test_memory_that_is_not_there_is_one_line(cuda):
    _, total = cuda.memory()
    with pytest.raises(
        UserError, match=r"too little GPU memory: \d+ MB wanted, \d+ MB of"
    ) as error:
        cuda.allocate(2 * total)
    assert "\n" not in str(error.value)
    cuda.free(cuda.allocate(1024))  # the failure is forgotten


@pytest.mark.gpu
def test_events_measure_time(cuda):
    stream, first, last = cuda.create_stream(), cuda.create_event(), cuda.create_event()
    address, array = cuda.allocate(1 << 24), cuda.allocate_pinned(1 << 24)
    cuda.record(first, stream)
    cuda.upload(address, array, stream)
    cuda.record(last, stream)
    cuda.synchronize(stream)
    assert 0 < cuda.elapsed_ms(first, last) < 1000
    cuda.destroy_event(first)
    cuda.destroy_event(last)
    cuda.free(address)
    cuda.free_pinned(array)
    cuda.destroy_stream(stream)


@pytest.mark.gpu
def test_a_graph_does_its_work_when_launched(cuda):
    stream, address = cuda.create_stream(), cuda.allocate(8)
    there, back = cuda.allocate_pinned(8), cuda.allocate_pinned(8)
    if not cuda.can_capture:
        with pytest.raises(UserError, match="pip install cuda-python"):
            cuda.begin_capture(stream)
        return
    cuda.begin_capture(stream)
    cuda.upload(address, there, stream)
    cuda.download(back, address, stream)
    graph = cuda.end_capture(stream)
    for value in (3, 7):
        there[:], back[:] = value, 0
        cuda.synchronize(stream)
        assert not back.any()
        cuda.launch(graph, stream)
        cuda.synchronize(stream)
        assert (back == value).all()
    cuda.destroy_graph(graph)


@pytest.mark.parametrize(
    ("before", "index", "after"),
    [(None, 2, "2"), ("5,GPU-1a", 1, "GPU-1a"), ("5,3", 0, "5"), (None, None, None)],
)
def test_a_gpu_is_chosen_among_those_that_are_visible(monkeypatch, before, index, after):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before or "")  # put back afterwards
    monkeypatch.setenv("EMCA_DEVICE", "")
    if before is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    cuda_memory.choose_gpu(index)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == after
    said = str(cuda_memory.start_error("cudaErrorNoDevice"))
    assert said.startswith("CUDA finds no GPU" if index is None else f"--device={index}: CUDA fin")


def test_a_gpu_that_is_not_listed(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UserError, match=r"--device=2: .*CUDA_VISIBLE_DEVICES=0,1 lists 2"):
        cuda_memory.choose_gpu(2)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.gpu
def test_marks_tell_time_and_hold_streams(cuda):
    assert re.fullmatch(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d", cuda.bus_id)
    first, second = cuda.create_stream(), cuda.create_stream()
    marks = [cuda.create_event() for _ in range(3)]
    size = 64 << 20
    address, array = cuda.allocate(size), cuda.allocate_pinned(size)
    cuda.record(marks[0], first)
    cuda.upload(address, array, first)
    cuda.record(marks[1], first)
    cuda.hold(second, marks[1])
    cuda.record(marks[2], second)
    cuda.wait(marks[2])
    assert 0.5 < cuda.elapsed_ms(marks[0], marks[1]) < 1000  # 64 MiB over the bus
    assert cuda.elapsed_ms(marks[1], marks[2]) >= 0
    for mark in marks:
        cuda.destroy_event(mark)
    cuda.free(address)
    cuda.free_pinned(array)
    for stream in (first, second):
        cuda.destroy_stream(stream)
