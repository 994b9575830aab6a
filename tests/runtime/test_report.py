import json
import re

import pytest
import results
from html_pages import check_page

from runtime.backends import load
from runtime.bench import main as bench
from runtime.report import main, make_panels
from segdata.datasets import open_dataset

QUICK = ("--warmUp=0", "--duration=0", "--iterations=5", "--threads=1")


@pytest.fixture
def measured(toys, capsys):
    """A folder with three formats and their bench.json."""
    model = toys.model()
    toys.derived(model, "fp16")
    toys.derived(model, "int8", noise=150)
    words = [f"--onnx={model}", "--fp16", "--int8", f"--data={toys.data()}", *QUICK]
    bench([*words, f"--exportTable={toys.folder}/bench.json"])
    return toys.folder


def test_page_is_whole_and_stands_alone(measured, capsys):
    lines = [{"step": n, "loss": 9.0 - n, "lr": 1e-4} for n in range(1, 6)]
    lines += [{"step": 5, "miou": 0.625}]
    text = "\n".join(json.dumps(line) for line in lines)
    (measured / "metrics.jsonl").write_text(text + '\n{"step": 6, "lo')
    main([str(measured), "--samples=2", "--title", "A <b> & c"])
    page = (measured / "report.html").read_text()
    check_page(page)
    outside = re.sub(r'"data:image/webp;base64,[^"]+"', '""', page)
    assert not re.search(r'src="[^"]|href="[^#]', outside)
    assert "A &lt;b&gt; &amp; c" in page
    for word in ("FP32", "FP16", "INT8", "iteration 5: 62.50 mIoU in %", "python -m runtime.bench"):
        assert word in page
    assert page.count("<img ") == 2 * 7
    assert page.count("<figcaption>truth") == 2
    assert "% the same" in page


def test_panels_show_image_truth_and_each_model(toys):
    other = toys.model("other.onnx", palette=tuple(reversed(toys.palette)))
    backends = {"FP32": load(toys.model(), "onnxruntime"), "INT8": load(other, "onnxruntime")}
    panels, present = make_panels(open_dataset(toys.data()), backends, 2)
    assert present == [0, 1, 2, 3]
    assert [panel.name.rsplit("/", 1)[-1] for panel in panels] == ["0.png", "2.png"]
    captions = [picture.caption for picture in panels[0].pictures]
    assert captions == ["image", "truth", "FP32", "INT8", "INT8 ≠ FP32"]
    image, truth, first, second, differ = (picture.uri for picture in panels[0].pictures)
    assert truth == first
    assert len({truth, image, second, differ}) == 4
    notes = [picture.note for picture in panels[0].pictures]
    assert notes == ["", "", "", "0.00 % the same", ""]
    assert len(make_panels(open_dataset(toys.data("more")), backends, 99)[0]) == 3


def test_without_data_there_are_no_pictures(toys, capsys):
    bench([f"--onnx={toys.model()}", *QUICK, f"--exportTable={toys.folder}/bench.json"])
    main([str(toys.folder)])
    page = (toys.folder / "report.html").read_text()
    assert "<img" not in page
    assert "Accuracy not measured" in page


def test_models_and_data_can_be_named(measured, toys):
    data = toys.data("others", change=lambda labels: 0 * labels)
    main([str(measured), "--samples=1", "--data", data, "--models", str(measured / "model.onnx")])
    page = (measured / "report.html").read_text()
    assert page.count("<img ") == 3


def test_results_without_a_bench_need_neither_models_nor_data(tmp_path, capsys):
    results.write_all(tmp_path)
    (tmp_path / "bench.json").unlink()
    (tmp_path / "notes.json").write_text("{}")
    main([str(tmp_path)])
    out = capsys.readouterr().out
    assert f"{tmp_path}/notes.json is no result that the page knows; left out" in out
    assert "is the fastest" in (tmp_path / "report.html").read_text()


def test_bad_input_is_one_line_and_leaves_the_report_alone(measured, failing):
    report = measured / "report.html"
    report.write_text("old")
    assert "no is no folder" in failing(main, measured / "no")
    assert "data holds no results; make some with" in failing(main, measured / "data")
    assert "--samples=-1 is too small" in failing(main, measured, "--samples=-1")
    assert 'did you mean "--models"?' in failing(main, measured, "--model", "x.onnx")
    assert "gone.onnx: cannot read" in failing(main, measured, "--models", "gone.onnx")
    assert "gone.engine: no such engine" in failing(main, measured, "--models", "gone.engine")
    assert 'no backend "openvno"' in failing(main, measured, "--backend=openvno")
    assert "has 9 classes" in failing(main, measured, "--data", "scenes::val")
    (measured / "model.int8.onnx").unlink()
    assert "model.int8.onnx: cannot read" in failing(main, measured)
    (measured / "bench.json").write_text("{}")
    assert "was not written by runtime.bench" in failing(main, measured)
    (measured / "bench.json").write_text("{")
    assert "is not JSON" in failing(main, measured)
    assert report.read_text() == "old"
