import dataclasses
import json
import subprocess
import sys

import cv2
import onnx
import pytest
from engines import profile, write_engine
from host_gpu import HostGpu, HostTensorRt

from runtime.backends import ModelFile
from runtime.compare import main
from runtime.graph.flops import count

QUICK = ("--warmUp=0", "--duration=0.02", "--iterations=5", "--threads=1")


@pytest.fixture
def network(toys):
    """Writes FOLDER/model.onnx with its FP16 and INT8 files, the latter of other labels."""

    def write(folder, *, noise=0.0, **options):
        (toys.folder / folder).mkdir()
        model = toys.model(f"{folder}/model.onnx", noise=noise, **options)
        place = type(toys)(model.parent)
        place.derived(model, "fp16", noise=noise)
        place.derived(model, "int8", noise=150)
        return model

    return write


def rows(text):
    """The rows of the second table by model and format."""
    lines = text.split("model  ")[-1].splitlines()
    cells = [line.split("  ") for line in lines[2:] if line]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in cells]
    return {(line[0], line[1]): line[2:] for line in cells if len(line) == 10}


def test_models_and_formats_side_by_side(toys, network, capsys, backend_name):
    first, second, data = network("exact"), network("noisy", noise=90), toys.data()
    out = toys.folder / "out"
    words = [first, f"Other one={second}", f"--data={data}", "--fp16", "--int8", "-o", out]
    main([*map(str, words), f"--backend={backend_name}", *QUICK])
    text = capsys.readouterr().out
    table = rows(text)
    assert list(table) == [
        (model, form) for model in ("exact", "Other one") for form in ("FP32", "FP16", "INT8")
    ]
    assert table["exact", "FP32"][4:] == ["1.000", "1.000", "100.00", "+0.00"]
    assert table["Other one", "FP32"][5] == "1.000"
    noisy = float(table["Other one", "FP32"][6])
    assert noisy < 100
    # the difference is that to the model's own FP32 file
    assert float(table["Other one", "INT8"][7]) == pytest.approx(
        float(table["Other one", "INT8"][6]) - noisy, abs=0.011
    )
    content = json.loads((out / "compare.json").read_text())
    assert [row["model"] for row in content["rows"]] == ["exact"] * 3 + ["Other one"] * 3
    by_key = {(row["model"], row["format"]): row for row in content["rows"]}
    quick = by_key["Other one", "INT8"]
    for key, reference in (("first", ("exact", "INT8")), ("fp32", ("Other one", "FP32"))):
        assert quick[f"ratio_to_{key}"] == pytest.approx(
            quick["median_ms"] / by_key[reference]["median_ms"]
        )
    assert 0 < quick["median_ms"] <= quick["p90_ms"]
    assert quick["agreement"] < by_key["Other one", "FP16"]["agreement"]
    assert content["backend"] == backend_name
    assert content["images"] == 3
    assert content["clock"].keys() == {"governor", "mhz"}
    assert content["command"].startswith("python -m runtime.compare ")
    assert content["versions"]["onnx"]
    models = {model["name"]: model for model in content["models"]}
    assert models["exact"]["trained"]
    assert (out / models["Other one"]["path"]).resolve() == second
    assert models["exact"]["gflops"]["total"] > 0
    assert "do not say which part" in text


def test_the_files_say_what_the_terminal_says(toys, network, capsys):
    models = [str(network(name)) for name in ("one", "two|three")]
    out = toys.folder / "out"
    main([*models, f"--data={toys.data()}", "--limit=2", "-o", str(out), *QUICK])
    text = capsys.readouterr().out
    page = (out / "compare.md").read_text()
    content = json.loads((out / "compare.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == [
        *("compare.json", "compare.md", "compare.png", "compare.svg")
    ]
    assert "![speed and accuracy](compare.svg)" in page
    assert f"| one | FP32 | {rows(text)['one', 'FP32'][0]} | " in page
    assert "| two\\|three | FP32 |" in page
    for note in content["notes"]:
        assert note in text
        assert note.replace("|", "\\|") in page
    assert "Accuracy on 2 images" in page
    assert content["machine"]["cpu"] in page
    assert cv2.imread(str(out / "compare.png")).std() > 5


def test_an_untrained_model_has_no_accuracy(toys, network, capsys):
    models = [network("good"), network("blank", card={"trained_iterations": 0})]
    out = toys.folder / "out"
    main([*map(str, models), f"--data={toys.data()}", "--int8", "-o", str(out), *QUICK])
    text = capsys.readouterr().out
    table = rows(text)
    assert table["blank", "FP32"][6:] == table["blank", "INT8"][6:] == ["not trained"] * 2
    assert table["good", "FP32"][6:] == ["100.00", "+0.00"]
    assert float(table["blank", "FP32"][1]) > 0
    assert "blank is not trained: only its speed means something." in text
    content = json.loads((out / "compare.json").read_text())
    blank = [row for row in content["rows"] if row["model"] == "blank"]
    for row in blank:
        assert row["trained"] is False
        assert row["miou"] is row["delta_miou"] is row["iou"] is row["agreement"] is None
    assert "| blank | FP32 |" in (out / "compare.md").read_text()
    assert (out / "compare.md").read_text().count("not trained | not trained |") == 2


def test_imported_weights_are_trained(toys, network, capsys):
    card = {"trained_iterations": 0, "imported_from": "PIDNet-S"}
    out = toys.folder / "out"
    main([str(network("taken", card=card)), f"--data={toys.data()}", "-o", str(out), *QUICK])
    assert rows(capsys.readouterr().out)["taken", "FP32"][6:] == ["100.00", "+0.00"]
    (model,) = json.loads((out / "compare.json").read_text())["models"]
    assert (model["trained"], model["imported_from"]) == (True, "PIDNet-S")


def test_without_data_speed_alone_is_compared(toys, network, capsys):
    models = [str(network(name)) for name in ("a", "b")]
    out = toys.folder / "out"
    main([*models, "-o", str(out), *QUICK])
    text = capsys.readouterr().out
    assert rows(text)["b", "FP32"][6:] == ["-", "-"]
    assert "Accuracy not measured: no data were given." in text
    assert all(
        row["miou"] is None for row in json.loads((out / "compare.json").read_text())["rows"]
    )
    assert (out / "compare.svg").stat().st_size > 1000


def test_different_sizes_are_said_in_one_line(toys, network, capsys):
    small = network("small")
    large = network("large", size=(96, 128), card={"input_size": (96, 128)})
    main([str(small), str(large), f"--data={toys.data()}", *QUICK])
    text = capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if "Input sizes differ" in line]
    assert "small 48x64, large 96x128" in line
    assert "their latencies do not compare" in line
    assert float(rows(text)["large", "FP32"][6]) > 95


def test_bad_input_is_one_line(toys, network, failing):
    first, second = network("one"), network("two")
    assert "no model given" in failing(main, "--data=scenes::val")
    assert "gone.onnx: cannot read the model" in failing(main, first, "gone.onnx")
    assert f"{first} is given twice" in failing(main, first, f"again={first}")
    assert 'the name "x" is given to two models' in failing(main, f"x={first}", f"x={second}")
    assert 'the name "two" is given to two models' in failing(main, f"two={first}", second)
    assert "lacks a name or a file" in failing(main, f"={first}")
    assert "lacks a name or a file" in failing(main, "name=")
    quantised = first.with_name("model.int8.onnx")
    assert "is int8 already; give the FP32 file" in failing(main, second, quantised)
    assert "take data of the same classes" in failing(main, first, "--data=scenes::val")
    assert "--duration=-1 is too small" in failing(main, first, "--duration=-1")
    assert 'did you mean "--calibData"?' in failing(main, first, "--calibdata=x")
    file = toys.folder / "file"
    file.touch()
    assert "file" in failing(main, first, "-o", file)
    assert "file" in failing(main, first, "-o", file / "below")
    assert f"{first} is none; build one with" in failing(main, first, "--backend=tensorrt-rtx")
    assert "gone.engine: no such engine" in failing(main, first, toys.folder / "gone.engine")


@pytest.fixture
def engine(toys):
    """An engine as if built from an FP16 file."""

    def write(source):
        card = dataclasses.replace(ModelFile.read(source).card, precision="fp16")
        made = {"card": card, "profiles": (profile(1, 1, 4, toys.size),)}
        return write_engine(toys.folder, name="plan.engine", **made)

    return write


def test_an_engine_is_refused_before_anything_is_made(toys, network, engine, failing):
    model = network("one")
    (model.parent / "model.fp16.onnx").unlink()
    plan = engine(model).path
    assert "plan.engine has 4 (sky" in failing(main, plan, model, "--fp16", "--data=scenes::val")
    said = failing(main, plan, f"--data={toys.data()}", "--backend=onnxruntime")
    assert "is an engine for tensorrt; leave --backend=onnxruntime out" in said
    assert not (model.parent / "model.fp16.onnx").exists()


def test_an_engine_beside_an_onnx_file(toys, network, engine, capsys, monkeypatch):
    model, gpu = network("one"), HostGpu()
    plan = engine(model)
    trt = HostTensorRt(gpu, plan.profiles)
    monkeypatch.setattr("runtime.backends.trt.engine.module", lambda name: trt)
    monkeypatch.setattr("runtime.backends.trt.engine.open_cuda", lambda: gpu)
    out = toys.folder / "out"
    words = [str(model), str(plan.path), "--fp16", "--backend=onnxruntime", "-o", str(out)]
    main([*words, *QUICK])
    text = capsys.readouterr().out
    assert list(rows(text)) == [("one", "FP32"), ("one", "FP16"), ("plan", "FP16")]
    assert rows(text)["plan", "FP16"][5:] == ["-", "-", "-"]
    assert "plan is an engine of tensorrt 10.3.0 for Tesla T4." in text
    content = json.loads((out / "compare.json").read_text())
    assert content["backend"] == "onnxruntime, tensorrt"
    ratio = content["rows"][2]["median_ms"] / content["rows"][1]["median_ms"]
    assert content["rows"][2]["ratio_to_first"] == pytest.approx(ratio)
    assert "| plan | FP16 |" in (out / "compare.md").read_text()
    assert trt.executed[0] == (0, (1, *toys.size, 3))


def test_without_matplotlib_the_plot_is_refused_before_measuring(
    toys, network, failing, monkeypatch
):
    monkeypatch.setattr("runtime.plot_canvas.find_spec", lambda name: None)
    monkeypatch.setattr("runtime.compare.measure", lambda *a, **k: pytest.fail("measured"))
    assert "pip install matplotlib" in failing(main, network("one"), "-o", toys.folder / "out")
    assert not (toys.folder / "out").exists()


def test_runs_alone_and_without_what_it_does_not_need(toys, network):
    model = str(network("one"))
    words = [sys.executable, "-m", "runtime.compare", model, *QUICK]
    done = subprocess.run(words, cwd=toys.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(rows(done.stdout)) == [("one", "FP32")]
    needless = "{'torch', 'matplotlib', 'yaml'}"
    code = f"import sys, runtime.compare, runtime.sweep; print({needless} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


def test_cost_is_that_of_the_file(toys, network, capsys):
    path = network("one")
    out = toys.folder / "out"
    main([str(path), "-o", str(out), *QUICK])
    (model,) = json.loads((out / "compare.json").read_text())["models"]
    cost = count(onnx.load(path))
    assert model["gflops"]["total"] == pytest.approx(cost.total_flops / 1e9)
    assert model["params"]["total"] == cost.total_params > 0
