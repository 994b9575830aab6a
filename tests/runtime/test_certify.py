import json

import pytest
from html_pages import check_page

from emca.errors import UserError
from emca.files import sha256
from runtime.accuracy.verdict import Thresholds
from runtime.backends import load
from runtime.certify import certify, main
from runtime.certify_options import Options
from runtime.evaluate import compare
from segdata.datasets import open_dataset

QUICK = ("--resamples=100", "--threads=1")


@pytest.fixture
def files(toys):
    """A reference, a copy of it with an open batch, and one that labels other blocks otherwise."""
    model = toys.model()
    same = toys.model("same.fp16.onnx", batch="n", card={"source_sha256": sha256(model)})
    return model, same, toys.derived(model, "int8", noise=150)


def call(*words):
    return main([str(word) for word in (*words, *QUICK)])


def test_what_labels_alike_is_certified(toys, files, backend_name, capsys):
    model, same, _ = files
    data = toys.data(change=lambda labels: labels.clip(0, 2))
    assert call(model, same, "--data", data, f"--backend={backend_name}") == 0
    *table, page, verdict = capsys.readouterr().out.splitlines()
    assert verdict == f"certified: {same} meets every threshold"
    assert page == f"{same}.certificate.html"
    assert any("100.00 % … 100.00 %" in line for line in table)
    told = json.loads((toys.folder / f"{same.name}.certificate.json").read_text())
    assert told["certified"]
    assert told["missed"] == []
    assert told["reference"]["sha256"] == sha256(model)
    assert told["candidate"]["backend"] == backend_name
    assert told["command"].startswith("python -m runtime.certify ")
    assert (told["images"], told["resamples"], told["seed"]) == (3, 100, 0)
    assert told["batches"]["text"] == "batch 2, 4 against batch 1"
    values = {check["name"]: check["value"] for check in told["checks"]}
    assert values["label agreement"] == values["labels in batches"] == 100
    assert values["ΔmIoU"] == 0
    check_page((toys.folder / f"{same.name}.certificate.html").read_text())


def test_what_does_not_is_refused_and_still_recorded(toys, files, capsys):
    model, same, other = files
    data, out = toys.data(), toys.folder / "new" / "dir"
    assert call(model, same, other, model, "--data", data, "-o", out, "--min-batch=0") == 1
    lines = capsys.readouterr().out.splitlines()
    verdicts = [line for line in lines if "certified: " in line]
    assert [line.split(":")[0] for line in verdicts] == [
        *("certified", "NOT certified", "certified"),
    ]
    assert "(--max-drop)" in verdicts[1]
    assert "(--min-agreement)" in verdicts[1]
    assert len(list(out.iterdir())) == 6
    told = json.loads((out / f"{other.name}.certificate.json").read_text())
    assert not told["certified"]
    assert len(told["missed"]) == verdicts[1].count("; ") + 1
    assert told["batches"]["text"] == "batch 1 only"
    assert "Not certified:" in (out / f"{other.name}.certificate.html").read_text()
    worst = [row["agreement"] for row in told["worst"]]
    assert worst == sorted(worst)
    assert worst[0] < 1


def test_figures_are_those_of_the_evaluation(toys, files):
    model, _, other = files
    data = toys.data(change=lambda labels: labels.clip(0, 2))
    call(model, other, "--data", data, "--backend=onnxruntime", "--limit=2")
    told = json.loads((toys.folder / f"{other.name}.certificate.json").read_text())
    backends = {path: load(path, "onnxruntime") for path in (model, other)}
    expected = compare(backends, open_dataset(data), 2)
    scores = [expected[path].matrix.to_dict() for path in (model, other)]
    values = {check["name"]: check for check in told["checks"]}
    assert values["label agreement"]["value"] == 100 * expected[other].agreement
    assert values["mIoU of the candidate"]["value"] == 100 * scores[1]["miou"]
    difference = 100 * (scores[1]["miou"] - scores[0]["miou"])
    assert values["ΔmIoU"]["value"] == pytest.approx(difference, abs=1e-9)
    assert values["ΔmIoU"]["low"] <= difference <= values["ΔmIoU"]["high"]
    assert [row["reference"] for row in told["iou"]] == scores[0]["iou"]
    assert [row["candidate"] for row in told["iou"]] == scores[1]["iou"]


def test_thresholds_of_the_command_line_decide(toys, files):
    model, _, other = files
    words = (model, other, "--data", toys.data(), "--limit=2")
    easy = ("--max-drop=100", "--min-agreement=0", "--min-boundary=0")
    assert call(*words, *easy) == 0
    assert call(*words, *easy, "--max-class-drop=1") == 1
    assert call(*words, *easy[1:], "--max-drop=5") == 1


def test_data_without_labels_tell_agreement_alone(toys, files, capsys):
    model, same, other = files
    toys.picture("bare/0.png", toys.stripes())
    data = f"folder:{toys.folder / 'bare'}"
    assert call(model, same, "--data", data, "--unlabelled") == 0
    text = capsys.readouterr().out
    assert "mIoU of" not in text
    assert "Without labels nothing is said of mIoU." in text
    assert call(model, other, "--data", data, "--unlabelled") == 1


def test_as_a_function(toys, files):
    model, same, other = files
    verdicts = certify(
        model,
        [same, other],
        data=toys.data(),
        thresholds=Thresholds(min_agreement=99),
        options=Options(resamples=100, worst=1, batches=(1,)),
        out=toys.folder / "out",
    )
    assert [verdict.certified for verdict in verdicts] == [True, False]
    assert [verdict.candidate for verdict in verdicts] == [same, other]
    assert all(verdict.json.is_file() and verdict.html.is_file() for verdict in verdicts)


def test_an_empty_folder_is_refused(toys, files):
    empty = toys.folder / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no images in"):
        certify(files[0], files[1:], data=f"folder:{empty}", options=Options(labelled=False))


def test_bad_input_is_one_line_and_overwrites_nothing(toys, files, failing):
    model, same, _ = files
    data = toys.data()
    old = toys.folder / f"{same.name}.certificate.json"
    old.write_text("old")

    def said(*words, of=(model, same), data=data):
        return failing(main, *of, "--data", data, *words)

    assert "--max-drop=-1 is out of range" in said("--max-drop=-1")
    assert "--min-agreement=101 is out of range" in said("--min-agreement=101")
    assert "invalid float value: 'x'" in said("--min-batch=x")
    assert "--batches=0 is no list of batch sizes; write it as 1,2,4" in said("--batches=0")
    assert "--batches=two is no list" in said("--batches=two")
    assert "--limit=0 is too small; take 1 or more" in said("--limit=0")
    assert "--boundary=0 is too small" in said("--boundary=0")
    assert "--resamples=5 is too small" in said("--resamples=5")
    assert "has 9 classes" in said(data="scenes:n=1,size=32x48:val")
    assert "gone is not a folder" in said(data="folder:gone")
    assert "has no label" in said(data=unlabelled(toys))
    assert "gone.onnx: cannot read" in said(of=(model, toys.folder / "gone.onnx"))
    text = toys.folder / "text.onnx"
    text.write_text("no model")
    assert "text.onnx is no complete ONNX file" in said(of=(text, same))
    assert "and not 4 as" in said(of=(model, three(toys)))
    assert "text.onnx is a file; give a folder" in said("-o", text)
    twice = said(of=(model, same, same))
    assert "would share" in twice
    assert 'no backend "openvno"' in said("--backend=openvno")
    assert 'did you mean "--max-drop"?' in said("--max-dro=1")
    assert old.read_text() == "old"
    assert not list(toys.folder.glob("*.certificate.html"))
    assert not list(toys.folder.glob(".*part*"))


def unlabelled(toys):
    spec = toys.data("half")
    (toys.folder / "half" / "labels" / "1.png").unlink()
    return spec


def three(toys):
    card = {"classes": toys.classes[:3], "palette": toys.palette[:3]}
    return toys.model("three.onnx", **card, card=card)
