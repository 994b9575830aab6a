import json

import numpy as np
import pytest

from emca.cli import run
from emca.errors import UserError
from emca.files import sha256
from runtime import to_openvino
from runtime.backends import load
from runtime.backends.ov.backend import CONFIG, core
from runtime.to_openvino import convert
from segdata.card import ModelCard


def info(network, key):
    return network.get_rt_info(["emca", key]).astype(str)


def test_the_file_gives_the_labels_of_the_backend_and_says_what_it_is(toys):
    model = toys.model()
    target = convert(model)
    assert target == model.with_suffix(".xml")
    network = core().read_model(target)
    card = {key: json.dumps(value) for key, value in json.loads(info(network, "card")).items()}
    card["format_version"] = info(network, "format_version")
    assert ModelCard.from_props(card, "") == load(model, "openvino").card
    assert info(network, "weights_sha256") == sha256(target.with_suffix(".bin"))
    config = json.loads(info(network, "config"))
    assert config == CONFIG

    compiled = core().compile_model(network, info(network, "device"), config)
    image = np.random.default_rng(0).integers(0, 256, (1, *toys.size, 3), np.uint8)
    (labels,) = compiled(image).values()
    assert len(np.unique(labels)) > 1
    assert np.array_equal(labels, load(model, "openvino").infer(image)["labels"])


def test_both_files_are_replaced_together(toys, tmp_path):
    target = tmp_path / "deep" / "model.xml"
    weights = target.with_suffix(".bin")
    found = set()
    for noise in (0, 9):
        convert(toys.model(noise=noise), target)
        assert info(core().read_model(target), "weights_sha256") == sha256(weights)
        found.add(sha256(weights))
    assert len(found) == 2
    assert sorted(path.name for path in target.parent.iterdir()) == ["model.bin", "model.xml"]


def test_a_conversion_that_fails_leaves_nothing(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no model")
    with pytest.raises(UserError, match="no complete ONNX file"):
        convert(model)
    assert list(tmp_path.iterdir()) == [model]


def test_the_target_has_the_suffix_of_openvino(toys):
    with pytest.raises(UserError, match=r"model\.bin: OpenVINO's files end in \.xml"):
        convert(toys.model(), toys.folder / "model.bin")


def test_what_cannot_be_written_leaves_what_was_there(toys):
    target = toys.folder / f"{'a' * 251}.xml"  # too long for the temporary name
    target.write_text("before")
    with pytest.raises(UserError, match="cannot be written; check the folder and the disk"):
        convert(toys.model(), target)
    assert target.read_text() == "before"


def test_the_command(toys, capsys):
    with pytest.raises(SystemExit) as end:
        run(to_openvino.main, [str(toys.model()), "-o", str(toys.folder / "own.xml")])
    assert end.value.code == 0
    assert "own.xml and own.bin" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        run(to_openvino.main, [str(toys.folder / "none.onnx")])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
