import gc
import re

import numpy as np
import pytest
from engines import SIZE, profile, write_engine
from host_gpu import HostGpu, HostTensorRt

from emca.errors import UserError
from runtime.backends import load
from runtime.backends.cuda.memory import ADAPTERS, CudaError, open_cuda
from runtime.backends.engine_file import EngineFile
from runtime.backends.trt.engine import KEPT_SHAPES, TensorRtBackend, deserialize
from runtime.backends.trt.run import say
from runtime.evaluate import predict

BUFFERS = 6  # input and two outputs, on the device and pinned


@pytest.fixture(autouse=True)
def fresh():
    say.cache_clear()


@pytest.fixture
def opened(tmp_path):
    """Opens an engine on host memory: the backend, the GPU and the TensorRT under it."""

    def open_(*, gpu=None, graphs=True, says="", **changes):
        gpu = gpu or HostGpu()
        engine = write_engine(tmp_path, **changes)
        trt = HostTensorRt(gpu, engine.profiles)
        trt.says = says
        return TensorRtBackend(engine, graphs=graphs, cuda=gpu, trt=trt), gpu, trt

    return open_


def batch(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def check(backend, images):
    results = backend.infer(images)
    assert results.keys() == {"labels", "scores"}
    assert (results["labels"].dtype, results["scores"].dtype) == (np.uint8, np.float16)
    np.testing.assert_array_equal(results["labels"], images[..., 0])
    np.testing.assert_array_equal(results["scores"], images[:, 0, 0, 1] / 4)
    return results


@pytest.mark.parametrize("graphs", [True, False])
def test_every_batch_gets_its_own_labels(opened, graphs):
    backend, gpu, trt = opened(graphs=graphs)
    for seed, count in enumerate((1, 3, 1, 4, 3, 3)):
        check(backend, batch(count, seed))
    # queued once and captured once for each shape, then replayed
    assert len(trt.executed) == 6
    assert gpu.launches == (3 if graphs else 0)
    assert (backend.name, backend.device, backend.input_shape) == (
        *("tensorrt", "Tesla T4"),
        (None, *SIZE, 3),
    )


def test_results_outlive_the_next_call(opened):
    backend, *_ = opened()
    first = check(backend, batch(2))["labels"]
    kept = first.copy()
    check(backend, batch(2, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_a_view_is_taken_as_it_looks(opened):
    backend, *_ = opened()
    check(backend, batch(4)[::2, :, ::-1])


def test_each_batch_runs_under_its_profile(opened):
    backend, _, trt = opened(profiles=(profile(1, 2, 8), profile(1, 1, 1)), graphs=False)
    check(backend, batch(1))
    check(backend, batch(5))
    assert trt.executed == [(1, (1, *SIZE, 3)), (0, (5, *SIZE, 3))]


def test_memory_is_kept_for_few_shapes_only(opened):
    backend, gpu, trt = opened(profiles=(profile(1, 1, 9),))
    for count in (1, 2, 3, 4, 1, 5):  # 2 was not asked for the longest
        check(backend, batch(count))
        assert len(gpu.live) <= 1 + KEPT_SHAPES * (BUFFERS + 1)
    assert trt.contexts == 5
    check(backend, batch(1))
    assert trt.contexts == 5
    check(backend, batch(2))
    assert trt.contexts == 6


def test_closing_gives_everything_back(opened):
    backend, gpu, _ = opened()
    for count in (1, 2):
        check(backend, batch(count))
    assert len(gpu.live) == 1 + 2 * (BUFFERS + 1)
    backend.close()
    assert gpu.live == {}
    backend.close()
    with pytest.raises(AttributeError):
        backend.infer(batch(1))


def test_a_failure_on_the_gpu_is_one_line_and_closing_stays_quiet(opened, monkeypatch):
    backend, gpu, _ = opened()
    check(backend, batch(1))

    def fail(*_):
        raise CudaError("CUDA on Tesla T4: it failed (cudaErrorIllegalAddress)")

    for name in ("synchronize", "free", "free_pinned", "destroy_graph", "destroy_stream"):
        monkeypatch.setattr(gpu, name, fail)
    with pytest.raises(UserError, match=r"model\.engine: .*cudaErrorIllegalAddress\); run the"):
        backend.infer(batch(1))
    backend.close()


def test_a_failure_on_the_gpu_does_not_hide_what_tensorrt_said(opened, monkeypatch):
    backend, gpu, trt = opened(graphs=False)
    check(backend, batch(1))

    def fail(*_):
        raise CudaError("CUDA on Tesla T4: cudaMemGetInfo failed (cudaErrorIllegalAddress)")

    def refuse(context, stream):
        trt.log.log(1, "enqueueV3: Error Code 1: Cask")
        return False

    monkeypatch.setattr(gpu, "memory", fail)
    monkeypatch.setattr(type(trt.create_execution_context()), "execute_async_v3", refuse)
    with pytest.raises(UserError, match=r"model\.engine: .*enqueueV3: Error Code 1: Cask"):
        backend.infer(batch(1))


def test_an_engine_of_larger_batches_alone_labels_single_images(opened):
    backend, _, trt = opened(profiles=(profile(2, 4, 8),))
    image = batch(1)[0]
    np.testing.assert_array_equal(predict(backend, image), image[..., 0])
    assert {shape[0] for _, shape in trt.executed} == {2}


def test_a_version_compatible_engine_looks_in_a_registry_of_its_own(opened, monkeypatch):
    shared = []
    monkeypatch.setattr("plugins.load_more", lambda *_, **given: shared.append(given["shared"]))
    for compatible in (False, True):
        opened(version_compatible=compatible)
    assert shared == [True, False]


def test_a_backend_that_is_dropped_is_closed(opened):
    backend, gpu, _ = opened()
    check(backend, batch(1))
    del backend
    gc.collect()
    assert gpu.live == {}


def test_too_little_memory_is_one_line_and_leaks_nothing(opened):
    backend, gpu, _ = opened(gpu=HostGpu(size=1000))
    check(backend, batch(1))
    with pytest.raises(UserError, match=r"too little GPU memory: \d+ MB wanted"):
        backend.infer(batch(4))
    check(backend, batch(1, seed=2))
    backend.close()
    assert gpu.live == {}


def test_without_graphs_the_user_is_told_once(opened, capsys):
    for _ in range(2):
        backend, gpu, _ = opened(gpu=HostGpu(can_capture=False))
        for seed in range(3):
            check(backend, batch(2, seed))
    assert gpu.launches == 0
    assert capsys.readouterr().err == (
        "tensorrt runs without CUDA graphs, which host does not have\n"
    )


def test_a_layer_that_cannot_be_captured_runs_without_a_graph(opened, capsys):
    backend, gpu, trt = opened()
    trt.fails_in_capture = True
    for seed, count in enumerate((2, 2, 1, 1, 2)):
        check(backend, batch(count, seed))
    assert gpu.launches == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "runs without a CUDA graph: " in said
    assert "this layer cannot be captured" in said
    backend.close()
    assert gpu.live == {}


def test_wrong_batches_are_one_line(opened):
    backend, *_ = opened()
    with pytest.raises(UserError, match=r"takes batches of 1 to 4 images, got 5; split the batch"):
        backend.infer(batch(5))
    with pytest.raises(UserError, match=r"takes images of uint8 \[N, 6, 8, 3\], got uint8 \[1, 6,"):
        backend.infer(batch(1)[:, :, :7])


def test_an_engine_that_cannot_run_here_is_one_line(opened):
    with pytest.raises(UserError, match=r"needs tensorrt 10\.16\.1, which built it, and 10\.3\.0"):
        opened(version="10.16.1")
    with pytest.raises(UserError, match=r"built for compute capability 8\.6 .* and Tesla T4 has 7"):
        opened(compute_capabilities=("8.6",))
    with pytest.raises(UserError, match="is of another version than tensorrt"):
        opened(says="expecting library version 10.3.0.26 got 10.0.1.6, please rebuild.")
    backend, *_ = opened()  # what was logged before is no news
    check(backend, batch(1))


def test_a_runtime_that_does_not_start_is_left_alone(tmp_path):
    gpu, engine = HostGpu(), write_engine(tmp_path)
    trt = HostTensorRt(gpu, engine.profiles)
    trt.does_not_start = "CUDA initialization failure with error: 35"
    with pytest.raises(UserError, match=r"driver is too old for tensorrt 10\.3\.0 .*update the dr"):
        deserialize(engine, trt, gpu)


def test_a_missing_plugin_is_named(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("EMCA_PLUGIN", str(tmp_path / "gone.so"))
    with pytest.raises(UserError, match=r"EMCA_PLUGIN=.*gone\.so is no file"):
        opened(plugins={"PrototypeAttention": 9})


def test_only_a_version_compatible_engine_may_bring_code(opened):
    assert not opened()[2].allowed
    assert opened(version_compatible=True)[2].allowed


def test_tensorrt_rtx_makes_kernels_for_the_shape_at_once(opened):
    backend, _, trt = opened(backend="tensorrt-rtx")
    check(backend, batch(2))
    assert trt.config.dynamic_shapes_kernel_specialization_strategy == "eager"
    assert backend.name == "tensorrt-rtx"


def test_what_the_real_tensorrt_rtx_says_of_a_file_that_is_no_engine(tmp_path):
    trt = pytest.importorskip("tensorrt_rtx")
    engine = write_engine(tmp_path, backend="tensorrt-rtx", plan=b"x" * 4096)
    with pytest.raises(UserError) as error:
        deserialize(engine, trt, HostGpu())
    assert "model.engine is damaged or no engine (" in str(error.value)
    assert "build it again here: python -m runtime.build" in str(error.value)
    assert "\n" not in str(error.value)


def test_without_a_gpu_an_engine_is_refused_in_one_line(tmp_path):
    try:
        open_cuda()
    except UserError as error:
        why = str(error)
    else:
        pytest.skip("there is a GPU")
    trt = pytest.importorskip("tensorrt_rtx")
    engine = write_engine(tmp_path, backend="tensorrt-rtx", version=trt.__version__)
    with pytest.raises(UserError, match=re.escape(why)):
        load(engine.path)


@pytest.mark.gpu
@pytest.mark.parametrize("adapter", list(ADAPTERS))
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_labels_as_onnxruntime_does(toys, adapter, name):
    build = pytest.importorskip("runtime.build")
    options = pytest.importorskip("runtime.engines.options")
    pytest.importorskip(name.replace("-", "_"))
    try:
        cuda = ADAPTERS[adapter]()
    except (ModuleNotFoundError, UserError) as error:
        pytest.skip(f"{adapter}: {error}")
    model, target = toys.model(batch="N"), toys.folder / "model.engine"
    build.build(
        model,
        target,
        options.BuildOptions(
            backend=name,
            compute_capability=cuda.compute_capability if name == "tensorrt-rtx" else "",
            profiles=(profile(1, 2, 4, toys.size), profile(1, 1, 1, toys.size)),
            plugins=(),
        ),
        command="test",
    )
    reference = load(model, "onnxruntime")
    for graphs in (True, False):
        backend = TensorRtBackend(EngineFile.read(target), graphs=graphs, cuda=cuda)
        for count in (1, 4, 2, 1, 4, 3):
            labels = np.stack([toys.stripes(shift=k + count) for k in range(count)])
            images = toys.paint(labels)
            np.testing.assert_array_equal(backend.infer(images)["labels"], labels)
            np.testing.assert_array_equal(reference.infer(images)["labels"], labels)
        backend.close()
