"""The ranges of a model's activations: learnt in training, measured before, or measured now."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from calibration.ranges.calibrate import check_method, measure
from calibration.ranges.images import Images
from calibration.rewrite.mixes import Mixes
from emca.errors import UserError
from emca.files import atomic_path, sha256
from runtime.backends import ModelFile

_FORMAT, _VERSION = "emca-ranges", 1

Ranges = dict[str, float]

LEARNT = "learnt"  # stands for a method where none was needed


def default_cache(target: Path, source: Path) -> Path:
    """`model.ranges.json` for `model.onnx`, in the folder that the result is written to."""
    return target.parent / f"{source.stem}.ranges.json"


def find_ranges(
    file: ModelFile,
    mixes: Mixes,
    tensors: Collection[str],
    images: Images,
    methods: Collection[str],
    *,
    cache: Path,
) -> dict[str, Ranges]:
    """Method -> tensor -> range, for each of the tensors.

    A range that quantisation-aware training learnt is in the file's card and holds for every
    method. What no earlier run left in `cache` is measured, and added there; a cache about another
    model or other images is replaced, and a line says so.

    Args:
        mixes: of `file`.
        methods: keys of `calibration.ranges.calibrate.METHODS`.

    Raises:
        UserError: an unknown method, a `cache` that is something else, or an activation that is
            not finite on some image.
    """
    for method in methods:
        check_method(method)
    learnt = {name: file.card.ranges[name] for name in tensors if name in file.card.ranges}
    wanted = set(tensors) - learnt.keys()
    key = {"model_sha256": sha256(file.path), "images_sha256": images.sha256}
    known = _known(cache, key)
    missing = {name for name in wanted if any(name not in known.get(m, {}) for m in methods)}
    if missing:
        found = measure(mixes.folded, missing, images.pixels, methods)
        known |= {method: known.get(method, {}) | ranges for method, ranges in found.items()}
        _write(cache, {"data": images.data, "images": images.names, **key, "ranges": known})
    elif wanted:
        print(f"{len(wanted)} ranges taken from {cache}")
    if learnt:
        print(f"{len(learnt)} ranges were learnt in training")
    return {method: learnt | {name: known[method][name] for name in wanted} for method in methods}


def provenance(file: ModelFile, tensors: Collection[str], method: str) -> dict[str, Any]:
    """Where the ranges of these tensors come from, as plain values for a model's card."""
    learnt = sum(name in file.card.ranges for name in tensors)
    return {"method": method if learnt < len(tensors) else LEARNT, "learnt": learnt}


def _known(cache: Path, key: Mapping[str, str]) -> dict[str, Ranges]:
    """What the cache knows of this model on these images: method -> tensor -> range."""
    if not cache.exists():
        return {}
    try:
        stored: Any = json.loads(cache.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        stored = None
    foreign = not isinstance(stored, dict) or stored.get("format") != _FORMAT
    same = {"version": _VERSION, **key}
    other = foreign or any(stored.get(name) != value for name, value in same.items())
    if foreign or not (other or _are_ranges(stored.get("ranges"))):
        raise UserError(f"{cache} holds no ranges of ours; remove it or give another --cache")
    if other:
        print(f"{cache} is about another model or other images: measuring anew")
        return {}
    ranges: dict[str, Ranges] = stored["ranges"]
    return ranges


def _are_ranges(value: object) -> bool:
    """Whether `value` is method -> tensor -> finite range."""
    return isinstance(value, dict) and all(
        isinstance(ranges, dict)
        and all(isinstance(r, (int, float)) and 0 <= r < math.inf for r in ranges.values())
        for ranges in value.values()
    )


def _write(cache: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps({"format": _FORMAT, "version": _VERSION, **content}, indent=1)
    with atomic_path(cache) as path:
        path.write_text(text + "\n", encoding="utf-8")
