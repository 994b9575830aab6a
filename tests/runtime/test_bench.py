import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import runtime
from runtime.bench import formats, main

ROOT = Path(runtime.__file__).resolve().parents[1]
QUICK = ("--warmUp=0", "--duration=0.02", "--iterations=5", "--threads=1")


@pytest.fixture
def makers(monkeypatch, toys):
    """Stand-ins for calibration that write files like it does; the list holds what was called."""
    calls = []

    def cast_file(source, target, *, data=None):
        calls.append(("fp16", source, target))
        toys.derived(source, "fp16")
        return "agrees well enough"

    def quantize_file(source, target, *, data, images=64, method="minmax"):
        calls.append(("int8", source, target, data, images))
        toys.derived(source, "int8", noise=150)
        return "agrees mostly"

    monkeypatch.setattr("calibration.fp16.cast_file", cast_file)
    monkeypatch.setattr("calibration.int8.quantize_file", quantize_file)
    return calls


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


def test_current_files_are_kept_and_outdated_ones_made_again(toys, makers):
    model = toys.model()
    files = {name: toys.derived(model, name) for name in ("fp16", "int8")}
    wanted = {"fp16": True, "int8": True, "calibration_data": None}
    assert list(formats(model, **wanted).values()) == [model, *files.values()]
    assert makers == []
    toys.model(noise=1)  # the model changes: what was made from it is outdated
    formats(model, **{**wanted, "calibration_data": "scenes::train"})
    assert [call[0] for call in makers] == ["fp16", "int8"]
    assert makers[1][1:] == (model, files["int8"], "scenes::train", 64)


def test_calib_data_goes_before_data(toys, makers):
    train, data = toys.data("train"), toys.data()
    main([f"--onnx={toys.model()}", "--int8", f"--data={data}", f"--calibData={train}", *QUICK])
    assert makers[0][3] == train


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
    assert "is an int8 file; give the FP32 file" in failing(
        main, f"--onnx={toys.derived(model, 'int8')}"
    )
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
