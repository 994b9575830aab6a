"""The runs behind a certificate: labels of every file on the same images, counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emca.cli import progress
from emca.errors import UserError
from runtime.accuracy.counts import Counts, Labels, count, near_borders
from runtime.backends import Backend, EngineFile, is_engine
from runtime.comparison.rows import format_notes
from runtime.evaluate import check_classes, predict
from runtime.page_html import Panel, Picture
from runtime.pictures import data_uri
from segdata.card import ModelCard
from segdata.classes import Colour
from segdata.datasets import Dataset, Sample, parse_spec
from segdata.draw import overlay

# Where two files differ: right in the reference only, in the candidate only, in neither.
LOST, GAINED, OTHER = (213, 48, 60), (38, 110, 214), (240, 190, 40)
_FADED = 0.65  # how white the rest of that picture is
FEW_IMAGES = 30


def check_files(reference: Backend, candidates: Sequence[Backend], dataset: Dataset | None) -> None:
    """UserError unless all files do the same task on the same classes, those of the data too."""
    if dataset:
        check_classes(reference, dataset)
    known = reference.card
    for candidate in candidates:
        card = candidate.card
        if card.task != known.task:
            raise UserError(
                f"{candidate.path} is a model for {card.task} segmentation, {reference.path} for "
                f"{known.task}; compare files of one task"
            )
        if card.classes != known.classes:
            raise UserError(
                f"{candidate.path} {_other_classes(card, known)} {reference.path}; compare files "
                "of the same classes"
            )


def measure(
    reference: Backend, candidates: Sequence[Backend], dataset: Dataset, images: int, boundary: int
) -> list[Counts]:
    """Counts of the reference and of each candidate, in this order, over the first images.

    Args:
        dataset: with labels or without; without, nothing is counted for IoU.
        boundary: pixels on either side of a border that count as near it.

    Raises:
        UserError: an image cannot be read, or the data have labels but no labelled pixel.
    """
    classes = len(reference.card.classes)
    counts: list[list[Counts]] = [[] for _ in (reference, *candidates)]
    labelled = False
    for index in progress(range(images), desc="labelling"):
        sample = dataset[index]
        labelled = labelled or sample.label is not None
        expected = predict(reference, sample.image)
        near = near_borders(expected, boundary)
        for place, backend in enumerate((reference, *candidates)):
            labels = expected if backend is reference else predict(backend, sample.image)
            counts[place].append(count(labels, expected, near, sample.label, classes))
    joined = [Counts.join(own) for own in counts]
    if labelled and not joined[0].truth.sum():
        raise UserError(f"{dataset.spec}: no pixel has a label; take --unlabelled or other data")
    return joined


def notes(
    reference: Backend,
    candidate: Backend,
    data: str,
    names: Sequence[str],
    *,
    labelled: bool,
    reference_sha256: str,
) -> list[str]:
    """What a reader of the certificate has to know about the files and the images.

    Args:
        data: the data set, and `names` the images of it that were measured.
        labelled: whether mIoU was measured.
        reference_sha256: fingerprint of the reference's file.
    """
    found = format_notes({candidate.card.precision.upper(): candidate})
    source = _source(candidate)
    if source and reference.card.precision == "fp32" and source != reference_sha256:
        found.append(
            f"{candidate.path.name} says that it was made from another file ({source[:16]}…) than "
            f"{reference.path.name} ({reference_sha256[:16]}…)."
        )
    if seen := _calibrated_on(candidate.card, data) & set(names):
        found.append(
            f"{len(seen)} of these images also set its INT8 ranges; take others if there are any."
        )
    judged = _from_same_place(candidate.card.calibration.get("held_out", {}), data)
    if chose := judged & set(names):
        found.append(f"{len(chose)} of these images also chose its ranges or blocks; take others.")
    sizes = [backend.input_shape[1:3] for backend in (reference, candidate)]
    if sizes[0] != sizes[1]:
        found.append(
            f"The inputs differ, {_size(sizes[0])} and {_size(sizes[1])}; labels are compared at "
            "the size of each image."
        )
    if candidate.name != reference.name:
        found.append(f"The reference ran on {reference.name}, the candidate on {candidate.name}.")
    if not candidate.card.is_trained:
        found.append("The weights were never trained: labels hang on rounding.")
    if not labelled:
        found.append("Without labels nothing is said of mIoU.")
    if len(names) < FEW_IMAGES:
        found.append(f"{len(names)} images are few: the intervals are rough.")
    return found


def worst_images(
    reference: Backend, candidate: Backend, dataset: Dataset, counts: Counts, most: int
) -> tuple[list[Panel], list[int]]:
    """The images that the two label least alike, as pictures, and the ids of classes in them.

    Images without a differing pixel are left out.
    """
    order = [int(k) for k in np.argsort(counts.agreement, kind="stable")[:most]]
    panels, present = [], set[int]()
    for index in order:
        if counts.agreement[index] == 1:
            break
        sample = dataset[index]
        labels = {
            "reference": predict(reference, sample.image),
            "candidate": predict(candidate, sample.image),
        }
        note = f"{100 * counts.agreement[index]:.2f} % the same"
        panels.append(_panel(sample, labels, candidate.card, note))
        shown = [*labels.values(), *([] if sample.label is None else [sample.label])]
        present.update(int(k) for one in shown for k in np.unique(one))
    return panels, sorted(k for k in present if k < len(candidate.card.classes))


def legend(
    labelled: bool, reference: str = "the reference", candidate: str = "the candidate"
) -> list[tuple[str, Colour]]:
    """What the colours of `differences` mean; `reference`, `candidate`: what to call the two."""
    if not labelled:
        return [("they differ", OTHER)]
    return [
        (f"only {reference} is right", LOST),
        (f"only {candidate} is right", GAINED),
        ("neither is right, or there is no truth", OTHER),
    ]


def differences(
    image: NDArray[np.uint8], truth: Labels | None, reference: Labels, candidate: Labels
) -> NDArray[np.uint8]:
    """The image in pale grey with the pixels that differ in LOST, GAINED or OTHER; [H,W,3]."""
    grey = image.mean(axis=2, keepdims=True)
    picture = np.repeat((1 - _FADED) * grey + _FADED * 255, 3, axis=2).astype(np.uint8)
    differ = reference != candidate
    picture[differ] = OTHER
    if truth is not None:
        picture[differ & (reference == truth)] = LOST
        picture[differ & (candidate == truth)] = GAINED
    return picture


def _panel(sample: Sample, labels: dict[str, Labels], card: ModelCard, note: str) -> Panel:
    shown = {} if sample.label is None else {"truth": sample.label}
    pictures = [Picture("image", data_uri(sample.image))]
    for name, own in (shown | labels).items():
        pictures.append(Picture(name, data_uri(overlay(sample.image, own, card.palette))))
    differ = differences(sample.image, sample.label, labels["reference"], labels["candidate"])
    return Panel(sample.name, [*pictures, Picture("difference", data_uri(differ), note)])


def _source(candidate: Backend) -> str:
    """Fingerprint of the FP32 file that the candidate goes back to, as far as it says."""
    if candidate.card.precision == "fp32" and is_engine(candidate.path):
        return EngineFile.read(candidate.path).onnx_sha256
    return candidate.card.source_sha256


def _calibrated_on(card: ModelCard, data: str) -> set[str]:
    """The images behind the INT8 ranges, if they came from the same place as `data`."""
    return _from_same_place(card.calibration, data)


def _from_same_place(told: Mapping[str, Any], data: str) -> set[str]:
    """The images of a record that are in the folder that `data` names, however it is spelt."""
    if not told or _place(told["data"]) != _place(data):
        return set()
    return set(told["images"])


def _place(spec: str) -> tuple[str, str]:
    name, path, _ = parse_spec(spec)
    return name, path if name == "scenes" else str(Path(path).resolve())


def _other_classes(card: ModelCard, known: ModelCard) -> str:
    """How the classes of a candidate differ, up to the name of the reference."""
    if len(card.classes) != len(known.classes):
        return f"has {len(card.classes)} classes and not {len(known.classes)} as"
    pairs = enumerate(zip(card.classes, known.classes, strict=True))
    index, (theirs, ours) = next((k, pair) for k, pair in pairs if pair[0] != pair[1])
    return f'calls class {index} "{theirs}" and not "{ours}" as'


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
