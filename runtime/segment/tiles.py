"""Large images in overlapping tiles, each labelled by itself, without a visible seam.

Every tile weighs most in its middle and least at its borders, where it sees the least around a
pixel. What a model gives decides what is blended: class scores where it has them (heads `scores`
and `masks`), else one vote per tile for its label. Memory does not grow with classes times
pixels: tiles are kept at the resolution of the model's output for two rows of tiles, and one
class at a time is blown up over one band of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emca.errors import UserError
from runtime.backends import Backend
from runtime.evaluate import predict, to_scores
from segdata.preprocess import fit, fitted, nearest, restore


@dataclass(frozen=True)
class Tiling:
    """How large images are cut.

    Attributes:
        size: (H, W) of a tile, in pixels of the image; smaller images are one tile.
        overlap: pixels that neighbours share at least, less than either side of a tile.
    """

    size: tuple[int, int]
    overlap: int = 0

    def __post_init__(self) -> None:
        height, width = self.size
        if min(self.size) < 1:
            raise UserError(f"a tile of {height}x{width} holds no pixel; take 1x1 or more")
        if not 0 <= self.overlap < min(self.size):
            raise UserError(
                f"an overlap of {self.overlap} does not go with tiles of {height}x{width}; "
                f"take 0 to {min(self.size) - 1}"
            )


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one side of `length` >= `tile`: evenly, the fewest that will do."""
    count = max(0, -(-(length - tile) // (tile - overlap)))
    return [i * (length - tile) // max(count, 1) for i in range(count + 1)]


def weights(length: int) -> NDArray[np.float32]:
    """Weight of the pixels along a tile's side: 1 at the ends, rising by 1 to the middle."""
    ramp = np.arange(1, length + 1, dtype=np.float32)
    return np.minimum(ramp, ramp[::-1])


def predict_tiled(backend: Backend, image: NDArray[np.uint8], tiling: Tiling) -> NDArray[np.uint8]:
    """Label an RGB image, uint8 [h,w,3], tile by tile; the result is uint8 [h,w].

    An image of one tile gives exactly what `predict` gives.
    """
    height, width = image.shape[:2]
    size = (min(tiling.size[0], height), min(tiling.size[1], width))
    tops = starts(height, size[0], tiling.overlap)
    lefts = starts(width, size[1], tiling.overlap)
    if len(tops) == len(lefts) == 1:
        return predict(backend, image)
    weight = weights(size[0])[:, None] * weights(size[1])
    labels = np.empty((height, width), np.uint8)
    tiles: list[_Tile] = []
    for top, bottom in zip(tops, [*tops[1:], height], strict=True):
        tiles = [tile for tile in tiles if tile.top + size[0] > top]
        tiles += _run_row(backend, image, top, lefts, size)
        labels[top:bottom] = _blend(tiles, (top, bottom, width), weight)
    return labels


@dataclass(frozen=True)
class _Tile:
    """What the model says about one tile, whose corner is at `top`, `left` of the image.

    Attributes:
        classes: those for which `plane` is not zero everywhere.
        plane: class -> float [h,w], its score or votes at the pixels of the tile.
    """

    top: int
    left: int
    classes: set[int]
    plane: Callable[[int], NDArray[np.float32]]


def _run_row(
    backend: Backend,
    image: NDArray[np.uint8],
    top: int,
    lefts: Sequence[int],
    size: tuple[int, int],
) -> Iterator[_Tile]:
    """The tiles of one row, in the smallest batches that the model takes."""
    _, height, width, _ = backend.input_shape
    step = backend.least_batch
    for first in range(0, len(lefts), step):
        places = lefts[first : first + step]
        fits = [
            fit(image[top : top + size[0], left : left + size[1]], (height, width))
            for left in places
        ]
        fits += fits[-1:] * (step - len(fits))
        outputs = backend.infer(np.stack(fits))
        for index, left in enumerate(places):
            own = {name: value[index] for name, value in outputs.items()}
            yield _tile(own, top, left, size, (height, width))


def _tile(
    outputs: Mapping[str, NDArray[Any]],
    top: int,
    left: int,
    size: tuple[int, int],
    input_size: tuple[int, int],
) -> _Tile:
    if "labels" in outputs:
        labels = restore(np.asarray(outputs["labels"], np.uint8), size)
        present = set(np.flatnonzero(np.bincount(labels.ravel())).tolist())
        return _Tile(top, left, present, lambda k: (labels == k).astype(np.float32))
    scores = to_scores(outputs)
    return _Tile(
        top, left, set(range(len(scores))), lambda k: _score_plane(scores[k], size, input_size)
    )


def _score_plane(
    scores: NDArray[Any], size: tuple[int, int], input_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Scores [h',w'] as the model gives them, at the pixels of a tile of `size`.

    By the very steps of `predict`: nearest pixels and argmax may change places, so that where one
    tile decides alone, the labels are its own.
    """
    height, width = input_size
    plane = cv2.resize(scores.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    if size != input_size:
        rows, columns = map(nearest, fitted(size, input_size), size)
        plane = plane.take(columns, axis=1).take(rows, axis=0)
    return np.asarray(plane, np.float32)


def _blend(
    tiles: Sequence[_Tile], band: tuple[int, int, int], weight: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Labels, uint8, of the rows from `band[0]` to `band[1]` of an image `band[2]` pixels wide.

    The lowest class wins a tie. Weights need no normalising: they are the same for all classes.
    """
    top, bottom, width = band
    best = np.full((bottom - top, width), -np.inf, np.float32)
    labels = np.zeros(best.shape, np.uint8)
    for k in sorted(set().union(*(tile.classes for tile in tiles))):
        total = np.zeros_like(best)
        for tile in (tile for tile in tiles if k in tile.classes):
            rows = slice(top - tile.top, min(bottom - tile.top, len(weight)))
            part = total[: rows.stop - rows.start, tile.left : tile.left + weight.shape[1]]
            part += tile.plane(k)[rows] * weight[rows]
        better = total > best
        np.copyto(best, total, where=better)
        labels[better] = k
    return labels
