"""Scores of mixes in a result file, from which a run that was broken off goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibration.study.accuracy import Score
from calibration.study.block_costs import Mix
from emca.errors import UserError

SCORES_VERSION = "1"  # part of the keys: another one makes all earlier scores void


def read_scores(path: Path, key: Mapping[str, Any]) -> tuple[dict[Mix, Score], str]:
    """What an earlier run left, if it judged the same.

    Args:
        path: the file; it need not be there.
        key: by name, whatever scores depend on (`calibration.study.study.Study.key`).

    Returns:
        The scores, and one line about them: "" where there is no file.

    Raises:
        UserError: the file is something else.
    """
    if not path.exists():
        return {}, ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        was = dict(content["key"])
        scores = {frozenset(entry["int8"]): _score(entry) for entry in content["scores"]}
    except (ValueError, KeyError, TypeError, OSError):
        raise UserError(
            f"{path} holds no scores of ours; remove it or give another name to -o"
        ) from None
    changed = [name for name, value in key.items() if was.get(name) != value]
    if changed:
        names = ", ".join(name.removesuffix("_sha256") for name in changed)
        return {}, f"{path} is about another {names}: judging anew"
    return scores, f"{len(scores)} scores taken from {path}"


def to_list(scores: Mapping[Mix, Score]) -> list[dict[str, Any]]:
    """All scores for JSON, as `read_scores` reads them under "scores"."""
    return [{"int8": sorted(mix), **to_dict(score)} for mix, score in scores.items()]


def to_dict(score: Score) -> dict[str, Any]:
    """One score for JSON."""
    return {"miou": score.miou, "agreement": score.agreement, "iou": score.iou}


def _score(entry: Mapping[str, Any]) -> Score:
    return Score(float(entry["miou"]), float(entry["agreement"]), list(entry["iou"]))
