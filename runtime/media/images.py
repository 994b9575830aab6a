"""Label maps and overlays of image files; reading, labelling and writing overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from emca.cli import progress
from emca.errors import UserError
from emca.files import atomic_path
from runtime.media.sources import LABELS, OVERLAY, output_names
from runtime.media.writer import Window
from runtime.segment.pipeline import DEPTH, Ahead, Behind
from runtime.segment.segmenter import Segmenter
from segdata.draw import overlay, overlay_with_legend
from segdata.preprocess import read_image

Pixels = NDArray[np.uint8]

MOST_JPEG = 65_500  # pixels of a side, in libjpeg


def label_images(
    segmenter: Segmenter, images: Sequence[Path], out: Path, window: Window | None = None
) -> tuple[int, list[str]]:
    """Write NAME.labels.png and NAME.overlay.jpg below `out` for every image that can be read.

    Args:
        window: show each overlay and wait for a key; q ends the run.

    Returns:
        How many were labelled, and what is wrong with the others, one line each.
    """
    done, troubles = 0, list[str]()
    names = output_names(images)

    def write(item: tuple[str, Pixels, Future[Pixels]]) -> None:
        name, image, labelled = item
        labels = labelled.result()
        picture = overlay_with_legend(image, labels, segmenter.classes, segmenter.palette)
        write_image(out / f"{name}{LABELS}", labels)
        write_image(out / f"{name}{OVERLAY}", picture)

    depth = max(DEPTH, segmenter.streams)  # else some streams would have nothing to do
    with Ahead(_read(images)) as pixels, Behind(write, depth=depth) as writer:
        items = zip(progress(pixels, desc="labelling", total=len(images)), names, strict=True)
        for image, name in items:
            if isinstance(image, UserError):
                troubles.append(str(image))
                continue
            labels = segmenter.submit(image)
            writer.put((name, image, labels))
            done += 1
            if window:
                picture = overlay(image, labels.result(), segmenter.palette)
                if not window.show(picture, wait=True):
                    break
    return done, troubles


def write_image(path: Path, image: Pixels) -> None:
    """Write RGB [H,W,3] or one channel [H,W] in the format of the suffix, whole or not at all.

    What is too large for a JPEG is scaled down.
    """
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    if path.suffix == ".jpg" and (scale := MOST_JPEG / max(pixels.shape[:2])) < 1:
        size = tuple(max(1, int(scale * side)) for side in pixels.shape[1::-1])
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    is_encoded, data = cv2.imencode(path.suffix, pixels)
    if not is_encoded:
        height, width = pixels.shape[:2]
        raise UserError(f"{path}: OpenCV cannot write an image of {width}x{height}; cut it")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _read(images: Sequence[Path]) -> Iterator[Pixels | UserError]:
    for path in images:
        try:
            yield read_image(path)
        except UserError as error:  # of one among thousands, perhaps
            yield error
