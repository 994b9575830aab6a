import dataclasses

import onnx
import pytest

from calibration.int8 import main
from calibration.ranges.calibrate import METHODS
from calibration.rewrite.mixes import Mixes
from calibration.study.accuracy import Score
from calibration.study.methods import best_of
from emca.errors import UserError
from runtime.backends.base import ModelFile

COMMON = ["--data", "scenes:n=8:train", "--images=3", "--held-out=4", "--compare-methods"]


def test_the_best_method_is_taken_and_recorded(file, capsys):
    main([str(file), *COMMON])
    target = file.with_name("model.int8.onnx")
    calibration = ModelFile.read(target).card.calibration
    scores = calibration["methods"]
    assert list(scores) == list(METHODS)
    best = calibration["method"]
    assert best == best_of({name: Score(*pair, []) for name, pair in scores.items()})
    assert len(calibration["held_out"]["images"]) == 4
    assert not set(calibration["held_out"]["images"]) & set(calibration["images"])
    lines = capsys.readouterr().out.splitlines()
    taken = [line for line in lines if line.endswith("taken")]
    assert len(taken) == 1
    assert taken[0].split()[0] == best
    assert f"{100 * scores[best][0]:.2f}" in taken[0]


def test_within_the_noise_of_miou_agreement_decides():
    scores = {"a": Score(0.62, 0.95, []), "b": Score(0.6195, 0.99, []), "c": Score(0.61, 1, [])}
    assert best_of(scores) == "b"
    assert best_of({**scores, "b": Score(0.6185, 0.99, [])}) == "a"


def test_ranges_are_those_of_the_method_alone(file):
    main([str(file), *COMMON])
    target = file.with_name("model.int8.onnx")
    best = ModelFile.read(target).card.calibration["method"]
    other = file.with_name("other.onnx")
    main([str(file), *COMMON[:3], f"--method={best}", "-o", str(other)])
    graphs = [ModelFile.read(path).proto.graph.SerializeToString() for path in (target, other)]
    assert graphs[0] == graphs[1]


def test_learnt_ranges_leave_nothing_to_compare(file):
    model = ModelFile.read(file)
    ranges = dict.fromkeys(Mixes(model.proto).tensors(), 1.0)
    onnx.helper.set_model_props(
        model.proto, dataclasses.replace(model.card, ranges=ranges).to_props()
    )
    onnx.save(model.proto, file)
    with pytest.raises(UserError, match="leave --compare-methods out"):
        main([str(file), *COMMON])


def test_too_few_images_write_nothing(file):
    with pytest.raises(UserError, match="leaves 5 images to judge by but 50 are wanted"):
        main([str(file), *COMMON[:3], "--held-out=50", "--compare-methods"])
    assert not file.with_name("model.int8.onnx").exists()
