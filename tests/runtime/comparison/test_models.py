from pathlib import Path

import onnx
import pytest
from engines import profile, write_engine

from emca.errors import UserError
from emca.files import sha256
from runtime.backends import ModelFile
from runtime.comparison.models import chosen, engine_cost, named, read
from runtime.graph.flops import count
from segdata.datasets import open_dataset


@pytest.fixture
def engine(toys):
    """An engine in the folder of the toys, as if built from this ONNX file there."""

    def write(source, **changes):
        card = ModelFile.read(source).card
        made = {"onnx_path": source.name, "onnx_sha256": sha256(source), "card": card}
        return write_engine(toys.folder, profiles=(profile(1, 1, 4, toys.size),), **made | changes)

    return write


def test_names_come_from_the_shortest_path_that_tells_models_apart(tmp_path):
    def names(*words):
        return list(named([str(tmp_path / word) for word in words]))

    assert names("out/emca/model.onnx", "out/pem/model.onnx") == ["emca", "pem"]
    assert names("a/x.onnx", "a/y.onnx") == ["x", "y"]
    assert names("a/run/model.onnx", "b/run/model.onnx") == ["a/run", "b/run"]
    assert names("a/x.onnx", "b/x.onnx", "b/y.onnx") == ["a/x", "b/x", "y"]
    assert named(["EMCA, no mask=a=b.onnx"]) == {"EMCA, no mask": Path("a=b.onnx")}
    strange = tmp_path / "a=b.onnx"
    strange.touch()
    assert list(named([str(strange)])) == ["a=b"]


def test_an_engine_is_a_model(toys, engine):
    model = toys.model()
    file = engine(toys.derived(model, "fp16"))
    onnx_file, plan = read({"FP32": model, "plan": file.path}, open_dataset(toys.data()))
    assert onnx_file.engine is None
    assert plan.engine == file
    assert (plan.name, plan.path, plan.card.precision) == ("plan", file.path, "fp16")
    assert (plan.size_text, plan.sha256) == ("48x64", file.engine_sha256)
    assert plan.cost == onnx_file.cost == count(onnx.load(model))
    with pytest.raises(UserError, match=r"model\.engine has 4 .*take data of the same classes"):
        read({"plan": file.path}, open_dataset("scenes::val"))


def test_the_cost_is_that_of_the_fp32_file(toys, engine):
    model = toys.model()
    cost = count(onnx.load(model))
    assert cost.total_flops > 0
    assert engine_cost(engine(model)) == cost
    quantised = toys.derived(model, "int8")
    plan = engine(quantised)
    quantised.unlink()  # the file that it was made from is enough
    assert engine_cost(plan) == cost
    assert engine_cost(engine(model, onnx_path="gone.onnx")) is None
    toys.model(noise=9)
    assert engine_cost(plan) is None


def test_engines_run_on_their_own_backend(toys, engine):
    model = toys.model()
    plan = engine(toys.derived(model, "fp16")).path
    mixed, alone = read({"a": model, "b": plan}, None), read({"b": plan}, None)
    assert chosen("onnxruntime", mixed) == {"a": "onnxruntime", "b": "auto"}
    assert chosen("auto", alone) == {"b": "auto"}
    assert chosen("tensorrt", alone) == {"b": "tensorrt"}
    with pytest.raises(UserError, match='no backend "opnvino"'):
        chosen("opnvino", mixed)
