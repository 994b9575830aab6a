import json

import onnx
import pytest

from calibration import search as command
from calibration.int8 import quantize_file
from calibration.search import main
from emca.errors import UserError
from runtime.backends.base import ModelFile

DATA = ["--data", "scenes:n=9:train", "--images=3", "--held-out=4"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("calibration.study.latency.DURATION_S", 0.01)
    monkeypatch.setattr("calibration.study.latency.REPEATS", 1)


def table(file):
    return json.loads(file.with_name("model.mixed.json").read_text())


def test_the_model_the_table_and_the_curve_are_written(file, capsys):
    assert main([str(file), *DATA, "--max-drop=30", "--backend=onnxruntime"]) == 0
    found, card = table(file), ModelFile.read(file.with_name("model.mixed.onnx")).card
    assert card.precision == ("int8" if found["chosen"] else "fp16")
    if found["chosen"]:
        assert card.calibration["int8"] == found["chosen"]
        assert card.calibration["max_drop_points"] == 30
    assert [version["name"] for version in found["formats"][:3]] == ["FP32", "FP16", "INT8"]
    formats = {row["block"]: row["format"] for row in found["blocks"]}
    assert sorted(block for block in formats if formats[block] == "int8") == found["chosen"]
    assert formats["heads"] == "fp16"
    assert {tuple(point["int8"]) for point in found["curve"]} >= {(), tuple(found["chosen"])}
    assert all(row["why"] for row in found["blocks"])
    assert found["versions"]["onnx"]
    said = capsys.readouterr().out
    assert found["verdict"] in said
    assert said.rstrip().endswith("model.mixed.json")


def test_an_estimate_needs_no_measurement_and_is_the_same_every_time(file, monkeypatch):
    monkeypatch.setattr("calibration.study.latency.measure", None)
    arguments = [str(file), *DATA, "--max-drop=5", "--latency=estimated", "--device=t4"]
    assert main(arguments) == 0
    first, target = table(file), file.with_name("model.mixed.onnx")
    assert "estimated latency on" in first["latency"]
    model = target.read_bytes()
    scored = []
    score_all = command.score_all

    def counted(mixes, *rest, known, **others):
        scored.extend(mix for mix in mixes if mix not in known)
        return score_all(mixes, *rest, known=known, **others)

    monkeypatch.setattr(command, "score_all", counted)
    assert main(arguments) == 0
    assert scored == []  # all of them from the first run's file
    again = table(file)
    assert again["scores_known_before"] == len(first["scores"])
    assert {name: again[name] for name in ("blocks", "formats", "curve", "scores")} == {
        name: first[name] for name in ("blocks", "formats", "curve", "scores")
    }
    assert target.read_bytes() == model


def test_the_choice_keeps_within_the_drop_on_the_images_that_judge(file):
    main([str(file), *DATA, "--max-drop=0.4", "--latency=estimated"])
    found = table(file)
    fp32, chosen = found["formats"][0]["miou"], found["formats"][-1]["miou"]
    assert found["chosen"] is not None
    assert 100 * (fp32 - chosen) <= 0.4


def test_fp16_may_win(file, monkeypatch, capsys):
    monkeypatch.setattr("calibration.study.latency.milliseconds", lambda costs: 1.0)
    assert main([str(file), *DATA, "--max-drop=50", "--latency=estimated"]) == 0
    assert "FP16 wins here" in capsys.readouterr().out
    card = ModelFile.read(file.with_name("model.mixed.onnx")).card
    assert card.precision == "fp16"
    assert card.calibration == {}
    assert table(file)["chosen"] == []


def test_nothing_meets_a_drop_that_not_even_fp16_keeps(file, monkeypatch, capsys):
    score = command.score_all

    def worse(mixes, *rest, **others):
        found = score(mixes, *rest, **others)
        for mix in found:
            object.__setattr__(found[mix], "miou", found[mix].miou - 0.2 - 0.01 * len(mix))
        return found

    monkeypatch.setattr(command, "score_all", worse)
    assert main([str(file), *DATA, "--max-drop=1", "--latency=estimated"]) == 1
    said = capsys.readouterr().out
    assert "nothing keeps within 1 points; the best found, with 0 of" in said
    assert {path.name for path in file.parent.iterdir()} == {
        "model.onnx", "model.ranges.json", "model.mixed.scores.json"
    }  # fmt: skip


def test_a_certificate_may_follow(file, capsys):
    common = [str(file), *DATA, "--max-drop=30", "--latency=estimated"]
    code = main([*common, "--certify=scenes:n=3:val"])
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert code == (0 if verdict.startswith("certified: ") else 1)
    assert "model.mixed.onnx" in verdict
    assert file.with_name("model.mixed.onnx.certificate.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-drop=-1"], r"--max-drop=-1 is out of range; give 0 to 100 points"),
        (["--max-drop=nan"], r"--max-drop=nan is out of range"),
        (["--device=t5", "--latency=estimated"], "no figures for device 't5'; there are t4"),
        (["--time-on=tensort"], r'no backend "tensort"'),
        (["--time-on=tensorrt-rtx", "--latency=estimated"], "leave out --latency=estimated"),
        (["--certify=camvit:x"], r'did you mean "camvid"'),
        (["-o", "x.engine"], r"-o x\.engine is no name of a model"),
        (["-o", "model.onnx"], r"model\.onnx would overwrite the FP32 file"),
        (["--held-out=90"], "leaves 6 images to judge by but 90 are wanted"),
        (["--images=90"], "has 9 images but 90 are wanted"),
        (["--method=min"], 'no calibration method .*"minmax"'),
        (["--data=scenes:n=0"], "scenes"),
        (["--backend=tensorrt"], "tensorrt"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(file, arguments, message, monkeypatch):
    monkeypatch.chdir(file.parent)
    before = sorted(path.name for path in file.parent.iterdir())
    with pytest.raises(UserError, match=message):
        main([str(file), *DATA, *arguments])
    assert sorted(path.name for path in file.parent.iterdir()) == before


def test_a_quantised_model_is_refused(file):
    target = file.with_name("small.onnx")
    quantize_file(file, target, data="scenes:n=4:train", images=2)
    with pytest.raises(UserError, match="is int8 already"):
        main([str(target), *DATA])


def test_a_foreign_table_is_not_overwritten(file):
    other = file.with_name("model.mixed.json")
    other.write_text("[1]")
    with pytest.raises(UserError, match=r"model\.mixed\.json holds no scores of ours"):
        main([str(file), *DATA])
    assert other.read_text() == "[1]"


def test_weights_that_are_not_finite_are_named(file):
    model = onnx.load(file)
    kernel = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    tensor = next(t for t in model.graph.initializer if t.name == kernel)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[:] = float("nan")
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, kernel))
    onnx.save(model, file)
    with pytest.raises(UserError, match=r"is nan on a calibration image"):
        main([str(file), *DATA])
