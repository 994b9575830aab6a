from __future__ import annotations

import dataclasses
import json

import pytest
from cards import make_card

from emca.errors import UserError
from segdata.card import FORMAT_VERSION, ModelCard

CARD = make_card(
    input_size=(256, 512),
    precision="int8",
    source_sha256="cd" * 32,
    calibration={"spec": "scenes::train", "images": ["train/00000"], "method": "minmax"},
    ranges={"conv_1": 2.5},
)


def test_a_card_survives_the_metadata() -> None:
    props = CARD.to_props()
    assert ModelCard.from_props({**props, "author": "someone else's key"}, "m.onnx") == CARD


def test_props_are_json_strings_one_per_field() -> None:
    props = CARD.to_props()
    names = {f.name for f in dataclasses.fields(ModelCard)}
    assert set(props) == names | {"format_version"}
    assert props["format_version"] == FORMAT_VERSION == "1"
    assert json.loads(props["input_size"]) == [256, 512]
    assert json.loads(props["classes"]) == ["road", "größe"]


def test_files_written_before_a_field_was_added_get_its_default() -> None:
    props = CARD.to_props()
    del props["ranges"], props["imported_from"]
    card = ModelCard.from_props(props, "m.onnx")
    assert (card.ranges, card.imported_from) == ({}, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": None}, r"m\.onnx was not written by export\.to_onnx"),
        ({"format_version": "2"}, r"metadata format '2' but this version reads '1'; export it"),
        ({"mean": None}, r"m\.onnx: metadata key 'mean' is missing; export it again"),
        ({"palette": "[[1,2"}, r"metadata key 'palette' is not JSON; export it again"),
        ({"palette": "[[1,2,3]]"}, r"metadata key 'palette' is \(\(1, 2, 3\),\); export it"),
        ({"head": '"boxes"'}, r"metadata key 'head' is 'boxes'; export it again"),
        ({"precision": '"fp8"'}, r"metadata key 'precision' is 'fp8'"),
        ({"input_size": "5"}, r"metadata key 'input_size' is 5"),
        ({"input_size": "[64, 0]"}, r"metadata key 'input_size' is \(64, 0\)"),
        ({"input_size": "[64, 4294967344]"}, r"'input_size' is \(64, 4294967344\)"),
        ({"input_size": "[true, 64]"}, r"metadata key 'input_size' is \(True, 64\)"),
        ({"palette": "[[1,2,3],[4,5,300]]"}, r"'palette' is \(\(1, 2, 3\), \(4, 5, 300\)\)"),
        ({"palette": "[[1,2,3],[4,5,-1]]"}, r"metadata key 'palette' is"),
        ({"palette": "[[1,2,3],[4,5,6,7,8]]"}, r"metadata key 'palette' is"),
        ({"palette": "[[1,2,3],[4,5,1e300]]"}, r"metadata key 'palette' is"),
        ({"classes": "[]"}, r"metadata key 'classes' is \(\)"),
        ({"ranges": '{"conv_1": NaN}'}, r"metadata key 'ranges' is \{'conv_1': nan\}"),
        ({"ranges": '{"a": 1.0, "b": -1.0, "c": -2.0}'}, r"'ranges' is \{'b': -1.0\}; export"),
        ({"ranges": '{"conv_1": -1.0}'}, r"metadata key 'ranges' is \{'conv_1': -1.0\}"),
        ({"ranges": "[1.0]"}, r"metadata key 'ranges' is \(1.0,\)"),
    ],
)
def test_foreign_or_damaged_metadata_is_refused(
    change: dict[str, str | None], message: str
) -> None:
    props = {k: v for k, v in {**CARD.to_props(), **change}.items() if v is not None}
    with pytest.raises(UserError, match=message):
        ModelCard.from_props(props, "m.onnx")
