import json

import pytest

from calibration.ranges import cache as range_cache
from calibration.ranges.cache import default_cache, find_ranges, provenance
from calibration.ranges.images import calibration_images
from calibration.rewrite.mixes import Mixes
from emca.errors import UserError
from runtime.backends.base import ModelFile

DATA = "scenes:n=6:train"


@pytest.fixture
def model(file):
    return ModelFile.read(file)


@pytest.fixture
def mixes(model):
    return Mixes(model.proto)


@pytest.fixture
def measured(monkeypatch):
    """Names of the tensors that each call of `measure` was asked for."""
    calls = []
    measure = range_cache.measure

    def counted(folded, tensors, images, methods):
        calls.append(sorted(tensors))
        return measure(folded, tensors, images, methods)

    monkeypatch.setattr(range_cache, "measure", counted)
    return calls


def test_a_second_run_measures_nothing(model, mixes, measured, tmp_path, capsys):
    images, cache = calibration_images(model, DATA, 2), tmp_path / "r.json"
    tensors = mixes.tensors()
    first = find_ranges(model, mixes, tensors, images, ["minmax"], cache=cache)
    assert measured == [sorted(tensors)]
    again = find_ranges(model, mixes, tensors, images, ["minmax"], cache=cache)
    assert again == first
    assert len(measured) == 1
    assert f"{len(tensors)} ranges taken from {cache}" in capsys.readouterr().out


def test_only_what_is_missing_is_measured(model, mixes, measured, tmp_path):
    images, cache = calibration_images(model, DATA, 2), tmp_path / "r.json"
    tensors = sorted(mixes.tensors())
    find_ranges(model, mixes, tensors[:3], images, ["minmax"], cache=cache)
    found = find_ranges(model, mixes, tensors, images, ["minmax"], cache=cache)
    assert measured == [tensors[:3], tensors[3:]]
    assert set(found["minmax"]) == set(tensors)
    both = find_ranges(model, mixes, tensors[:2], images, ["minmax", "mse"], cache=cache)
    assert measured[2] == tensors[:2]
    assert both["minmax"] == {name: found["minmax"][name] for name in tensors[:2]}
    kept = json.loads(cache.read_text())["ranges"]
    assert {method: len(ranges) for method, ranges in kept.items()} == {
        "minmax": len(tensors),
        "mse": 2,
    }


def test_other_images_are_measured_anew(model, mixes, measured, tmp_path, capsys):
    cache = tmp_path / "r.json"
    tensors = sorted(mixes.tensors())[:3]
    for count in (2, 3):
        images = calibration_images(model, DATA, count)
        find_ranges(model, mixes, tensors, images, ["minmax"], cache=cache)
    assert measured == [tensors, tensors]
    assert "is about another model or other images: measuring anew" in capsys.readouterr().out
    assert len(json.loads(cache.read_text())["images"]) == 3


def test_learnt_ranges_come_first(model, mixes, measured, tmp_path):
    images, cache = calibration_images(model, DATA, 2), tmp_path / "r.json"
    tensors = sorted(mixes.tensors())
    model.card.ranges.update({tensors[0]: 1.5, "unknown": 2.0})
    for method in ("minmax", "percentile"):
        found = find_ranges(model, mixes, tensors, images, [method], cache=cache)
        assert found[method][tensors[0]] == 1.5
        assert set(found[method]) == set(tensors)
    assert measured == [tensors[1:], tensors[1:]]


def test_the_card_says_what_was_learnt(model):
    assert provenance(model, ["a", "b"], "mse") == {"method": "mse", "learnt": 0}
    model.card.ranges["a"] = 1.0
    assert provenance(model, ["a", "b"], "mse") == {"method": "mse", "learnt": 1}
    assert provenance(model, ["a"], "mse") == {"method": "learnt", "learnt": 1}


@pytest.mark.parametrize("broken", ["NaN", "-1.0", "Infinity", "null", '"a"', "[1]"])
def test_a_range_that_is_none_is_refused(model, mixes, tmp_path, broken):
    images, cache = calibration_images(model, DATA, 1), tmp_path / "r.json"
    tensors = sorted(mixes.tensors())[:1]
    known = find_ranges(model, mixes, tensors, images, ["minmax"], cache=cache)
    text = cache.read_text().replace(str(known["minmax"][tensors[0]]), broken)
    cache.write_text(text)
    with pytest.raises(UserError, match=r"r\.json holds no ranges of ours"):
        find_ranges(model, mixes, tensors, images, ["minmax"], cache=cache)
    assert cache.read_text() == text


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "other"}', "\x00\xff"])
def test_a_foreign_file_is_not_overwritten(model, mixes, tmp_path, content):
    cache = tmp_path / "r.json"
    cache.write_text(content, encoding="latin-1")
    images = calibration_images(model, DATA, 1)
    with pytest.raises(UserError, match=r"r\.json holds no ranges of ours; remove it"):
        find_ranges(model, mixes, mixes.tensors(), images, ["minmax"], cache=cache)
    assert cache.read_text(encoding="latin-1") == content


def test_the_cache_lies_beside_the_result(tmp_path):
    target, source = tmp_path / "out" / "small.onnx", tmp_path / "model.onnx"
    assert default_cache(target, source) == tmp_path / "out" / "model.ranges.json"
