import dataclasses
import json

import pytest
from cards import make_card

from emca.errors import UserError
from emca.files import sha256
from runtime.backends.engine_file import EngineFile, Layer, Profile, is_engine, json_path


def profile(low, best, high):
    return Profile(*((batch, 64, 96, 3) for batch in (low, best, high)))


@pytest.fixture
def engine(tmp_path):
    """A file that looks like an engine, and its description."""
    path = tmp_path / "model.fp16.engine"
    path.write_bytes(b"a plan")
    return EngineFile(
        path=path,
        card=make_card(precision="fp16", classes=("straße", "car")),
        backend="tensorrt",
        version="10.3.0",
        device="Tesla T4",
        compute_capabilities=("7.5",),
        version_compatible=False,
        hardware_compatibility="none",
        profiles=(profile(1, 2, 4), profile(8, 8, 8)),
        plugins={"PrototypeAttention": 9},
        onnx_path="../model.fp16.onnx",
        onnx_sha256="cd" * 32,
        engine_sha256=sha256(path),
        layers=(Layer('a "b"', "gemm", ("fp16",), ("fp32",), ("a", "b")), Layer("c", "kgen")),
        settings={"workspace": None},
    )


def change(engine, **values):
    path = json_path(engine.path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **values}))


def test_it_comes_back_as_it_was_written(engine):
    path = engine.write({"command": "python -m runtime.build", "date": "today"})
    assert path.name == "model.fp16.engine.json"
    assert EngineFile.read(engine.path) == engine
    assert EngineFile.read(str(engine.path)).onnx == engine.path.parent / "../model.fp16.onnx"
    content = json.loads(path.read_text())
    assert content["command"] == "python -m runtime.build"
    assert content["format_version"] == "1"
    assert len(path.read_text().splitlines()) < 40  # a line for each layer


def test_input_shape(engine):
    assert engine.input_shape == (None, 64, 96, 3)
    for only, batch in ((profile(2, 2, 2), 2), (profile(1, 1, 2), None)):
        assert dataclasses.replace(engine, profiles=(only,)).input_shape == (batch, 64, 96, 3)


def test_the_smallest_batch(engine):
    several = (profile(2, 2, 4), profile(4, 8, 8))
    assert dataclasses.replace(engine, profiles=several).least_batch == 2


def test_shapes_of_a_profile():
    allowed = profile(2, 3, 4)
    assert (2, 64, 96, 3) in allowed
    assert (4, 64, 96, 3) in allowed
    for shape in ((1, 64, 96, 3), (5, 64, 96, 3), (2, 64, 97, 3), (2, 64, 96), None):
        assert shape not in allowed


def test_names():
    assert is_engine("a/model.engine")
    assert is_engine("model.plan")
    assert not is_engine("model.engine.json")
    assert not is_engine("model.onnx")


def test_what_is_not_there(engine, tmp_path):
    with pytest.raises(UserError, match=r"gone\.engine: no such engine; build it with python -m"):
        EngineFile.read(tmp_path / "gone.engine")
    with pytest.raises(UserError, match=r"model\.fp16\.engine\.json is missing; keep it beside"):
        EngineFile.read(engine.path)


def test_an_engine_that_was_replaced(engine):
    engine.write({})
    engine.path.write_bytes(b"another plan")
    with pytest.raises(UserError, match=r"is not the engine that model\.fp16\.engine\.json desc"):
        EngineFile.read(engine.path)


SIDES = ("minimum", "optimum", "maximum")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format_version": "2"}, "has format '2' but this version reads '1'"),
        ({"profiles": []}, "has no profile"),
        ({"profiles": [{"minimum": [1, 2]}]}, "is damaged"),
        ({"layers": [{"name": "a"}]}, "key 'kind' is missing"),
        ({"card": 3}, "is damaged"),
        ({"plugins": None}, "is damaged"),
        ({"settings": None}, "is damaged"),
        ({"compute_capabilities": [7.5]}, "is damaged"),
        ({"version": ""}, r"is damaged \(version ''\); build the engine again"),
        ({"version": "x1"}, r"is damaged \(version 'x1'\)"),
        ({"profiles": [{side: [1.5, 64, 96, 3] for side in SIDES}]}, "is no shape"),
        ({"profiles": [{side: ["1", 64, 96, 3] for side in SIDES}]}, "is no shape"),
        ({"card": {"classes": []}}, "metadata key"),
    ],
)
def test_json_that_cannot_be_used(engine, values, message):
    engine.write({})
    change(engine, **values)
    with pytest.raises(UserError, match=message) as error:
        EngineFile.read(engine.path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[]", "no JSON", "3"])
def test_json_of_another_kind(engine, text):
    json_path(engine.path).write_text(text)
    with pytest.raises(UserError, match=r"it is no JSON|has format None"):
        EngineFile.read(engine.path)
