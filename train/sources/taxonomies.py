"""Which classes a foreign checkpoint tells apart, and whether they are semantic classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from emca.errors import UserError
from segdata.classes import ADE20K, CITYSCAPES, Taxonomy, generated_palette
from train.sources.imported import Imported

KNOWN = (ADE20K, CITYSCAPES)
SIZES = {ADE20K.name: (512, 512), CITYSCAPES.name: (1024, 2048)}
OTHER_TASKS = {  # by number of classes: the task, and how its published lists of classes begin
    133: ("a COCO panoptic", ["person, bicycle, car"]),
    80: ("a COCO instance", ["person, bicycle, car"]),
    100: ("an ADE20K instance", ["bed, windowpane, cabinet"]),
    8: ("a Cityscapes instance", ["person, rider, car"]),
    40: (
        "a YouTube-VIS video instance",
        ["person, giant_panda, lizard", "airplane, bear, bird"],  # of 2019 and 2021
    ),
}
MASK_CLASSIFIERS = ("mask2former", "maskformer")
SAME = 0.9  # share of class names that must agree for two lists to mean the same


def check_task(source: str, imported: Imported) -> None:
    """Refuse what was not trained for semantic segmentation.

    A mask classifier with as many classes as a benchmark of another task passes only with names
    that are not the benchmark's.

    Raises:
        UserError: a panoptic or instance checkpoint, by its name or by its classes.
    """
    named = re.search(r"panoptic|instance", Path(source).name.lower())
    if named:
        _refuse(source, f"a{'n' if named[0][0] == 'i' else ''} {named[0]}", imported)
    if imported.model.architecture not in MASK_CLASSIFIERS:
        return
    task, beginnings = OTHER_TASKS.get(imported.num_classes, ("", []))
    names = _given(imported.classes)
    if task and names is None:
        remedy = (
            "; if its classes are your own, give a Hugging Face folder whose config.json names "
            "them (id2label)"
        )
        _refuse(source, task, imported, remedy)
    if names and ", ".join(map(_first, names[:3])) in beginnings:
        _refuse(source, task, imported)


def taxonomy(num_classes: int, names: tuple[str, ...] | None) -> Taxonomy:
    """The data set with these classes; else the given names, or numbers, with generated colours."""
    names = _given(names)
    for known in KNOWN:
        if len(known.classes) == num_classes and (names is None or _same(names, known.classes)):
            return known
    classes = names or tuple(f"class {index}" for index in range(num_classes))
    return Taxonomy("imported", classes, generated_palette(num_classes))


def input_size(name: str) -> tuple[int, int]:
    """(H, W) at which models for this data set are evaluated."""
    return SIZES.get(name, (512, 512))


def _refuse(source: str, task: str, imported: Imported, remedy: str = "") -> NoReturn:
    raise UserError(
        f"'{source}' is {task} segmentation checkpoint ({imported.num_classes} classes); "
        "supported are semantic ones, such as those for ADE20K (150 classes) and "
        f"Cityscapes (19){remedy}"
    )


def _given(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names, unless they are those that transformers writes where nobody gave any."""
    generated = names is None or all(re.fullmatch(r"LABEL_\d+", name) for name in names)
    return None if generated else names


def _same(names: tuple[str, ...], classes: tuple[str, ...]) -> bool:
    pairs = zip(names, classes, strict=True)
    return sum(_first(a) == _first(b) for a, b in pairs) >= SAME * len(classes)


def _first(name: str) -> str:
    """The first of several synonyms."""
    return re.split(r"[;,]", name.lower())[0].strip()
