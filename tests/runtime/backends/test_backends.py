"""What holds for every backend: tests of `load` and, through it, of the backends' files."""

import json
import sys
import threading

import numpy as np
import onnx
import pytest
from engines import write_engine

from emca.errors import UserError
from runtime import backends
from runtime.backends import BACKENDS, choose, load
from runtime.backends.base import by_layer


def test_labels_are_those_painted(toys, backend_name):
    backend = load(toys.model(), backend_name, threads=1)
    assert (backend.name, backend.path.name) == (backend_name, "model.onnx")
    labels = toys.stripes()
    result = backend.infer(toys.paint(labels)[None])
    assert result["labels"].dtype == np.uint8
    np.testing.assert_array_equal(result["labels"], labels[None])
    backend.close()


def test_dynamic_batch_keeps_images_apart(toys, backend_name):
    backend = load(toys.model(batch="N"), backend_name)
    labels = np.stack([toys.stripes(shift=k) for k in range(3)])
    for count in (3, 1, 2):
        result = backend.infer(toys.paint(labels[:count]))["labels"]
        np.testing.assert_array_equal(result, labels[:count])


def test_results_outlive_the_next_call(toys, backend_name):
    backend = load(toys.model(), backend_name)
    first = backend.infer(toys.paint(toys.stripes())[None])["labels"]
    backend.infer(toys.paint(toys.stripes(shift=1))[None])
    np.testing.assert_array_equal(first[0], toys.stripes())


def test_batch_of_another_size_is_refused(toys, backend_name):
    backend = load(toys.model(), backend_name)
    with pytest.raises(UserError, match=r"uint8 \[1, 48, 64, 3\], got uint8 \[1, 48, 60, 3\]"):
        backend.infer(np.zeros((1, 48, 60, 3), np.uint8))


def test_unknown_operator_is_one_line(toys, backend_name):
    path = toys.model()
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Tahn"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"model\.onnx: .* cannot load it \(.*Tahn") as error:
        load(path, backend_name)
    assert "\n" not in str(error.value)


def test_backends_agree_on_scores(toys):
    pytest.importorskip("openvino")
    path = toys.model(head="scores")
    image = np.random.default_rng(1).integers(0, 256, (1, *toys.size, 3), dtype=np.uint8)
    ours, reference = (load(path, name).infer(image) for name in ("openvino", "onnxruntime"))
    assert ours.keys() == reference.keys() == {"scores"}
    # FP32 on both: in bfloat16, the default of some CPUs, two digits would be right.
    np.testing.assert_allclose(ours["scores"], reference["scores"], rtol=1e-5, atol=1e-5)
    assert reference["scores"].std() > 0.1


def test_auto_takes_the_first_installed(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: name == "onnxruntime")
    assert choose("auto") == "onnxruntime"
    with pytest.raises(UserError, match="openvino is not installed; pip install openvino"):
        choose("openvino")
    monkeypatch.setattr(backends, "find_spec", lambda name: True)
    assert choose() == "openvino"
    monkeypatch.setattr(backends, "find_spec", lambda name: False)
    with pytest.raises(UserError, match="no backend is installed"):
        choose()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("onnxruntime", "pip install onnxruntime"),
        ("onnxruntime-cuda", "pip install onnxruntime-gpu"),
        ("onnxruntime-tensorrt", "pip install onnxruntime-gpu"),
        (
            "tensorrt",
            'pip install "tensorrt<11" (on a Jetson: sudo apt install python3-libnvinfer)',
        ),
        ("tensorrt-rtx", "pip install tensorrt-rtx"),
    ],
)
def test_a_backend_that_is_not_installed_names_its_package(monkeypatch, name, remedy):
    assert name in BACKENDS
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        choose(name)
    assert str(error.value) == f"{name} is not installed; {remedy}"


def test_auto_stays_on_the_cpu(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: name != "openvino")
    assert choose() == "onnxruntime"
    assert choose("onnxruntime-cuda") == "onnxruntime-cuda"
    assert choose("tensorrt-rtx") == "tensorrt-rtx"


def test_a_backend_of_engines_takes_no_onnx_file(toys, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: True)
    path = toys.model()
    with pytest.raises(UserError) as error:
        load(path, "tensorrt")
    assert str(error.value) == (
        f"tensorrt runs engines and {path} is none; build one with python -m runtime.build {path} "
        "--backend=tensorrt"
    )


def test_an_engine_takes_no_other_backend(tmp_path):
    path = write_engine(tmp_path).path
    with pytest.raises(
        UserError, match=r"model\.engine is an engine for tensorrt; leave --backend=o"
    ):
        load(path, "onnxruntime")
    with pytest.raises(UserError, match=r'no backend "tensort" \(did you mean "tensorrt"\?\)'):
        load(path, "tensort")


def test_an_engine_needs_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for name in ("auto", "tensorrt"):
        with pytest.raises(UserError, match="tensorrt is not installed; pip install "):
            load(write_engine(tmp_path, name="a.plan").path, name)


def test_an_engine_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"gone\.engine: no such engine; build it with python -m"):
        load(tmp_path / "gone.engine")
    engine = write_engine(tmp_path)
    engine.path.write_bytes(b"another")
    with pytest.raises(UserError, match=r"is not the engine that model\.engine\.json describes"):
        load(engine.path)


def test_unknown_backend_names_the_nearest():
    with pytest.raises(UserError, match=r'no backend "onnxrt" \(did you mean "onnxruntime"\?\)'):
        choose("onnxrt")


def test_negative_thread_count_is_refused(toys):
    with pytest.raises(UserError, match="-1 threads are too few"):
        load(toys.model(), threads=-1)


def test_another_one_runs_beside_the_first(toys, backend_name):
    backend = load(toys.model(batch="N"), backend_name, threads=2, streams=2)
    pair = [backend, backend.another()]
    labels = [toys.stripes(shift=k) for k in range(2)]
    wrong = []

    def run(k):
        images = toys.paint(labels[k])[None]
        wrong.extend(
            n for n in range(50) if (pair[k].infer(images)["labels"][0] != labels[k]).any()
        )

    threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_layers_are_timed_run_by_run(toys, backend_name):
    backend = load(toys.model(), backend_name, threads=1)
    times = backend.layer_times(toys.paint(toys.stripes())[None], 3)
    assert times.runs == 3
    assert {len(ms) for _, ms in times.layers} == {3}
    assert 0 < sum(sum(ms) for _, ms in times.layers) < 3000
    assert any("colours" in name or "Conv" in name for name, _ in times.layers)
    with pytest.raises(UserError, match="takes images of"):
        backend.layer_times(np.zeros((1, 3, 3, 3), np.uint8), 1)


def test_layers_are_told(toys, backend_name):
    backend = load(toys.model(), backend_name, threads=1)
    info = backend.layer_info(toys.paint(toys.stripes())[None])
    kinds = " ".join(layer["LayerType"] for layer in info.layers)
    assert "Conv" in kinds
    assert "Constant" not in kinds
    assert len(info.lines) == len(info.layers)
    assert "image" in info.bindings
    assert all(layer["Outputs"] for layer in info.layers)
    json.dumps(info.layers)


def test_layers_of_one_name_stay_apart():
    runs = [[("a", 1.0), ("b", 2.0), ("a", 3.0)], [("a", 4.0), ("b", 5.0), ("a", 6.0)]]
    times = by_layer(runs)
    assert times.runs == 2
    assert times.layers == [("a", [1.0, 4.0]), ("b", [2.0, 5.0]), ("a", [3.0, 6.0])]
