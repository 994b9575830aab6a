import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from engines import profile, write_engine
from host_gpu import COMPUTE_MS, COPY_MS, HostGpu, HostTensorRt

import runtime
from runtime.backends.engine_file import EngineFile
from runtime.backends.trt.engine import TensorRtBackend
from runtime.bench import main

ROOT = Path(runtime.__file__).resolve().parents[1]
SHORT = ("--warmUp=0", "--duration=0.02", "--iterations=5")
QUICK = (*SHORT, "--threads=1")


def table(text):
    """The parity table as {format: cells}."""
    lines = text.split("=== Parity ===\n")[1].splitlines()
    cells = [line.split() for line in lines[2:]]
    return {first: rest for first, *rest in cells if len(rest) == 9}


def test_three_formats_side_by_side(toys, makers, capsys, backend_name):
    model, data = toys.model(), toys.data()
    exported, times = toys.folder / "out" / "bench.json", toys.folder / "times.json"
    words = [f"--onnx={model}", "--fp16", "--int8", f"--data={data}", f"--backend={backend_name}"]
    main([*words, *QUICK, f"--exportTable={exported}", f"--exportTimes={times}"])
    text = capsys.readouterr().out
    assert [call[0] for call in makers] == ["fp16", "int8"]
    assert makers[1][3:] == (data, 3)
    assert "agrees mostly" in text
    assert text.count("=== Performance summary ===") == 3
    assert len(re.findall(r"^Throughput: [\d.]+ qps$", text, re.M)) == 3
    assert text.count("percentile(90%)") == text.count("percentile(99%)") == 3
    assert f"on {backend_name}" in text

    cells = table(text)
    assert list(cells) == ["FP32", "FP16", "INT8"]
    assert cells["FP32"][5] == "1.000"
    assert cells["FP32"][6:] == ["100.00", "+0.00", "100.000"]
    assert cells["FP16"][6:] == cells["FP32"][6:]
    miou, delta, same = map(float, cells["INT8"][6:])
    assert miou < 100
    assert delta == pytest.approx(miou - 100, abs=0.011)
    assert same < 100

    content = json.loads(exported.read_text())
    assert [row["format"] for row in content["rows"]] == ["FP32", "FP16", "INT8"]
    assert content["rows"][2]["agreement"] == pytest.approx(same / 100, abs=1e-5)
    assert content["rows"][2]["ratio"] == pytest.approx(
        content["rows"][2]["median_ms"] / content["rows"][0]["median_ms"]
    )
    assert len(content["rows"][0]["iou"]) == len(content["classes"]) == 4
    assert content["images"] == 3
    assert content["machine"]["cores"] >= 1
    assert content["command"].startswith("python -m runtime.bench --onnx=")
    assert (exported.parent / content["files"]["INT8"]["path"]).resolve() == model.with_name(
        "model.int8.onnx"
    )
    entries = json.loads(times.read_text())
    assert {entry["format"] for entry in entries} == {"FP32", "FP16", "INT8"}
    assert len(entries) == sum(row["queries"] for row in content["rows"])


def test_real_formats_label_as_fp32_does(toys, capsys):
    data = toys.data()
    main([f"--onnx={toys.model()}", "--fp16", "--int8", f"--data={data}", *QUICK])
    text = capsys.readouterr().out
    assert "INT8 ranges: mse over 3 images of folder:" in text
    cells = table(text)
    assert float(cells["FP16"][-1]) > 99.9
    assert float(cells["INT8"][-1]) > 95
    assert (toys.folder / "model.fp16.onnx").exists()


def test_without_data_speed_alone_is_reported(toys, capsys):
    out = toys.folder / "bench.json"
    main([f"--onnx={toys.model()}", *QUICK, f"--exportTable={out}"])
    text = capsys.readouterr().out
    assert table(text)["FP32"][6:] == ["-", "-", "-"]
    assert "Accuracy not measured: no data were given." in text
    row = json.loads(out.read_text())["rows"][0]
    assert row["miou"] is row["iou"] is row["agreement"] is None
    assert row["median_ms"] > 0


def test_limit_and_percentiles(toys, capsys):
    data = toys.data()
    main([f"--onnx={toys.model()}", *QUICK, f"--data={data}", "--limit=2", "--percentile=50,99.9"])
    text = capsys.readouterr().out
    assert "Accuracy on 2 images" in text
    assert "percentile(50%)" in text
    assert "percentile(99.9%)" in text
    assert "percentile(90%)" not in text


def test_calib_data_goes_before_data(toys, makers):
    train, data = toys.data("train"), toys.data()
    main([f"--onnx={toys.model()}", "--int8", f"--data={data}", f"--calibData={train}", *QUICK])
    assert makers[0][3] == train


def test_a_file_of_one_format_is_measured_alone(toys, makers, capsys):
    quantised = toys.derived(toys.model(), "int8")
    main([f"--onnx={quantised}", f"--data={toys.data()}", *QUICK])
    text = capsys.readouterr().out
    assert makers == []
    assert f"INT8: {quantised} on " in text
    assert list(table(text)) == ["INT8"]


def test_bad_input_is_one_line_and_leaves_files_alone(toys, makers, failing):
    model = toys.model()
    onnx = f"--onnx={model}"
    assert "gone.onnx: cannot read the model" in failing(main, "--onnx=gone.onnx")
    assert "--onnx" in failing(main)
    assert 'unknown option --warmup (did you mean "--warmUp"?)' in failing(main, onnx, "--warmup=1")
    assert "--iterations=0 is too small; take 1" in failing(main, onnx, "--iterations=0")
    assert "'90;95' is no list of percentages" in failing(main, onnx, "--percentile=90;95")
    assert "'101' is no list of percentages" in failing(main, onnx, "--percentile=101")
    assert 'did you mean "openvino"?' in failing(main, onnx, "--backend=openvin")
    assert "--int8 needs images" in failing(main, onnx, "--fp16", "--int8")
    assert makers == []
    quantised = f"--onnx={toys.derived(model, 'int8')}"
    assert "is int8 already; give the FP32 file" in failing(main, quantised, "--fp16")
    foreign = model.with_name("model.fp16.onnx")
    foreign.write_text("somebody's notes")
    assert "model.fp16.onnx" in failing(main, onnx, "--fp16")
    assert foreign.read_text() == "somebody's notes"
    old = toys.folder / "old.json"
    old.write_text("{}")
    assert "classes" in failing(main, onnx, "--data=scenes::val", f"--exportTable={old}")
    assert old.read_text() == "{}"
    assert sorted(path.suffix for path in toys.folder.iterdir()) == [".json"] + [".onnx"] * 3


def test_unwritable_result_is_found_before_measuring(toys, failing, monkeypatch):
    monkeypatch.setattr("runtime.bench.measure", lambda *args, **options: pytest.fail("measured"))
    (toys.folder / "file").touch()
    onnx = f"--onnx={toys.model()}"
    assert "file" in failing(main, onnx, f"--exportTable={toys.folder}/file/bench.json")
    assert "is a folder" in failing(main, onnx, f"--exportTimes={toys.folder}")


def test_as_a_script_the_project_comes_before_its_folder(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "runtime"), *sys.path])
    runpy.run_path(str(ROOT / "runtime" / "bench.py"))
    assert sys.path[0] == str(ROOT)
    assert str(ROOT / "runtime") not in sys.path


@pytest.mark.parametrize("start", [[str(ROOT / "runtime" / "bench.py")], ["-m", "runtime.bench"]])
def test_both_ways_to_start(toys, start):
    words = [sys.executable, *start, "--onnx", str(toys.model()), *QUICK]
    done = subprocess.run(words, cwd=toys.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(table(done.stdout)) == ["FP32"]


def test_reports_on_layers_times_and_outputs(toys, capsys, backend_name):
    model, folder = toys.model(batch="N"), toys.folder
    names = ("Profile", "LayerInfo", "Output", "Times", "Table")
    files = {name: folder / f"{name}.json" for name in names}
    words = [f"--onnx={model}", f"--backend={backend_name}", f"--data={toys.data()}", *QUICK]
    words += ["--shapes=image:2x48x64x3", "--avgRuns=2", "--dumpProfile", "--dumpLayerInfo"]
    main([*words, "--verbose", *(f"--export{name}={path}" for name, path in files.items())])
    text = capsys.readouterr().out
    for part in ("Trace details", "Explanations of the performance metrics", "End to end"):
        assert text.count(f"=== {part} ===") == 1
    assert "Average on 2 runs - Host latency: " in text
    assert re.search(r"=== Profile \(\d+ iterations \) ===\n   Time\(ms\)     Avg", text)
    assert "FP32: Layer Information:\n" in text

    content = {name: json.loads(path.read_text()) for name, path in files.items()}
    count, *layers = content["Profile"]
    assert count["count"] >= 5
    assert sum(layer["percentage"] for layer in layers) == pytest.approx(100)
    assert len(content["LayerInfo"]["Layers"]) > 5
    (labels,) = content["Output"]
    assert (labels["name"], labels["dimensions"]) == ("labels", "2x48x64")
    assert labels["values"] == 2 * toys.stripes().ravel().tolist()  # of the first image

    table_ = content["Table"]
    (row,) = table_["rows"]
    assert table_["input"] == [2, 48, 64, 3]
    assert (row["batch"], row["streams"]) == (2, 1)
    assert row["fps"] == pytest.approx(2 * row["throughput"])
    ends = table_["end_to_end"]
    assert (ends["images"], ends["image_size"]) == (3, [48, 64])
    assert ends["formats"]["FP32"]["infer"]["median_ms"] > 0
    assert table_["clocks"]["gpu"] is None
    assert table_["data_transfers"] is None
    assert len(content["Times"]) == row["queries"]


def test_streams_run_at_once(toys, capsys):
    out = toys.folder / "bench.json"
    words = (f"--onnx={toys.model()}", "--infStreams=2", *QUICK, f"--exportTable={out}")
    main(list(words))
    assert "* Multiple inference streams are used." in capsys.readouterr().out
    assert json.loads(out.read_text())["rows"][0]["streams"] == 2


def test_shapes_that_the_model_does_not_take(toys, failing):
    fixed, open_ = f"--onnx={toys.model()}", f"--onnx={toys.model('open.onnx', batch='N')}"
    assert "--shapes=image:2x48x64x3: the model takes batches of 1" in failing(
        main, fixed, "--shapes=image:2x48x64x3"
    )
    assert "the model takes Nx48x64x3" in failing(main, open_, "--shapes=image:2x4x4x3")
    assert "write --shapes=image:Nx48x64x3" in failing(main, open_, "--shapes=2")
    assert not (toys.folder / "open.int8.onnx").exists()


@pytest.fixture
def on_host(tmp_path, monkeypatch):
    """An engine whose GPU is host memory, which also tells its state."""
    gpu = HostGpu()
    engine = write_engine(tmp_path, profiles=(profile(1, 2, 4),))
    opened = {}

    def load(path, name, *, threads, streams, graphs, libraries):
        opened.update(graphs=graphs, libraries=libraries)
        trt = HostTensorRt(gpu, engine.profiles)
        return TensorRtBackend(EngineFile.read(path), graphs=graphs, cuda=gpu, trt=trt)

    monkeypatch.setattr("runtime.bench.load", load)
    return SimpleNamespace(gpu=gpu, engine=engine, opened=opened, folder=tmp_path)


def gpu_lines(text):
    names = ("Enqueue Time", "H2D Latency", "GPU Compute Time", "D2H Latency")
    return {name: float(re.search(rf"^{name}: .* median = ([\d.e-]+) ms", text, re.M)[1])
            for name in names}  # fmt: skip


def test_an_engine_is_timed_stage_by_stage(on_host, capsys):
    out, times = on_host.folder / "bench.json", on_host.folder / "times.json"
    engine = f"--loadEngine={on_host.engine.path}"
    main([engine, *SHORT, f"--exportTable={out}", "--dumpProfile", "--dumpLayerInfo"])
    text = capsys.readouterr().out
    lines = gpu_lines(text)
    assert lines["GPU Compute Time"] == COMPUTE_MS
    assert lines["H2D Latency"] == lines["D2H Latency"] == 0
    assert f"GPU latency: {COMPUTE_MS:g} ms" in text
    assert "Clocks, power, temperature: not available (" in text
    assert "1.5000       1.5000      75.0   conv" in text
    assert "FP16: Layer Information:\nconv, image:2x6x8x3" in text  # what it was made for
    table_ = json.loads(out.read_text())
    (row,) = table_["rows"]
    assert (row["median_ms"], row["batch"]) == (COMPUTE_MS, 2)
    assert table_["data_transfers"] is False
    assert table_["clocks"]["gpu"]["available"] is False

    words = ("--includeDataTransfers", "--noCudaGraph", "--shapes=image:4x6x8x3")
    main([engine, *SHORT, *words, f"--exportTimes={times}"])
    lines = gpu_lines(capsys.readouterr().out)
    assert lines["H2D Latency"] == COPY_MS
    assert lines["D2H Latency"] == 2 * COPY_MS
    assert on_host.opened["graphs"] is False
    entries = json.loads(times.read_text())
    assert {entry["latencyMs"] for entry in entries} == {COMPUTE_MS + 3 * COPY_MS}


def test_a_shape_that_no_profile_allows(on_host, failing):
    words = (f"--loadEngine={on_host.engine.path}", *SHORT, "--shapes=image:5x6x8x3")
    assert "takes batches of 1 to 4 images, got 5" in failing(main, *words)


def test_plugin_libraries_must_exist(on_host, failing):
    words = (f"--loadEngine={on_host.engine.path}", *SHORT, "--dynamicPlugins=gone.so")
    assert "--dynamicPlugins=gone.so: no such file" in failing(main, *words)
    there = on_host.folder / "own.so"
    there.touch()
    main([*words[:-1], f"--dynamicPlugins={there}"])
    assert on_host.opened["libraries"] == (there,)


def test_nothing_is_overwritten_by_what_fails(toys, failing):
    model = toys.model()
    before = model.read_bytes()
    assert "is the model too" in failing(main, f"--onnx={model}", f"--exportTable={model}")
    assert model.read_bytes() == before
    old = toys.folder / "old.json"
    old.write_text("{}")
    for name in ("Profile", "LayerInfo", "Output", "Times", "Table"):
        words = (f"--onnx={model}", "--shapes=nonsense", f"--export{name}={old}")
        assert "write --shapes=image:1x48x64x3" in failing(main, *words)
    assert old.read_text() == "{}"
    assert "--best: trtexec has it, this command does not" in failing(
        main, f"--onnx={model}", "--best"
    )
