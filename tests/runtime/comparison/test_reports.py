import json

import numpy as np
import pytest

from emca.errors import UserError
from runtime.backends.base import LayerInfo, LayerTimes
from runtime.bench_options import bench_parser
from runtime.comparison.reports import Reports
from runtime.timing.latency import Timing

BATCHES = {"FP16": np.zeros((1, 2, 2, 3), np.uint8)}
TIMINGS = {"FP16": Timing(queries=[(0.0, 10.0)], wall_ms=10)}


class Told:
    """A backend that tells two layers."""

    def layer_times(self, images, runs):
        return LayerTimes(runs, [("conv", [1.0] * runs)])

    def layer_info(self, images):
        return LayerInfo(["conv"], ["conv"], ["image"])

    def infer(self, images):
        return {"labels": images[..., 0]}


def arguments(*words):
    return bench_parser("").parse_args(["--onnx=m.onnx", "--duration=0.1", *words])


def test_files_take_their_names_together(tmp_path, capsys):
    names = ("Profile", "LayerInfo", "Output")
    files = [tmp_path / f"{name}.json" for name in names]
    words = [f"--export{name}={path}" for name, path in zip(names, files, strict=True)]
    with Reports(arguments(*words)) as reports:
        reports.layers({"FP16": Told()}, BATCHES, TIMINGS)
        assert not any(path.exists() for path in files)
    profile, info, output = (json.loads(path.read_text()) for path in files)
    assert profile[0] == {"format": "FP16", "count": 10}  # 0.1 s of 10 ms each
    assert info == {"Layers": ["conv"], "Bindings": ["image"]}
    assert output[0]["values"] == [0, 0, 0, 0]
    assert capsys.readouterr().out == ""  # nothing was asked to be shown


def test_nothing_is_run_that_nobody_asked_for():
    with Reports(arguments()) as reports:
        reports.layers({"FP16": None}, BATCHES, TIMINGS)


def test_a_failure_leaves_what_was_there(tmp_path):
    old = tmp_path / "old.json"
    old.write_text("{}")
    words = (f"--exportTimes={old}", f"--exportProfile={tmp_path / 'new.json'}")
    with pytest.raises(ZeroDivisionError), Reports(arguments(*words)) as reports:
        reports.write_times([1 / 0])
    assert old.read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    with pytest.raises(UserError, match="is a folder"):
        Reports(arguments(f"--exportTimes={old}", f"--exportOutput={tmp_path}")).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
