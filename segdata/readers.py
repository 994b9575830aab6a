"""Data sets that lie in files: ADE20K SceneParsing, Cityscapes, CamVid and plain folders."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emca.errors import UserError, nearest
from segdata.classes import (
    ADE20K,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_LABEL_TO_TRAIN,
    CITYSCAPES_LAST_LABEL,
    IGNORE_INDEX,
    Colour,
    Taxonomy,
    generated_palette,
)
from segdata.preprocess import Bytes, read_image, read_label
from segdata.samples import DEFAULT_SPLIT, Dataset, Sample

_log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
LABEL_SUFFIX = ".png"

# Stands in the tables from file ids to train ids where the file should hold no such id.
_UNKNOWN = 254
MAX_CLASSES = _UNKNOWN


@dataclass(frozen=True)
class FileDataset:
    """Images with label maps in files.

    Attributes:
        root: the folder that `names` are relative to.
        names: path of each image, with forward slashes.
        labels: path of each label map below `root`, or None without labels.
        table: uint8 [256], id in a label file -> train id, IGNORE_INDEX or `_UNKNOWN`.
    """

    spec: str
    taxonomy: Taxonomy
    root: Path
    names: list[str]
    labels: list[str] | None
    table: Bytes

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample. Raises UserError for files that are missing, broken or do not fit."""
        name = self.names[index]
        image = read_image(self.root / name)
        if self.labels is None:
            return Sample(name, image, None)
        return Sample(name, image, self._label(self.root / self.labels[index], image))

    def _label(self, path: Path, image: Bytes) -> Bytes:
        ids = read_label(path)
        if ids.shape != image.shape[:2]:
            raise UserError(
                f"{path}: label is {ids.shape[1]}x{ids.shape[0]} but its image is "
                f"{image.shape[1]}x{image.shape[0]} (width x height); make both the same size"
            )
        label = np.asarray(cv2.LUT(ids, self.table), dtype=np.uint8)
        unknown = label == _UNKNOWN
        if unknown.any():
            raise UserError(
                f"{path}: holds id {ids[unknown][0]}, which {self.taxonomy.name} does not have; "
                f"its ids are {_ranges(self.table)}"
            )
        return label


def open_ade20k(spec: str, path: str, split: str | None, labels: bool) -> Dataset:
    root = _existing(spec, path)
    if (root / "ADEChallengeData2016").is_dir():
        root = root / "ADEChallengeData2016"
    long_names = {"train": "training", "val": "validation"}
    split = split or DEFAULT_SPLIT
    images = _split_folder(spec, root / "images", long_names.get(split, split))
    return _open(
        spec,
        ADE20K,
        root,
        images,
        (lambda image: Path("annotations", images.name, image).with_suffix(LABEL_SUFFIX)),
        labels,
        _table({0: IGNORE_INDEX} | {k + 1: k for k in range(len(ADE20K.classes))}),
    )


def open_cityscapes(spec: str, path: str, split: str | None, labels: bool) -> Dataset:
    root = _existing(spec, path)
    images = _split_folder(spec, root / "leftImg8bit", split or DEFAULT_SPLIT)

    def label(image: Path) -> Path:
        stem = image.stem.removesuffix("_leftImg8bit")
        return Path("gtFine", images.name, image.parent, f"{stem}_gtFine_labelIds.png")

    known = {k: int(CITYSCAPES_LABEL_TO_TRAIN[k]) for k in range(CITYSCAPES_LAST_LABEL + 1)}
    table = _table(known)
    # The ground truth decides what is evaluated, as in the evaluation script of the data set.
    return _open(spec, CITYSCAPES, root, images, label, labels, table, partly_labelled=True)


def open_camvid(spec: str, path: str, split: str | None, labels: bool) -> Dataset:
    root = _existing(spec, path)
    images = _split_folder(spec, root, split or DEFAULT_SPLIT)
    void = len(CAMVID.classes)
    return _open(
        spec,
        CAMVID,
        root,
        images,
        (lambda image: Path(f"{images.name}annot", image).with_suffix(LABEL_SUFFIX)),
        labels,
        _table({k: k for k in range(void)} | {void: IGNORE_INDEX}),
    )


def open_folder(spec: str, path: str, split: str | None, labels: bool) -> Dataset:
    root = _existing(spec, path)
    images = root / "images"
    if not images.is_dir():
        if labels:
            raise UserError(f"data {spec!r}: {images} is not a folder; put the images there")
        images = root  # a bare folder of pictures serves where no labels are needed
    elif split is not None or _holds_folders_only(images):
        images = _split_folder(spec, images, split or DEFAULT_SPLIT)
    inner = images.relative_to(root / "images") if images != root else Path()
    taxonomy = _read_classes(root / "classes.txt", required=labels)
    return _open(
        spec,
        taxonomy,
        root,
        images,
        (lambda image: Path("labels", inner, image).with_suffix(LABEL_SUFFIX)),
        labels,
        _table({k: k for k in range(len(taxonomy.classes))}),
    )


READERS: dict[str, Callable[[str, str, str | None, bool], Dataset]] = {
    "ade20k": open_ade20k,
    "cityscapes": open_cityscapes,
    "camvid": open_camvid,
    "folder": open_folder,
}


def _open(
    spec: str,
    taxonomy: Taxonomy,
    root: Path,
    images: Path,
    label_of: Callable[[Path], Path],
    labels: bool,
    table: Bytes,
    *,
    partly_labelled: bool = False,
) -> FileDataset:
    """List what is below the folder `images`.

    `label_of` maps an image's path relative to `images` to its label's path relative to `root`.
    With `partly_labelled`, images without a label are left out as long as there are others.
    """
    found = sorted(_files(images))
    if not found:
        raise UserError(f"data {spec!r}: no images in {images}; give a folder that holds some")
    pairs = [((images / image).relative_to(root), label_of(image)) for image in found]
    if not labels:
        return FileDataset(spec, taxonomy, root, [i.as_posix() for i, _ in pairs], None, table)
    labelled = [(image, label) for image, label in pairs if (root / label).is_file()]
    if len(labelled) < len(pairs):
        there = set(labelled)
        image, label = next(pair for pair in pairs if pair not in there)
        missing = f"{root / image} has no label: {root / label} is missing"
        if not (partly_labelled and labelled):
            raise UserError(f"{missing}; add it or remove the image")
        left_out = len(pairs) - len(labelled)
        _log.warning("%s of %s images are left out; the first: %s", left_out, len(pairs), missing)
    names = [image.as_posix() for image, _ in labelled]
    return FileDataset(
        spec, taxonomy, root, names, [label.as_posix() for _, label in labelled], table
    )


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            yield path.relative_to(folder)


def _holds_folders_only(folder: Path) -> bool:
    entries = [p for p in folder.iterdir() if not p.name.startswith(".")]
    return bool(entries) and all(p.is_dir() for p in entries)


def _existing(spec: str, path: str) -> Path:
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise UserError(f"data {spec!r}: {path or 'PATH'} is not a folder; check the path")
    return root


def _split_folder(spec: str, parent: Path, split: str) -> Path:
    folder = parent / split
    if folder.is_dir():
        return folder
    if not parent.is_dir():
        raise UserError(f"data {spec!r}: {parent} is not a folder; check the path")
    splits = sorted(p.name for p in parent.iterdir() if p.is_dir() and not p.name.endswith("annot"))
    there = f"{parent} holds {', '.join(splits)}" if splits else f"{parent} holds no folders"
    raise UserError(
        f"data {spec!r}: {folder} is not a folder{nearest(split, splits)}; {there}: name one of "
        "them as NAME:PATH:SPLIT"
    )


def _read_classes(path: Path, *, required: bool) -> Taxonomy:
    """`classes.txt`: one class a line in the order of the ids, or `name red green blue`."""
    if not path.is_file():
        if required:
            raise UserError(f"{path} is missing; write one class name a line, in the order of ids")
        return Taxonomy("folder", (), ())
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [_class_row(path, line) for line in lines if line]
    names = [name for name, _ in rows]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UserError(f"{path}: class {min(repeated)!r} stands twice; remove one")
    if not 0 < len(rows) <= MAX_CLASSES:
        raise UserError(f"{path}: {len(rows)} classes; write 1 to {MAX_CLASSES}, one a line")
    colours = zip(rows, generated_palette(len(rows)), strict=True)
    return Taxonomy("folder", tuple(names), tuple(row[1] or other for row, other in colours))


def _class_row(path: Path, line: str) -> tuple[str, Colour | None]:
    match = re.fullmatch(r"(.*\S)\s+(\d+)\s+(\d+)\s+(\d+)", line)
    if match is None:
        return line, None
    red, green, blue = (int(match[k]) for k in (2, 3, 4))
    if max(red, green, blue) > 255:
        raise UserError(f"{path}: colour in {line!r} is out of range; use values of 0 to 255")
    return match[1], (red, green, blue)


def _table(known: dict[int, int]) -> Bytes:
    table = np.full(256, _UNKNOWN, np.uint8)
    table[IGNORE_INDEX] = IGNORE_INDEX
    table[list(known)] = list(known.values())
    return table


def _ranges(table: Bytes) -> str:
    known = np.flatnonzero(table != _UNKNOWN)
    return f"{known[0]} to {known[-2]} and {known[-1]}"
