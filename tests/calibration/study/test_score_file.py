import json

import pytest

from calibration.study.accuracy import Score
from calibration.study.score_file import read_scores, to_list
from emca.errors import UserError

SCORES = {
    frozenset(): Score(0.5, 1.0, [0.5, None]),
    frozenset({"b", "a"}): Score(0.25, 0.75, [0.25, None]),
}
KEY = {"model_sha256": "12", "held_out": {"images": ["x"]}}


def written(path, **changes):
    content = {"key": KEY, "scores": to_list(SCORES)} | changes
    path.write_text(json.dumps(content))
    return path


def test_scores_come_back(tmp_path):
    path = written(tmp_path / "s.json")
    assert read_scores(path, KEY) == (SCORES, f"2 scores taken from {path}")
    assert read_scores(tmp_path / "none.json", KEY) == ({}, "")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"key": KEY | {"model_sha256": "34"}}, "model"),
        ({"key": KEY | {"held_out": {"images": []}}}, "held_out"),
        ({"key": {}}, "model, held_out"),
    ],
)
def test_what_judged_otherwise_is_not_taken(tmp_path, changes, word):
    path = written(tmp_path / "s.json", **changes)
    assert read_scores(path, KEY) == ({}, f"{path} is about another {word}: judging anew")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"key": 1, "scores": []}', "\xff"])
def test_other_files_are_left_alone(tmp_path, content):
    path = tmp_path / "s.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="holds no scores of ours; remove it or give another name"):
        read_scores(path, KEY)
