"""Which images the ranges come from, and which others judge the result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emca.cli import progress
from emca.errors import UserError
from runtime.backends import ModelFile
from runtime.evaluate import check_classes
from segdata.datasets import open_dataset
from segdata.preprocess import fit
from segdata.samples import Sample

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Images:
    """The images that ranges are measured on.

    Attributes:
        data: the data set as it was given.
        names: of the images in it.
        pixels: the images, uint8 RGB [H,W,3] of the model's input size.
    """

    data: str
    names: list[str]
    pixels: list[Image]

    @property
    def sha256(self) -> str:
        """Over the pixels of all images, in order."""
        return _digest(self.pixels)

    def describe(self) -> dict[str, Any]:
        """As plain values, for a model's card."""
        return {"data": self.data, "images": self.names, "sha256": self.sha256}


@dataclass(frozen=True)
class HeldOut:
    """Labelled images that no range comes from.

    Attributes:
        data: the data set as it was given.
        samples: the images with their labels, at their own size.
    """

    data: str
    samples: list[Sample]

    def describe(self) -> dict[str, Any]:
        """As plain values, for result files and a model's card."""
        return {
            "data": self.data,
            "images": [sample.name for sample in self.samples],
            "sha256": _digest([sample.image for sample in self.samples]),
        }


def calibration_images(file: ModelFile, data: str, count: int) -> Images:
    """`count` images, evenly spread over a data set; labels are not needed.

    Raises:
        UserError: no such data, fewer images than asked for, or images without content.
    """
    dataset = open_dataset(data, labels=False)
    indices = spread(len(dataset), count, data)
    pixels = []
    for index in progress(indices, desc="images"):
        pixels.append(fit(dataset[index].image, file.card.input_size))
    check_content(pixels, data)
    return Images(data, [dataset.names[index] for index in indices], pixels)


def held_out_images(
    file: ModelFile, taken: Images, count: int, *, eval_data: str | None = None
) -> HeldOut:
    """`count` labelled images, evenly spread, that are not among those the ranges come from.

    Args:
        taken: what `calibration_images` gave.
        eval_data: where to take them from instead of what is left of its data set.

    Raises:
        UserError: no such data, too few images, other classes than the model's, or an image
            without a label or one that gave a range as well.
    """
    spec = eval_data or taken.data
    dataset = open_dataset(spec)
    check_classes(file, dataset)
    used = set(taken.names) if spec == taken.data else set()
    left = [index for index, name in enumerate(dataset.names) if name not in used]
    if count < 1:
        raise UserError(f"--held-out is {count}; at least one image must judge")
    if len(left) < count:
        remedy = (
            f"--held-out {len(left)}, or give more" if left else "--eval-data or fewer --images"
        )
        raise UserError(
            f"{spec!r} leaves {len(left)} images to judge by but {count} are wanted; give {remedy}"
        )
    places = [left[place] for place in spread(len(left), count, spec)]
    samples = [dataset[index] for index in progress(places, desc="held out")]
    known = {_digest([image]) for image in taken.pixels}
    for sample in samples:
        if _digest([fit(sample.image, file.card.input_size)]) in known:
            raise UserError(
                f"{sample.name} of {spec!r} gave ranges too (--data {taken.data!r}) and cannot "
                "judge; name both by the same words, or take other images"
            )
    return HeldOut(spec, samples)


def _digest(images: Sequence[Image]) -> str:
    digest = hashlib.sha256()
    for image in images:
        digest.update(image.tobytes())
    return digest.hexdigest()


def spread(available: int, wanted: int, data: str) -> list[int]:
    """`wanted` positions among `available`, evenly spread, the same every time.

    Raises:
        UserError: fewer available than wanted, or none wanted.
    """
    if wanted < 1:
        raise UserError(f"--images is {wanted}; calibration needs at least one image")
    if available < wanted:
        raise UserError(
            f"data {data!r} has {available} images but {wanted} are wanted; "
            f"give more data or --images {available}"
        )
    return [(2 * i + 1) * available // (2 * wanted) for i in range(wanted)]


def check_content(pixels: Sequence[Image], data: str) -> None:
    """UserError where every image is of one colour: nothing can be learnt from them."""
    if all((image == image[:1, :1]).all() for image in pixels):
        raise UserError(
            f"every calibration image of {data!r} is of a single colour; "
            "INT8 ranges come from real images only"
        )
