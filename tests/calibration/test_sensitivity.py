import json
import re
from contextlib import redirect_stdout
from io import StringIO

import cv2
import numpy as np
import onnx
import pytest

from calibration import sensitivity
from calibration.rewrite.blocks import HEADS
from calibration.rewrite.mixes import Mixes
from calibration.sensitivity import main
from calibration.study.accuracy import Judge
from emca.cli import run
from emca.errors import UserError
from runtime import plot_canvas

COMMON = (
    "--data=scenes:n=5,size=96x128:train", "--images=2", "--held-out=2", "--backend=onnxruntime",
    "--threads=1",
)  # fmt: skip
KEPT = 3  # of the small network's blocks, lest the tests take long


@pytest.fixture(scope="module", autouse=True)
def few_blocks():
    """Every study here has the first few blocks and the heads."""
    open_study = sensitivity.open_study

    def fewer(args, target):
        study = open_study(args, target)
        kept = [*study.mixes.usual[:KEPT], HEADS]
        study.mixes.blocks = {name: study.mixes.blocks[name] for name in kept}
        study.mixes.usual = tuple(kept[:-1])
        return study

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitivity, "open_study", fewer)
        yield


@pytest.fixture(scope="module")
def done(labels_model, tmp_path_factory):
    """The model and what a whole run printed."""
    model = tmp_path_factory.mktemp("sensitivity") / "model.onnx"
    onnx.save(labels_model, model)
    return model, said(model)


def said(model, *arguments):
    out = StringIO()
    with redirect_stdout(out):
        main([str(model), *COMMON, *arguments])
    return out.getvalue()


def result(model):
    return json.loads(model.with_name("model.sensitivity.json").read_text())


@pytest.fixture
def judged(monkeypatch):
    """Grows with every mix that is judged."""
    mixes, build = [], Mixes.build
    monkeypatch.setattr(Mixes, "build", lambda self, mix: mixes.append(mix) or build(self, mix))
    return mixes


def test_the_table_the_file_and_the_bars(done):
    model, out = done
    found = result(model)
    assert (found["runs"], found["done"]) == (2 + 2 * (KEPT + 1),) * 2
    assert found["command"].startswith("python -m calibration.sensitivity ")
    assert {"date", "machine", "versions"} < found.keys()
    assert found["calibration"]["method"] == "mse"
    assert found["fp32"]["agreement"] == 1 > found["int8"]["agreement"]
    assert [entry["block"] for entry in found["blocks"]][-1] == HEADS
    for entry in found["blocks"]:
        other, sign = (entry["added"], -1) if entry["block"] == HEADS else (entry["left_out"], 1)
        for measure in ("miou", "agreement"):
            loss = 100 * (found["fp16"][measure] - entry["alone"][measure])
            assert entry["loss_points"][measure] == pytest.approx(loss)
            gain = sign * 100 * (other[measure] - found["int8"][measure])
            assert entry["gain_points"][measure] == pytest.approx(gain)
    rows = {row.split()[0]: row.split()[1:] for row in out.splitlines() if row.strip()}
    assert rows["FP32"] == [f"{100 * found['fp32']['miou']:.2f}", "100.000"]
    assert "* in FP16 unless asked for" in out
    costliest = sorted(found["blocks"], key=lambda entry: entry["alone"]["agreement"])
    names = [name.rstrip("*") for name in rows]
    assert [name for name in names if name in {e["block"] for e in costliest}] == [
        entry["block"] for entry in costliest
    ]
    for entry in costliest:
        row = rows[entry["block"] + ("*" if entry["block"] == HEADS else "")]
        assert row[0] == str(entry["layers"])
        assert float(row[1]) == pytest.approx(-entry["loss_points"]["miou"], abs=0.0051)
        assert float(row[2]) == pytest.approx(100 * entry["alone"]["agreement"], abs=0.00051)
    assert out.endswith("".join(f"{model.with_name('model.sensitivity')}{end}\n"
                                for end in (".json", ".png", ".svg")))  # fmt: skip
    image = cv2.imread(str(model.with_name("model.sensitivity.png")))
    assert np.unique(image.reshape(-1, 3), axis=0).shape[0] > 20


def test_a_second_run_judges_nothing(done, judged):
    model, out = done
    again = said(model)
    assert not judged
    assert f"10 scores taken from {model.with_name('model.sensitivity.json')}" in again
    assert again[again.index("FP32"):] == out[out.index("FP32"):]  # fmt: skip


def test_a_run_goes_on_where_it_was_broken_off(file, judged, monkeypatch, capsys):
    score = Judge.score

    def interrupted(self, backend):
        if len(judged) == 3:
            raise KeyboardInterrupt
        return score(self, backend)

    monkeypatch.setattr(Judge, "score", interrupted)
    with pytest.raises(SystemExit, match="130"):
        run(main, [str(file), *COMMON])
    partial = result(file)
    assert (partial["done"], len(partial["scores"]), partial["runs"]) == (2, 2, 10)
    assert "blocks" not in partial
    assert not file.with_name("model.sensitivity.png").exists()
    monkeypatch.setattr(Judge, "score", score)
    main([str(file), *COMMON])
    assert len(judged) == 3 + 8
    assert "2 scores taken from" in capsys.readouterr().out
    assert result(file)["done"] == 10
    assert [path.name for path in file.parent.iterdir() if "part" in path.name] == []


def test_other_images_are_judged_anew(done, judged):
    model, _ = done
    again = said(model, "--held-out=3")
    assert re.search(r"model.sensitivity.json is about another held_out: judging anew", again)
    assert len(judged) == 10
    assert len(result(model)["key"]["held_out"]["images"]) == 3


def test_without_matplotlib_all_but_the_picture(file, monkeypatch):
    monkeypatch.setattr(plot_canvas, "find_spec", lambda name: None)
    out = said(file)
    assert out.startswith("no picture: pip install matplotlib\n")
    assert {path.name for path in file.parent.iterdir()} == {
        "model.onnx", "model.ranges.json", "model.sensitivity.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images=4"], "leaves 1 images to judge by but 2 are wanted"),
        (["--images=50"], "has 5 images but 50 are wanted"),
        (["--images=0"], "--images is 0"),
        (["--held-out=0"], "--held-out is 0"),
        (["--method=entrop"], 'no calibration method .*"entropy"'),
        (["--backend=tensorrt"], "tensorrt"),
        (["--data=folder:{folder}"], "label"),
        (["--data=folder:{folder}/none"], "none"),
        (["-o", "{folder}"], "is no name of a JSON file"),
        (["-o", "{folder}/result.txt"], "is no name of a JSON file"),
        (["-o", "{folder}/classes.json"], "holds no scores of ours"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(file, tmp_path, arguments, message):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    for index in range(5):
        image = np.random.default_rng(index).integers(0, 255, (96, 128, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
    (folder / "classes.txt").write_text("a\nb\n")
    (folder / "classes.json").write_text("{}")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as error:
        main([str(file), *COMMON, *[word.format(folder=folder) for word in arguments]])
    assert "\n" not in str(error.value)
    left = set(tmp_path.rglob("*"))
    assert {path for path in left if path.name != "model.ranges.json"} == before


def test_a_quantised_model_is_refused(labels_model, scenes, tmp_path, file):
    from calibration.int8 import quantize_file

    target = tmp_path / "model.int8.onnx"
    quantize_file(file, target, data="scenes:n=2,size=96x128:train", images=2)
    with pytest.raises(UserError, match="is int8 already; give the FP32 file"):
        main([str(target), *COMMON])
