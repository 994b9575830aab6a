"""Which classes a foreign checkpoint tells apart, and whether they are semantic classes."""

from __future__ import annotations

import re
from pathlib import Path

from segdata.classes import ADE20K, CITYSCAPES, Taxonomy, generated_palette
from segdata.errors import UserError
from train.sources.imported import Imported

KNOWN = (ADE20K, CITYSCAPES)
SIZES = {ADE20K.name: (512, 512), CITYSCAPES.name: (1024, 2048)}
OTHER_TASKS = {
    133: "a COCO panoptic",
    80: "a COCO instance",
    100: "an ADE20K instance",
    8: "a Cityscapes instance",
    40: "a YouTube-VIS video instance",
}
MASK_CLASSIFIERS = ("mask2former", "maskformer")
SAME = 0.9  # share of class names that must agree for two lists to mean the same


def check_task(source: str, imported: Imported) -> None:
    """Refuse what was not trained for semantic segmentation.

    Raises:
        UserError: a panoptic or instance checkpoint, by its name or its number of classes.
    """
    named = re.search(r"panoptic|instance", Path(source).name.lower())
    task = f"a{'n' if named[0][0] == 'i' else ''} {named[0]}" if named else None
    if imported.model.architecture in MASK_CLASSIFIERS:
        task = task or OTHER_TASKS.get(imported.num_classes)
    if task:
        raise UserError(
            f"'{source}' is {task} segmentation checkpoint ({imported.num_classes} classes); "
            "supported are semantic ones, such as those for ADE20K (150 classes) and "
            "Cityscapes (19)"
        )


def taxonomy(num_classes: int, names: tuple[str, ...] | None) -> Taxonomy:
    """The data set with these classes; else the given names, or numbers, with generated colours."""
    if names and all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        names = None  # what transformers writes where nobody named them
    for known in KNOWN:
        if len(known.classes) == num_classes and (names is None or _same(names, known.classes)):
            return known
    classes = names or tuple(f"class {index}" for index in range(num_classes))
    return Taxonomy("imported", classes, generated_palette(num_classes))


def input_size(name: str) -> tuple[int, int]:
    """(H, W) at which models for this data set are evaluated."""
    return SIZES.get(name, (512, 512))


def _same(names: tuple[str, ...], classes: tuple[str, ...]) -> bool:
    pairs = zip(names, classes, strict=True)
    return sum(_first(a) == _first(b) for a, b in pairs) >= SAME * len(classes)


def _first(name: str) -> str:
    """The first of several synonyms."""
    return re.split(r"[;,]", name.lower())[0].strip()
